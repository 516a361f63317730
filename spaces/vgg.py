"""Space `vgg`: VGG-11 to VGG-19, with and without batch norm, from an eighth of their width."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fmnist_models.config.trial import TrialConfig
from fmnist_models.families.vgg import VggConfig
from spaces.belief import Axis
from spaces.points import Params, make_point
from spaces.space import Space, SpaceContext
from spaces.suggest import largest_affordable, suggest_bn_momentum
from spaces.training import suggest_training
from spaces.training_belief import IDLE, LIKELY, OPEN, SURE, make_belief

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

WIDTHS = range(8, 65, 8)


def suggest(trial: BaseTrial, context: SpaceContext) -> TrialConfig:
    """Sample a VGG and how to train it."""
    return suggest_training(trial, context, "vgg", _suggest_model(trial, context))


def _suggest_model(trial: BaseTrial, context: SpaceContext) -> VggConfig:
    """The widest network is bounded by what is affordable here, with the largest head."""
    batch_norm = trial.suggest_categorical("vgg.batch_norm", [True, False])
    depth = trial.suggest_categorical("vgg.depth", [11, 13, 16, 19])
    shape = VggConfig.model_validate({"depth": depth, "batch_norm": batch_norm, "dense": 1024})
    widest = largest_affordable(
        WIDTHS, lambda w: context.affordable(shape.model_copy(update={"width": w}))
    )
    sampled = {
        "width": trial.suggest_int("vgg.width", WIDTHS[0], widest, step=8),
        "dense": trial.suggest_int("vgg.dense", 128, 1024, step=128),
        "dropout": trial.suggest_float("vgg.dropout", 0.0, 0.6),
    }
    if batch_norm:
        sampled["bn_momentum"] = suggest_bn_momentum(trial, "vgg")
    return shape.model_copy(update=sampled)


_VGG_11: Params = {
    "batch_norm": False,
    "depth": 11,
    "width": 64,
    "dense": 512,
    "dropout": 0.5,
    "optimizer": "sgd",
    "sgd.lr": 0.01,
    "sgd.momentum": 0.9,
    "sgd.weight_decay": 5e-4,
    "lr_schedule": "cosine",
    "warmup": 0.1,
    "flip": True,
    "shift": 0,
    "blank": "none",
    "label_smoothing": 0.0,
    "ema_decay": 0.99,
    "batch_size": 256,
}
"""As in the paper but for the schedule, and the head scaled."""

SPACE = Space(
    name="vgg",
    version=1,
    suggest=suggest,
    points={
        "vgg-11-bn-w16": make_point(
            "vgg", _VGG_11, {"batch_norm": True, "bn_momentum": 0.1, "width": 16}
        ),
        "vgg-11": make_point("vgg", _VGG_11),
    },
    belief=make_belief(
        "vgg",
        {
            "batch_norm": Axis(True, SURE),
            "bn_momentum": Axis(0.1, IDLE),
            "depth": Axis(11, OPEN),
            "dropout": Axis(0.1, LIKELY),
        },
    ),
)
