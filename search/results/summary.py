"""What a study has come to: counts, the best configuration, how far to trust its value."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from math import isfinite

from pydantic import JsonValue

from fmnist_models.config.base import Config, Probability
from fmnist_models.training.metrics import wilson_interval
from fmnist_models.training.size_law import NetworkSize
from search.errors import NoResultError
from search.planning.plan import NETWORK
from search.quantities import describe, percent
from search.results.final_training import Expected, FinalTraining, Tried, final_training
from search.results.law_check import as_borne_out
from search.results.recommendation import Candidate, recommend
from search.schedulers.rank_correlation import (
    RungCorrelation,
    correlation_line,
    grace_period_warning,
    rung_correlations,
)
from search.schedulers.stored_rungs import root_of
from search.trials.foresight import Foresight
from search.trials.retry_chain import INTERRUPTED, KNOWN_GOOD
from storage import OUTSIDE, StudyStore

STATES = ("RUNNING", "COMPLETE", "PRUNED", "FAIL", "WAITING")


class ScoredTrial(Config):
    """What a COMPLETE trial came to.

    `interval` is Wilson's at 95 %, for this one model: it leaves out the luck of being the best of
    many, which only fresh seeds or the test set show.
    """

    number: int
    validation_accuracy: Probability
    interval: tuple[float, float]
    config: dict[str, JsonValue]


class Recommendation(Config):
    """The trial to train to the end, with why in words: see recommendation.py.

    `probability` is that of the best sample being truly better than the best known-good point;
    None where one of the two is missing. Its network is to be so many times `wider` than it was
    tried.
    """

    trial: ScoredTrial
    wider: float
    probability: Probability | None
    reason: str


class Summary(Config):
    """A study's state as `status` and the end of a search show it.

    `trials` are counts by state; `interrupted` of those in FAIL were given up through no fault of
    theirs and queued again. `from_outside` more were ended by others, through Optuna's API or a
    dashboard, and count for nothing. `known_good` is the best value of the space's known-good
    points, with which the search is compared; None where none of them ran all its epochs.
    `rung_correlations` are those of the last launch's rungs, of the values that are compared there.
    `recommended` is what is exported.
    """

    study: str
    trials: dict[str, int]
    interrupted: int
    from_outside: int
    epochs_trained: int
    best: ScoredTrial | None
    known_good: float | None
    known_good_number: int | None
    recommended: Recommendation | None
    rung_correlations: list[RungCorrelation]


def summarize(store: StudyStore) -> Summary:
    """The summary of a study as its database stands now."""
    counts, complete = store.counts(), store.complete()
    points = store.attributes(KNOWN_GOOD)
    known_good = next((trial for trial in complete if trial[0] in points), None)
    return Summary(
        study=store.name,
        trials={state: counts.get(state, 0) for state in STATES},
        interrupted=min(len(store.attributes(INTERRUPTED)), counts.get("FAIL", 0)),
        from_outside=counts.get(OUTSIDE, 0),
        epochs_trained=store.epoch_count(),
        best=_scored(store, *complete[0]) if complete else None,
        known_good=known_good[1] if known_good else None,
        known_good_number=known_good[0] if known_good else None,
        recommended=_recommendation(store, complete, points),
        rung_correlations=_correlations(store),
    )


def no_result(store: StudyStore) -> NoResultError:
    """What is raised where a study has no COMPLETE trial."""
    return NoResultError(f"study {store.name!r} has no completed trial to export; search longer")


def _correlations(store: StudyStore) -> list[RungCorrelation]:
    rungs = store.rungs()
    if not rungs:
        return []
    epochs = sorted({*rungs, max(rungs[-1], store.longest())})
    retry_of, final = store.retries(), final_training(store)
    foresight = Foresight(store, final.train_images) if final else None
    curves: dict[int, dict[int, float]] = {}
    for number, epoch, value in store.accuracies_at(epochs):  # what a repeat trained anew counts
        if isfinite(value):
            expected = foresight.at_end(number, epoch, value) if foresight else value
            curves.setdefault(root_of(number, retry_of), {})[epoch] = expected
    return rung_correlations(curves.values(), epochs)


def _recommendation(
    store: StudyStore, complete: Sequence[tuple[int, float]], points: Container[int]
) -> Recommendation | None:
    """What to export of the COMPLETE trials, of which those among `points` are known-good."""
    if not complete:
        return None
    final = final_training(store)
    expected = _expected(store, complete, final) if final else {}
    candidates = [
        Candidate(
            number=number,
            is_known_good=number in points,
            accuracy=expected[number].accuracy if final else value,
        )
        for number, value in complete
    ]
    images = _validation_images(store, complete[0][0])
    choice = recommend(candidates, images, final.seconds if final else None)
    if choice is None:
        return None
    wider = expected[choice.number].wider if final else 1.0
    return Recommendation(
        trial=_scored(store, choice.number, dict(complete)[choice.number]),
        wider=wider,
        probability=choice.probability,
        reason=choice.reason + _as_wider(wider),
    )


def _expected(
    store: StudyStore, complete: Sequence[tuple[int, float]], final: FinalTraining
) -> dict[int, Expected]:
    """What COMPLETE trials, number and value, come to in final training."""
    configs, sizes = store.configs(), store.attributes(NETWORK)
    final = as_borne_out(final, store, complete)
    return {
        number: final.expected(Tried(value, configs[number], NetworkSize.of(sizes.get(number))))
        for number, value in complete
    }


def _as_wider(times: float) -> str:
    if times == 1:
        return ""
    return f"; its network {times:g} times as wide, as more time is expected to be worth that"


def _validation_images(store: StudyStore, number: int) -> int:
    return int(str(environment_of(store, number)["validation_images"]))


def _scored(store: StudyStore, number: int, accuracy: float) -> ScoredTrial:
    record = store.trial_record(number)
    images = _validation_images(store, number)
    return ScoredTrial(
        number=number,
        validation_accuracy=accuracy,
        interval=wilson_interval(round(accuracy * images), images),
        config=record.config if record else {},
    )


def environment_of(store: StudyStore, number: int) -> Mapping[str, JsonValue]:
    """Hardware, versions and data of the launch that ran trial `number`."""
    record = store.trial_record(number)
    if record is None:
        return {}
    launches = {launch.id: launch for launch in store.launches.all()}
    return launches[record.launch_id or 0].environment


def summary_lines(summary: Summary) -> list[str]:
    """The summary for people, a sentence a line."""
    counts = {state.lower(): n for state, n in summary.trials.items() if n}
    if summary.interrupted:
        counts["fail"] -= summary.interrupted
        counts["interrupted and queued again"] = summary.interrupted
    counts = {state: n for state, n in counts.items() if n}
    warned = grace_period_warning(summary.rung_correlations)
    return [
        f"Study {summary.study}: "
        + ", ".join(f"{n} {state}" for state, n in counts.items())
        + f"; {summary.epochs_trained} epochs trained.",
        *_outside_lines(summary.from_outside),
        *_best_lines(summary),
        *map(correlation_line, summary.rung_correlations),
        *([warned] if warned else []),
    ]


def _outside_lines(number: int) -> list[str]:
    if not number:
        return []
    were = "trial more was" if number == 1 else "trials more were"
    return [f"{number} {were} ended from outside (by Optuna's API or a dashboard): not counted."]


def _best_lines(summary: Summary) -> list[str]:
    best = summary.best
    if best is None:
        return ["No trial has run all its epochs, so there is no best configuration yet."]
    low, high = best.interval
    lines = [
        f"Best: trial {best.number}, validation accuracy {percent(best.validation_accuracy)}, "
        f"95 % interval {percent(low)} to {percent(high)}:",
        f"    {describe(best.config)}",
        "That interval is this one model's; as the best of many it flatters a little.",
    ]
    if summary.known_good is None:
        lines.append("No known-good starting point ran to its end, to compare it with.")
    elif summary.known_good_number == best.number:
        lines.append("It is one of the known-good starting points: no sample beat it.")
    else:
        gain = 100 * (best.validation_accuracy - summary.known_good)
        lines.append(
            f"Compared with the best known-good starting point, trial {summary.known_good_number}: "
            f"{percent(summary.known_good)}, so {gain:+.2f} points."
        )
    if summary.recommended:
        trial, reason = summary.recommended.trial, summary.recommended.reason
        lines.append(f"To train: trial {trial.number}; {reason}.")
    return lines
