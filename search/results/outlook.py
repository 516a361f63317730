"""Whether another trial is worth the time that it takes from final training.

Of a total time, what the search takes final training has not. Where samples come near the best
again and again and none beats it, as where known-good points were tuned for the task, going on
costs more than it brings; and a trial that would not end before the search has to brings nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, log
from statistics import fmean

from fmnist_models.training.size_law import NetworkSize
from search.planning.plan import NETWORK
from search.quantities import duration
from search.results.final_training import FinalTraining, Tried, final_training, search_seconds
from search.results.law_check import as_borne_out
from search.trials.enough import Verdict
from search.trials.retry_chain import KNOWN_GOOD
from storage import Launch, StudyStore

FEWEST = 8
"""Samples of which something can be told; after fewer the search goes on."""
LEAST_ERROR = 1e-6


@dataclass(frozen=True)
class Outlook:
    """Which shares of final training's error another trial is expected to take off, and to add."""

    gain: float
    loss: float


def why_enough(store: StudyStore, remaining: float) -> Verdict | None:
    """Why no other trial is worth its time; None where one is, or nothing can be told.

    remaining: seconds until the search has to end.
    """
    launches = store.launches.all()
    total = launches[-1].settings.get("total_seconds")
    if not isinstance(total, int | float):
        return None
    least = _least_seconds(store)
    if least is not None and least > remaining:
        reason = (
            f"none has ended in under {duration(least)} here, and {duration(remaining)} are left"
        )
        return Verdict(f"no more trials: {reason}", all_end=True)
    found = outlook(store, launches, total)
    if found is None or found.gain > found.loss:
        return None
    return Verdict(
        f"no more trials: another is expected to take {100 * found.gain:.2g} % off the error of "
        f"the best, and its time, missing in final training, to add {100 * found.loss:.2g} %",
        all_end=False,
    )


def _least_seconds(store: StudyStore) -> float | None:
    """How long the fastest of the COMPLETE trials trained; None where there is none."""
    seconds = dict.fromkeys((number for number, _ in store.complete()), 0.0)
    for row in store.epochs():
        if row.number in seconds:
            seconds[row.number] += row.seconds
    return min(seconds.values(), default=None)


def outlook(store: StudyStore, launches: Sequence[Launch], total: float) -> Outlook | None:
    """That of the trial that would be begun now; None while too few samples have ended.

    total: seconds of the search and final training together.
    """
    complete = store.complete()
    # Of one that was stopped, what it was expected to end at.
    ended = {row.number: row.value for row in store.decisions() if row.action == "stop"}
    ended |= dict(complete)
    points = store.attributes(KNOWN_GOOD)
    samples = [value for number, value in ended.items() if number not in points]
    final, searched = final_training(store), search_seconds(launches)
    if final is None or not complete or len(samples) < FEWEST or not 0 < searched < total:
        return None
    number, best = complete[0]
    size = NetworkSize.of(store.attribute(number, NETWORK))
    tried = Tried(best, store.configs()[number], size)
    final = as_borne_out(final, store, complete)
    loss = loss_of_time(final, tried, total - searched, searched / len(ended))
    return Outlook(expected_gain(samples, best), loss)


def expected_gain(samples: Sequence[float], best: float) -> float:
    """The share of the error of `best` that one more sample is expected to take off.

    As if samples were drawn alike, and the logarithms of their better half's errors had an
    exponential tail, whose mean is known from the k others of that half alone: of n + 1 samples the
    last is the best with a probability of 1 / (n + 1), and its lead has the predictive distribution
    (1 + lead / (k mean))^-k, which fewer samples make wider.
    """
    errors = sorted(_log_error(value) for value in samples)
    first, *others = errors[: ceil(len(errors) / 2)]
    k, mean = len(others), fmean(others) - first
    behind = max(0.0, first - _log_error(best))
    if mean <= 0:
        return 0.0
    lead = k / (k - 1) * mean * (1 + behind / (k * mean)) ** (1 - k)
    return lead / (len(errors) + 1)


def loss_of_time(final: FinalTraining, tried: Tried, left: float, seconds: float) -> float:
    """The share by which the error grows in final training of `left` less `seconds`."""

    def error(time: float) -> float:
        of_time = replace(final, times=final.times * time / final.seconds)
        return max(LEAST_ERROR, 1 - of_time.expected(tried).accuracy)

    return error(max(1.0, left - seconds)) / error(left) - 1


def _log_error(accuracy: float) -> float:
    return log(max(LEAST_ERROR, 1 - accuracy))
