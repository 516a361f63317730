"""What a search space is, and the pieces that all spaces sample alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar, cast

from fmnist_models.config import (
    AdamWConfig,
    AugmentationConfig,
    LrScheduleConfig,
    ModelConfig,
    OptimizerConfig,
    RegularizationConfig,
    SgdConfig,
    TrialConfig,
)

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

LR_SCHEDULES: list[Literal["cosine", "linear"]] = ["cosine", "linear"]
Choice = TypeVar("Choice", bound=str | int | bool)
Params = Mapping[str, str | int | float | bool]


@dataclass(frozen=True)
class SpaceContext:
    """What a search allows its configurations.

    `affordable(model)` says whether an epoch of that network is short enough on this machine: a
    space bounds width and depth by it, so that what can't be afforded is not even sampled.
    """

    epochs: int
    seed: int = 0
    affordable: Callable[[ModelConfig], bool] = lambda model: True


@dataclass(frozen=True)
class Space:
    """A registered search space.

    `version` changes with any change of the distributions: a study keeps to one version.
    `points` are known-good parameters, tried first; `epochs_cpu` and `epochs_gpu` are the default
    number of epochs of a trial.
    """

    name: str
    version: int
    suggest: Callable[[BaseTrial, SpaceContext], TrialConfig]
    points: Sequence[Params]
    epochs_cpu: int
    epochs_gpu: int


def suggest_training(
    trial: BaseTrial, context: SpaceContext, prefix: str, model: ModelConfig
) -> TrialConfig:
    """Sample everything but the network; parameter names start with `prefix` and a dot."""
    return TrialConfig(
        model=model,
        optimizer=_suggest_optimizer(trial, prefix),
        lr_schedule=LrScheduleConfig(
            kind=choose(trial, f"{prefix}.lr_schedule", LR_SCHEDULES),
            warmup=trial.suggest_float(f"{prefix}.warmup", 0.0, 0.3),
        ),
        augmentation=_suggest_augmentation(trial, prefix),
        regularization=RegularizationConfig(
            label_smoothing=trial.suggest_float(f"{prefix}.label_smoothing", 0.0, 0.2),
            ema_decay=trial.suggest_categorical(f"{prefix}.ema_decay", [0.0, 0.99, 0.998]),
        ),
        batch_size=trial.suggest_categorical(f"{prefix}.batch_size", [64, 128, 256, 512]),
        epochs=context.epochs,
        seed=context.seed,
    )


def _suggest_optimizer(trial: BaseTrial, prefix: str) -> OptimizerConfig:
    """SGD-Nesterov or AdamW, each with a learning rate and weight decay range of its own."""
    if trial.suggest_categorical(f"{prefix}.optimizer", ["sgd", "adamw"]) == "sgd":
        return SgdConfig(
            lr=trial.suggest_float(f"{prefix}.sgd.lr", 0.01, 1.0, log=True),
            momentum=trial.suggest_float(f"{prefix}.sgd.momentum", 0.8, 0.98),
            weight_decay=trial.suggest_float(f"{prefix}.sgd.weight_decay", 1e-5, 5e-3, log=True),
        )
    return AdamWConfig(
        lr=trial.suggest_float(f"{prefix}.adamw.lr", 3e-4, 2e-2, log=True),
        weight_decay=trial.suggest_float(f"{prefix}.adamw.weight_decay", 1e-4, 0.3, log=True),
    )


def _suggest_augmentation(trial: BaseTrial, prefix: str) -> AugmentationConfig:
    """Flip, shift-crop, and either kind of blanking."""
    flip = trial.suggest_categorical(f"{prefix}.flip", [True, False])
    shift = trial.suggest_int(f"{prefix}.shift", 0, 4)
    blank = trial.suggest_categorical(f"{prefix}.blank", ["none", "cutout", "random_erasing"])
    if blank == "cutout":
        cutout = trial.suggest_int(f"{prefix}.cutout", 4, 16, step=2)
        return AugmentationConfig(flip=flip, shift=shift, cutout=cutout)
    if blank == "random_erasing":
        share = trial.suggest_float(f"{prefix}.random_erasing", 0.1, 1.0)
        return AugmentationConfig(flip=flip, shift=shift, random_erasing=share)
    return AugmentationConfig(flip=flip, shift=shift)


def largest(values: Sequence[int], affordable: Callable[[int], bool]) -> int:
    """The largest of ascending `values` that is affordable; the smallest where none is."""
    return next((v for v in reversed(values) if affordable(v)), values[0])


def choose(trial: BaseTrial, name: str, choices: Sequence[Choice]) -> Choice:
    """`suggest_categorical` that keeps the type of its choices."""
    return cast(Choice, trial.suggest_categorical(name, choices))
