"""A configuration of anybody's as parameters of a space, for a search that begins around it.

Spaces are programs that turn parameters into configurations. They are turned round by trying: each
parameter in its order gets the value, of those that the configuration suggests, with which the
space comes nearest to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import inf, log
from typing import TYPE_CHECKING, Any, cast

from pydantic import ValidationError

from fmnist_models.config.trial import TrialConfig
from fmnist_models.errors import ConfigError
from spaces.belief import Axis, Belief
from spaces.points import Params
from spaces.space import Space, SpaceContext

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

AROUND = "around"
"""The name of the point that is the configuration itself."""
TRUST = 0.9
"""How far a value is trusted of which the space itself believes nothing."""
NOT_SAMPLED = {"epochs", "seed", "epoch_images", "early_validation_images"}
GRID, SWEEPS = 8, 2
DECISIVE = {"model.family": 1000.0, "optimizer.kind": 100.0}
"""Fields that come before all that depends on them."""
SAME = 1e-6

Leaves = Mapping[str, Any]


@dataclass(frozen=True)
class Likeness:
    """The parameters of a space that come nearest to a configuration.

    differences: the fields, by their dotted names, that the space cannot have so: wanted, had.
    """

    params: Params
    differences: Mapping[str, tuple[Any, Any]]


def centred(space: Space, params: Params) -> Space:
    """`space` that believes in `params`, as far as in its own defaults, and has them as a point."""
    axes = dict(space.belief.axes)
    for name, value in params.items():
        axes[name] = replace(axes.get(name, Axis(value, TRUST)), default=value)
    points = {**space.points, AROUND: params}
    most = space.most_points and space.most_points + 1
    return replace(space, belief=Belief(axes), points=points, most_points=most)


def likeness(space: Space, config: TrialConfig) -> Likeness:
    """What comes nearest to `config` in `space`; raises ConfigError without such a family."""
    wanted = _leaves(config)
    tried = _Tries(space, config.epochs, wanted)
    starts: list[Params] = [{}, *space.points.values()]
    nearest: Params = min(starts, key=lambda params: tried.far(params))
    chosen = dict(nearest)
    for _ in range(SWEEPS):  # what comes later may change what is nearest
        done: set[str] = set()
        while left := [name for name in tried.ranges(chosen) if name not in done]:
            chosen[left[0]] = tried.best(chosen, left[0])
            done.add(left[0])
    params = {name: tried.value(chosen, name) for name in tried.ranges(chosen)}
    had = tried.leaves(params)
    if had["model.family"] != wanted["model.family"]:
        raise ConfigError(
            f"a network of the family {wanted['model.family']!r} is none of the space "
            f"{space.name!r}; search in another space, or in all"
        )
    differences = {
        name: (wanted.get(name), had.get(name))
        for name in sorted({*wanted, *had})
        if _distance(wanted.get(name), had.get(name)) > SAME
    }
    return Likeness(params, differences)


@dataclass
class _Tries:
    """What a space makes of parameters, compared with what is wanted."""

    space: Space
    epochs: int
    wanted: Leaves
    _known: dict[tuple[tuple[str, Any], ...], tuple[Leaves, dict[str, _Range]]] = field(
        default_factory=dict
    )

    def ranges(self, params: Params) -> dict[str, _Range]:
        """The parameters that the space asks for, in its order."""
        return self._tried(params)[1]

    def leaves(self, params: Params) -> Leaves:
        """The fields of the configuration that the space makes."""
        return self._tried(params)[0]

    def value(self, params: Params, name: str) -> Any:
        """What a parameter has where nothing is said of it."""
        return params.get(name, self.ranges(params)[name].default)

    def best(self, params: Params, name: str) -> Any:
        """The value of a parameter with which the space comes nearest; of equals, the first."""
        asked = self.ranges(params)[name]
        numbers = [v for v in self.wanted.values() if type(v) in (int, float)]
        values = [self.value(params, name), *asked.values(numbers)]
        return min(values, key=lambda value: self.far({**params, name: value}))

    def far(self, params: Params) -> float:
        """How many fields differ, those less that are near; infinity where there is no network."""
        had = self.leaves(params)
        if not had:
            return inf
        return sum(
            DECISIVE.get(name, 1.0) * _distance(self.wanted.get(name), had.get(name))
            for name in {*self.wanted, *had}
        )

    def _tried(self, params: Params) -> tuple[Leaves, dict[str, _Range]]:
        key = tuple(params.items())
        if key not in self._known:
            trial = _Asking(params, self.space.belief)
            try:
                config = self.space.suggest(cast("BaseTrial", trial), SpaceContext(self.epochs))
                self._known[key] = _leaves(config), trial.ranges
            except ValidationError:  # layers, say, that do not go together
                self._known[key] = {}, trial.ranges
        return self._known[key]


@dataclass(frozen=True)
class _Range:
    """What a space asks for: one of `choices`, or a number."""

    default: Any
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    step: float | None = None
    whole: bool = False

    def values(self, numbers: list[int | float]) -> list[Any]:
        """All that can be tried: every choice, or those of `numbers` that are within the range."""
        if self.choices:
            return list(self.choices)
        grid = [self.low + (self.high - self.low) * i / GRID for i in range(GRID + 1)]
        found = [self._fitting(number) for number in [*numbers, *grid]]
        return [number for number in found if self.low <= number <= self.high]

    def _fitting(self, number: float) -> int | float:
        if self.step:
            number = self.low + self.step * round((number - self.low) / self.step)
        return round(number) if self.whole else float(number)


class _Asking:
    """Stands for a trial of Optuna's: gives what is set, else a default, and keeps the ranges."""

    def __init__(self, params: Params, belief: Belief) -> None:
        self._params, self._belief = params, belief
        self.ranges: dict[str, _Range] = {}

    def suggest_categorical(self, name: str, choices: list[Any]) -> Any:
        """One of `choices`."""
        default = self._default(name)
        return self._value(name, _Range(default if default in choices else choices[0], (*choices,)))

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> Any:
        """A whole number."""
        return self._number(name, low, high, step, whole=True)

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> Any:
        """A number."""
        return self._number(name, low, high, step, whole=False)

    def _number(
        self, name: str, low: float, high: float, step: float | None, *, whole: bool
    ) -> Any:
        default = self._default(name)
        inside = min(max(default, low), high) if type(default) in (int, float) else low
        return self._value(name, _Range(inside, (), low, high, step, whole))

    def _default(self, name: str) -> Any:
        axis = self._belief.axes.get(name)
        return axis.default if axis else None

    def _value(self, name: str, asked: _Range) -> Any:
        self.ranges[name] = asked
        return self._params.get(name, asked.default)


def _leaves(config: TrialConfig) -> Leaves:
    found: dict[str, Any] = {}

    def walk(prefix: str, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            if isinstance(value, list):
                value = {"length": len(value), **{str(i): one for i, one in enumerate(value)}}
            if isinstance(value, Mapping):
                walk(f"{prefix}{name}.", value)
            elif prefix or name not in NOT_SAMPLED:
                found[f"{prefix}{name}"] = value

    walk("", config.model_dump(mode="json"))
    return found


def _distance(wanted: Any, had: Any) -> float:
    """0 of equals, up to 1; numbers that are both something are nearer than something and none.

    A choice by name decides about other fields and counts for several.
    """
    if wanted == had:
        return 0.0
    if isinstance(wanted, str) and isinstance(had, str):
        return 5.0
    numbers = [v for v in (wanted, had) if type(v) in (int, float) and v > 0]
    if len(numbers) < 2:
        return 1.0
    far = abs(log(wanted / had))
    return far / (1.0 + far) * 0.9
