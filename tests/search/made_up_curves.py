"""Made-up curves of trials that train nothing. Light: workers on Ray import it."""

from __future__ import annotations

import random

from fmnist_models.training.metrics import EpochMetrics


def metrics(epoch: int, accuracy: float) -> EpochMetrics:
    """Give the figures of an epoch that ended with `accuracy`."""
    return EpochMetrics(
        epoch=epoch,
        train_loss=0.5,
        train_accuracy=accuracy,
        val_loss=0.5,
        val_accuracy=accuracy,
        lr=0.1,
        seconds=random.uniform(0.5, 1.5),  # never the same twice, as of real epochs
        images_per_second=1000.0,
        peak_memory_bytes=1,
    )


def curve(seed: int, epoch: int) -> float:
    """Give a rising accuracy that depends on seed and epoch alone.

    The seed of a trial that repeats no other is its number.
    """
    draw = random.Random(seed)
    end, speed = draw.uniform(0.5, 0.95), draw.uniform(0.2, 1.0)
    return round(end * (1 - (1 - speed) ** epoch * 0.5), 4)
