"""The database of a search: opened well, Optuna's storage on it, and our own tables."""

from storage.database import Database, open_database
from storage.error_translation import as_storage_error
from storage.errors import OptunaAlone, StorageError, StorageRefused, StorageUnavailable
from storage.launches import Launches
from storage.optuna_tables import OUTSIDE, queued_parameters, trial_id_of
from storage.rows import DecisionRow, EpochRow, JsonObject, Launch, LaunchStart, TrialRecord
from storage.study_store import RETRY_OF, StudyStore
from storage.url import hide_password, mask_url

__all__ = [
    "OUTSIDE",
    "RETRY_OF",
    "Database",
    "DecisionRow",
    "EpochRow",
    "JsonObject",
    "Launch",
    "LaunchStart",
    "Launches",
    "OptunaAlone",
    "StorageError",
    "StorageRefused",
    "StorageUnavailable",
    "StudyStore",
    "TrialRecord",
    "as_storage_error",
    "hide_password",
    "mask_url",
    "open_database",
    "queued_parameters",
    "trial_id_of",
]
