"""What training measures, and how far a score can be trusted. No torch here."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import Field, field_validator

from fmnist_models.config.base import Config, Probability


class EpochMetrics(Config):
    """One epoch of one trial. Accuracies are fractions; the validation ones are of EMA weights.

    `train_accuracy` is the running one over augmented batches, of the dominant label where they are
    mixed; `lr` that of the epoch's last step;
    `seconds` covers training and validation, `images_per_second` training alone;
    `peak_memory_bytes` is the device's on a GPU and the process's on a CPU, of this run so far.
    """

    epoch: Annotated[int, Field(ge=1, le=10_000)]
    train_loss: float
    train_accuracy: Probability
    val_loss: float | None
    val_accuracy: Probability | None
    lr: float
    seconds: Annotated[float, Field(ge=0)]
    images_per_second: Annotated[float, Field(ge=0)]
    peak_memory_bytes: Annotated[int, Field(ge=0, lt=2**63)]

    @field_validator("*", mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        """A tensor or numpy value without dimensions counts as the number that it holds."""
        return value.item() if getattr(value, "ndim", None) == 0 else value


def wilson_interval(correct: int, total: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's score interval of a proportion (JASA 22:209, 1927), as fractions.

    `z` = 1.96 gives 95 % confidence. Raises ValueError unless 0 <= correct <= total and total > 0.
    """
    if not 0 <= correct <= total or total == 0:
        raise ValueError(f"{correct} correct of {total} is no proportion")
    share, weight = correct / total, z * z / total
    centre = (share + weight / 2) / (1 + weight)
    half = z * math.sqrt(share * (1 - share) / total + weight / (4 * total)) / (1 + weight)
    return max(0.0, centre - half), min(1.0, centre + half)
