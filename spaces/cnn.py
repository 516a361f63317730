"""Space `cnn`: stacks of convolutions, wide enough to hold the field's plain networks.

A stage is some convolutions, a pool and dropout; channels double from stage to stage. With
`cnn.widen` the last convolution of a stage doubles them too (32-32-64-P, 128-128-256-P, ...).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from fmnist_models.config.base import Activation
from fmnist_models.config.trial import TrialConfig
from fmnist_models.families.cnn import CnnConfig
from spaces.belief import Axis
from spaces.points import Params, make_point
from spaces.space import Space, SpaceContext
from spaces.suggest import largest_affordable, suggest_bn_momentum, suggest_choice
from spaces.training import EVERY_OPTIMIZER, suggest_training
from spaces.training_belief import IDLE, LIKELY, OPEN, SURE, make_belief

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

ACTIVATIONS: list[Activation] = ["relu", "silu", "gelu"]
ACTIVATE: list[Literal["convolution", "pool"]] = ["convolution", "pool"]
DENSE_NORMS: list[Literal["none", "before", "after"]] = ["none", "before", "after"]
CONVOLUTIONS = range(1, 4)
STAGES = range(1, 5)
WIDTHS = range(16, 65, 16)
MOST_CHANNELS = 512


def suggest(trial: BaseTrial, context: SpaceContext) -> TrialConfig:
    """Sample a stack of convolutions and how to train it."""
    return suggest_training(
        trial, context, "cnn", _suggest_model(trial, context), optimizers=EVERY_OPTIMIZER
    )


def layers(
    stages: int,
    convolutions: int,
    width: int,
    *,
    widen: bool = False,
    early_dropout: bool = False,
) -> tuple[int | str, ...]:
    """The layers of `stages` stages with `convolutions` each; `width` channels in the first."""
    found: list[int | str] = []
    for stage in range(stages):
        channels = min(MOST_CHANNELS, width * (4 if widen else 2) ** stage)
        last = min(MOST_CHANNELS, 2 * channels) if widen else channels
        early = ["D"] if early_dropout and stage == 0 else []
        found += [*[channels] * (convolutions - 1), *early, last, "P", "D"]
    return tuple(found)


def _suggest_model(trial: BaseTrial, context: SpaceContext) -> CnnConfig:
    """What convolves and what is dense are sampled first, as the affordable size hangs on them."""
    parts = {**_suggest_convolution(trial), **_suggest_dense(trial)}
    parts["layers"] = _suggest_layers(trial, context, parts)
    return CnnConfig.model_validate(parts)


def _suggest_convolution(trial: BaseTrial) -> dict[str, Any]:
    batch_norm = trial.suggest_categorical("cnn.batch_norm", [True, False])
    parts = {
        "kernel": trial.suggest_categorical("cnn.kernel", [3, 5]),
        "padded": trial.suggest_categorical("cnn.padded", [True, False]),
        "pointwise_stem": trial.suggest_categorical("cnn.pointwise_stem", [True, False]),
        "pad_pools": trial.suggest_categorical("cnn.pad_pools", [True, False]),
        "activate": suggest_choice(trial, "cnn.activate", ACTIVATE),
        "activation": suggest_choice(trial, "cnn.activation", ACTIVATIONS),
        "dropout": trial.suggest_float("cnn.dropout", 0.0, 0.6),
        "batch_norm": batch_norm,
    }
    if batch_norm:
        parts["bn_momentum"] = suggest_bn_momentum(trial, "cnn")
    return parts


def _suggest_dense(trial: BaseTrial) -> dict[str, Any]:
    """The hidden layers of the head; none, one or two."""
    depth = trial.suggest_int("cnn.dense_layers", 0, 2)
    if depth == 0:
        return {"dense": ()}
    dense = [trial.suggest_int("cnn.dense", 64, 512, step=64)]
    if depth == 2:
        dense.append(trial.suggest_int("cnn.dense2", 32, 256, step=32))
    return {
        "dense": tuple(dense),
        "dense_norm": suggest_choice(trial, "cnn.dense_norm", DENSE_NORMS),
        "dense_dropout": trial.suggest_float("cnn.dense_dropout", 0.0, 0.6),
    }


def _suggest_layers(
    trial: BaseTrial, context: SpaceContext, parts: dict[str, Any]
) -> tuple[int | str, ...]:
    """Convolutions, stages and width, each bounded by what is possible and affordable."""
    # Bounds of the first two are found with the dearest of all else: few networks to count.
    dear = {"kernel": parts["kernel"], "padded": parts["padded"], **_DEAR}
    narrow = WIDTHS[0]

    def fits(parts: dict[str, Any], stack: tuple[int | str, ...]) -> bool:
        config = _possible(parts, stack)
        return config is not None and context.affordable(config)

    # With two stages, so that there is always a choice of stages.
    allowed = [c for c in CONVOLUTIONS if _possible(parts, layers(2, c, narrow))]
    most = largest_affordable(allowed, lambda c: fits(dear, layers(1, c, narrow)))
    convolutions = trial.suggest_int("cnn.convolutions", 1, most)
    widen = convolutions > 1 and suggest_choice(trial, "cnn.widen", [True, False])
    early_dropout = widen and suggest_choice(trial, "cnn.early_dropout", [True, False])
    allowed = [s for s in STAGES if _possible(parts, layers(s, convolutions, narrow))]
    deepest = largest_affordable(
        allowed, lambda s: fits(dear, layers(s, convolutions, narrow, widen=widen))
    )
    stages = trial.suggest_int("cnn.stages", 1, deepest)
    widest = largest_affordable(
        WIDTHS, lambda w: fits(parts, layers(stages, convolutions, w, widen=widen))
    )
    width = trial.suggest_int("cnn.width", narrow, widest, step=16)
    return layers(stages, convolutions, width, widen=widen, early_dropout=early_dropout)


_DEAR = {
    "pointwise_stem": True,
    "pad_pools": True,
    "batch_norm": True,
    "dense": (512, 256),
    "dense_norm": "before",
}


def _possible(parts: dict[str, Any], stack: tuple[int | str, ...]) -> CnnConfig | None:
    """The configuration of `parts` with the layers `stack`, or None where there is none such."""
    try:
        return CnnConfig.model_validate({**parts, "layers": stack})
    except ValidationError:
        return None


_PLAIN: Params = {
    "batch_norm": False,
    "kernel": 3,
    "padded": True,
    "pointwise_stem": False,
    "pad_pools": False,
    "activate": "convolution",
    "activation": "relu",
    "dropout": 0.25,
    "dense_layers": 1,
    "dense_norm": "none",
    "dense_dropout": 0.5,
    "width": 32,
    "optimizer": "adam",
    "lr_schedule": "constant",
    "warmup": 0.0,
    "flip": False,
    "shift": 0,
    "blank": "none",
    "label_smoothing": 0.0,
    "ema_decay": 0.0,
    "batch_size": 128,
}
"""Padded 3x3 convolutions with ReLU, dropout and Adam."""

_AMSGRAD: Params = {
    "dense": 512,
    "dropout": 0.5,
    "batch_size": 256,
    "adam.lr": 1e-4,
    "adam.amsgrad": True,
    "lr_schedule": "step",
    "step.drops": 1,
    "step.gamma": 0.1,
    "patience": 10,
}
"""As the author of SixConv2dNet trained; the step falls in the middle of however many epochs."""

_TWO: Params = {
    **_AMSGRAD,
    "convolutions": 1,
    "stages": 2,
    "kernel": 5,
    "padded": False,
    "dense_dropout": 0.0,
}
"""Two 5x5 convolutions, the smallest of the four networks of SixConv2dNet's author."""

_SIX: Params = {
    **_AMSGRAD,
    "widen": False,
    "convolutions": 2,
    "width": 64,
    "batch_norm": True,
    "bn_momentum": 0.1,
    "pointwise_stem": True,
    "pad_pools": True,
    "activate": "pool",
}
"""Two convolutions a stage, in the manner of SixConv2dNet, which has three stages."""

_VGG_LIKE: Params = {
    "widen": True,
    "convolutions": 3,
    "stages": 2,
    "early_dropout": True,
    "dense_layers": 2,
    "dense": 512,
    "dense2": 64,
    "adam.lr": 1e-3,
}
"""32-32-D-64-P-D-128-128-256-P-D, dense 512-D-64-D: 7,001,194 parameters."""

_KAGGLE: Params = {
    "widen": False,
    "convolutions": 2,
    "stages": 2,
    "dense": 128,
    "dense_norm": "after",
    "optimizer": "adadelta",
    "adadelta.lr": 1.0,
}
"""32-32-P-D-64-64-P-D, dense 128 with batch norm: "94 %" on Kaggle."""

SPACE = Space(
    name="cnn",
    version=1,
    suggest=suggest,
    points={
        "two": make_point("cnn", _PLAIN, _TWO),
        "four": make_point("cnn", _PLAIN, _SIX, {"stages": 2}),
        "six": make_point("cnn", _PLAIN, _SIX, {"stages": 3}),
        "eight": make_point("cnn", _PLAIN, _SIX, {"stages": 4}),
        "vgg-like": make_point("cnn", _PLAIN, _VGG_LIKE),
        "kaggle": make_point("cnn", _PLAIN, _KAGGLE),
    },
    belief=make_belief(
        "cnn",
        {
            "activate": Axis("convolution", LIKELY),
            "activation": Axis("relu", OPEN),
            "batch_norm": Axis(True, SURE),
            "bn_momentum": Axis(0.1, IDLE),
            "convolutions": Axis(2, OPEN),
            "dense": Axis(128, OPEN),
            "dense_layers": Axis(1, OPEN),
            "dense_norm": Axis("after", OPEN),
            "dense_dropout": Axis(0.2, LIKELY),
            "dropout": Axis(0.1, LIKELY),
            "early_dropout": Axis(False, LIKELY),
            "kernel": Axis(3, LIKELY),
            "padded": Axis(True, LIKELY),
            "pad_pools": Axis(False, LIKELY),
            "pointwise_stem": Axis(False, LIKELY),
            "stages": Axis(2, OPEN),
            "widen": Axis(True, OPEN),
        },
    ),
)
