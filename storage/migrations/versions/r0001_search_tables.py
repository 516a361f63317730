"""Create the tables of a search."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create all tables."""
    op.create_table(
        "search_study",
        sa.Column("study_name", sa.String(512), primary_key=True),
        sa.Column("identity", sa.JSON, nullable=False),
        _time("created_at"),
    )
    op.create_table(
        "search_launch",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("study_name", sa.String(512), nullable=False, index=True),
        *(sa.Column(name, sa.JSON, nullable=False) for name in ("settings", "environment")),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("pid", sa.BigInteger, nullable=False),
        sa.Column("process_started", sa.Double, nullable=False),
        _time("started_at"),
        _time("heartbeat_at"),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.Column("outcome", sa.Text),
    )
    op.create_table(
        "search_trial",
        *_keys("number"),
        sa.Column("launch_id", sa.Integer),
        sa.Column("config", sa.JSON, nullable=False),
        sa.Column("retry_of", sa.Integer),
        sa.Column("reason", sa.Text),
    )
    op.create_table(
        "search_epoch",
        *_keys("number", "epoch"),
        sa.Column("launch_id", sa.Integer, nullable=False),
        *_figures("train_loss", "train_accuracy", "val_loss", "val_accuracy"),
        *_figures("lr", "seconds", "images_per_second"),
        sa.Column("peak_memory_bytes", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "search_decision",
        *_keys("number", "epoch"),
        sa.Column("launch_id", sa.Integer, nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("rung", sa.Integer),
        *_figures("value", "cutoff"),
        sa.Column("reason", sa.Text, nullable=False),
        _time("created_at"),
    )


def _keys(*names: str) -> list[sa.Column[Any]]:
    numbers = [sa.Column(n, sa.Integer, primary_key=True, autoincrement=False) for n in names]
    return [sa.Column("study_name", sa.String(512), primary_key=True), *numbers]


def _figures(*names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, sa.Double) for name in names]


def _time(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False)
