"""How many epochs fit into the time given, from a short measurement of the real thing."""

from __future__ import annotations

import time

import torch

from fmnist_models.config import TrialConfig
from fmnist_models.data import Dataset
from fmnist_models.engine import Trainer
from fmnist_models.precision import Precision

MEASURED_SECONDS = 5.0
MEASURED_STEPS = 40
"""Measuring ends with whichever comes first, after two steps to warm up."""
SAFETY = 0.9
"""Share of the time that is planned for: the rest is for scoring and for a slower hour."""


class _Enough(Exception):
    """Ends a measurement."""


def epochs_within(
    config: TrialConfig, dataset: Dataset, device: str, precision: Precision, minutes: float
) -> int:
    """The most epochs, 1 at least and `config.epochs` at most, that take up to `minutes`.

    The learning rate then falls over just so many, which an end in the middle would not allow.
    """
    step_seconds = _step_seconds(config, dataset, device, precision)
    steps = len(dataset.train) // config.batch_size
    fitting = int(SAFETY * 60 * minutes / (step_seconds * steps))
    return max(1, min(config.epochs, fitting))


def _step_seconds(
    config: TrialConfig, dataset: Dataset, device: str, precision: Precision
) -> float:
    """Seconds of a training step, measured on a network that is thrown away."""
    trainer = Trainer(config, dataset, device=device, precision=precision)
    warm, started, count = 2, 0.0, 0

    def tell(done: int, steps: int) -> None:
        nonlocal started, count
        if done <= warm and done < steps:
            _wait(device)
            started = time.perf_counter()
            return
        count += 1
        spent = time.perf_counter() - started
        if count >= MEASURED_STEPS or spent >= MEASURED_SECONDS:
            raise _Enough

    trainer.on_step = tell
    began = started = time.perf_counter()
    try:
        trainer.run_epoch()
    except _Enough:
        pass
    _wait(device)
    return (time.perf_counter() - (started if count else began)) / max(1, count)


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()
