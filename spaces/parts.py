"""Pieces of networks and of points that several spaces share; names get the space's prefix."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spaces.space import Params, choose

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

SGD: Params = {
    "optimizer": "sgd",
    "sgd.lr": 0.1,
    "sgd.momentum": 0.9,
    "sgd.weight_decay": 5e-4,
    "lr_schedule": "cosine",
    "warmup": 0.1,
    "flip": True,
    "shift": 2,
    "blank": "none",
    "label_smoothing": 0.0,
    "ema_decay": 0.99,
    "batch_size": 128,
}
"""The training part of a point, in the manner of the papers on residual networks."""

HYSTS: Params = {
    **SGD,
    "sgd.lr": 0.2,
    "sgd.weight_decay": 1e-4,
    "warmup": 0.0,
    "shift": 4,
    "blank": "cutout",
    "cutout": 14,
    "ema_decay": 0.998,
}
"""The same as github.com/hysts/pytorch_image_classification trains on Fashion-MNIST."""


def point(prefix: str, *parts: Params) -> Params:
    """A point of the space `prefix`: its parts in one, where later ones have the last word."""
    return {f"{prefix}.{name}": value for part in parts for name, value in part.items()}


def suggest_bn_momentum(trial: BaseTrial, prefix: str) -> float:
    """The weight of a new batch in a batch norm's running statistics."""
    return trial.suggest_float(f"{prefix}.bn_momentum", 0.05, 0.5, log=True)


def suggest_stochastic_depth(trial: BaseTrial, prefix: str) -> float:
    """The rate of the last block; off is a choice of its own, as no sampled rate is zero."""
    if not choose(trial, f"{prefix}.stochastic_depth", [True, False]):
        return 0.0
    return trial.suggest_float(f"{prefix}.stochastic_depth.rate", 0.02, 0.3)
