"""Wilson's interval and what an epoch's metrics accept."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from fmnist_models.training.metrics import EpochMetrics, wilson_interval

GOOD = {
    "epoch": 1,
    "train_loss": 0.5,
    "train_accuracy": 0.8,
    "val_loss": None,
    "val_accuracy": None,
    "lr": 0.1,
    "seconds": 2.0,
    "images_per_second": 100.0,
    "peak_memory_bytes": 5,
}


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    [
        (9_750, 10_000, 0.9718, 0.9779),
        (81, 263, 0.2553, 0.3662),  # Newcombe, Statistics in Medicine 17:857 (1998), table I
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (20, 20, 0.8389, 1.0),
    ],
)
def test_wilson_interval_has_the_published_values(
    correct: int, total: int, low: float, high: float
) -> None:
    assert wilson_interval(correct, total) == pytest.approx((low, high), abs=5e-5)


def test_wilson_interval_is_symmetric_and_widens_with_z() -> None:
    low, high = wilson_interval(30, 100)
    assert wilson_interval(70, 100) == pytest.approx((1 - high, 1 - low))
    wider = wilson_interval(30, 100, z=2.575829)
    assert wider[0] < low < 0.3 < high < wider[1]
    assert wilson_interval(30, 100, z=0.0) == (0.3, 0.3)


@pytest.mark.parametrize(("correct", "total"), [(0, 0), (-1, 10), (11, 10), (0, -1), (-2, -1)])
def test_wilson_interval_refuses_what_is_no_proportion(correct: int, total: int) -> None:
    with pytest.raises(ValueError, match=f"^{correct} correct of {total} is no proportion$"):
        wilson_interval(correct, total)


def test_metrics_come_back_from_json() -> None:
    metrics = EpochMetrics.model_validate(GOOD)
    assert EpochMetrics.model_validate_json(metrics.model_dump_json()) == metrics


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epoch", 0),
        ("train_loss", float("nan")),
        ("train_loss", None),
        ("train_accuracy", 1.01),
        ("val_accuracy", 97.5),
        ("val_loss", float("inf")),
        ("images_per_second", -1.0),
        ("peak_memory_bytes", 1.5),
        ("peak_memory_bytes", 2**63),
        ("peak_memory_bytes", True),
        ("epoch", 10**30),
        ("epoch", "1"),
        ("train_loss", "0.5"),
        ("train_loss", b"0.5"),
        ("train_loss", True),
        ("train_loss", 10**400),
        ("train_loss", -float("inf")),
        ("train_loss", [0.5]),
        ("train_loss", torch.tensor([0.5, 0.6])),
        ("train_loss", torch.tensor(float("nan"))),
        ("val_accuracy", torch.tensor(True)),
        ("val_accuracy", np.float32(1.5)),
        ("val_accuracy", 0.5j),
    ],
)
def test_metrics_that_cannot_be_are_refused(name: str, value: object) -> None:
    with pytest.raises(ValidationError, match=name):
        EpochMetrics.model_validate({**GOOD, name: value})


@pytest.mark.parametrize(
    "value",
    [torch.tensor(0.5), torch.tensor(0.5, requires_grad=True), np.float32(0.5), np.array(0.5)],
)
def test_a_number_in_a_tensor_is_taken_out(value: object) -> None:
    metrics = EpochMetrics.model_validate({**GOOD, "val_accuracy": value, "epoch": torch.tensor(3)})
    assert (type(metrics.val_accuracy), metrics.val_accuracy) == (float, 0.5)
    assert (type(metrics.epoch), metrics.epoch) == (int, 3)
