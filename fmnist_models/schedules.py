"""Learning-rate schedules: pure functions of how far a run has got, so that any run can resume."""

from __future__ import annotations

import math

from fmnist_models.ingredients import LrScheduleConfig


def lr_factor(config: LrScheduleConfig, progress: float) -> float:
    """The factor on the learning rate at `progress`, the fraction of all steps done, in [0, 1)."""
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
