"""What a study tells: where its seconds went, what mattered, what its rungs did, what failed."""

from __future__ import annotations

import warnings
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from math import ceil, isfinite
from statistics import fmean, quantiles
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from search.errors import UsageError
from search.quantities import percent
from search.report.study_data import StudyData, failure_kind

FEWEST_COMPLETE = 20
"""Importances of fewer complete trials would be mostly chance."""
FEWEST_HAVING = 10
"""A parameter that fewer complete trials have is not ranked."""
MOST_COMPARED = 500
"""Of more complete trials every second one, or third, is taken: it is a matter of seconds."""
MOST_IMPORTANCES = 10


@dataclass(frozen=True)
class Share:
    """The seconds of trials that ended alike; `kind` is complete, stopped, failed or unfinished."""

    kind: str
    label: str
    trials: int
    seconds: float
    example: str = ""


@dataclass(frozen=True)
class Importance:
    """How much a parameter matters, a fraction, and what that means, in a sentence."""

    name: str
    share: float
    meaning: str


@dataclass(frozen=True)
class RungCount:
    """How many came to a rung and were stopped there, and its cut-offs, the first and the last."""

    rung: int
    reached: int
    stopped: int
    first_cutoff: float | None
    last_cutoff: float | None


def budget_shares(data: StudyData) -> list[Share]:
    """Where the budget went: the seconds of all trials, by how they ended."""
    groups: dict[tuple[str, str], list[FrozenTrial]] = defaultdict(list)
    for trial in data.trials:
        groups[_fate(data, trial)].append(trial)
    order = ("complete", "stopped", "failed", "unfinished")
    shares = [
        Share(
            kind=kind,
            label=label,
            trials=len(trials),
            seconds=sum(data.seconds(trial.number) for trial in trials),
            example=(data.record(trials[0].number).reason or "").partition("\n")[0],
        )
        for (kind, label), trials in groups.items()
    ]
    return sorted(shares, key=lambda share: (order.index(share.kind), -share.seconds))


def _fate(data: StudyData, trial: FrozenTrial) -> tuple[str, str]:
    if trial.state == TrialState.COMPLETE:
        return "complete", "ran to the end"
    if trial.state == TrialState.PRUNED:
        return "stopped", f"stopped after epoch {trial.last_step}"
    kind = failure_kind(trial, data.record(trial.number))
    if kind is None:
        return "unfinished", trial.state.name.lower()
    return "failed", kind.replace("_", " ")


def rung_counts(data: StudyData) -> list[RungCount]:
    """The rungs at which trials were compared, ascending."""
    at_rung = defaultdict(list)
    for row in sorted(data.decisions.values(), key=lambda r: (r.created_at is None, r.created_at)):
        if row.rung is not None:
            at_rung[row.rung].append(row)
    found = []
    for rung, rows in sorted(at_rung.items()):
        cutoffs = [row.cutoff for row in rows if row.cutoff is not None and isfinite(row.cutoff)]
        found.append(
            RungCount(
                rung=rung,
                reached=len(rows),
                stopped=sum(row.action == "stop" for row in rows),
                first_cutoff=cutoffs[0] if cutoffs else None,
                last_cutoff=cutoffs[-1] if cutoffs else None,
            )
        )
    return found


def importances(data: StudyData) -> list[Importance]:
    """The parameters that matter most, by Optuna's PED-ANOVA (arXiv:2304.10255).

    No chance is in it: equal trials give equal importances. Raises UsageError where too few trials
    are complete to tell, or their parameters never differ.
    """
    if len(data.complete) < FEWEST_COMPLETE:
        raise UsageError(
            f"importances need {FEWEST_COMPLETE} complete trials, {len(data.complete)} are there"
        )
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize")
    study.add_trials(data.complete[:: ceil(len(data.complete) / MOST_COMPARED)])
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of parameters that hardly a trial has: left out below
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    having = Counter(name for trial in data.complete for name in trial.params)
    told = (pair for pair in found.items() if pair[1] > 0 and having[pair[0]] >= FEWEST_HAVING)
    ranked = list(islice(told, MOST_IMPORTANCES))
    if not ranked:
        raise UsageError("no parameter differs enough between the complete trials to matter")
    return [Importance(name, share, meaning(data.complete, name)) for name, share in ranked]


def meaning(trials: Sequence[FrozenTrial], name: str) -> str:
    """Which values of a parameter the better of `trials` have, in a sentence."""
    having = sorted((t for t in trials if name in t.params), key=lambda t: -(t.value or 0.0))
    if isinstance(having[0].distributions[name], CategoricalDistribution):
        return _of_choices(having, name)
    return _of_numbers(having, name)


def _of_choices(trials: Sequence[FrozenTrial], name: str) -> str:
    values: dict[str, list[float]] = defaultdict(list)
    for trial in trials:
        values[str(trial.params[name])].append(trial.value or 0.0)
    means = sorted(((fmean(found), choice) for choice, found in values.items()), reverse=True)
    said = [f"{choice} {percent(mean)} in {len(values[choice])}" for mean, choice in means[:3]]
    more = f", and {len(means) - 3} choices below" if len(means) > 3 else ""
    return f"Mean accuracy by choice: {', '.join(said)} trials{more}."


def _of_numbers(trials: Sequence[FrozenTrial], name: str) -> str:
    numbers = [float(trial.params[name]) for trial in trials]
    best = numbers[: max(2, len(numbers) // 4)]
    low, middle, high = quantiles(best, n=4, method="inclusive") if len(best) > 1 else best * 3
    return (
        f"The best quarter of {len(numbers)} trials is mostly between {low:.3g} and {high:.3g}, "
        f"its middle at {middle:.3g}; all are between {min(numbers):.3g} and {max(numbers):.3g}."
    )


def in_words(value: Any) -> str:
    """A value from the database as it can be drawn: printable, and no formula to matplotlib."""
    return "".join(c if c.isprintable() else "?" for c in str(value))[:60].replace("$", r"\$")
