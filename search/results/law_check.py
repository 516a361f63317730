"""Whether a study's own curves bear out the law by which it is foretold what more passes bring.

Where part of the labels is wrong, or a task is learned by heart, errors come down less than the law
says, or not at all. The trials that ran to their end show it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import log

from search.results.final_training import FinalTraining
from search.trials.foresight import Foresight
from storage import StudyStore

EARLY = 1 / 3
"""Of a trial's epochs, after so many its error is compared with that at its end."""
DOUBT = 0.15
"""The standard deviation of an error's logarithm, of some thousand images with the luck of training
(0.045), over that of the exponent between tasks (0.3); both by hand."""


def as_borne_out(
    final: FinalTraining, store: StudyStore, complete: Iterable[tuple[int, float]]
) -> FinalTraining:
    """`final`, to believe the law as far as the COMPLETE trials, number and value, bear it out."""
    foresight = Foresight(store, final.train_images)
    return replace(final, exponent=exponent(store, complete, foresight))


def exponent(
    store: StudyStore, complete: Iterable[tuple[int, float]], foresight: Foresight
) -> float:
    """The power, 0 to 1, of what the law says is left of an error; 1 where nothing speaks against.

    By least squares over the COMPLETE trials, number and value. Errors that come down by more do
    not count for more: within a trial the learning rate falls, too.
    """
    ends, configs = dict(complete), store.configs()
    early = {n: max(1, int(EARLY * int(str(configs[n]["epochs"])))) for n in ends if n in configs}
    covariance = variance = DOUBT**2
    for number, epoch, value in store.accuracies_at(set(early.values())):
        if early.get(number) == epoch and value < 1 and ends[number] < 1:
            said = log(foresight.left(number, epoch))
            covariance += said * log((1 - ends[number]) / (1 - value))
            variance += said**2
    return min(1.0, max(0.0, covariance / variance))
