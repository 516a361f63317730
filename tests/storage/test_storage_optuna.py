"""Optuna's own contract for storages, on ours."""

import pickle

import optuna
import pytest
from optuna.storages import BaseStorage, RDBStorage
from optuna.testing.pytest_storages import StorageTestCase

from storage import Database, StorageUnavailable, StudyStore


class TestOptunaContract(StorageTestCase):
    @pytest.fixture
    def storage(self, shared_database: Database) -> BaseStorage:
        storage = shared_database.optuna_storage
        for study in storage.get_all_studies():
            storage.delete_study(study._study_id)
        return storage

    def test_pickle_storage(self, storage: BaseStorage) -> None:
        # The one rule that ours breaks on purpose: the pickle would hold the password.
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(storage)


def test_trials_are_read_as_optuna_reads_them(database: Database) -> None:
    storage = database.optuna_storage
    study = optuna.create_study(storage=storage, direction="maximize")
    study.enqueue_trial({"width": 3}, user_attrs={"note": [1, "zwei"]})
    for number in range(6):
        trial = study.ask()
        trial.suggest_int("width", 1, 9, step=2)
        trial.suggest_float("lr", 1e-4, 1.0, log=True)
        if number % 2:
            trial.suggest_categorical("norm", [True, False, "both"])
        for step, value in enumerate((0.5, float("nan"), float("inf"), float("-inf"))):
            trial.report(value, step)
        if number == 3:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        elif number < 5:
            study.tell(trial, [0.25, float("inf"), 0.75, 0.0, float("-inf")][number])
    known = (study._study_id, None, {1, 2, 6}, 3)
    for which in ((study._study_id, None, set(), -1), known):
        ours, theirs = storage._get_trials(*which), RDBStorage._get_trials(storage, *which)
        assert [repr(trial) for trial in ours] == [repr(trial) for trial in theirs]
        assert [list(trial.params) for trial in ours] == [list(trial.params) for trial in theirs]
    with pytest.raises(KeyError):
        storage._get_trials(study._study_id + 1, None, set(), -1)


def test_a_trial_is_sampled_from_what_was_there_at_its_first_parameter(database: Database) -> None:
    study = optuna.create_study(storage=database.optuna_storage)
    trial = study.ask()
    with database.optuna_storage.parameters_held_back():
        trial.suggest_float("lr", 0, 1)
        before = len(study.get_trials(deepcopy=False))
        database.optuna_storage.create_new_trial(study._study_id)  # as another driver does
        assert len(study.get_trials(deepcopy=False)) == before
    assert len(study.get_trials(deepcopy=False)) == before + 1


def test_a_connection_cut_under_optuna_undoes_the_whole(
    database: Database, store: StudyStore
) -> None:
    storage, study_id = database.optuna_storage, store.study_id

    def reserve() -> None:
        with store.transaction():
            storage.create_new_trial(study_id)
            storage.scoped_session().rollback()  # as Optuna does, before it tries again
            storage.create_new_trial(study_id)
            store.add_trial(0, 1, {})

    with pytest.raises(StorageUnavailable, match="cut") as caught:
        reserve()
    assert caught.value.passing
    assert storage.get_all_trials(study_id) == []
