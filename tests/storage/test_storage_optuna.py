"""Optuna's own contract for storages, on ours."""

import pickle

import pytest
from optuna.storages import BaseStorage
from optuna.testing.pytest_storages import StorageTestCase

from storage import Database


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
