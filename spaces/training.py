"""What all spaces sample alike: how a network is trained.

Every axis is in every space, but for the five classical optimizers of CLASSICAL: a space asks for
them by `optimizers=EVERY_OPTIMIZER`, as those do that repeat the comparisons of the project's
sources; elsewhere they would only take trials from what wins. SAM doubles an epoch's cost, which
`SpaceContext.affordable_twice` bounds. Whatever belongs to one choice (a learning rate, a margin)
has its choice in its name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from fmnist_models.config.base import ModelConfig
from fmnist_models.config.optimizers import OptimizerConfig
from fmnist_models.config.training import (
    AugmentationConfig,
    LossConfig,
    LrScheduleConfig,
    RegularizationConfig,
)
from fmnist_models.config.trial import TrialConfig
from spaces.space import SpaceContext
from spaces.suggest import suggest_choice

if TYPE_CHECKING:
    from optuna.trial import BaseTrial


CORE_OPTIMIZERS = ("sgd", "adamw", "nadam", "lion", "muon", "schedulefree")
CLASSICAL = ("adam", "adamax", "rmsprop", "adagrad", "adadelta")
EVERY_OPTIMIZER = CORE_OPTIMIZERS + CLASSICAL
LR_RANGES: dict[str, tuple[float, float]] = {
    "sgd": (0.01, 1.0),
    "adam": (3e-5, 1e-2),
    "adamw": (3e-4, 2e-2),
    "nadam": (3e-4, 2e-2),
    "adamax": (3e-4, 3e-2),
    "rmsprop": (3e-5, 3e-3),
    "adagrad": (3e-3, 0.3),
    "adadelta": (0.1, 3.0),
    "lion": (3e-5, 3e-3),
    "muon": (3e-4, 3e-2),
    "schedulefree": (5e-4, 3e-2),
}
WEIGHT_DECAY_RANGES: dict[str, tuple[float, float]] = {
    "sgd": (1e-5, 5e-3),
    "adamw": (1e-4, 0.3),
    "nadam": (1e-4, 0.3),
    "lion": (1e-3, 1.0),
    "muon": (1e-4, 0.3),
    "schedulefree": (1e-4, 0.3),
}
"""The classical ones keep their default of no decay, as in the sources' comparisons."""
LR_SCHEDULES = ("constant", "cosine", "linear", "step", "one_cycle")
POLICIES = ("none", "randaugment", "trivialaugment")
MIXINGS = ("none", "mixup", "cutmix", "ricap")
LOSSES = ("cross_entropy", "arcface", "sphereface")
MARGINS = {"arcface": (0.05, 0.5), "sphereface": (1.05, 2.0)}

_OPTIMIZER: TypeAdapter[OptimizerConfig] = TypeAdapter(OptimizerConfig)
_LOSS: TypeAdapter[LossConfig] = TypeAdapter(LossConfig)


def suggest_training(
    trial: BaseTrial,
    context: SpaceContext,
    prefix: str,
    model: ModelConfig,
    *,
    optimizers: Sequence[str] = CORE_OPTIMIZERS,
) -> TrialConfig:
    """Sample everything but the network; parameter names start with `prefix` and a dot."""
    optimizer = _suggest_optimizer(trial, prefix, optimizers)
    averages = optimizer.kind == "schedulefree"
    return TrialConfig(
        model=model,
        optimizer=optimizer,
        lr_schedule=_suggest_lr_schedule(trial, prefix, context.epochs, constant=averages),
        augmentation=_suggest_augmentation(trial, prefix),
        regularization=_suggest_regularization(
            trial, prefix, averages=averages, sam=context.affordable_twice(model)
        ),
        loss=_suggest_loss(trial, prefix),
        batch_size=trial.suggest_categorical(f"{prefix}.batch_size", [64, 128, 256, 512]),
        epochs=context.epochs,
        seed=context.seed,
        patience=trial.suggest_categorical(f"{prefix}.patience", [0, 3, 10]),
    )


def _suggest_optimizer(trial: BaseTrial, prefix: str, kinds: Sequence[str]) -> OptimizerConfig:
    """Each kind has a learning rate, and a weight decay, in a range of its own."""
    kind = suggest_choice(trial, f"{prefix}.optimizer", kinds)
    name = f"{prefix}.{kind}"
    values: dict[str, Any] = {"kind": kind}
    values["lr"] = trial.suggest_float(f"{name}.lr", *LR_RANGES[kind], log=True)
    if kind == "sgd":
        values["momentum"] = trial.suggest_float(f"{name}.momentum", 0.0, 0.98)
        values["nesterov"] = trial.suggest_categorical(f"{name}.nesterov", [True, False])
    if kind == "adam":
        values["amsgrad"] = trial.suggest_categorical(f"{name}.amsgrad", [True, False])
    if kind in WEIGHT_DECAY_RANGES:
        values["weight_decay"] = trial.suggest_float(
            f"{name}.weight_decay", *WEIGHT_DECAY_RANGES[kind], log=True
        )
    return _OPTIMIZER.validate_python(values)


def _suggest_lr_schedule(
    trial: BaseTrial, prefix: str, epochs: int, *, constant: bool
) -> LrScheduleConfig:
    """`constant` is for Schedule-Free, which needs no other; the steps of step are equally long."""
    values: dict[str, Any] = {"kind": "constant"}
    values["warmup"] = trial.suggest_float(f"{prefix}.warmup", 0.0, 0.3)
    if not constant:
        values["kind"] = suggest_choice(trial, f"{prefix}.lr_schedule", LR_SCHEDULES)
    if values["kind"] == "step":
        drops = trial.suggest_int(f"{prefix}.step.drops", 1, 3)
        values["step_epochs"] = max(1, epochs // (drops + 1))
        values["step_gamma"] = trial.suggest_float(f"{prefix}.step.gamma", 0.05, 0.5, log=True)
    return LrScheduleConfig(**values)


def _suggest_augmentation(trial: BaseTrial, prefix: str) -> AugmentationConfig:
    """Flip, shift-crop, either kind of blanking, a policy, a way of mixing."""
    values: dict[str, Any] = {
        "flip": trial.suggest_categorical(f"{prefix}.flip", [True, False]),
        "shift": trial.suggest_int(f"{prefix}.shift", 0, 4),
    }
    blank = trial.suggest_categorical(f"{prefix}.blank", ["none", "cutout", "random_erasing"])
    if blank == "cutout":
        values["cutout"] = trial.suggest_int(f"{prefix}.cutout", 4, 16, step=2)
    if blank == "random_erasing":
        values["random_erasing"] = trial.suggest_float(f"{prefix}.random_erasing", 0.1, 1.0)
    policy = values["policy"] = suggest_choice(trial, f"{prefix}.policy", POLICIES)
    if policy == "randaugment":
        name = f"{prefix}.randaugment"
        values["randaugment_ops"] = trial.suggest_int(f"{name}.ops", 1, 3)
        values["randaugment_magnitude"] = trial.suggest_int(f"{name}.magnitude", 3, 21)
    mixing = values["mixing"] = suggest_choice(trial, f"{prefix}.mixing", MIXINGS)
    if mixing != "none":
        name = f"{prefix}.{mixing}"
        values["mixing_alpha"] = trial.suggest_float(f"{name}.alpha", 0.1, 2.0, log=True)
        values["mixing_probability"] = trial.suggest_float(f"{name}.probability", 0.3, 1.0)
    return AugmentationConfig(**values)


def _suggest_regularization(
    trial: BaseTrial, prefix: str, *, averages: bool, sam: bool
) -> RegularizationConfig:
    """One average at most, and none where the optimizer `averages`; SAM where it is allowed."""
    values: dict[str, Any] = {
        "label_smoothing": trial.suggest_float(f"{prefix}.label_smoothing", 0.0, 0.2),
        "clip_norm": trial.suggest_categorical(f"{prefix}.clip_norm", [0.0, 1.0, 5.0, 20.0]),
        "decay_vectors": trial.suggest_categorical(f"{prefix}.decay_vectors", [False, True]),
    }
    if not averages:
        ema = trial.suggest_categorical(f"{prefix}.ema_decay", [0.0, 0.99, 0.998])
        values["ema_decay"] = ema
        if not ema:
            values["swa_fraction"] = trial.suggest_categorical(
                f"{prefix}.swa_fraction", [0.0, 0.25, 0.5]
            )
    if sam and trial.suggest_categorical(f"{prefix}.sam", [False, True]):
        values["sam_rho"] = trial.suggest_float(f"{prefix}.sam.rho", 0.01, 0.2, log=True)
    return RegularizationConfig(**values)


def _suggest_loss(trial: BaseTrial, prefix: str) -> LossConfig:
    """Cross-entropy, or an angular margin with its scale."""
    kind = suggest_choice(trial, f"{prefix}.loss", LOSSES)
    values: dict[str, Any] = {"kind": kind}
    if kind != "cross_entropy":
        name = f"{prefix}.{kind}"
        values["scale"] = trial.suggest_float(f"{name}.scale", 8.0, 64.0, log=True)
        values["margin"] = trial.suggest_float(f"{name}.margin", *MARGINS[kind])
    return _LOSS.validate_python(values)
