"""How sure one can be that one configuration beats another, and how good the best really is.

Shapes: scores (K, N): for each of K configurations the share of its runs that got validation image
n right; 0 or 1 where there was one run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmnist_models.metrics import wilson_interval

BOOTSTRAPS = 2000
AT_ONCE = 100
CONFIDENCE = 0.95

Scores = NDArray[np.floating[Any]]


def paired_p_value(ours: Scores, theirs: Scores) -> float:
    """Two-sided p of equal accuracy on the same images: scores (N,) each.

    With one run each this is McNemar's test (Psychometrika 12:153, 1947): z is the difference of
    the discordant counts over the root of their sum. With several, its natural extension: each
    image's difference of means, tested against equally likely signs. It takes the runs as given:
    what other seeds would do is in the deviations, not in this p.
    """
    differences = np.asarray(ours, dtype=np.float64) - theirs
    spread = math.sqrt(float((differences**2).sum()))
    if spread == 0:
        return 1.0
    return math.erfc(abs(float(differences.sum())) / spread / math.sqrt(2))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values adjusted for being several (Holm, Scand. J. Statist. 6:65, 1979)."""
    adjusted, highest = [0.0] * len(p_values), 0.0
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = highest
    return adjusted


def simultaneous_interval(correct: int, total: int, compared: int) -> tuple[float, float]:
    """Wilson's interval, wide enough to hold for all `compared` configurations at once.

    Bonferroni's correction (Dunn, JASA 56:52, 1961): whichever of them is called best, its true
    accuracy on new images is inside with at least 95 %.
    """
    tail = (1 - CONFIDENCE) / 2 / max(1, compared)
    return wilson_interval(correct, total, NormalDist().inv_cdf(1 - tail))


def corrected_best(scores: Scores, seed: int = 0) -> tuple[float, tuple[float, float]]:
    """The accuracy of the best of K configurations without the luck of being picked: scores (K, N).

    Bootstrap bias correction (BBC-CV, Tsamardinos, Greasidou and Borboudakis, Machine Learning
    107:1895, 2018, algorithm 3): the best is picked on images drawn with replacement and scored on
    those that were not drawn, over and over; the mean, and the middle 95 %.
    """
    values = np.asarray(scores, dtype=np.float64)
    count = values.shape[1]
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(BOOTSTRAPS // AT_ONCE):
        drawn = generator.multinomial(count, np.full(count, 1 / count), size=AT_ONCE)
        picked = (drawn @ values.T).argmax(1)
        left = drawn == 0
        sums = (left * values[picked]).sum(1)
        found.append(sums / np.maximum(left.sum(1), 1))
    estimates = np.concatenate(found)
    low, high = np.quantile(estimates, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(estimates.mean()), (float(low), float(high))
