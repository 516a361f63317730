"""How many epochs fit into the time given, from a short measurement of the real thing."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch

from fmnist_models.compute.precision import Precision, choose_precision
from fmnist_models.config.files import parse_config, read_config
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.dataset import Dataset, load_training_data
from fmnist_models.data.idx import DataFiles
from fmnist_models.errors import ConfigError
from fmnist_models.files import load_checkpoint
from fmnist_models.final.seeds import read_seeds
from fmnist_models.saved_model.folder import CHECKPOINT, CONFIG
from fmnist_models.training.data_parallel import ALONE, DataParallel
from fmnist_models.training.trainer import Trainer

MEASURED_SECONDS = 5.0
MEASURED_STEPS = 40
"""Measuring ends with whichever comes first, after two steps to warm up."""
SAFETY = 0.9
"""Share of the time that is planned for: the rest is for scoring and for a slower hour."""


MOST_EPOCHS = 10_000
"""As many as a configuration may have."""


class _MeasurementDone(Exception):
    """Ends a measurement."""


def epochs_within(config: TrialConfig, images: int, step_seconds: float, minutes: float) -> int:
    """The most epochs, 1 at least and `config.epochs` at most, that take up to `minutes`.

    The learning rate then falls over just so many, which an end in the middle would not allow.
    `images` are the training images, `step_seconds` as `measure_step` has them.
    """
    steps = config.steps_per_epoch(images)
    fitting = int(SAFETY * 60 * minutes / (step_seconds * steps))
    return max(1, min(config.epochs, fitting))


def measure_step(
    config: TrialConfig,
    dataset: Dataset,
    device: str,
    precision: Precision,
    workers: DataParallel = ALONE,
    most_steps: int = MEASURED_STEPS,
) -> float:
    """Seconds of a training step, measured on a network that is thrown away.

    Several `workers` stop together, when the first has measured for long enough.
    """
    trainer = Trainer(config, dataset, device=device, precision=precision, workers=workers)
    warm, started, count = 2, 0.0, 0

    def tell(done: int, steps: int) -> None:
        nonlocal started, count
        if done <= warm and done < steps:
            _wait(device)
            started = time.perf_counter()
            return
        count += 1
        spent = workers.first(time.perf_counter() - started, device)
        if count >= most_steps or spent >= MEASURED_SECONDS:
            raise _MeasurementDone

    trainer.on_step = tell
    began = started = time.perf_counter()
    with suppress(_MeasurementDone):
        trainer.run_epoch()
    _wait(device)
    return (time.perf_counter() - (started if count else began)) / max(1, count)


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def limit_epochs(
    config: TrialConfig,
    folder: Path,
    *,
    files: DataFiles,
    device: str,
    minutes: float,
    fresh: bool,
    say: Callable[[str], None],
    step_seconds: Callable[[], float] | None = None,
) -> TrialConfig:
    """`config` with as many epochs as fit into `minutes`; as before where `folder` has a beginning.

    `fresh`: what the folder holds does not count, as it will be overwritten. `step_seconds`
    measures a training step, where `measure_step` in this process is not what is to come.
    """
    begun = None if fresh else _begun(folder)
    if begun and begun.model_copy(update={"epochs": config.epochs}) == config:
        return begun
    dataset = load_training_data(files)
    if step_seconds:
        seconds = step_seconds()
    else:
        seconds = measure_step(config, dataset, device, choose_precision(device))
    epochs = epochs_within(config, len(dataset.train), seconds, minutes)
    if config.epoch_images:
        passes = epochs * config.epoch_images / len(dataset.train)
        say(f"{minutes:.3g} minutes: {passes:.1f} passes over the images, {epochs} epochs")
    elif epochs < config.epochs:
        say(f"{epochs} of {config.epochs} epochs fit into {minutes:.3g} minutes: training so many")
    return config.model_copy(update={"epochs": epochs})


def _begun(folder: Path) -> TrialConfig | None:
    """The configuration that is being trained, or was, in `folder`."""
    seeds = read_seeds(folder)
    if seeds:
        return seeds.config
    state = load_checkpoint(folder / CHECKPOINT)
    try:
        if state and isinstance(state.get("config"), str):
            return parse_config(state["config"])
        return read_config(folder / CONFIG) if (folder / CONFIG).exists() else None
    except ConfigError:
        return None
