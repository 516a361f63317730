"""Space `wrn`: wide residual networks from WRN-10-1 to WRN-40-10."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from fmnist_models.config.base import Activation, Padding
from fmnist_models.config.trial import TrialConfig
from fmnist_models.families.wrn import WrnConfig
from spaces.belief import Axis
from spaces.points import SGD, Params, make_point
from spaces.space import Space, SpaceContext
from spaces.suggest import (
    largest_affordable,
    suggest_bn_momentum,
    suggest_choice,
    suggest_stochastic_depth,
)
from spaces.training import suggest_training
from spaces.training_belief import IDLE, LIKELY, OPEN, SURE, make_belief

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

ACTIVATIONS: list[Activation] = ["relu", "silu", "mish"]
POOLS: list[Literal["mean", "gem"]] = ["mean", "gem"]
BLOCK_SIZES: list[Literal[3, 5, 7]] = [3, 5, 7]
PADDINGS: list[Padding] = ["zeros", "reflect", "replicate", "weighted"]
DEPTHS = range(10, 41, 6)
WIDTHS = range(1, 11)
STEMS = range(16, 65, 48)


def suggest(trial: BaseTrial, context: SpaceContext) -> TrialConfig:
    """Sample a wide residual network and how to train it."""
    return suggest_training(trial, context, "wrn", _suggest_model(trial, context))


def _suggest_model(trial: BaseTrial, context: SpaceContext) -> WrnConfig:
    """Depth, then stem, then width are bounded by what is affordable here with the other parts."""
    parts = WrnConfig(
        activation=suggest_choice(trial, "wrn.activation", ACTIVATIONS),
        padding=suggest_choice(trial, "wrn.padding", PADDINGS),
        batch_norm=suggest_choice(trial, "wrn.batch_norm", [True, False]),
    )

    def fits(**size: int) -> bool:
        return context.affordable(parts.model_copy(update=size))

    deepest = largest_affordable(DEPTHS, lambda d: fits(depth=d))
    depth = trial.suggest_int("wrn.depth", DEPTHS[0], deepest, step=6)
    most = largest_affordable(STEMS, lambda s: fits(depth=depth, stem=s))
    stem = trial.suggest_int("wrn.stem", STEMS[0], most, step=48)
    widest = largest_affordable(WIDTHS, lambda w: fits(depth=depth, stem=stem, width=w))
    rate, size = _suggest_drop_block(trial)
    batch_norm = parts.batch_norm
    return WrnConfig(
        depth=depth,
        stem=stem,
        width=trial.suggest_int("wrn.width", WIDTHS[0], widest),
        dropout=trial.suggest_float("wrn.dropout", 0.0, 0.4),
        activation=parts.activation,
        pool=suggest_choice(trial, "wrn.pool", POOLS),
        drop_block=rate,
        drop_block_size=size,
        stochastic_depth=suggest_stochastic_depth(trial, "wrn"),
        zero_init=suggest_choice(trial, "wrn.zero_init", [True, False]),
        padding=parts.padding,
        batch_norm=batch_norm,
        bn_momentum=suggest_bn_momentum(trial, "wrn") if batch_norm else 0.1,
        bn_eps=trial.suggest_float("wrn.bn_eps", 1e-5, 1e-3, log=True) if batch_norm else 1e-5,
    )


def _suggest_drop_block(trial: BaseTrial) -> tuple[float, Literal[3, 5, 7]]:
    """Rate and block size; off is a choice of its own, as no sampled rate is zero."""
    if not suggest_choice(trial, "wrn.drop_block", [True, False]):
        return 0.0, 3
    rate = trial.suggest_float("wrn.drop_block.rate", 0.02, 0.3)
    return rate, suggest_choice(trial, "wrn.drop_block.size", BLOCK_SIZES)


_PAPER: Params = {
    **SGD,
    "stem": 16,
    "padding": "zeros",
    "batch_norm": True,
    "dropout": 0.0,
    "activation": "relu",
    "pool": "mean",
    "drop_block": False,
    "stochastic_depth": False,
    "zero_init": False,
    "bn_momentum": 0.1,
    "bn_eps": 1e-5,
}
"""In the manner of the paper, with the augmentation that pays here."""

_ERASING: Params = {"blank": "random_erasing", "random_erasing": 0.5, "ema_decay": 0.998}

_BEST_KNOWN: Params = {
    "depth": 40,
    "width": 4,
    "stem": 64,
    "activation": "mish",
    "pool": "gem",
    "drop_block": True,
    "drop_block.rate": 0.2,
    "drop_block.size": 3,
    "sgd.weight_decay": 2e-4,
    "warmup": 0.01,
    "shift": 4,
    "label_smoothing": 0.1,
    **_ERASING,
    "policy": "randaugment",
    "randaugment.ops": 2,
    "randaugment.magnitude": 9,
    "mixing": "cutmix",
    "cutmix.alpha": 0.2,
    "cutmix.probability": 0.8,
    "clip_norm": 20.0,
    "batch_size": 256,
}
"""What of github.com/Liang-yc/fn_playground, 96.6 % on the test set, can be said here."""

SPACE = Space(
    name="wrn",
    version=2,
    suggest=suggest,
    points={
        "wrn-10-1": make_point("wrn", _PAPER, {"depth": 10, "width": 1}),
        "wrn-16-1": make_point("wrn", _PAPER, {"depth": 16, "width": 1}),
        "wrn-16-4-cutout": make_point(
            "wrn", _PAPER, {"depth": 16, "width": 4, "blank": "cutout", "cutout": 12}
        ),
        "wrn-28-10-erasing": make_point("wrn", _PAPER, {"depth": 28, "width": 10, **_ERASING}),
        "wrn-40-4-playground": make_point("wrn", _PAPER, _BEST_KNOWN),
    },
    belief=make_belief(
        "wrn",
        {
            "activation": Axis("relu", OPEN),
            "padding": Axis("zeros", LIKELY),
            "batch_norm": Axis(True, SURE),
            "bn_momentum": Axis(0.1, IDLE),
            "bn_eps": Axis(1e-5, IDLE),
            "dropout": Axis(0.0, LIKELY),
            "pool": Axis("mean", OPEN),
            "drop_block": Axis(False, SURE),
            "drop_block.rate": Axis(0.05, LIKELY),
            "stochastic_depth": Axis(False, SURE),
            "stochastic_depth.rate": Axis(0.05, LIKELY),
            "zero_init": Axis(False, IDLE),
            "stem": Axis(16, LIKELY),
        },
    ),
)
