"""The database of a search: opened well, Optuna's storage on it, and our own tables."""

from storage.database import Database, open_database
from storage.error_translation import as_storage_error
from storage.errors import StorageError, StorageRefused, StorageUnavailable
from storage.rows import (
    DecisionRow,
    EpochRow,
    JsonObject,
    Launch,
    LaunchStart,
    ReportedValue,
    RunningTrial,
    TrialRecord,
)
from storage.url import LEAST_FREE_BYTES, mask_url

__all__ = [
    "LEAST_FREE_BYTES",
    "Database",
    "DecisionRow",
    "EpochRow",
    "JsonObject",
    "Launch",
    "LaunchStart",
    "ReportedValue",
    "RunningTrial",
    "StorageError",
    "StorageRefused",
    "StorageUnavailable",
    "TrialRecord",
    "as_storage_error",
    "mask_url",
    "open_database",
]
