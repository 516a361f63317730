"""Final training: one configuration, all training images, last-epoch weights, one look at the test.

A run that is killed goes on from its last epoch when it is started again, on the same curve.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pydantic import JsonValue

from fmnist_models.config import TrialConfig
from fmnist_models.data import load_training_data
from fmnist_models.engine import Trainer
from fmnist_models.errors import DivergedError, OutputError
from fmnist_models.evaluate import evaluate
from fmnist_models.fetch import find_data
from fmnist_models.files import load_checkpoint, make_folder, save_checkpoint
from fmnist_models.folder import (
    CONFIG,
    METRICS,
    Header,
    ModelMetrics,
    load_metrics,
    save_metrics,
    save_model,
)
from fmnist_models.metrics import EpochMetrics
from fmnist_models.precision import choose_precision

CHECKPOINT = "checkpoint.bin"
Say = Callable[[str], None]


def train(
    config: TrialConfig, folder: Path, *, data_dir: Path | None, device: str, force: bool, say: Say
) -> ModelMetrics:
    """Train `config` on all training images into `folder`, score it once on the test set.

    `say` gets a line an epoch. A folder that holds this configuration's finished model is left as
    it is and its metrics are given back; one that holds something else raises OutputError unless
    `force`. Raises also DataError, ConfigError and DivergedError.
    """
    finished = _finished(folder, config, force)
    if finished:
        say(f"{folder} holds this configuration's model already: nothing to do")
        return finished
    source = find_data(data_dir)
    make_folder(folder)
    dataset = load_training_data(source.directory)
    precision = choose_precision(device)
    trainer = Trainer(config, dataset, device=device, precision=precision)
    epochs = _resume(trainer, folder, dataset.digest, say)
    say(f"{len(dataset.train):,} images, {config.epochs} epochs, {device}, {precision}")
    for metrics in trainer.epochs():
        epochs.append(metrics)
        _checkpoint(trainer, folder, dataset.digest, epochs)
        say(_line(metrics, config.epochs))
    if not all(torch.isfinite(p).all() for p in trainer.best_model.parameters()):
        raise DivergedError("the weights stopped being finite in the last epoch; lower the lr")
    save_model(folder, trainer.best_model, config, Header.of(dataset))
    save_metrics(
        folder,
        ModelMetrics(
            train_images=len(dataset.train),
            train_seconds=sum(e.seconds for e in epochs),
            data=dataset.name,
            data_digest=dataset.digest,
            environment=_environment(device, precision),
            epochs=epochs,
        ),
    )
    evaluate(folder, source.directory, device)
    (folder / CHECKPOINT).unlink(missing_ok=True)
    return load_metrics(folder)


def _finished(folder: Path, config: TrialConfig, force: bool) -> ModelMetrics | None:
    """The metrics of a finished model of `config` in `folder`; None where training is due."""
    if not folder.is_dir() or force:
        return None
    present = {path.name for path in folder.iterdir()} - {CHECKPOINT}
    if not present:
        return None
    same = CONFIG in present and (folder / CONFIG).read_text() == _config_text(config)
    if not same:
        raise OutputError(f"{folder} holds something else; give another --out, or --force")
    if METRICS not in present:
        return None
    metrics = load_metrics(folder)
    return metrics if metrics.test_readings else None


def _config_text(config: TrialConfig) -> str:
    return config.model_dump_json(indent=2) + "\n"


def _checkpoint(trainer: Trainer, folder: Path, digest: str, epochs: list[EpochMetrics]) -> None:
    state: dict[str, Any] = {
        "config": trainer.config.model_dump_json(),
        "digest": digest,
        "epochs": [metrics.model_dump() for metrics in epochs],
        "trainer": trainer.state_dict(),
    }
    save_checkpoint(folder / CHECKPOINT, state)


def _resume(trainer: Trainer, folder: Path, digest: str, say: Say) -> list[EpochMetrics]:
    """Bring `trainer` to the folder's checkpoint, if that is of the same run; its epochs so far."""
    state = load_checkpoint(folder / CHECKPOINT)
    same = (
        state is not None
        and state["config"] == trainer.config.model_dump_json()
        and state["digest"] == digest
    )
    if state is None or not same:
        return []
    trainer.load_state_dict(state["trainer"])
    say(f"going on after epoch {trainer.epoch}, from {folder / CHECKPOINT}")
    return [EpochMetrics.model_validate(metrics) for metrics in state["epochs"]]


def _line(metrics: EpochMetrics, epochs: int) -> str:
    left = (epochs - metrics.epoch) * metrics.seconds
    return (
        f"epoch {metrics.epoch}/{epochs}: loss {metrics.train_loss:.4f}, "
        f"training accuracy {100 * metrics.train_accuracy:.2f} %, "
        f"{metrics.images_per_second:,.0f} images/s, about {left / 60:.1f} min left"
    )


def _environment(device: str, precision: str) -> dict[str, JsonValue]:
    name = torch.cuda.get_device_name() if device != "cpu" else platform.processor()
    return {
        "device": device,
        "device_name": name,
        "precision": precision,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "finished_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
