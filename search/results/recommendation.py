"""Which configuration to train to the end: the best sample, or the known-good point it must beat.

A search that exported whatever came out highest would often hand over luck. The best sample is
taken where it is truly better with a probability of `CONFIDENCE`, else the best known-good point.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist, fmean, variance

from search.quantities import duration, percent

CONFIDENCE = 0.75
AGREEMENT = 0.7
"""Correlation, over images, of whether two good networks are right: much of the luck of the
validation images is common to both (measured: benchmarks/LOG.md)."""
SEED_DEVIATION = 0.001
"""Standard deviation of the true accuracy over seeds of one configuration; an allowance."""
LAW_DEVIATION = 0.04
"""Standard deviation of the logarithm of what an error comes to in final training over what is
expected, beyond the luck of images and seeds (measured: results/foretold.md, benchmarks/LOG.md)."""
FEWEST = 3
"""Samples from which their spread is known, and so how far luck made the best of them best."""


@dataclass(frozen=True)
class Candidate:
    """A COMPLETE trial; `accuracy` on the validation images, or as expected of final training."""

    number: int
    is_known_good: bool
    accuracy: float


@dataclass(frozen=True)
class Choice:
    """The number of the trial to train to the end, and why in words.

    `probability` is that of the best sample being truly better than the best known-good point;
    None where one of the two is missing.
    """

    number: int
    probability: float | None
    reason: str


def recommend(
    candidates: Sequence[Candidate], images: int, final_seconds: float | None = None
) -> Choice | None:
    """The one to train to its end, validated on `images`; None where there are none.

    `final_seconds`: accuracies are those expected of a final training of this length.
    """
    ranked = sorted(candidates, key=lambda one: (-one.accuracy, one.number))
    points = [one for one in ranked if one.is_known_good]
    samples = [one for one in ranked if not one.is_known_good]
    if not ranked:
        return None
    there = (
        f" (accuracies as expected of {duration(final_seconds)} of final training)"
        if final_seconds
        else ""
    )
    if not points or not samples:
        missing = "sample" if points else "known-good point"
        return Choice(
            number=ranked[0].number,
            probability=None,
            reason=f"the best{there}, with no {missing} to compare it with",
        )
    sample, point = samples[0], points[0]
    probability = probability_better(
        [one.accuracy for one in samples],
        point.accuracy,
        images,
        LAW_DEVIATION if final_seconds else 0.0,
    )
    reason = (
        f"sample {sample.number} ({percent(sample.accuracy)}) truly beats known-good point "
        f"{point.number} ({percent(point.accuracy)}) with a probability of {100 * probability:.0f} "
        f"%, {100 * CONFIDENCE:.0f} % is asked{there}"
    )
    taken = sample if probability >= CONFIDENCE else point
    return Choice(number=taken.number, probability=probability, reason=reason)


def probability_better(
    samples: Sequence[float], point: float, images: int, deviation: float = 0.0
) -> float:
    """That the best of `samples` is truly more accurate than `point`, all on the same `images`.

    `deviation` is that of the errors' logarithms where accuracies are foretold.
    The best of many owes some of its lead to luck: it is drawn towards the mean of all samples as
    far as they differ by luck alone (normal prior with their spread, empirical Bayes).
    """
    best = max(samples)
    noise = _noise(best, images) + (deviation * (1 - best)) ** 2
    kept, centre = 1.0, best
    if len(samples) >= FEWEST:
        spread = max(0.0, variance(samples) - noise)
        kept, centre = spread / (spread + noise), fmean(samples)
    expected = centre + kept * (best - centre)
    return NormalDist().cdf((expected - point) / sqrt((1 + kept) * noise))


def _noise(accuracy: float, images: int) -> float:
    """The variance of what is not common to two networks, in the accuracy of one."""
    of_images = accuracy * (1 - accuracy) * (1 - AGREEMENT) / images
    return max(of_images + SEED_DEVIATION**2, 1e-12)
