"""Space `convnext`: small ConvNeXts, 5 to 20 blocks of 16 to 128 channels in the first stage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from fmnist_models.config.trial import TrialConfig
from fmnist_models.families.convnext import ConvnextConfig
from spaces.belief import Axis
from spaces.points import Params, make_point
from spaces.space import Space, SpaceContext
from spaces.suggest import largest_affordable, suggest_choice, suggest_stochastic_depth
from spaces.training import suggest_training
from spaces.training_belief import LIKELY, OPEN, SURE, make_belief

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

KERNELS: list[Literal[3, 5, 7]] = [3, 5, 7]
DEPTHS = range(1, 5)
WIDTHS = range(16, 129, 16)


def suggest(trial: BaseTrial, context: SpaceContext) -> TrialConfig:
    """Sample a small ConvNeXt and how to train it."""
    return suggest_training(trial, context, "convnext", _suggest_model(trial, context))


def _suggest_model(trial: BaseTrial, context: SpaceContext) -> ConvnextConfig:
    """The deepest and then the widest network are bounded by what is affordable here."""
    kernel = suggest_choice(trial, "convnext.kernel", KERNELS)
    base = ConvnextConfig(kernel=kernel, width=WIDTHS[0])
    deepest = largest_affordable(
        DEPTHS, lambda d: context.affordable(base.model_copy(update={"depth": d}))
    )
    depth = trial.suggest_int("convnext.depth", DEPTHS[0], deepest)
    widest = largest_affordable(
        WIDTHS,
        lambda w: context.affordable(ConvnextConfig(kernel=kernel, depth=depth, width=w)),
    )
    return ConvnextConfig(
        kernel=kernel,
        depth=depth,
        width=trial.suggest_int("convnext.width", WIDTHS[0], widest, step=WIDTHS.step),
        layer_scale=trial.suggest_float("convnext.layer_scale", 1e-6, 1.0, log=True),
        stochastic_depth=suggest_stochastic_depth(trial, "convnext"),
    )


_PAPER: Params = {
    "kernel": 7,
    "layer_scale": 1e-6,
    "stochastic_depth": True,
    "stochastic_depth.rate": 0.1,
    "optimizer": "adamw",
    "adamw.lr": 2e-3,
    "adamw.weight_decay": 0.05,
    "lr_schedule": "cosine",
    "warmup": 0.1,
    "flip": True,
    "shift": 2,
    "blank": "random_erasing",
    "random_erasing": 0.25,
    "label_smoothing": 0.1,
    "ema_decay": 0.998,
    "batch_size": 256,
}
"""What the paper trains with, but for its mixing and RandAugment, and for 28x28 pixels."""

SPACE = Space(
    name="convnext",
    version=1,
    suggest=suggest,
    points={
        "w32": make_point("convnext", _PAPER, {"depth": 1, "width": 32}),
        "w64": make_point("convnext", _PAPER, {"depth": 2, "width": 64}),
    },
    belief=make_belief(
        "convnext",
        {
            "kernel": Axis(5, OPEN),
            "layer_scale": Axis(0.1, OPEN),
            "optimizer": Axis("adamw", 0.7),
            "stochastic_depth": Axis(False, SURE),
            "stochastic_depth.rate": Axis(0.05, LIKELY),
        },
    ),
)
