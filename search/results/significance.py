"""How sure one can be that one configuration beats another, and how good the best really is.

Scores (K, N) say for each of K configurations which share of its runs got validation image n right:
0 or 1 where there was one run.
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
    """How much accuracy depends on the seed: `variance` is that of a single run.

    `runs` is how many a mean is taken over, `degrees` are the degrees of freedom that the variance
    was estimated with, 0 where each configuration has a single run.
    """

    variance: float = 0.0
    degrees: int = 0
    runs: int = 1

    @property
    def of_mean(self) -> float:
        """The variance of a mean over `runs` seeds."""
        return self.variance / self.runs


NO_NOISE = SeedNoise()
"""For statements about these very runs, whatever other seeds would do."""


def seed_noise(accuracies: Sequence[Sequence[float]]) -> SeedNoise:
    """The noise of seeds, from accuracies (K, M) of K configurations with M runs each.

    Two or three runs tell little about one configuration's variance, so one variance is pooled over
    all, as in an analysis of variance. A configuration with a run that diverged (accuracy 0) is
    left out, as it says nothing about the others.
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
    the discordant counts over the root of their sum. With several runs each image's difference of
    means takes the place of the counts, its sign being equally likely either way. The variance that
    other seeds would bring is added, with degrees of freedom by Satterthwaite (Biometrics Bulletin
    2:110, 1946). What depends on seed and image together is counted twice: p is rather too high.
    """
    from scipy.special import stdtr

    differences = np.asarray(ours, dtype=np.float64) - theirs
    of_images = float((differences**2).sum()) / len(differences) ** 2
    of_seeds = 2 * noise.of_mean
    if of_images + of_seeds == 0:
        return 1.0
    statistic = abs(float(differences.mean())) / math.sqrt(of_images + of_seeds)
    # Student's t of infinitely many degrees is the normal distribution.
    degrees = noise.degrees * ((of_images + of_seeds) / of_seeds) ** 2 if of_seeds else math.inf
    return 2 * float(stdtr(degrees, -statistic))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values adjusted for being several (Holm, Scand. J. Statist. 6:65, 1979)."""
    values = np.asarray(p_values, dtype=np.float64)
    order = values.argsort(kind="stable")
    adjusted = np.empty_like(values)
    adjusted[order] = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    return [float(p) for p in np.minimum(adjusted, 1.0)]


def simultaneous_interval(correct: int, total: int, compared: int) -> tuple[float, float]:
    """Wilson's interval, wide enough to hold for all `compared` configurations at once.

    By Bonferroni's correction (Dunn, JASA 56:52, 1961) the true accuracy of whichever is called
    best is inside with a probability of at least 95 %.
    """
    tail = (1 - CONFIDENCE) / 2 / max(1, compared)
    return wilson_interval(correct, total, NormalDist().inv_cdf(1 - tail))


def corrected_best(
    scores: Scores, noise: SeedNoise = NO_NOISE, seed: int = 0
) -> tuple[float, tuple[float, float]]:
    """The accuracy, by scores (K, N), of the best configuration without the luck of being picked.

    Bootstrap bias correction (BBC-CV, Tsamardinos, Greasidou and Borboudakis, Machine Learning
    107:1895, 2018, algorithm 3): the best is picked on images drawn with replacement and scored on
    those that were not drawn, over and over. Given back are the mean of these scores and the
    interval of their middle 95 %, widened by what other seeds would bring: the half-widths are
    added in squares.
    """
    from scipy.special import stdtrit

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
    centre = float(estimates.mean())
    # Half of Student's interval of a mean over seeds.
    quantile = float(stdtrit(noise.degrees, (1 + CONFIDENCE) / 2)) if noise.degrees else 0.0
    of_seeds = quantile * math.sqrt(noise.of_mean)
    low, high = (math.hypot(float(tail) - centre, of_seeds) for tail in tails)
    return centre, (max(0.0, centre - low), min(1.0, centre + high))
