"""What the scripts of this folder share: facts of the machine, tables, one training run."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from statistics import mean, stdev
from typing import Any

from fmnist_models.compute.precision import Precision, device_name
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.dataset import Dataset
from fmnist_models.training.trainer import Trainer


def machine(packages: Iterable[str] = ("torch", "ray", "optuna")) -> dict[str, Any]:
    """The machine and the versions that a figure belongs to."""
    return {
        "cpus": os.cpu_count(),
        "processor": device_name("cpu"),
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
    }


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; the first column to the left, all others to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def spread(values: Sequence[float], digits: int = 2, sign: str = "") -> str:
    """Mean and standard deviation of `values`, such as 91.20 +- 0.15."""
    deviation = f" +- {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{mean(values):{sign}.{digits}f}{deviation}"


def last_epoch(config: TrialConfig, dataset: Dataset, precision: Precision) -> dict[str, Any]:
    """Train `config` on the CPU to its end: the metrics of its last epoch, and all seconds."""
    epochs = list(Trainer(config, dataset, device="cpu", precision=precision).epochs())
    return {**epochs[-1].model_dump(), "seconds": sum(epoch.seconds for epoch in epochs)}
