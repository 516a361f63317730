"""Drives a worker without Ray, as its process does: orders in, messages out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fmnist_models.config.trial import TrialConfig
from fmnist_models.families.quick import QuickConfig
from fmnist_models.training.metrics import EpochMetrics
from search.workers.checkpoints import CheckpointStore
from search.workers.messages import (
    EpochDone,
    Failed,
    Failure,
    Resumed,
    StartedTrial,
    WorkerMessage,
    WorkerSettings,
    parse_message,
)
from search.workers.worker import Worker
from tests.faulty import faulty

TIMES = {"seconds", "images_per_second", "peak_memory_bytes"}
Curve = list[dict[str, Any]]


def settings_for(data: Path, folder: Path) -> WorkerSettings:
    """On a CPU, 1,000 images of `data`, checkpoints in `folder`."""
    return WorkerSettings(
        data_dir=str(data),
        train_samples=1000,
        device="cpu",
        precision="fp32",
        threads=1,
        checkpoint_dir=str(folder / "checkpoints"),
    )


def store_of(settings: WorkerSettings) -> CheckpointStore:
    assert settings.checkpoint_dir
    return CheckpointStore(Path(settings.checkpoint_dir))


def start(
    worker: Worker, settings: WorkerSettings, config: TrialConfig, number: int = 0, **more: Any
) -> None:
    trial = StartedTrial(number=number, config=config, **more)
    worker.start(settings.model_dump_json(), trial.model_dump_json())


def step(worker: Worker) -> WorkerMessage:
    """A step's message, which comes to the driver as it was sent."""
    message = worker.step()
    assert parse_message(message.model_dump_json()) == message
    return message


def figures(metrics: EpochMetrics) -> dict[str, Any]:
    return metrics.model_dump(exclude=TIMES)


def trained(worker: Worker, epochs: int) -> Curve:
    """Step so many epochs, none of which may fail or have anything to note."""
    found = []
    for _ in range(epochs):
        message = step(worker)
        assert isinstance(message, EpochDone), message
        assert not message.note
        found.append(figures(message.metrics))
    return found


def resumed_epochs(worker: Worker) -> Curve:
    message = step(worker)
    assert isinstance(message, Resumed), message
    return [figures(metrics) for metrics in message.epochs]


def failure(worker: Worker) -> Failure:
    message = step(worker)
    assert isinstance(message, Failed), message
    return message.failure


def tiny(**changes: Any) -> TrialConfig:
    return faulty().model_copy(
        update={"model": QuickConfig(width=4, depth=1, dropout=0.3), **changes}
    )
