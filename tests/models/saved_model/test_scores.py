"""Figures of a test, against small examples worked out by hand."""

import numpy as np
import pytest

from fmnist_models.data.class_names import FASHION_CLASSES, FASHION_DIGEST, class_names
from fmnist_models.data.download import find_data
from fmnist_models.saved_model.scores import (
    calibration_error,
    class_scores,
    confidence_bins,
    confusion_matrix,
    confusions,
    score_in_full,
)

LABELS = np.array([0, 0, 0, 1, 1, 2])
PREDICTED = np.array([0, 0, 1, 1, 0, 0])


def test_the_confusion_matrix_has_true_classes_as_rows() -> None:
    assert confusion_matrix(LABELS, PREDICTED, 3).tolist() == [[2, 1, 0], [1, 1, 0], [1, 0, 0]]


def test_scores_of_a_class() -> None:
    first, second, third = class_scores(confusion_matrix(LABELS, PREDICTED, 3), "abc")
    assert (first.precision, first.recall, first.f1) == pytest.approx((2 / 4, 2 / 3, 4 / 7))
    assert first.false_positive_rate == pytest.approx(2 / 3)
    assert (second.precision, second.recall, second.false_positive_rate) == (0.5, 0.5, 0.25)
    assert (third.precision, third.recall, third.f1, third.false_positive_rate) == (0, 0, 0, 0)
    assert [score.images for score in (first, second, third)] == [3, 2, 1]


def test_the_calibration_error_is_the_weighted_gap() -> None:
    confidence = np.array([0.55, 0.55, 0.95, 0.95, 1.0])
    correct = np.array([True, False, True, True, False])
    bins = confidence_bins(confidence, correct, 10)
    assert [one.images for one in bins] == [0, 0, 0, 0, 0, 2, 0, 0, 0, 3]
    gap = 2 / 5 * abs(0.5 - 0.55) + 3 / 5 * abs(2 / 3 - 2.9 / 3)
    assert calibration_error(bins) == pytest.approx(gap)


def test_bins_are_open_below_and_closed_above() -> None:
    bins = confidence_bins(np.array([0.0, 0.2, 0.2000001, 1.0, 1.0000001]), np.ones(5, bool), 5)
    assert [one.images for one in bins] == [2, 1, 0, 0, 2]
    assert all(0 <= one.confidence <= 1 for one in bins)


def test_all_figures_of_a_perfect_and_of_a_clueless_model() -> None:
    labels = np.arange(300) % 3
    perfect = score_in_full(np.eye(3)[labels], labels, "abc")
    assert (perfect.macro_f1, perfect.cross_entropy, perfect.calibration_error) == (1, 0, 0)
    assert confusions(perfect, 5) == []
    clueless = score_in_full(np.full((300, 3), 1 / 3), labels, "abc")
    assert clueless.cross_entropy == pytest.approx(np.log(3))
    assert clueless.calibration_error == pytest.approx(0)
    assert confusions(clueless, 5) == [("b", "a", 100), ("c", "a", 100)]


def test_names_belong_to_the_data_set() -> None:
    assert find_data().digest == FASHION_DIGEST
    assert class_names(FASHION_DIGEST, 10) == FASHION_CLASSES
    assert class_names("0" * 64, 10) == tuple("0123456789")
