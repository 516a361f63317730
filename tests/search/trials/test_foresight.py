"""Trials of equal time are compared at rungs by what they are expected to end at."""

import pytest

from fmnist_models.config.trial import TrialConfig
from fmnist_models.training.size_law import NetworkSize, error_after
from search.planning.plan import NETWORK
from search.trials.foresight import Foresight
from spaces import SpaceContext
from storage import Database
from tests.search.checker import check_replay
from tests.search.loop import EPOCHS, STUDY, curve, drive, open_session, search

IMAGES = SpaceContext(EPOCHS).train_images
LARGE_PASSES, SMALL_PASSES = 0.5, 2.0
"""An epoch's passes over the images, of a network of 32 channels and one of fewer."""


def images_of(config: TrialConfig) -> int:
    return int(IMAGES * (LARGE_PASSES if config.model.width >= 32 else SMALL_PASSES))


def test_the_error_is_foretold_by_the_law_at_the_end_of_the_trial(database: Database) -> None:
    session = open_session(database, 2, epoch_images=images_of)
    foresight = Foresight(session.store, IMAGES)
    small, large = (session.next_trial() for _ in range(2))
    assert small and large
    assert [t.config.model.width for t in (small, large)] == [16, 32]
    sizes = {n: NetworkSize.of(kept) for n, kept in session.store.attributes(NETWORK).items()}
    again = Foresight(session.store, IMAGES)  # by a driver that comes later
    for trial, passes in ((small, SMALL_PASSES), (large, LARGE_PASSES)):
        size = sizes[trial.number]
        left = error_after(EPOCHS * passes, size) / error_after(2 * passes, size)
        found = foresight.at_end(trial.number, 2, 0.7)
        assert found == pytest.approx(1 - 0.3 * left)
        assert again.at_end(trial.number, 2, 0.7) == found
        assert foresight.at_end(trial.number, EPOCHS, 0.7) == pytest.approx(0.7)
    ends = [foresight.at_end(trial.number, 2, 0.7) for trial in (small, large)]
    assert 0.7 < ends[0] < ends[1], "a large network, which has seen less, has more to gain"


def test_rungs_and_decisions_are_of_foretold_values_and_trials_end_with_their_own(
    database: Database,
) -> None:
    session = open_session(database, 12, epoch_images=images_of)
    drive(session)
    session.close("done")
    store = database.open_study(STUDY)
    assert check_replay(store, IMAGES) > 0
    foresight = Foresight(store, IMAGES)
    decisions = store.decisions()
    for row in decisions:
        stored = curve(row.number, row.epoch)
        assert row.value == foresight.at_end(row.number, row.epoch, stored) > stored
        assert ("expected after the last epoch" in row.reason) == (row.cutoff is not None)
    assert {row.action for row in decisions} == {"continue", "stop"}
    for trial in session.study.get_trials():
        assert trial.value == curve(trial.number, trial.last_step)


def test_a_study_of_equal_epochs_is_compared_by_what_is_stored(database: Database) -> None:
    store = search(database, 12).store
    assert Foresight(store, IMAGES).at_end(0, 1, 0.7) == 0.7
    rows = store.decisions()
    assert all(row.value == curve(row.number, row.epoch) for row in rows)
    assert not any("expected" in row.reason for row in rows)
