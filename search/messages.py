"""What passes between the driver and a worker, beside configurations and metrics."""

from __future__ import annotations

from typing import Literal

from fmnist_models.config import Config
from fmnist_models.precision import Precision

METRICS, RESUMED, FAILURE = "metrics", "resumed", "failure"
"""The keys of a worker's result: an `EpochMetrics` as a dictionary, the epochs that a checkpoint
held (`{"epochs": [...]}`), or a `Failure` as a dictionary."""

FailureKind = Literal["raised", "diverged", "out_of_memory", "hung", "worker_died", "bad_report"]


class Failure(Config):
    """Why a trial failed; of `reason` the first line is short, a traceback may follow."""

    kind: FailureKind
    reason: str


class WorkerSettings(Config):
    """What a worker needs beside the configuration of its trial; `threads` are torch's on a CPU."""

    data_dir: str
    train_samples: int | None
    device: str
    precision: Precision
    threads: int
    checkpoint_dir: str | None = None
    memory_limit_bytes: int | None = None
