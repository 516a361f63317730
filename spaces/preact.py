"""Space `preact`: pre-activation residual networks, with three stages or with four."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from fmnist_models.config.base import Activation
from fmnist_models.config.trial import TrialConfig
from fmnist_models.families.preact import PreactConfig
from spaces.belief import Axis
from spaces.points import HYSTS, Params, make_point
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

LAYOUTS: list[Literal["cifar", "imagenet"]] = ["cifar", "imagenet"]
ACTIVATIONS: list[Activation] = ["relu", "silu", "mish"]
DEPTHS = {"cifar": range(8, 51, 6), "imagenet": range(18, 51, 16)}
WIDTHS = range(1, 9)


def suggest(trial: BaseTrial, context: SpaceContext) -> TrialConfig:
    """Sample a pre-activation residual network and how to train it."""
    return suggest_training(trial, context, "preact", _suggest_model(trial, context))


def _suggest_model(trial: BaseTrial, context: SpaceContext) -> PreactConfig:
    """The deepest and then the widest network of a layout are bounded by what is affordable."""
    layout = suggest_choice(trial, "preact.layout", LAYOUTS)
    depths = DEPTHS[layout]
    activation = suggest_choice(trial, "preact.activation", ACTIVATIONS)

    def fits(depth: int, width: int) -> bool:
        return context.affordable(
            PreactConfig(layout=layout, depth=depth, width=width, activation=activation)
        )

    deepest = largest_affordable(depths, lambda d: fits(d, 1))
    depth = trial.suggest_int(f"preact.{layout}.depth", depths[0], deepest, step=depths.step)
    widest = largest_affordable(WIDTHS, lambda w: fits(depth, w))
    return PreactConfig(
        layout=layout,
        depth=depth,
        width=trial.suggest_int("preact.width", WIDTHS[0], widest),
        activation=activation,
        bn_momentum=suggest_bn_momentum(trial, "preact"),
        dropout=trial.suggest_float("preact.dropout", 0.0, 0.5),
        stochastic_depth=suggest_stochastic_depth(trial, "preact"),
    )


_PAPER: Params = {
    **HYSTS,
    "layout": "cifar",
    "cifar.depth": 20,
    "activation": "relu",
    "bn_momentum": 0.1,
    "dropout": 0.0,
    "stochastic_depth": False,
}

SPACE = Space(
    name="preact",
    version=1,
    suggest=suggest,
    points={
        "preact-20-w1": make_point("preact", _PAPER, {"width": 1}),
        "preact-20-w4-cutout": make_point("preact", _PAPER, {"width": 4}),
    },
    belief=make_belief(
        "preact",
        {
            "activation": Axis("relu", OPEN),
            "bn_momentum": Axis(0.1, IDLE),
            "dropout": Axis(0.0, LIKELY),
            "layout": Axis("cifar", OPEN),
            "stochastic_depth": Axis(False, SURE),
            "stochastic_depth.rate": Axis(0.05, LIKELY),
        },
    ),
)
