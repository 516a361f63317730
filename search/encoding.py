"""Parameters of a conditional space as points of a cube, and new ones drawn from what was seen.

A define-by-run space does not say which parameters there are, nor when. Both are learned from the
trials: the widest distribution of each name, and of each value of each categorical parameter which
names always come with it and which never do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

Array = NDArray[np.float64]
Params = dict[str, Any]
Distributions = Mapping[str, BaseDistribution]
ABSENT = 0.5
"""Where a numeric parameter stands that a trial does not have."""


class Encoding:
    """The columns of a space: one a numeric parameter, one a choice of a categorical one.

    `seen` are distributions and parameters of trials. Raises nothing: what has one value only
    takes no column.
    """

    def __init__(self, seen: Iterable[tuple[Distributions, Params]]) -> None:
        self.space: dict[str, BaseDistribution] = {}
        self._company: dict[tuple[str, int], tuple[set[str], set[str]]] = {}
        for distributions, params in seen:
            self._take_in(distributions, params)
        self._first: dict[str, int] = {}
        self.columns = 0
        for name, distribution in sorted(self.space.items()):
            self._first[name] = self.columns
            choices = getattr(distribution, "choices", None)
            self.columns += len(choices) if choices else 0 if distribution.single() else 1

    def _take_in(self, distributions: Distributions, params: Params) -> None:
        names = set(params)
        for name, distribution in distributions.items():
            known = self.space.get(name)
            self.space[name] = distribution if known is None else _wider(known, distribution)
            if isinstance(distribution, CategoricalDistribution):
                key = name, int(distribution.to_internal_repr(params[name]))
                always, ever = self._company.setdefault(key, (set(names), set()))
                always &= names
                ever |= names

    def encode(self, params: Params) -> Array:
        """A point (columns,) of the cube."""
        point = np.zeros(self.columns)
        for name, distribution in self.space.items():
            first = self._first[name]
            if isinstance(distribution, CategoricalDistribution):
                if name in params:
                    # So that two values are as far apart as the ends of a numeric parameter.
                    place = first + int(distribution.to_internal_repr(params[name]))
                    point[place] = 0.5**0.5
            elif not distribution.single():
                value = params.get(name)
                point[first] = ABSENT if value is None else to_unit(distribution, value)
        return point

    def draw(self, rng: np.random.RandomState) -> Params:
        """Parameters at random, uniformly over each distribution."""
        return self.complete({}, set(self.space), rng)

    def mutate(self, params: Params, width: float, rate: float, rng: np.random.RandomState) -> Params:
        """A neighbour: each parameter changes with probability `rate`, by about `width` of its range."""
        changed: Params = {}
        for name, value in params.items():
            distribution = self.space[name]
            if rng.uniform() >= rate or distribution.single():
                changed[name] = value
            elif isinstance(distribution, CategoricalDistribution):
                changed[name] = distribution.choices[rng.randint(len(distribution.choices))]
            else:
                moved = to_unit(distribution, value) + width * rng.normal()
                changed[name] = from_unit(distribution, float(np.clip(moved, 0, 1)))
        return self.complete(changed, set(params), rng)

    def complete(self, params: Params, names: set[str], rng: np.random.RandomState) -> Params:
        """`params` with all that comes with their choices drawn, and without what never does.

        Of `names` those that are wanted where nothing speaks against them.
        """
        done: Params = {}
        wanted, banned = set(names), set[str]()
        while wanted - banned - done.keys():
            name = min(wanted - banned - done.keys(), key=self._order)
            distribution = self.space[name]
            value = params[name] if name in params else from_unit(distribution, rng.uniform())
            done[name] = value
            if isinstance(distribution, CategoricalDistribution):
                key = name, int(distribution.to_internal_repr(value))
                always, ever = self._company.get(key, (set(), set(self.space)))
                wanted |= always
                banned |= self.space.keys() - ever
        return {name: value for name, value in done.items() if name not in banned}

    def _order(self, name: str) -> tuple[bool, int, str]:
        """Choices first, of these the ones that most others hang on."""
        isnt_choice = not isinstance(self.space[name], CategoricalDistribution)
        always_there = sum(name in ever for _, ever in self._company.values())
        return isnt_choice, -always_there, name


def _wider(known: BaseDistribution, other: BaseDistribution) -> BaseDistribution:
    """The distribution that spans both; of categorical ones, which must be equal, the first."""
    if isinstance(known, FloatDistribution) and isinstance(other, FloatDistribution):
        low, high = min(known.low, other.low), max(known.high, other.high)
        return FloatDistribution(low, high, log=known.log, step=known.step)
    if isinstance(known, IntDistribution) and isinstance(other, IntDistribution):
        low, high = min(known.low, other.low), max(known.high, other.high)
        return IntDistribution(low, high, log=known.log, step=known.step)
    return known


def to_unit(distribution: BaseDistribution, value: Any) -> float:
    """Where a numeric value lies between the bounds, from 0 to 1; along the logarithm where so."""
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = float(distribution.low), float(distribution.high)
    if high <= low:
        return ABSENT
    if distribution.log:
        return float(np.log(value / low) / np.log(high / low))
    return (float(value) - low) / (high - low)


def from_unit(distribution: BaseDistribution, place: float) -> Any:
    """The value at a place from 0 to 1; of a categorical distribution the choice there."""
    if isinstance(distribution, CategoricalDistribution):
        count = len(distribution.choices)
        return distribution.choices[min(int(place * count), count - 1)]
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = float(distribution.low), float(distribution.high)
    value = low * (high / low) ** place if distribution.log else low + place * (high - low)
    if distribution.step:
        value = low + round((value - low) / distribution.step) * distribution.step
    value = min(max(value, low), high)
    return int(round(value)) if isinstance(distribution, IntDistribution) else float(value)
