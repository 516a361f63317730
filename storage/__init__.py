"""The database of a search: opened well, Optuna's storage on it, and our own tables."""

from storage.database import Database, open_database
from storage.errors import StorageError, StorageRefused, StorageUnavailable
from storage.failures import as_storage_error
from storage.rows import DecisionRow, EpochRow, JsonObject, Launch, LaunchStart, TrialRecord
from storage.url import mask_url

__all__ = [
    "Database",
    "DecisionRow",
    "EpochRow",
    "JsonObject",
    "Launch",
    "LaunchStart",
    "StorageError",
    "StorageRefused",
    "StorageUnavailable",
    "TrialRecord",
    "as_storage_error",
    "mask_url",
    "open_database",
]
