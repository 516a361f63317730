"""The number format and the threads."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from fmnist_models.compute.precision import (
    Precision,
    autocast,
    choose_precision,
    default_device,
    gpu_count,
    set_threads,
)


def test_the_choice_is_a_precision_on_every_device() -> None:
    device = default_device()
    assert device == ("cuda" if gpu_count() else "cpu")
    for one in {"cpu", device}:
        assert choose_precision(one) in get_args(Precision)


@pytest.mark.parametrize(
    ("seconds", "expected", "steps"),
    [
        ({"bf16": 1.5, "fp32": 0.1}, "fp32", 4),
        ({"bf16": 0.1, "fp32": 0.2}, "bf16", 16),
    ],
)
def test_a_clear_race_is_ended_early(
    monkeypatch: pytest.MonkeyPatch, seconds: dict[str, float], expected: Precision, steps: int
) -> None:
    taken: list[str] = []

    def step_seconds(net: object, images: object, precision: Precision) -> float:
        taken.append(precision)
        return seconds[precision]

    monkeypatch.setattr("fmnist_models.compute.precision._step_seconds", step_seconds)
    assert choose_precision.__wrapped__("cpu") == expected
    assert len(taken) == steps


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp32", torch.float)])
def test_autocast_sets_what_matrices_are_multiplied_in(
    precision: Precision, dtype: torch.dtype
) -> None:
    a = torch.ones(2, 2)
    with autocast("cpu", precision):
        assert (a @ a).dtype == dtype
    assert (a @ a).dtype == torch.float


def test_set_threads() -> None:
    before = torch.get_num_threads()
    try:
        set_threads(2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
