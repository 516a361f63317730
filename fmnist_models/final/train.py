"""Final training: one configuration, all training images, last-epoch weights, one look at the test.

A run that is killed goes on from its last epoch when it is started again, on the same curve. One
that runs out of memory goes on from there by itself, with each batch cut into smaller parts.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import JsonValue

from fmnist_models.compute.memory import give_back_memory, is_out_of_memory
from fmnist_models.compute.precision import Precision, choose_precision, device_name
from fmnist_models.config.files import Origin
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.dataset import Dataset, load_training_data
from fmnist_models.data.idx import DataFiles
from fmnist_models.errors import DivergedError, OutOfMemoryError, OutputError
from fmnist_models.files import leftovers, load_checkpoint, make_folder, save_checkpoint
from fmnist_models.final.evaluate import evaluate
from fmnist_models.final.progress import Watcher
from fmnist_models.saved_model.folder import (
    CHECKPOINT,
    CONFIG,
    EVENTS,
    METRICS,
    TEACHER,
    Header,
    ModelMetrics,
    load_metrics,
    save_metrics,
    save_model,
)
from fmnist_models.saved_model.ownership import OURS, check_ours, foreign_names, remove_model
from fmnist_models.training.data_parallel import ALONE, DataParallel
from fmnist_models.training.gradient_step import Loss
from fmnist_models.training.metrics import EpochMetrics
from fmnist_models.training.trainer import Trainer

Say = Callable[[str], None]
Trained = tuple[Trainer, list[EpochMetrics]]


@dataclass(frozen=True)
class Extras:
    """What comes with final training.

    watchers: are told of each step and epoch. test: read the test set at the end. report: write
    card and pictures, too. loss, teacher: for distillation, see distill.py. workers: this process
    among those that train the network; only the first writes, and `precision` is what all have.
    origin: where the configuration was found.
    """

    watchers: Sequence[Watcher] = ()
    test: bool = True
    report: bool = False
    loss: Loss | None = None
    teacher: dict[str, JsonValue] | None = None
    workers: DataParallel = ALONE
    precision: Precision | None = None
    origin: Origin | None = None


TrainElsewhere = Callable[[TrialConfig, Path, Say, Extras], None]
"""Does what `train_and_save` does in other processes, which may be several."""


def train(
    config: TrialConfig,
    folder: Path,
    *,
    files: DataFiles,
    device: str,
    force: bool,
    say: Say,
    extras: Extras | None = None,
    elsewhere: TrainElsewhere | None = None,
) -> ModelMetrics:
    """Train `config` on all training images into `folder`, score it once on the test set.

    `elsewhere` trains in the place of this process. `say` gets a line an epoch. A folder that holds
    this configuration's finished model is left as it is and its metrics are given back; one that
    holds something else raises OutputError unless `force`. Raises also DataError, ConfigError,
    DivergedError, and OutOfMemoryError when even one image at a time is too much.
    """
    extras = extras or Extras()
    finished = _finished(folder, config, files.digest, force)
    if finished and (finished.test_readings or not extras.test):
        say(f"{folder} holds this configuration's model already: nothing to do")
        return finished
    if not finished and elsewhere:
        elsewhere(config, folder, say, extras)
    elif not finished:
        train_and_save(config, folder, files, device, say, extras)
    if extras.test:
        evaluate(folder, files, device, report=extras.report)
    (folder / CHECKPOINT).unlink(missing_ok=True)
    return load_metrics(folder)


def train_and_save(
    config: TrialConfig, folder: Path, files: DataFiles, device: str, say: Say, extras: Extras
) -> None:
    """Train to the end; leave weights, configuration and metrics in the folder."""
    make_folder(folder)
    dataset = load_training_data(files)
    try:
        trainer, epochs = _train_to_the_end(config, folder, dataset, device, say, extras)
    finally:
        for watcher in extras.watchers:
            watcher.close()
    if not all(torch.isfinite(p).all() for p in trainer.averaged_model.parameters()):
        raise DivergedError("the weights stopped being finite in the last epoch; lower the lr")
    if extras.workers.rank > 0:
        return
    header = Header.of(dataset, mirrored=config.augmentation.flip)
    save_model(folder, trainer.averaged_model, config, header)
    metrics = ModelMetrics(
        train_images=len(dataset.train),
        train_seconds=sum(e.seconds for e in epochs),
        data=dataset.name,
        data_digest=dataset.digest,
        environment=_environment(trainer),
        epochs=epochs,
        teacher=extras.teacher,
        origin=extras.origin,
    )
    save_metrics(folder, metrics)
    if extras.report and not extras.test:
        from fmnist_models.report.page import write_card

        write_card(folder, metrics, header)


def _train_to_the_end(
    config: TrialConfig, folder: Path, dataset: Dataset, device: str, say: Say, extras: Extras
) -> Trained:
    """Train, with the batches in twice as many parts each time that memory does not suffice."""
    state = load_checkpoint(folder / CHECKPOINT)
    parts: int = state.get("micro_batches", 1) if state else 1
    del state  # as large as the network
    while True:
        try:
            return _train(config, folder, dataset, device, parts, say, extras)
        except Exception as error:
            if not is_out_of_memory(error) or extras.workers.size > 1:
                raise
        # Out here nothing refers to the error any more, and so to what its functions held.
        give_back_memory(device)
        if parts >= config.batch_size:
            raise OutOfMemoryError(
                f"{device} has not the memory for this network, not even for one image at a time; "
                "train a smaller one, or on another device"
            )
        parts = min(2 * parts, config.batch_size)
        say(f"out of memory: going on with each batch in {parts} parts, which is slower")


def _train(
    config: TrialConfig,
    folder: Path,
    dataset: Dataset,
    device: str,
    parts: int,
    say: Say,
    extras: Extras,
) -> Trained:
    """Train to the end, from the checkpoint if there is one."""
    state = load_checkpoint(folder / CHECKPOINT)
    # A run goes on in the number format that it began in, whatever would be chosen now.
    precision = state["precision"] if state else extras.precision or choose_precision(device)
    workers = extras.workers
    trainer = Trainer(
        config,
        dataset,
        device=device,
        precision=precision,
        micro_batches=parts,
        loss=extras.loss,
        workers=workers,
    )
    epochs = _resume(trainer, state, say)
    together = f", {workers.size} workers together" if workers.size > 1 else ""
    say(f"{len(dataset.train):,} images, {config.epochs} epochs, {device}, {precision}{together}")
    trainer.on_step = _step_teller(extras.watchers)
    for watcher in extras.watchers:
        watcher.begin(config.epochs, epochs)
    first = trainer.epoch + 1
    for metrics in trainer.epochs():
        epochs.append(metrics)
        if workers.rank == 0:
            _checkpoint(trainer, folder, dataset.digest, epochs)
        for watcher in extras.watchers:
            watcher.end_epoch(metrics)
        say(_line(metrics, config.epochs))
        graphs = trainer.step.graphs
        if metrics.epoch == first and graphs and graphs.failure:
            say(f"trains without CUDA graphs, which is slower: {graphs.failure}")
    return trainer, epochs


def _step_teller(watchers: Sequence[Watcher]) -> Callable[[int, int], None] | None:
    def tell(done: int, steps: int) -> None:
        for watcher in watchers:
            watcher.step(done, steps)

    return tell if watchers else None


def _finished(folder: Path, config: TrialConfig, digest: str, force: bool) -> ModelMetrics | None:
    """The metrics of a trained model of `config` in `folder`; None where training is due.

    Raises OutputError when the folder holds anything else. With `force` what is ours is removed
    first, so that nothing of another model can be taken for this one's, whenever the run is killed.
    """
    if not folder.is_dir():
        return None
    check_ours(folder)
    for path in leftovers(folder, OURS):
        path.unlink()
    if force:
        remove_model(folder)
        return None
    if not any(folder.iterdir()):
        return None
    if foreign_names(folder) or not _is_of(folder, config, digest):
        raise OutputError(f"{folder} holds something else; give another --out, or --force")
    # Written after the weights, so that with it the model is whole.
    metrics = load_metrics(folder) if (folder / METRICS).exists() else None
    if metrics and metrics.test_readings:
        (folder / CHECKPOINT).unlink(missing_ok=True)  # killed just before that
    return metrics


def _is_of(folder: Path, config: TrialConfig, digest: str) -> bool:
    """Whether everything in the folder comes from training `config` on the data of `digest`."""
    kept, state = folder / CONFIG, load_checkpoint(folder / CHECKPOINT)
    if kept.exists() and kept.read_bytes() != _config_text(config).encode():
        return False
    if (folder / METRICS).exists() and load_metrics(folder).data_digest != digest:
        return False
    if state is not None:
        return (state.get("config"), state.get("digest")) == (config.model_dump_json(), digest)
    # Before the first epoch ends there are only these; a README.md, say, is somebody's own.
    return kept.exists() or {path.name for path in folder.iterdir()} <= {
        CHECKPOINT,
        EVENTS,
        TEACHER,
    }


def _config_text(config: TrialConfig) -> str:
    return config.model_dump_json(indent=2) + "\n"


def _checkpoint(trainer: Trainer, folder: Path, digest: str, epochs: list[EpochMetrics]) -> None:
    state: dict[str, Any] = {
        "config": trainer.config.model_dump_json(),
        "digest": digest,
        "precision": trainer.precision,
        "micro_batches": trainer.micro_batches,
        "workers": trainer.workers.size,
        "epochs": [metrics.model_dump() for metrics in epochs],
        "trainer": trainer.state_dict(),
    }
    save_checkpoint(folder / CHECKPOINT, state)


def _resume(trainer: Trainer, state: dict[str, Any] | None, say: Say) -> list[EpochMetrics]:
    """Bring `trainer` to the checkpoint `state`, if there is one; the epochs so far."""
    if state is None:
        return []
    trainer.load_state_dict(state["trainer"])
    say(f"going on after epoch {trainer.epoch}")
    return [EpochMetrics.model_validate(metrics) for metrics in state["epochs"]]


def _line(metrics: EpochMetrics, epochs: int) -> str:
    left = (epochs - metrics.epoch) * metrics.seconds
    return (
        f"epoch {metrics.epoch}/{epochs}: loss {metrics.train_loss:.4f}, "
        f"training accuracy {100 * metrics.train_accuracy:.2f} %, "
        f"{metrics.images_per_second:,.0f} images/s, about {left / 60:.1f} min left"
    )


def _environment(trainer: Trainer) -> dict[str, JsonValue]:
    return {
        "device": trainer.device,
        "device_name": device_name(trainer.device),
        "precision": trainer.precision,
        "micro_batches": trainer.micro_batches,
        "workers": trainer.workers.size,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "finished_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
