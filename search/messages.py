"""What passes between the driver and a worker, beside configurations and metrics."""

from __future__ import annotations

from typing import Literal

from fmnist_models.config import Config
from fmnist_models.precision import Precision

METRICS, FAILURE = "metrics", "failure"
"""The keys of a worker's result: an `EpochMetrics` as a dictionary, or a reason."""


class WorkerSettings(Config):
    """What a worker needs beside the configuration of its trial; `threads` are torch's on a CPU."""

    data_dir: str
    train_samples: int | None
    device: str
    precision: Precision
    threads: int


FailureKind = Literal["raised", "diverged", "out_of_memory", "hung", "worker_died", "bad_report"]


class Failure(Config):
    """Why a trial failed: its kind, and a reason with a short first line, a traceback after it."""

    kind: FailureKind
    reason: str
