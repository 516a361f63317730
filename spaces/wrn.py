"""Space `wrn`: wide residual networks from WRN-10-1 to WRN-40-10."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fmnist_models.config import Activation, Padding, TrialConfig
from fmnist_models.wrn import WrnConfig
from spaces.space import Params, Space, SpaceContext, choose, largest
from spaces.training import suggest_training

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

ACTIVATIONS: list[Activation] = ["relu", "silu"]
PADDINGS: list[Padding] = ["zeros", "reflect", "replicate", "weighted"]
DEPTHS = range(10, 41, 6)
WIDTHS = range(1, 11)


def suggest(trial: BaseTrial, context: SpaceContext) -> TrialConfig:
    """Sample a wide residual network and how to train it."""
    return suggest_training(trial, context, "wrn", _suggest_model(trial, context))


def _suggest_model(trial: BaseTrial, context: SpaceContext) -> WrnConfig:
    """The deepest and then the widest network are bounded by what is affordable here."""
    deepest = largest(DEPTHS, lambda d: context.affordable(WrnConfig(depth=d, width=1)))
    depth = trial.suggest_int("wrn.depth", DEPTHS[0], deepest, step=6)
    widest = largest(WIDTHS, lambda w: context.affordable(WrnConfig(depth=depth, width=w)))
    batch_norm = trial.suggest_categorical("wrn.batch_norm", [True, False])
    return WrnConfig(
        depth=depth,
        width=trial.suggest_int("wrn.width", WIDTHS[0], widest),
        dropout=trial.suggest_float("wrn.dropout", 0.0, 0.4),
        activation=choose(trial, "wrn.activation", ACTIVATIONS),
        padding=choose(trial, "wrn.padding", PADDINGS),
        batch_norm=batch_norm,
        bn_momentum=trial.suggest_float("wrn.bn_momentum", 0.05, 0.5, log=True)
        if batch_norm
        else 0.1,
    )


def _point(depth: int, width: int, lr: float = 0.1, **changes: str | int | float | bool) -> Params:
    """WRN-`depth`-`width` in the manner of the paper, with the augmentation that pays here."""
    base: dict[str, str | int | float | bool] = {
        "wrn.depth": depth,
        "wrn.batch_norm": True,
        "wrn.width": width,
        "wrn.dropout": 0.0,
        "wrn.padding": "zeros",
        "wrn.activation": "relu",
        "wrn.bn_momentum": 0.1,
        "wrn.optimizer": "sgd",
        "wrn.sgd.lr": lr,
        "wrn.sgd.momentum": 0.9,
        "wrn.sgd.weight_decay": 5e-4,
        "wrn.lr_schedule": "cosine",
        "wrn.warmup": 0.1,
        "wrn.flip": True,
        "wrn.shift": 2,
        "wrn.blank": "none",
        "wrn.label_smoothing": 0.0,
        "wrn.ema_decay": 0.99,
        "wrn.batch_size": 128,
    }
    return {**base, **{f"wrn.{name.replace('__', '.')}": v for name, v in changes.items()}}


SPACE = Space(
    name="wrn",
    version=1,
    suggest=suggest,
    points=[
        _point(10, 1),
        _point(16, 1),
        _point(16, 4, blank="cutout", cutout=12),
        _point(28, 10, blank="random_erasing", random_erasing=0.5, ema_decay=0.998),
    ],
    epochs_cpu=9,
    epochs_gpu=27,
)
