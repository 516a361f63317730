"""What passes between the driver and a worker, beside configurations and metrics."""

from __future__ import annotations

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
