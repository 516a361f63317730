"""The tables of benchmarks/accuracy/beliefs.py: how good samples are, and which departures hurt."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from statistics import mean, stdev
from textwrap import fill
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution

from benchmarks.report import spread, table
from spaces import SpaceContext, get_space
from spaces.belief import SPREAD, Axis, Belief, between

KINDS = ("believed", "even")
GUESS = 0.1
"""The score of a training that diverged."""
FEWEST = 8
"""Samples on either side of a difference that is shown."""
Rows = Mapping[str, Mapping[str, Any]]


def score(row: Mapping[str, Any]) -> float:
    """Per cent."""
    return 100 * float(row.get("score", GUESS))


def rank(row: Mapping[str, Any]) -> float:
    """The validation accuracy after the last epoch, by which the best is chosen."""
    return float(row["epochs"][-1]) if "epochs" in row else GUESS


def by_seed(rows: Rows, space: str, kind: str) -> list[list[Mapping[str, Any]]]:
    """The rows of each sampling seed; seeds that have not all of theirs yet are left out."""
    found: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for key, row in rows.items():
        of_space, of_kind, seed, _ = key.split()
        if (of_space, of_kind) == (space, kind):
            found[seed].append(row)
    most = max((len(one) for one in found.values()), default=0)
    return [one for one in found.values() if len(one) == most]


def with_error(values: Iterable[float], sign: str = "") -> str:
    """Mean and standard error."""
    many = list(values)
    error = f" +- {stdev(many) / len(many) ** 0.5:.1f}" if len(many) > 1 else ""
    return f"{mean(many):{sign}.1f}{error}"


def points_of(rows: Rows, space: str) -> list[str]:
    """The kinds of a space's point: as it is, and with another batch size."""
    kinds = dict.fromkeys(key.split()[1] for key in rows if key.split()[0] == space)
    return sorted((kind for kind in kinds if kind not in KINDS), key=lambda kind: kind != "point")


def scores_of(rows: Rows, space: str, kind: str) -> list[float]:
    """Of all seeds, in per cent."""
    return [score(row) for one in by_seed(rows, space, kind) for row in one]


def sample_row(rows: Rows, space: str, kind: str) -> list[str]:
    """One line of the first table."""
    point, *others = (mean(scores_of(rows, space, one)) for one in points_of(rows, space))
    seeds = by_seed(rows, space, kind)
    scores = [[score(row) for row in one] for one in seeds]
    medians = [float(np.median(one)) for one in scores]
    best = [score(max(one, key=rank)) for one in seeds]
    return [
        f"{space}, {kind}",
        str(len(seeds)),
        with_error(medians),
        with_error(float(np.percentile(one, 90)) for one in scores),
        with_error(best),
        f"{100 * mean(value > point for one in scores for value in one):.0f} %",
        *(
            "; ".join(with_error((v - p for v in values), sign="+") for p in (point, *others))
            for values in (medians, best)
        ),
    ]


def sample_lines(rows: Rows) -> list[str]:
    """The first table, and the points beside it."""
    header = ["", "seeds", "median", "90th percentile", "best", "above the point"]
    header += ["median minus point", "best minus point"]
    spaces = list(dict.fromkeys(key.split()[0] for key in rows))
    lines = [
        sample_row(rows, space, kind)
        for space in spaces
        for kind in KINDS
        if by_seed(rows, space, kind)
    ]
    return [table(header, lines), "\n" + fill(points_said(rows, spaces), 100)]


def points_said(rows: Rows, spaces: Iterable[str]) -> str:
    """Mean and deviation of the points, with their own batch size and with the believed one."""
    said = []
    for space in spaces:
        for kind in points_of(rows, space):
            name = space if kind == "point" else f"with {kind.replace('-', ' ')}"
            said.append(f"{name} {spread(scores_of(rows, space, kind), digits=1)}")
    return f"The points, mean +- deviation: {', '.join(said)}."


@cache
def distributions(space: str) -> dict[str, BaseDistribution]:
    """What each parameter of a space is drawn from, by its name."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    known: dict[str, BaseDistribution] = {}
    for _ in range(500):
        trial = study.ask()
        get_space(space).suggest(trial, SpaceContext(epochs=9))
        known |= trial.distributions
    return known


def is_away(axis: Axis, distribution: Any, value: Any) -> bool:
    """Whether a value is another choice than the default, or two deviations and more from it."""
    if hasattr(distribution, "choices"):
        return bool(value != axis.default)
    return abs(between(distribution, value) - between(distribution, axis.default)) > 2 * SPREAD


def departures(
    rows: Rows, space: str, belief: Belief
) -> dict[str, tuple[list[float], list[float]]]:
    """For each parameter: scores less the mean of their kind, near the default and away from it."""
    found: dict[str, tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))
    for kind in KINDS:
        drawn = [row for one in by_seed(rows, space, kind) for row in one]
        middle = mean([score(row) for row in drawn] or [0.0])
        for row in drawn:
            for name, value in row["params"].items():
                full = f"{space}.{name}"
                if full in belief.axes:
                    away = is_away(belief.axes[full], distributions(space)[full], value)
                    found[name][away].append(score(row) - middle)
    return found


def difference(near: list[float], away: list[float]) -> str:
    """How much better samples are away from the default, with its standard error."""
    if min(len(near), len(away)) < FEWEST:
        return ""
    error = (np.var(near, ddof=1) / len(near) + np.var(away, ddof=1) / len(away)) ** 0.5
    return f"{mean(away) - mean(near):+.1f} +- {error:.1f} ({len(away)})"


def departure_lines(rows: Rows, belief_of: Callable[[str], Belief]) -> list[str]:
    """The second table: a row a parameter, what hurts most first; a column a space."""
    spaces = list(dict.fromkeys(key.split()[0] for key in rows))
    found = {space: departures(rows, space, belief_of(space)) for space in spaces}
    names = list(dict.fromkeys(name for one in found.values() for name in one))
    lines = []
    for name in names:
        sides = [found[space].get(name, ([], [])) for space in spaces]
        near, away = ([value for side in sides for value in side[i]] for i in (0, 1))
        if not difference(near, away):
            continue
        each = [difference(*side) for side in sides]
        lines.append((mean(away) - mean(near), [f"`{name}`", difference(near, away), *each]))
    lines.sort(key=lambda line: line[0])
    header = ["away from its default", "all", *spaces]
    return [table(header, [line for _, line in lines])] if lines else []


def about(head: Mapping[str, Any], rows: Rows) -> str:
    """What was done, and on what."""
    task, where = head["task"], head["machine"]
    failed = sum("failed" in row for row in rows.values())
    return (
        f"`{head['command']}` on {where['processor']}, {head['precision']}, torch "
        f"{where['torch']}: random samples of a space by what it believes, and evenly, with "
        f"networks of one small size, trained for {task['epochs']} epochs on {task['images']:,} "
        f"images, {task['samples']} samples a seed. Per cent of 4,000 validation images, once a "
        "training; the best of a seed is chosen by 2,000 others. Means over the sampling seeds +- "
        "their standard error; the known-good point has five seeds. Behind a semicolon: minus that "
        "point with the batch size that is believed in where there are few steps, not its own. Of "
        f"{len(rows):,} trainings {failed} diverged and count as {100 * GUESS:.0f} %."
    )


SECOND = (
    "How much better (+) or worse (-) samples are where a parameter is away from its default: "
    "another choice, or a number more than a fifth of its range from it. Scores less the mean "
    "of their space and kind; points +- standard error (samples away). The samples differ in "
    "everything else too, so that this is what departures cost among others, not alone."
)


def report(head: Mapping[str, Any], rows: Rows, belief_of: Callable[[str], Belief]) -> str:
    """Both tables, as Markdown."""
    lines = [
        "# Random samples by what a space believes, and without\n",
        fill(about(head, rows), 100) + "\n",
        *sample_lines(rows),
    ]
    departed = departure_lines(rows, belief_of)
    if departed:
        lines += ["\n## Which departures hurt\n", fill(SECOND, 100) + "\n", *departed]
    return "\n".join(lines) + "\n"
