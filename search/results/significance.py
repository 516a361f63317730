"""How sure one can be that one configuration beats another, and how good the best really is.

Shapes: scores (K, N): for each of K configurations the share of its runs that got validation image
n right; 0 or 1 where there was one run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmnist_models.training.metrics import wilson_interval

BOOTSTRAPS = 2000
AT_ONCE = 100
CONFIDENCE = 0.95

Scores = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class SeedNoise:
    """How much accuracy depends on the seed: the variance of one run's, of `runs` in a mean.

    `degrees` of freedom that the variance was estimated with; 0 where each has a single run.
    """

    variance: float = 0.0
    degrees: int = 0
    runs: int = 1

    @property
    def of_mean(self) -> float:
        """The variance of a mean over `runs` seeds."""
        return self.variance / self.runs


NO_NOISE = SeedNoise()
"""Runs taken as they are: what other seeds would do is not asked."""


def seed_noise(accuracies: Sequence[Sequence[float]]) -> SeedNoise:
    """The noise of seeds in accuracies (K, M) of K configurations, M runs each: one for all.

    Two or three runs tell little of one configuration's own, so it is pooled, as in an analysis of
    variance. A configuration with a run that diverged (accuracy 0) says nothing about the others.
    """
    runs = len(accuracies[0])
    groups = [group for group in accuracies if min(group) > 0]
    if runs < 2 or not groups:
        return SeedNoise(runs=runs)
    variance = sum(np.var(group, ddof=1) for group in groups) / len(groups)
    return SeedNoise(float(variance), len(groups) * (runs - 1), runs)


def paired_p_value(ours: Scores, theirs: Scores, noise: SeedNoise = NO_NOISE) -> float:
    """Two-sided p of equal accuracy on the same images: scores (N,) each.

    With one run each this is McNemar's test (Psychometrika 12:153, 1947): z is the difference of
    the discordant counts over the root of their sum. With several, its natural extension: each
    image's difference of means, tested against equally likely signs, and the variance that other
    seeds would bring on top, with degrees of freedom by Satterthwaite (Biometrics Bulletin 2:110,
    1946). Where seeds and images interact that is counted twice, which errs on the careful side.
    """
    differences = np.asarray(ours, dtype=np.float64) - theirs
    of_images = float((differences**2).sum()) / len(differences) ** 2
    of_seeds = 2 * noise.of_mean
    if of_images + of_seeds == 0:
        return 1.0
    statistic = abs(float(differences.mean())) / math.sqrt(of_images + of_seeds)
    if not of_seeds:
        return math.erfc(statistic / math.sqrt(2))
    return 2 * _tail((of_images + of_seeds) ** 2 / (of_seeds**2 / noise.degrees), statistic)


def _tail(degrees: float, statistic: float) -> float:
    """The chance that Student's t is above `statistic`."""
    from scipy.special import stdtr

    return float(stdtr(degrees, -statistic))


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


def corrected_best(
    scores: Scores, noise: SeedNoise = NO_NOISE, seed: int = 0
) -> tuple[float, tuple[float, float]]:
    """The accuracy of the best of K configurations without the luck of being picked: scores (K, N).

    Bootstrap bias correction (BBC-CV, Tsamardinos, Greasidou and Borboudakis, Machine Learning
    107:1895, 2018, algorithm 3): the best is picked on images drawn with replacement and scored on
    those that were not drawn, over and over; the mean, and the middle 95 %, which is widened by
    what other seeds would bring (the two half-widths added in squares).
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
    tails = np.quantile(estimates, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    centre, of_seeds = float(estimates.mean()), _half_width(noise)
    low, high = (math.hypot(float(tail) - centre, of_seeds) for tail in tails)
    return centre, (max(0.0, centre - low), min(1.0, centre + high))


def _half_width(noise: SeedNoise) -> float:
    """Half the width of Student's interval of a mean over seeds."""
    if not noise.degrees:
        return 0.0
    from scipy.special import stdtrit

    quantile = float(stdtrit(noise.degrees, (1 + CONFIDENCE) / 2))
    return quantile * math.sqrt(noise.of_mean)
