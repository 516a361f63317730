"""Tests and corrections, against textbook values and against simulation."""

import math

import numpy as np
import pytest
from scipy.stats import chi2

from fmnist_models.training.metrics import wilson_interval
from search.results.significance import (
    SeedNoise,
    corrected_best,
    holm,
    paired_p_value,
    seed_noise,
    simultaneous_interval,
)


def test_with_one_run_each_it_is_mcnemars_test() -> None:
    both, only_ours, only_theirs, neither = 50, 25, 10, 15
    ours = np.repeat([1, 1, 0, 0], [both, only_ours, only_theirs, neither]).astype(float)
    theirs = np.repeat([1, 0, 1, 0], [both, only_ours, only_theirs, neither]).astype(float)
    statistic = (only_ours - only_theirs) ** 2 / (only_ours + only_theirs)
    assert paired_p_value(ours, theirs) == pytest.approx(chi2.sf(statistic, 1))
    assert paired_p_value(ours, theirs) == paired_p_value(theirs, ours)
    assert paired_p_value(ours, ours) == 1.0


def test_p_is_uniform_where_there_is_no_difference() -> None:
    draw = np.random.default_rng(1)
    easy = draw.random(1000)
    p_values = [paired_p_value(*((draw.random((2, 3, 1000)) < easy).mean(1))) for _ in range(500)]
    assert 0.03 <= np.mean(np.array(p_values) < 0.05) <= 0.08


def runs_of_equals(draw: np.random.Generator, seeds: int) -> list[np.ndarray]:
    """Two equally good configurations on 1,000 images: (seeds, 1000) hits each, seeds differing."""
    easy = np.clip(draw.normal(0.9, 0.15, 1000), 0, 1)
    shifts = draw.normal(0, 0.02, (2, seeds, 1))
    return list(draw.random((2, seeds, 1000)) < np.clip(easy + shifts, 0, 1))


def test_p_counts_what_other_seeds_would_do() -> None:
    draw = np.random.default_rng(4)
    as_they_are, with_seeds = [], []
    for _ in range(400):
        runs = runs_of_equals(draw, seeds=3)
        ours, theirs = (run.mean(0) for run in runs)
        noise = seed_noise([run.mean(1).tolist() for run in runs])
        as_they_are.append(paired_p_value(ours, theirs))
        with_seeds.append(paired_p_value(ours, theirs, noise))
    assert np.mean(np.array(as_they_are) < 0.05) > 0.2, "else this tells nothing"
    assert np.mean(np.array(with_seeds) < 0.05) <= 0.08
    assert np.mean(np.array(with_seeds) < 0.5) > 0.3, "it is not so careful that it says nothing"


def test_the_noise_of_seeds_is_pooled() -> None:
    noise = seed_noise([[0.90, 0.92], [0.80, 0.84], [0.91, 0.0]])
    assert noise.variance == pytest.approx((0.0002 + 0.0008) / 2)
    assert (noise.degrees, noise.runs) == (2, 2)
    assert noise.of_mean == pytest.approx(0.00025)
    assert seed_noise([[0.9], [0.8]]).of_mean == 0


def test_the_interval_is_wider_where_seeds_differ() -> None:
    scores = (np.random.default_rng(5).random((2, 2000)) < 0.9).astype(float)
    plain, (low, high) = corrected_best(scores)
    same, (lower, higher) = corrected_best(scores, SeedNoise(0.01**2, 4, 3))
    assert same == plain
    half = 2.7764 * 0.01 / math.sqrt(3)  # Student's, 4 degrees
    assert plain - lower == pytest.approx(math.hypot(plain - low, half), abs=1e-6)
    assert higher - plain == pytest.approx(math.hypot(high - plain, half), abs=1e-6)


def test_holms_adjustment() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_simultaneous_interval_is_wider_the_more_are_compared() -> None:
    assert simultaneous_interval(930, 1000, 1) == pytest.approx(
        wilson_interval(930, 1000), abs=1e-6
    )
    widths = [
        high - low for low, high in (simultaneous_interval(930, 1000, n) for n in (1, 10, 200))
    ]
    assert widths == sorted(widths)
    assert widths[2] < 2 * widths[0]


def test_the_correction_takes_away_the_luck_of_being_picked() -> None:
    draw = np.random.default_rng(2)
    naive, corrected, inside = [], [], 0
    for i in range(12):
        scores = (draw.random((20, 2000)) < 0.9).astype(float)  # all equally good
        accuracy, (low, high) = corrected_best(scores, seed=i)
        naive.append(scores.mean(1).max())
        corrected.append(accuracy)
        inside += low <= 0.9 <= high
    assert np.mean(naive) - 0.9 > 0.008
    assert abs(np.mean(corrected) - 0.9) < 0.004
    assert inside >= 10


def test_where_one_is_far_ahead_there_is_nothing_to_correct() -> None:
    draw = np.random.default_rng(3)
    scores = (draw.random((5, 5000)) < np.array([0.95, 0.8, 0.8, 0.8, 0.8])[:, None]).astype(float)
    accuracy, (low, high) = corrected_best(scores)
    assert accuracy == pytest.approx(scores[0].mean(), abs=0.002)
    assert low < accuracy < high
    assert high - low < 8 * math.sqrt(0.95 * 0.05 / 5000)
