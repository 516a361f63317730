"""What a search space is, and the pieces that all spaces sample alike."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar, cast

from fmnist_models.config import ModelConfig, TrialConfig
from fmnist_models.families import known

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

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
    affordable_twice: Callable[[ModelConfig], bool] = lambda model: True
    """Likewise at two passes a step, as SAM takes: where it is not, SAM is not even sampled."""
    queued: SpaceContext | None = None
    """What is allowed of queued configurations (known-good points), where that is more."""

    @property
    def of_queued(self) -> SpaceContext:
        """What is allowed of queued configurations."""
        return self.queued or self


@dataclass(frozen=True)
class Space:
    """A registered search space.

    `version` changes with any change of the distributions: a study keeps to one version.
    `points` are known-good parameters by name, tried first, which need not name the ingredients of
    training that they leave off: see `completed`. `one_point_per` names a parameter of which each
    value has several points: only the last that is affordable is tried. `epochs_cpu` and
    `epochs_gpu` are the default number of epochs of a trial, `max_epoch_seconds_cpu` how long an
    epoch may be expected to take on a CPU unless the user says otherwise.
    """

    name: str
    version: int
    suggest: Callable[[BaseTrial, SpaceContext], TrialConfig]
    points: Mapping[str, Params]
    epochs_cpu: int
    epochs_gpu: int
    one_point_per: str | None = None
    max_epoch_seconds_cpu: float = 120.0

    def __post_init__(self) -> None:
        points = {name: completed(point) for name, point in self.points.items()}
        object.__setattr__(self, "points", points)

    def configure(self, point: str, context: SpaceContext) -> TrialConfig:
        """The configuration of a known-good point; raises ConfigError on an unknown name."""
        from optuna.trial import FixedTrial

        params = self.points[known(point, self.points, f"{self.name} point")]
        return self.suggest(FixedTrial(dict(params)), context)

    def affordable_points(self, context: SpaceContext) -> dict[str, Params]:
        """The known-good points to try first where only so much is affordable, by name."""
        found: dict[object, str] = {}
        context = context.of_queued
        for name, point in self.points.items():
            config = self.configure(name, SpaceContext(context.epochs))
            sam = config.regularization.sam_rho > 0
            if context.affordable(config.model) and (
                not sam or context.affordable_twice(config.model)
            ):
                found[point[self.one_point_per] if self.one_point_per else name] = name
        return {name: self.points[name] for name in found.values()}


OFF: Params = {
    "policy": "none",
    "mixing": "none",
    "clip_norm": 0.0,
    "decay_vectors": False,
    "patience": 0,
    "sam": False,
    "loss": "cross_entropy",
}
"""How a point leaves the ingredients off that every space samples."""


def completed(point: Params) -> Params:
    """`point` with every ingredient of training that it does not name switched off.

    Training has been sampled under each prefix for which there is a PREFIX.optimizer.
    """
    whole = dict(point)
    for key, kind in point.items():
        prefix, _, last = key.rpartition(".")
        if last != "optimizer":
            continue
        off = dict(OFF)
        if kind == "sgd":
            off["sgd.nesterov"] = True
        if kind == "adam":
            off["adam.amsgrad"] = False
        if point.get(f"{prefix}.ema_decay") == 0:
            off["swa_fraction"] = 0.0
        for name, value in off.items():
            whole.setdefault(f"{prefix}.{name}", value)
    return whole


def largest(values: Sequence[int], affordable: Callable[[int], bool]) -> int:
    """The largest of ascending `values` that is affordable; the smallest where none is.

    Found by halving: where a value is affordable, so are the smaller ones.
    """
    return values[max(bisect_left(values, True, key=lambda v: not affordable(v)) - 1, 0)]


def choose(trial: BaseTrial, name: str, choices: Sequence[Choice]) -> Choice:
    """`suggest_categorical` that keeps the type of its choices."""
    return cast(Choice, trial.suggest_categorical(name, choices))
