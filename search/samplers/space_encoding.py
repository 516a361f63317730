"""Parameters of a conditional space as points of a cube, and new ones drawn from what was seen.

A define-by-run space does not say which parameters there are, nor when. Both are learned from the
trials: the widest distribution of each name, and for each value of each categorical parameter which
names never come with it. A point is a row with a place for each name: from 0 to 1 between the
bounds, the index of a choice, or NaN where the name does not apply.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from math import log
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from search.samplers.prior import EVEN, Prior

Array = NDArray[np.float64]
Params = dict[str, Any]
Numeric = FloatDistribution | IntDistribution
ABSENT = 0.5
"""Where a numeric parameter stands, for distances, that a trial does not have."""
APART = 0.5**0.5
"""Of a choice's column, so that two choices are as far apart as the ends of a numeric range."""
MOST_GROUPS = 24


class Table:
    """What trials had, each taken in once: by trial, and on the scale that a range lies on.

    `columns` numbers the names; a row holds those that its trial has, and their values.
    """

    def __init__(self) -> None:
        self.space: dict[str, BaseDistribution] = {}
        self.columns: dict[str, int] = {}
        self.rows: dict[int, tuple[NDArray[np.intp], Array]] = {}

    def take_in(
        self, trial: int, distributions: Mapping[str, BaseDistribution], params: Mapping[str, Any]
    ) -> None:
        """Keep a trial's parameters, in place of what was kept of it before."""
        for name, distribution in distributions.items():
            self.space[name] = _wider(self.space.get(name), distribution)
        columns = [self.columns.setdefault(name, len(self.columns)) for name in params]
        values = [_raw(distributions[name], value) for name, value in params.items()]
        self.rows[trial] = np.array(columns, dtype=np.intp), np.array(values, dtype=np.float64)


class Encoding:
    """The names of a space, those first that most trials have, and its points.

    `points` (n, names) are those of `trials`, which are in the table. New ones are drawn from
    `prior`.
    """

    def __init__(self, table: Table, trials: Sequence[int], prior: Prior = EVEN) -> None:
        self._prior = prior
        rows = [table.rows[trial] for trial in trials]
        columns = np.concatenate([np.empty(0, dtype=np.intp), *(row[0] for row in rows)])
        counts = np.bincount(columns, minlength=len(table.columns))
        present = [name for name, column in table.columns.items() if counts[column]]
        self.names = sorted(present, key=lambda name: (-counts[table.columns[name]], name))
        self.space = {name: table.space[name] for name in self.names}
        # How many choices each name has; 0 for numbers.
        self._choices = np.array([len(getattr(d, "choices", ())) for d in self.space.values()], int)
        self.points = np.full((len(rows), len(self.names)), np.nan)
        places = np.zeros(len(table.columns), dtype=np.intp)
        places[[table.columns[name] for name in self.names]] = np.arange(len(self.names))
        owners = np.repeat(np.arange(len(rows)), [len(row[0]) for row in rows])
        self.points[owners, places[columns]] = np.concatenate([[], *(row[1] for row in rows)])
        for i, distribution in enumerate(self.space.values()):
            if isinstance(distribution, Numeric):
                self.points[:, i] = _between(distribution, self.points[:, i])
        self._never = self._learn_conditions()

    def _learn_conditions(self) -> dict[int, Array]:
        """For each categorical name and choice, as rows, which names never come with it."""
        present = ~np.isnan(self.points)
        never = {}
        for i, choices in enumerate(self._choices):
            if choices:
                always = present[present[:, i]].all(axis=0)
                chosen = [self.points[:, i] == k for k in range(choices)]
                # Of a choice that nobody made only what always comes with the name is expected.
                never[i] = np.array([~(present[c].any(0) if c.any() else always) for c in chosen])
        return never

    def groups(self) -> NDArray[np.intp]:
        """For each column of `encode` the group that shares a length scale.

        One a name; those that fewest trials have share the last.
        """
        own = [self._width(i) for i in range(len(self.names))]
        numbers = np.repeat(np.arange(len(own)), own)
        _, dense = np.unique(numbers, return_inverse=True)
        return np.minimum(dense, MOST_GROUPS - 1).astype(np.intp)

    def _width(self, i: int) -> int:
        """How many columns of `encode` a name has."""
        return 0 if self.space[self.names[i]].single() else int(self._choices[i] or 1)

    def encode(self, points: Array) -> Array:
        """Points (m, names) in the space of distances: (m, columns)."""
        parts = [np.empty((len(points), 0))]
        for i in range(len(self.names)):
            if not self._width(i):
                continue
            values = points[:, i, None]
            if self._choices[i]:
                parts.append(APART * (values == np.arange(self._width(i))))
            else:
                parts.append(np.where(np.isnan(values), ABSENT, values))
        return np.concatenate(parts, axis=1)

    def draw(self, count: int, rng: np.random.RandomState) -> Array:
        """Points (count, names) at random: half of them from the prior, half evenly."""
        believed = 0 if self._prior is EVEN else count // 2
        parts = [self._anything(count - believed, rng, EVEN)]
        if believed:
            parts.append(self._anything(believed, rng, self._prior))
        return self._applied(np.concatenate(parts))

    def log_prior(self, points: Array) -> Array:
        """Logarithms (m,) of how much more probable points are by the prior than evenly."""
        total = np.zeros(len(points))
        for i, name in enumerate(self.names):
            here = np.flatnonzero(~np.isnan(points[:, i]))
            total[here] += self._prior.log_density(name, self.space[name], points[here, i])
        return total

    def mutate(
        self, points: Array, widths: Array, rates: Array, rng: np.random.RandomState
    ) -> Array:
        """A neighbour of each point: about `rates` (m,) of its values change, by `widths` (m,).

        Widths are standard deviations, in parts of a range; choices change to any.
        """
        other = self._anything(len(points), rng, self._prior)
        whole = np.where(np.isnan(points), other, points)
        present = np.maximum((~np.isnan(points)).sum(1), 1)
        changes = rng.uniform(size=points.shape) < (rates / present)[:, None]
        moved = np.clip(whole + widths[:, None] * rng.normal(size=points.shape), 0.0, 1.0)
        return self._applied(
            self._snapped(np.where(changes, np.where(self._choices > 0, other, moved), whole))
        )

    def params(self, point: Array) -> Params:
        """The parameters that a point stands for."""
        return {
            name: value_at(self.space[name], float(at))
            for name, at in zip(self.names, point, strict=True)
            if not np.isnan(at)
        }

    def _anything(self, count: int, rng: np.random.RandomState, prior: Prior) -> Array:
        """A value for every name, whether it applies or not."""
        points = rng.uniform(size=(count, len(self.names)))
        for i, name in enumerate(self.names):
            points[:, i] = prior.places(name, self.space[name], points[:, i])
        return self._snapped(points)

    def _snapped(self, points: Array) -> Array:
        """Whole and stepped values brought to what they can be."""
        for i, name in enumerate(self.names):
            distribution = self.space[name]
            if isinstance(distribution, Numeric) and distribution.step and self._width(i):
                low, high, step = distribution.low, distribution.high, distribution.step
                values = _scaled(distribution, points[:, i])
                values = np.clip(low + np.round((values - low) / step) * step, low, high)
                points[:, i] = _between(
                    distribution, np.log(values) if distribution.log else values
                )
        return points

    def _applied(self, points: Array) -> Array:
        """NaN where a name does not come with the choices; those that most have are asked first."""
        for i, never in self._never.items():
            here = np.flatnonzero(~np.isnan(points[:, i]))
            banned = never[points[here, i].astype(np.intp)]
            points[here] = np.where(banned, np.nan, points[here])
        return points


def _wider(known: BaseDistribution | None, other: BaseDistribution) -> BaseDistribution:
    """The distribution that spans both; of categorical ones, which must be equal, the first."""
    if not isinstance(known, Numeric) or not isinstance(other, Numeric):
        return other if known is None else known
    if known.low <= other.low and other.high <= known.high:
        return known
    wider = copy(known)
    wider.low, wider.high = min(known.low, other.low), max(known.high, other.high)
    return wider


def _raw(distribution: BaseDistribution, value: Any) -> float:
    """The index of a choice, or a number, its logarithm where the range is logarithmic."""
    if isinstance(distribution, CategoricalDistribution):
        return float(distribution.to_internal_repr(value))
    assert isinstance(distribution, Numeric)
    return log(value) if distribution.log else float(value)


def _between(distribution: Numeric, raw: Any) -> Any:
    """Places from 0 to 1 between the bounds of what `_raw` gave back."""
    low, high = _raw(distribution, distribution.low), _raw(distribution, distribution.high)
    return raw * 0 + ABSENT if high <= low else (raw - low) / (high - low)


def value_at(distribution: BaseDistribution, at: float) -> Any:
    """The value that stands at a place; within the bounds, and on a step where there are steps."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[int(at)]
    assert isinstance(distribution, Numeric)
    return nearest(distribution, float(_scaled(distribution, np.float64(at))))


def nearest(distribution: Numeric, value: float) -> Any:
    """The value of the distribution that is nearest to `value`."""
    low, high, step = distribution.low, distribution.high, distribution.step
    if step:
        value = low + round((value - low) / step) * step
    value = min(max(value, low), high)
    return round(value) if isinstance(distribution, IntDistribution) else float(value)


def _scaled(distribution: Numeric, places: Any) -> Any:
    """The numbers at places from 0 to 1."""
    low, high = distribution.low, distribution.high
    return low * (high / low) ** places if distribution.log else low + (high - low) * places
