"""The page of a study: one file, which opens without a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from markupsafe import Markup
from matplotlib.figure import Figure

from fmnist_models.report.charts import svg
from fmnist_models.report.html import render
from search.errors import UsageError
from search.quantities import duration, percent
from search.report import figures
from search.report.answer import answer, commands, environment_rows
from search.report.findings import (
    Importance,
    budget_shares,
    importances,
    rung_counts,
)
from search.report.study_data import StudyData
from search.schedulers.rank_correlation import correlation_line, grace_period_warning
from search.trials.retry_chain import KNOWN_GOOD

CONTENTS = {
    "history": "Accuracy over time",
    "budget": "Budget",
    "importances": "What mattered",
    "slices": "By parameter",
    "rungs": "Early stopping",
    "points": "Starting points",
    "failures": "Failures",
    "environment": "Environment",
    "again": "Again",
}
CAPTIONS = {
    "history": "Each dot is a trial at its end, the line the best that ran to its end so far, the "
    "band the best one's 95 % interval. Values far below the better ones lie outside of the "
    "picture. Time between launches does not count.",
    "budget": "Seconds that all trials trained and validated; in brackets how many trials.",
    "importances": "Shares of the parameters that matter most.",
    "rungs": "Each dot is a trial that was compared at a rung with those before it; a trial below "
    "the cut-off of that moment was stopped. Starting points go on in any case.",
}
MOST_POINTS = 30
Cells = Sequence[tuple[str, ...]]


@dataclass(frozen=True)
class Part:
    """A figure of the page with its caption; without a `drawing` it is `missing` for a reason."""

    name: str
    caption: str
    drawing: Markup | None = None
    missing: str = ""


def study_page(data: StudyData) -> str:
    """The page as HTML."""
    found, why = _importances(data)
    drawn = {
        name: _part(name, caption, partial(figures.figure, data, name))
        for name, caption in CAPTIONS.items()
        if name != "importances"
    }
    bars = Part("importances", CAPTIONS["importances"], missing=why)
    if found:
        bars = _part(bars.name, bars.caption, partial(figures.importance_bars, data, found))
    slices = [
        _part(f"slice-{i}", one.meaning, partial(figures.one_slice, data, one.name))
        for i, one in enumerate(found[: figures.SLICES])
    ]
    environment = data.launches[-1].environment
    correlations = data.summary.rung_correlations
    return render(
        "study_report.html",
        package="search",
        data=data,
        headline=_headline(data),
        subtitle=_subtitle(data),
        contents=CONTENTS.items(),
        answer=answer(data),
        warning=grace_period_warning(correlations),
        figures={**drawn, "importances": bars},
        budget=_budget(data),
        importances=[(one.name, f"{one.share:.3f}", one.meaning) for one in found],
        slices=slices,
        rungs=_rungs(data),
        correlations=[correlation_line(one) for one in correlations],
        points=_points(data),
        failures=_failures(data),
        environment=environment_rows(data),
        launches=_launches(data),
        made_by={
            "commit": environment.get("commit"),
            "digest of the code": environment.get("code_digest"),
            "digest of the data": data.identity.get("data_digest"),
        },
        commands=commands(data),
    )


def _importances(data: StudyData) -> tuple[list[Importance], str]:
    try:
        return importances(data), ""
    except UsageError as error:
        return [], str(error)


def _part(name: str, caption: str, draw: Callable[[], Figure]) -> Part:
    try:
        return Part(name, caption, svg(draw(), name, caption))
    except UsageError as error:
        return Part(name, caption, missing=str(error))


def _headline(data: StudyData) -> str:
    best = data.summary.best
    return f"{percent(best.validation_accuracy)} at best" if best else "No trial at its end yet"


def _subtitle(data: StudyData) -> str:
    counts = ", ".join(f"{n} {state.lower()}" for state, n in data.summary.trials.items() if n)
    space, last = data.identity.get("space"), data.launches[-1].heartbeat_at
    about = f"Space {space}; {len(data.trials)} trials: {counts}."
    return f"{about} Last heard of {last:%Y-%m-%d %H:%M} UTC."


def _budget(data: StudyData) -> Cells:
    shares = budget_shares(data)
    total = sum(share.seconds for share in shares) or 1.0
    return [
        (s.label, f"{s.trials:,}", duration(s.seconds), f"{100 * s.seconds / total:.1f} %")
        for s in shares
    ]


def _rungs(data: StudyData) -> Cells:
    rows = []
    for one in rung_counts(data):
        cutoffs = percent(one.first_cutoff), percent(one.last_cutoff)
        rows.append((str(one.rung), f"{one.reached:,}", f"{one.stopped:,}", *cutoffs))
    return rows


def _points(data: StudyData) -> Cells:
    best = data.summary.best
    tried = [t for t in data.trials if KNOWN_GOOD in t.user_attrs]
    ranked = sorted(tried, key=lambda t: -1.0 if t.value is None else t.value, reverse=True)
    rows = []
    for trial in ranked[:MOST_POINTS]:
        behind = "-"
        if best and trial.value is not None:
            behind = f"{100 * (best.validation_accuracy - trial.value):.2f} points"
        name = str(trial.user_attrs[KNOWN_GOOD])
        rows.append((name, str(trial.number), trial.state.name, percent(trial.value), behind))
    return rows


def _failures(data: StudyData) -> Cells:
    failed = [share for share in budget_shares(data) if share.kind == "failed"]
    return [
        (s.label, f"{s.trials:,}", duration(s.seconds), s.example or "none was given")
        for s in failed
    ]


def _launches(data: StudyData) -> Cells:
    rows = []
    for launch in data.launches:
        end = launch.ended_at or launch.heartbeat_at
        took = duration((end - launch.started_at).total_seconds())
        host, outcome = launch.host.partition(" ")[0], launch.outcome or "at work, or silent"
        rows.append((f"{launch.started_at:%Y-%m-%d %H:%M}", took, host, outcome))
    return rows
