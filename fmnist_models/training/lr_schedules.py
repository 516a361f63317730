"""Learning-rate schedules and early stopping: pure functions, so that any run can resume."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fmnist_models.config.training import LrScheduleConfig


def lr_factor(config: LrScheduleConfig, progress: float, epochs: int = 1) -> float:
    """The factor on the learning rate at `progress`, the fraction of all steps done, in [0, 1).

    `epochs` is the length of the whole run, which the kind `step` counts by.
    """
    if config.kind == "one_cycle":
        return _one_cycle(config, progress)
    if progress < config.warmup:
        return progress / config.warmup
    rest = (progress - config.warmup) / (1 - config.warmup)
    match config.kind:
        case "constant":
            return 1.0
        case "linear":
            return 1.0 - rest
        case "cosine":
            return 0.5 * (1 + math.cos(math.pi * rest))
        case "step":
            return config.step_gamma ** (int(progress * epochs) // config.step_epochs)


def _one_cycle(config: LrScheduleConfig, progress: float) -> float:
    start = 1 / config.one_cycle_start
    if progress < config.warmup:
        return _anneal(start, 1.0, progress / config.warmup)
    rest = (progress - config.warmup) / (1 - config.warmup)
    return _anneal(1.0, start / config.one_cycle_end, rest)


def _anneal(first: float, last: float, share: float) -> float:
    """From `first` to `last` along half a cosine."""
    return last + (first - last) * 0.5 * (1 + math.cos(math.pi * share))


def out_of_patience(accuracies: Sequence[float | None], patience: int) -> bool:
    """Whether the last `patience` epochs brought no better validation accuracy than before them.

    `accuracies` are those of all epochs so far, None where nothing was validated. Patience 0 has
    no end. Whoever keeps the accuracies can ask: a trainer, or a search with its database.
    """
    values = [a for a in accuracies if a is not None]
    if not patience or len(values) <= patience:
        return False
    return max(values[-patience:]) <= max(values[:-patience])
