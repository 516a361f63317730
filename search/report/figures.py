"""The figures of a study, as matplotlib figures in the style of a model's report.

A figure that there is nothing to show in raises UsageError, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, PercentFormatter, StrMethodFormatter
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from fmnist_models.report.charts import BLUE, ORANGE, PALE, SOFT, STYLE
from search.errors import UsageError
from search.report.findings import (
    Importance,
    budget_shares,
    importances,
    in_words,
    rung_counts,
)
from search.report.study_data import StudyData, in_utc
from search.results.final_training import search_seconds
from search.trials.retry_chain import KNOWN_GOOD
from storage import Launch

TARGET = 0.975
"""The accuracy that the project is after."""
SIZE = (5.4, 3.4)
SLICES = 5
COLOURS = {"complete": BLUE, "stopped": PALE, "failed": ORANGE, "unfinished": SOFT}


def history(data: StudyData) -> Figure:
    """Accuracy over the time at work: each trial at its end, and the best so far."""
    ended = [t for t in data.trials if t.datetime_complete and 0 <= _value(t) <= 1]
    complete = [t for t in data.complete if t.datetime_complete]
    if not complete:
        raise UsageError("no trial has run all its epochs yet")
    launches, best = data.launches, data.summary.best
    with rc_context(STYLE):
        figure = Figure(figsize=SIZE, layout="constrained")
        axes = figure.subplots()
        unit, name = time_unit(max(_ends(ended, launches)))
        stopped = [t for t in ended if t.state == TrialState.PRUNED]
        for trials, colour, label in (
            (stopped, PALE, "stopped, last value"),
            (complete, BLUE, "ran to the end"),
        ):
            x, y = _ends(trials, launches) / unit, [_value(trial) for trial in trials]
            axes.plot(x, y, "o", color=colour, markersize=3.5, label=label)
        order = sorted(complete, key=lambda t: _end(t, launches))
        running = np.maximum.accumulate([_value(trial) for trial in order])
        axes.step(
            _ends(order, launches) / unit, running, where="post", color=BLUE, label="best so far"
        )
        if best:
            axes.axhspan(*best.interval, color=BLUE, alpha=0.12, linewidth=0)
        if data.points:
            start = data.points[0].value or 0.0
            axes.axhline(start, color=ORANGE, linewidth=1.4, label="starting point")
        axes.axhline(TARGET, color=SOFT, linestyle=(0, (4, 3)), linewidth=1, label="97.5 %")
        values = [_value(trial) for trial in ended]
        lowest = min(running[0], float(np.quantile(values, 0.25))) - 0.01
        axes.set_ylim(max(0.0, lowest), min(1.0, max(TARGET, *values) + 0.01))
        axes.set(xlabel=f"{name} at work", ylabel="validation accuracy")
        as_percent(axes.yaxis)
        axes.grid(True, axis="y")
        axes.legend(loc="upper center", bbox_to_anchor=(0.45, 1.28), ncols=2, fontsize=9)
    return figure


def _value(trial: FrozenTrial) -> float:
    return -1.0 if trial.value is None else trial.value


def _end(trial: FrozenTrial, launches: Sequence[Launch]) -> float:
    end = in_utc(trial.datetime_complete)
    return search_seconds(launches, end) if end else 0.0


def _ends(trials: Sequence[FrozenTrial], launches: Sequence[Launch]) -> np.ndarray:
    return np.array([_end(trial, launches) for trial in trials])


def time_unit(seconds: float) -> tuple[float, str]:
    """What a time axis counts in: seconds, minutes or hours."""
    if seconds < 300:
        return 1.0, "seconds"
    return (60.0, "minutes") if seconds < 3 * 3600 else (3600.0, "hours")


def as_percent(axis: Axis) -> None:
    """Have an axis of fractions say per cent."""
    axis.set_major_formatter(PercentFormatter(1.0, decimals=None))


def budget(data: StudyData) -> Figure:
    """The seconds of all trials, by how they ended."""
    shares = [share for share in budget_shares(data) if share.seconds > 0][:12]
    if not shares:
        raise UsageError("no trial has trained an epoch yet")
    unit, name = time_unit(max(share.seconds for share in shares))
    total = sum(share.seconds for share in shares)
    with rc_context(STYLE):
        figure = Figure(figsize=(SIZE[0], 0.9 + 0.32 * len(shares)), layout="constrained")
        axes = figure.subplots()
        labels = [f"{share.label} ({share.trials})" for share in shares]
        colours = [COLOURS[share.kind] for share in shares]
        bars = axes.barh(labels, [share.seconds / unit for share in shares], color=colours)
        parts = [f"{100 * share.seconds / total:.0f} %" for share in shares]
        axes.bar_label(bars, parts, padding=4, fontsize=9, color=SOFT)
        axes.invert_yaxis()
        axes.margins(x=0.12)
        axes.set(xlabel=f"{name} of training, all trials together")
        axes.tick_params(axis="y", length=0)
    return figure


def importance_bars(data: StudyData, known: Sequence[Importance] = ()) -> Figure:
    """The parameters that matter most, as `known` or else found now."""
    found = known or importances(data)
    with rc_context(STYLE):
        figure = Figure(figsize=(SIZE[0], 0.9 + 0.3 * len(found)), layout="constrained")
        axes = figure.subplots()
        names = [in_words(one.name) for one in found]
        bars = axes.barh(names, [one.share for one in found], color=BLUE)
        axes.bar_label(bars, [f"{one.share:.2f}" for one in found], padding=4, fontsize=9)
        axes.invert_yaxis()
        axes.margins(x=0.1)
        axes.set(xlabel="importance")
        axes.tick_params(axis="y", length=0)
    return figure


def slices(data: StudyData) -> Figure:
    """Accuracy by each of the parameters that matter most, side by side."""
    names = [one.name for one in importances(data)][:SLICES]
    with rc_context(STYLE):
        figure = Figure(figsize=(3.2 * len(names), 2.8), layout="constrained")
        for axes, name in zip(
            np.ravel([figure.subplots(1, len(names), sharey=True)]), names, strict=True
        ):
            _slice(axes, data, name)
    return figure


def one_slice(data: StudyData, name: str) -> Figure:
    """Accuracy by one parameter."""
    with rc_context(STYLE):
        figure = Figure(figsize=(3.7, 2.9), layout="constrained")
        _slice(figure.subplots(), data, name)
    return figure


def _slice(axes: Axes, data: StudyData, name: str) -> None:
    having = [trial for trial in data.complete if name in trial.params]
    distribution = having[0].distributions[name]
    values: list[float] = [t.params[name] for t in having]
    if isinstance(distribution, CategoricalDistribution):
        choices = [str(c) for c in distribution.choices]
        shift = np.random.default_rng(0).uniform(-0.2, 0.2, len(having))
        values = [
            choices.index(str(t.params[name])) + s for t, s in zip(having, shift, strict=True)
        ]
        axes.set_xticks(
            range(len(choices)), [in_words(c)[:14] for c in choices], rotation=30, ha="right"
        )
    elif getattr(distribution, "log", False):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    is_point = np.array([KNOWN_GOOD in t.user_attrs for t in having])
    x, y = np.array(values, dtype=float), np.array([_value(trial) for trial in having])
    axes.plot(x[~is_point], y[~is_point], "o", color=BLUE, markersize=3)
    axes.plot(x[is_point], y[is_point], "D", color=ORANGE, markersize=4)
    axes.set_title(in_words(name))
    as_percent(axes.yaxis)
    axes.grid(True, axis="y")


def rungs(data: StudyData) -> Figure:
    """What was compared at each rung, who was stopped there, and the last cut-off."""
    counts = rung_counts(data)
    if not counts:
        raise UsageError("the scheduler has compared no trials at rungs")
    rows = [row for row in data.decisions.values() if row.rung is not None]
    place = {count.rung: i for i, count in enumerate(counts)}
    shift = np.random.default_rng(0).uniform(-0.3, 0.3, len(rows))
    x = np.array([place[row.rung] for row in rows if row.rung is not None]) + shift
    y, stops = np.array([r.value for r in rows]), np.array([r.action == "stop" for r in rows])
    with rc_context(STYLE):
        figure = Figure(figsize=SIZE, layout="constrained")
        axes = figure.subplots()
        axes.plot(x[stops], y[stops], "o", color=PALE, markersize=3, label="stopped")
        axes.plot(x[~stops], y[~stops], "o", color=BLUE, markersize=3, label="went on")
        cutoffs = [(place[c.rung], c.last_cutoff) for c in counts if c.last_cutoff is not None]
        for i, (where, cutoff) in enumerate(cutoffs):
            label = "_" if i else "last cut-off"
            axes.hlines(cutoff, where - 0.4, where + 0.4, color=ORANGE, linewidth=2, label=label)
        names = [f"epoch {c.rung}\n{c.reached} came,\n{c.stopped} stopped" for c in counts]
        axes.set_xticks(range(len(counts)), names)
        axes.set(ylabel="validation accuracy")
        as_percent(axes.yaxis)
        axes.grid(True, axis="y")
        axes.legend(loc="upper center", bbox_to_anchor=(0.45, 1.15), ncols=3, fontsize=9)
    return figure


FIGURES: dict[str, Callable[[StudyData], Figure]] = {
    "history": history,
    "budget": budget,
    "importances": importance_bars,
    "slices": slices,
    "rungs": rungs,
}


def figure(data: StudyData, name: str) -> Figure:
    """The figure of that name, one of `FIGURES`; raises UsageError for another."""
    if name not in FIGURES:
        raise UsageError(f"no figure {name!r}; there are {', '.join(FIGURES)}")
    return FIGURES[name](data)
