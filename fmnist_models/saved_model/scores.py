"""What a test tells beyond accuracy: class by class, calibration, confusions. No torch here.

Shapes: probabilities (N, C) float, rows that sum to 1; labels (N,) int, 0 to C - 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fmnist_models.config.base import Config, Probability

BINS = 15
"""Bins of equal width for the calibration error, as in arXiv:1706.04599."""

CLASS_COLUMNS = ("class", "precision", "recall", "F1", "false-positive rate", "images")

Floats = NDArray[np.floating[Any]]
Labels = NDArray[np.integer[Any]]
Count = Annotated[int, Field(ge=0)]


class ClassScore(Config):
    """How one class fared against all others; a ratio without a denominator is 0.

    `images` of the class were tested. `false_positive_rate`: the share of the other classes' images
    that were taken for this class.
    """

    name: str
    images: Count
    precision: Probability
    recall: Probability
    f1: Probability
    false_positive_rate: Probability

    def cells(self, images: str) -> tuple[str, ...]:
        """A row of a table under `CLASS_COLUMNS`; `images` is the format of their number."""
        ratios = (self.precision, self.recall, self.f1, self.false_positive_rate)
        return (self.name, *(f"{ratio:.4f}" for ratio in ratios), format(self.images, images))


class ConfidenceBin(Config):
    """Images whose highest probability is above `low` and at most `high`."""

    low: Probability
    high: Probability
    images: Count
    confidence: Probability
    accuracy: Probability


class TestDetails(Config):
    """A reading of the test set in full.

    `calibration_error`: ECE over `bins`, the mean gap between confidence and accuracy, weighted by
    images (arXiv:1706.04599, equation 3). `confusion[i][j]`: images of class i taken for class j.
    `cross_entropy` in nats an image.
    """

    __test__ = False  # not a test, whatever pytest thinks of the name

    classes: tuple[ClassScore, ...]
    macro_f1: Probability
    cross_entropy: Annotated[float, Field(ge=0)]
    calibration_error: Probability
    bins: tuple[ConfidenceBin, ...]
    confusion: tuple[tuple[Count, ...], ...]


def score_in_full(probabilities: Floats, labels: Labels, names: Sequence[str]) -> TestDetails:
    """All figures from the probabilities (N, C), the true labels (N,) and the classes' names."""
    predicted = probabilities.argmax(1)
    matrix = confusion_matrix(labels, predicted, len(names))
    classes = class_scores(matrix, names)
    bins = confidence_bins(probabilities.max(1), predicted == labels)
    of_truth = probabilities[np.arange(len(labels)), labels]
    return TestDetails(
        classes=classes,
        macro_f1=float(np.mean([score.f1 for score in classes])),
        cross_entropy=float(-np.log(np.maximum(of_truth, 1e-30)).mean()),
        calibration_error=calibration_error(bins),
        bins=bins,
        confusion=tuple(tuple(int(n) for n in row) for row in matrix),
    )


def confusion_matrix(labels: Labels, predicted: Labels, classes: int) -> NDArray[np.int64]:
    """Counts (C, C): row the true class, column the predicted one."""
    pairs = labels.astype(np.int64) * classes + predicted
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def class_scores(matrix: NDArray[np.int64], names: Sequence[str]) -> tuple[ClassScore, ...]:
    """Precision, recall, F1 and false-positive rate of each class, from the confusion matrix."""
    return tuple(_class_score(matrix, label, name) for label, name in enumerate(names))


def _class_score(matrix: NDArray[np.int64], label: int, name: str) -> ClassScore:
    hits, images, taken = matrix[label, label], matrix[label].sum(), matrix[:, label].sum()
    return ClassScore(
        name=name,
        images=int(images),
        precision=_ratio(hits, taken),
        recall=_ratio(hits, images),
        f1=_ratio(2 * hits, images + taken),
        false_positive_rate=_ratio(taken - hits, matrix.sum() - images),
    )


def _ratio(part: np.int64, whole: np.int64) -> float:
    return float(part / whole) if whole else 0.0


def confidence_bins(
    confidence: Floats, correct: NDArray[np.bool_], bins: int = BINS
) -> tuple[ConfidenceBin, ...]:
    """Bins of equal width over confidence (N,), with what was `correct` (N,) in each."""
    edges = np.linspace(0, 1, bins + 1)
    # A confidence of rounding's 1.0000001 belongs to the last bin.
    place = np.clip(np.ceil(confidence.astype(np.float64) * bins) - 1, 0, bins - 1).astype(np.int64)
    counts = np.bincount(place, minlength=bins)
    sums = np.bincount(place, confidence, bins), np.bincount(place, correct, bins)
    means = [np.divide(s, counts, out=np.zeros(bins), where=counts > 0) for s in sums]
    return tuple(
        ConfidenceBin(
            low=float(edges[i]),
            high=float(edges[i + 1]),
            images=int(counts[i]),
            confidence=min(1.0, float(means[0][i])),
            accuracy=min(1.0, float(means[1][i])),
        )
        for i in range(bins)
    )


def calibration_error(bins: Sequence[ConfidenceBin]) -> float:
    """The expected calibration error: the gap |accuracy - confidence|, weighted by images."""
    images = sum(one.images for one in bins)
    gaps = sum(one.images * abs(one.accuracy - one.confidence) for one in bins)
    return gaps / images if images else 0.0


def confusions(details: TestDetails, most: int) -> list[tuple[str, str, int]]:
    """The `most` frequent confusions: true class, what it was taken for, images."""
    names = [score.name for score in details.classes]
    pairs = [
        (names[i], names[j], count)
        for i, row in enumerate(details.confusion)
        for j, count in enumerate(row)
        if i != j and count
    ]
    return sorted(pairs, key=lambda pair: -pair[2])[:most]
