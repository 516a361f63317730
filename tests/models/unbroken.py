"""A run with a break in it against one without: what every ingredient must pass."""

from __future__ import annotations

import io
from typing import Any

import torch

from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.dataset import Dataset
from fmnist_models.training.metrics import EpochMetrics
from fmnist_models.training.trainer import Trainer


def figures(metrics: EpochMetrics) -> dict[str, Any]:
    """What must repeat exactly: all but times and memory."""
    return metrics.model_dump(exclude={"seconds", "images_per_second", "peak_memory_bytes"})


def new_run(config: TrialConfig, dataset: Dataset) -> Trainer:
    return Trainer(config, dataset, device="cpu", precision="fp32")


def assert_a_break_changes_nothing(config: TrialConfig, dataset: Dataset) -> list[EpochMetrics]:
    """Gives the unbroken curve of `config`, of two epochs or more."""
    unbroken = new_run(config, dataset)
    curve = list(unbroken.epochs())
    broken = new_run(config, dataset)
    broken.run_epoch()
    file = io.BytesIO()
    torch.save(broken.state_dict(), file)
    file.seek(0)
    resumed = new_run(config, dataset)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    again = [figures(metrics) for metrics in resumed.epochs()]
    assert again == [figures(metrics) for metrics in curve[1:]]
    for ours, theirs in (
        (unbroken.model, resumed.model),
        (unbroken.averaged_model, resumed.averaged_model),
    ):
        states = zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True)
        assert all(torch.equal(a, b) for a, b in states)
    return curve
