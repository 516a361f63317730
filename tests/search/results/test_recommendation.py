"""What a study hands over: the best sample where it is truly better, else the known-good point."""

from __future__ import annotations

import numpy as np
import pytest

from search.results.recommendation import CONFIDENCE, Candidate, probability_better, recommend

IMAGES = 10_000


def complete(number: int, accuracy: float, point: bool = False) -> Candidate:
    return Candidate(number=number, is_known_good=point, accuracy=accuracy)


@pytest.mark.parametrize(
    ("lead", "taken"), [(-0.01, 0), (0.0, 0), (0.0005, 0), (0.003, 2), (0.02, 2)]
)
def test_a_sample_is_taken_only_where_its_lead_is_no_luck(lead: float, taken: int) -> None:
    points = [complete(0, 0.93, point=True), complete(1, 0.92, point=True)]
    found = recommend([*points, complete(2, 0.93 + lead), complete(3, 0.91)], IMAGES)
    assert found is not None
    assert found.number == taken
    assert found.probability is not None
    assert (found.probability >= CONFIDENCE) == (taken == 2)
    assert "sample 2" in found.reason
    assert "known-good point 0 (93.00 %)" in found.reason


def test_without_one_of_the_two_the_best_is_taken() -> None:
    assert recommend([], IMAGES) is None
    both = [complete(5, 0.8, point=True), complete(4, 0.9, point=True)]
    for trials in ([complete(4, 0.9)], both):
        found = recommend(trials, IMAGES)
        assert found is not None
        assert (found.number, found.probability) == (4, None)
    assert "no known-good point" in recommend([complete(4, 0.9)], IMAGES).reason  # type: ignore[union-attr]


def test_what_is_foretold_must_lead_by_more() -> None:
    trials = [complete(0, 0.955, point=True), complete(1, 0.957)]
    seen, foretold = (recommend(trials, IMAGES, seconds) for seconds in (None, 1200.0))
    assert seen is not None
    assert foretold is not None
    assert (seen.number, foretold.number) == (1, 0)
    far = recommend([trials[0], complete(1, 0.965)], IMAGES, 1200.0)
    assert far is not None
    assert far.number == 1


def test_few_images_prove_less() -> None:
    few, many = (probability_better([0.935], 0.93, images) for images in (400, 10_000))
    assert 0.5 < few < CONFIDENCE < many


def test_the_best_of_many_that_differ_by_luck_alone_is_not_believed() -> None:
    """Twenty equals and a point of the same accuracy, in 300 searches: the point is kept."""
    generator = np.random.default_rng(0)
    noise = np.sqrt(0.93 * 0.07 * 0.3 / IMAGES + 1e-6)
    taken = unshrunk = 0
    for _ in range(300):
        samples = list(generator.normal(0.93, noise, 20))
        point = generator.normal(0.93, noise)
        taken += probability_better(samples, point, IMAGES) >= CONFIDENCE
        unshrunk += probability_better([max(samples)], point, IMAGES) >= CONFIDENCE
    assert taken < 0.4 * 300 < 0.75 * 300 < unshrunk


def test_what_is_promised_holds_where_samples_differ() -> None:
    """Of samples that are taken at 75 % or more, three in four are truly better, or more."""
    generator = np.random.default_rng(1)
    noise = np.sqrt(0.93 * 0.07 * 0.3 / IMAGES + 1e-6)
    right = taken = 0
    for _ in range(500):
        true = generator.normal(0.927, 0.004, 8)
        seen = list(true + generator.normal(0, noise, 8))
        point = generator.normal(0.93, noise)
        if probability_better(seen, point, IMAGES) >= CONFIDENCE:
            taken += 1
            right += true[int(np.argmax(seen))] > 0.93
    assert taken > 50
    assert right / taken > 0.72
