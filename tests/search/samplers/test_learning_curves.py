"""Learning curves as observations: milestones, gains between them, squashing of the bad."""

import numpy as np
import pytest

from search.samplers.learning_curves import MOST_MILESTONES, milestones, observe, squashed


def curve(last: int, gain: float, start: float = 0.5) -> dict[int, float]:
    """Values that grow by `gain` an epoch."""
    return {epoch: start + gain * epoch for epoch in range(1, last + 1)}


def test_values_of_stopped_trials_are_moved_by_the_median_gain() -> None:
    left = np.log(9 / 5) / np.log(9 / 3)
    curves = [curve(9, 0.01), curve(9, 0.02), curve(9, 0.03), curve(3, 0.02), curve(5, 0.0)]
    found = observe(curves, [3, 9])
    assert found.curves.tolist() == [0, 0, 1, 1, 2, 2, 3, 4, 4]
    last = [v for v, w in zip(found.values, found.shortfalls, strict=True) if w == 0]
    assert last == pytest.approx([0.59, 0.68, 0.77])
    # The median gain from epoch 3 to 9 is 0.12; the trial that runs also counts at epoch 5.
    assert found.values[-3:] == pytest.approx([0.56 + 0.12, 0.5 + 0.12, 0.5 + 0.12 * left])
    assert found.shortfalls[-3:] == pytest.approx([1.0, 1.0, left**2])


def test_too_few_that_went_on_tell_of_no_gain() -> None:
    found = observe([curve(9, 0.1), curve(3, 0.1)], [3, 9])
    assert found.values.tolist() == pytest.approx([0.8, 1.4, 0.8])


@pytest.mark.parametrize("last", [3, 9, 12])
def test_a_last_epoch_counts_once_and_only_between_milestones(last: int) -> None:
    found = observe([curve(last, 0.1)], [3, 9])
    assert found.shortfalls.tolist() == [1.0, 0.0][: 1 + (last >= 9)]


def test_a_trial_before_the_first_milestone_is_left_out() -> None:
    assert observe([curve(2, 0.1), {}], [3, 9]).curves.tolist() == []


def test_milestones_are_where_trials_ended() -> None:
    assert milestones([27, 3, 3, 9]) == [3, 9, 27]
    many = milestones(list(range(2, 53)))
    assert len(many) <= MOST_MILESTONES and many[0] == 2 and many[-1] == 52


def test_the_bad_come_nearer_and_the_order_stays() -> None:
    values = np.array([0.1, 0.5, 0.8, 0.85, 0.88, 0.9])
    found = squashed(values)
    assert np.all(np.diff(found) > 0)
    assert (found.mean(), found.std()) == pytest.approx((0, 1), abs=1e-12)
    share = np.ptp(found[:2]) / np.ptp(found)
    assert share < 0.5 * np.ptp(values[:2]) / np.ptp(values)
    assert np.isfinite(squashed(np.ones(3))).all()
