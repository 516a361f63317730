"""Space `shake`: Shake-Shake networks from 8 2x16d to 26 2x96d."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fmnist_models.config.trial import TrialConfig
from fmnist_models.families.shake import Mode, ShakeConfig
from spaces.belief import Axis
from spaces.points import HYSTS, Params, make_point
from spaces.space import Space, SpaceContext
from spaces.suggest import largest_affordable, suggest_bn_momentum, suggest_choice
from spaces.training import suggest_training
from spaces.training_belief import IDLE, LIKELY, OPEN, make_belief

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

MODES: list[Mode] = ["shake-shake", "shake-keep", "shake-even", "even-shake", "even-even"]
DEPTHS = range(8, 27, 6)
WIDTHS = range(16, 97, 16)


def suggest(trial: BaseTrial, context: SpaceContext) -> TrialConfig:
    """Sample a Shake-Shake network and how to train it."""
    return suggest_training(trial, context, "shake", _suggest_model(trial, context))


def _suggest_model(trial: BaseTrial, context: SpaceContext) -> ShakeConfig:
    """The deepest and then the widest network are bounded by what is affordable here."""
    deepest = largest_affordable(
        DEPTHS, lambda d: context.affordable(ShakeConfig(depth=d, width=WIDTHS[0]))
    )
    depth = trial.suggest_int("shake.depth", DEPTHS[0], deepest, step=DEPTHS.step)
    widest = largest_affordable(
        WIDTHS, lambda w: context.affordable(ShakeConfig(depth=depth, width=w))
    )
    return ShakeConfig(
        depth=depth,
        width=trial.suggest_int("shake.width", WIDTHS[0], widest, step=WIDTHS.step),
        mode=suggest_choice(trial, "shake.mode", MODES),
        per_image=suggest_choice(trial, "shake.per_image", [True, False]),
        bn_momentum=suggest_bn_momentum(trial, "shake"),
        dropout=trial.suggest_float("shake.dropout", 0.0, 0.5),
    )


_PAPER: Params = {
    **HYSTS,
    "mode": "shake-shake",
    "per_image": True,
    "bn_momentum": 0.1,
    "dropout": 0.0,
}

SPACE = Space(
    name="shake",
    version=1,
    suggest=suggest,
    points={
        "shake-8-2x16d": make_point("shake", _PAPER, {"depth": 8, "width": 16}),
        "shake-26-2x32d": make_point("shake", _PAPER, {"depth": 26, "width": 32}),
        "shake-26-2x96d-cutout": make_point("shake", _PAPER, {"depth": 26, "width": 96}),
        "shake-26-2x96d-cutout-sam": make_point(
            "shake", _PAPER, {"depth": 26, "width": 96, "sam": True, "sam.rho": 0.02}
        ),
    },
    belief=make_belief(
        "shake",
        {
            "bn_momentum": Axis(0.1, IDLE),
            "dropout": Axis(0.0, LIKELY),
            "mode": Axis("even-even", OPEN),
            "per_image": Axis(True, OPEN),
        },
    ),
)
