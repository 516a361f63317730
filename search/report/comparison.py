"""Studies side by side: how good each was after as many epochs, and as many seconds, as the others.

A study counts with the best value that a trial had run to its end with when the study's trials had
trained so many epochs, or seconds, together; a trial counts when it ends. Several studies that
differ in their seeds alone are one arm: their mean counts.

Two arms of as many studies each are compared by Student's paired t-test over seeds, arms of several
by Welch's (Biometrika 34:28, 1947). One study says nothing about other seeds: there it is the
validation images that pair the two, see `recommendation.probability_better`, with an allowance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from statistics import fmean, stdev, variance
from typing import Any, Literal

import numpy as np

from fmnist_models.training.metrics import wilson_interval
from search.errors import UsageError
from search.quantities import describe
from search.report.study_data import StudyRuns, in_utc
from search.results.recommendation import probability_better
from search.results.significance import CONFIDENCE, holm

Axis = Literal["epochs", "seconds"]
AXES: tuple[Axis, ...] = ("epochs", "seconds")
PARTS = (0.25, 0.5, 1.0)
"""Of the most that all studies have trained: where they are compared."""
OF_ENVIRONMENT = ("device_name", "precision", "cpus", "commit", "code_digest", "packages")


@dataclass(frozen=True)
class Progress:
    """What a study had trained in all when a trial ended, and its best then, in that order."""

    epochs: Sequence[float]
    seconds: Sequence[float]
    best: Sequence[float]

    def reached(self, axis: Axis, budget: float) -> float | None:
        """The best value within a budget; None where no trial had run to its end."""
        ended = int(np.searchsorted(getattr(self, axis), budget * (1 + 1e-9), side="right"))
        best = self.best[ended - 1] if ended else -math.inf
        return best if math.isfinite(best) else None


@dataclass(frozen=True)
class Arm:
    """One side of a comparison: a study, or several that differ in their seeds, by rising seed."""

    label: str
    studies: Sequence[StudyRuns]

    @classmethod
    def of(cls, label: str, studies: Sequence[StudyRuns]) -> Arm:
        """An arm, its studies put into the order of their seeds, which pairs them with others'."""
        return cls(label, sorted(studies, key=lambda study: _seed(study)))

    @cached_property
    def progress(self) -> list[Progress]:
        """How each study went."""
        return [_progress(study) for study in self.studies]


@dataclass(frozen=True)
class Standing:
    """An arm at a budget: mean accuracy with its 95 % interval, and its lead over the first arm.

    `p` is two-sided, `p_holm` adjusted for the arms being several; all None where unknown.
    """

    axis: Axis
    budget: float
    arm: str
    studies: int
    accuracy: float | None
    interval: tuple[float, float] | None
    lead: float | None = None
    p: float | None = None
    p_holm: float | None = None
    test: str = ""


@dataclass(frozen=True)
class Comparison:
    """Arms with their standings, by axis and rising budget, and the settings in which they differ.

    `differences`: a setting's name, and its values in each arm.
    """

    arms: Sequence[Arm]
    standings: Sequence[Standing]
    differences: Sequence[tuple[str, ...]]


def compare(arms: Sequence[Arm]) -> Comparison:
    """Compare the first arm with each other one.

    Raises UsageError where accuracies cannot be compared, as data or validation images differ, and
    where a study has nothing to compare.
    """
    studies = [study for arm in arms for study in arm.studies]
    for of_all, name in ((_data, "data (digests)"), (_images, "validation images")):
        found = {study.name: of_all(study) for study in studies}
        if len(set(found.values())) > 1:
            listed = ", ".join(f"{study} {str(value)[:12]}" for study, value in found.items())
            raise UsageError(
                f"these studies differ in their {name}, so no accuracy of one can be "
                f"compared with another's: {listed}"
            )
    images = _images(studies[0])
    standings = []
    for axis in AXES:
        most = min(_total(arm, i, axis) for arm in arms for i in range(len(arm.studies)))
        for part in PARTS:
            budget = float(math.floor(part * most)) if axis == "epochs" else part * most
            standings += _standings(arms, axis, budget, images)
    return Comparison(arms, standings, _differences(arms))


def _seed(study: StudyRuns) -> int:
    return int(str(study.launches[0].settings.get("seed", 0)))


def _data(study: StudyRuns) -> Any:
    return study.identity.get("data_digest")


def _images(study: StudyRuns) -> int:
    return int(str(study.launches[0].environment.get("validation_images", 0)))


def _total(arm: Arm, place: int, axis: Axis) -> float:
    totals: Sequence[float] = getattr(arm.progress[place], axis)
    if not totals or totals[-1] == 0:
        study = arm.studies[place].name
        raise UsageError(f"study {study!r} has no trial that has ended; leave it out, or search on")
    return totals[-1]


def _progress(study: StudyRuns) -> Progress:
    ended = [trial for trial in study.trials if trial.datetime_complete]
    ended.sort(key=lambda trial: (in_utc(trial.datetime_complete), trial.number))
    counted = {trial.number: trial.value or 0.0 for trial in study.complete}
    own = [study.own_epochs(trial.number) for trial in ended]
    values = (counted.get(trial.number, -math.inf) for trial in ended)
    return Progress(
        epochs=list(accumulate(len(epochs) for epochs in own)),
        seconds=list(accumulate(study.seconds(trial.number) for trial in ended)),
        best=list(accumulate(values, max)),
    )


def _standings(arms: Sequence[Arm], axis: Axis, budget: float, images: int) -> list[Standing]:
    reached = [[one.reached(axis, budget) for one in arm.progress] for arm in arms]
    # An arm counts when each of its studies has a value: else only its quick ones would.
    values = [[v for v in found if v is not None and None not in found] for found in reached]
    tests = [_p_value(values[0], other, images) for other in values[1:]]
    p_values = [p for p, _ in tests if p is not None]
    adjusted = iter(holm(p_values))
    standings = []
    for place, (arm, found) in enumerate(zip(arms, values, strict=True)):
        p, test = tests[place - 1] if place else (None, "")
        standings.append(
            Standing(
                axis=axis,
                budget=budget,
                arm=arm.label,
                studies=len(arm.studies),
                accuracy=fmean(found) if found else None,
                interval=_interval(found, images) if found else None,
                lead=fmean(found) - fmean(values[0]) if place and found and values[0] else None,
                p=p,
                p_holm=next(adjusted) if p is not None else None,
                test=test,
            )
        )
    return standings


def _interval(values: Sequence[float], images: int) -> tuple[float, float] | None:
    """Of one study Wilson's, for its model; of several Student's, for the mean over seeds."""
    if len(values) == 1:
        return wilson_interval(round(values[0] * images), images) if images else None
    from scipy.special import stdtrit

    half = (
        float(stdtrit(len(values) - 1, (1 + CONFIDENCE) / 2))
        * stdev(values)
        / math.sqrt(len(values))
    )
    return max(0.0, fmean(values) - half), min(1.0, fmean(values) + half)


def _p_value(
    ours: Sequence[float], theirs: Sequence[float], images: int
) -> tuple[float | None, str]:
    """The two-sided p of equal accuracy, and by which test; None where it cannot be told."""
    if not ours or not theirs:
        return None, ""
    if min(len(ours), len(theirs)) == 1:
        if not images:
            return None, ""
        better = probability_better([fmean(ours)], fmean(theirs), images)
        return 2 * min(better, 1 - better), "same images"
    from scipy.special import stdtr

    if len(ours) == len(theirs):
        differences = [a - b for a, b in zip(ours, theirs, strict=True)]
        error, degrees, test = variance(differences) / len(ours), len(ours) - 1.0, "paired t"
    else:
        first, second = variance(ours) / len(ours), variance(theirs) / len(theirs)
        error, test = first + second, "Welch"
        below = first**2 / (len(ours) - 1) + second**2 / (len(theirs) - 1)
        degrees = error**2 / below if below else 1.0
    lead = abs(fmean(ours) - fmean(theirs))
    if error == 0:
        return (0.0 if lead else 1.0), test
    return 2 * float(stdtr(degrees, -lead / math.sqrt(error))), test


def _differences(arms: Sequence[Arm]) -> list[tuple[str, ...]]:
    of_studies = [[_settings(study) for study in arm.studies] for arm in arms]
    names = dict.fromkeys(name for arm in of_studies for one in arm for name in one)
    rows = []
    for name in names:
        values = [list(dict.fromkeys(one.get(name, "-") for one in arm)) for arm in of_studies]
        if len({value for arm in values for value in arm}) > 1:
            rows.append((name, *(", ".join(arm) for arm in values)))
    return rows


def _settings(study: StudyRuns) -> dict[str, str]:
    """What the first launch was told and ran on, and what all trials of the study share."""
    first = study.launches[0]
    environment: dict[str, Any] = {k: first.environment.get(k) for k in OF_ENVIRONMENT}
    packages = environment.pop("packages", None)
    environment.update(packages if isinstance(packages, dict) else {})
    told = {name: value for name, value in first.settings.items() if name != "study"}
    merged = {**told, **study.identity, **environment}
    return {name: _said(value) for name, value in merged.items()}


def _said(value: Any) -> str:
    if isinstance(value, dict) and "model" in value:
        return describe(value)
    return "not set" if value is None else str(value)
