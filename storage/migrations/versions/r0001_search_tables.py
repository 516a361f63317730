"""Create the tables of a search."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create all tables."""
    _create_study()
    _create_launch()
    _create_trial()
    _create_epoch()
    _create_decision()


def _create_study() -> None:
    op.create_table(
        "search_study",
        sa.Column("study_name", sa.String(512), primary_key=True),
        sa.Column("identity", sa.JSON, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    )


def _create_launch() -> None:
    op.create_table(
        "search_launch",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("study_name", sa.String(512), nullable=False, index=True),
        sa.Column("settings", sa.JSON, nullable=False),
        sa.Column("environment", sa.JSON, nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("pid", sa.BigInteger, nullable=False),
        sa.Column("process_started", sa.Double, nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("heartbeat_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.Column("outcome", sa.Text),
    )


def _create_trial() -> None:
    op.create_table(
        "search_trial",
        sa.Column("study_name", sa.String(512), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("launch_id", sa.Integer),
        sa.Column("config", sa.JSON, nullable=False),
        sa.Column("retry_of", sa.Integer),
        sa.Column("reason", sa.Text),
    )


def _create_epoch() -> None:
    op.create_table(
        "search_epoch",
        sa.Column("study_name", sa.String(512), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("epoch", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("launch_id", sa.Integer, nullable=False),
        sa.Column("train_loss", sa.Double),
        sa.Column("train_accuracy", sa.Double),
        sa.Column("val_loss", sa.Double),
        sa.Column("val_accuracy", sa.Double),
        sa.Column("lr", sa.Double),
        sa.Column("seconds", sa.Double),
        sa.Column("images_per_second", sa.Double),
        sa.Column("peak_memory_bytes", sa.BigInteger, nullable=False),
    )


def _create_decision() -> None:
    op.create_table(
        "search_decision",
        sa.Column("study_name", sa.String(512), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("epoch", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("launch_id", sa.Integer, nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("rung", sa.Integer),
        sa.Column("value", sa.Double),
        sa.Column("cutoff", sa.Double),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    )
