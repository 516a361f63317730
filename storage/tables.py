"""Our tables, beside Optuna's in the same database.

No foreign keys: the tables are a journal, and a result must never be lost because what it refers
to was deleted meanwhile (on optuna-dashboard, say). Optuna's own tables hold the search itself.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    Dialect,
    Double,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)
from sqlalchemy.types import TypeDecorator

VERSION_TABLE = "fmnist_alembic_version"  # Optuna's migrations own the name alembic_version
SCHEMA_VERSION = "0001"  # the newest revision in migrations/; a test holds the two together


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime in UTC; SQLite itself keeps no time zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """The time in UTC; a time without a zone is UTC already."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Figure(TypeDecorator[float]):
    """A measured float that may be NaN: kept as NULL, since SQLite has no NaN."""

    impl = Double
    cache_ok = True

    def process_bind_param(self, value: float | None, dialect: Dialect) -> float | None:
        """None for NaN."""
        return None if value is None or math.isnan(value) else value

    def process_result_value(self, value: float | None, dialect: Dialect) -> float:
        """NaN for NULL."""
        return math.nan if value is None else value


class FreeText(TypeDecorator[str]):
    """Text from anywhere (a traceback): what PostgreSQL cannot store is replaced."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """The text without NUL characters and lone surrogates."""
        if value is None:
            return None
        return value.encode("utf-8", "replace").decode().replace("\0", "?")


def _study_name(**options: Any) -> Column[str]:
    return Column("study_name", String(512), **options)  # as long as Optuna allows


def _key(name: str) -> Column[int]:
    return Column(name, Integer, primary_key=True, autoincrement=False)


_LOSSES_AND_ACCURACIES = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
metadata = MetaData()

study = Table(
    "search_study",
    metadata,
    _study_name(primary_key=True),
    Column("identity", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

launch = Table(
    "search_launch",
    metadata,
    Column("id", Integer, primary_key=True),
    _study_name(nullable=False, index=True),
    Column("settings", JSON, nullable=False),
    Column("environment", JSON, nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", BigInteger, nullable=False),
    Column("process_started", Double, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("heartbeat_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    Column("outcome", FreeText),
)

trial = Table(
    "search_trial",
    metadata,
    _study_name(primary_key=True),
    _key("number"),
    Column("launch_id", Integer),
    Column("config", JSON, nullable=False),
    Column("retry_of", Integer),
    Column("reason", FreeText),
)

epoch = Table(
    "search_epoch",
    metadata,
    _study_name(primary_key=True),
    _key("number"),
    _key("epoch"),
    Column("launch_id", Integer, nullable=False),
    *(Column(name, Figure) for name in _LOSSES_AND_ACCURACIES),
    *(Column(name, Figure) for name in ("lr", "seconds", "images_per_second")),
    Column("peak_memory_bytes", BigInteger, nullable=False),
)

decision = Table(
    "search_decision",
    metadata,
    _study_name(primary_key=True),
    _key("number"),
    _key("epoch"),
    Column("launch_id", Integer, nullable=False),
    Column("action", String(16), nullable=False),
    Column("rung", Integer),
    Column("value", Figure),
    Column("cutoff", Double),
    Column("reason", FreeText, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)


def columns_of(table: Table) -> list[Column[Any]]:
    """The columns of a table but for the study's name, which whoever asks knows."""
    return [column for column in table.columns if column.name != "study_name"]
