"""Suggestions that several spaces share: choices that keep their type, the largest that fits."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar, cast

if TYPE_CHECKING:
    from optuna.trial import BaseTrial


Choice = TypeVar("Choice", bound=str | int | bool)


def largest_affordable(values: Sequence[int], affordable: Callable[[int], bool]) -> int:
    """The largest of ascending `values` that is affordable; the smallest where none is.

    Found by halving: where a value is affordable, so are the smaller ones.
    """
    return values[max(bisect_left(values, True, key=lambda v: not affordable(v)) - 1, 0)]


def suggest_choice(trial: BaseTrial, name: str, choices: Sequence[Choice]) -> Choice:
    """`suggest_categorical` that keeps the type of its choices."""
    return cast(Choice, trial.suggest_categorical(name, choices))


def suggest_bn_momentum(trial: BaseTrial, prefix: str) -> float:
    """The weight of a new batch in a batch norm's running statistics."""
    return trial.suggest_float(f"{prefix}.bn_momentum", 0.05, 0.5, log=True)


def suggest_stochastic_depth(trial: BaseTrial, prefix: str) -> float:
    """The rate of the last block; off is a choice of its own, as no sampled rate is zero."""
    if not suggest_choice(trial, f"{prefix}.stochastic_depth", [True, False]):
        return 0.0
    return trial.suggest_float(f"{prefix}.stochastic_depth.rate", 0.02, 0.3)
