"""Optuna's tables and identifiers, spelt in this file alone; a test holds that.

Optuna's own API reads all trials with all they hold to answer any of these questions, and keeps
identifiers and queued parameters in private attributes. Optuna is not imported here, because that
takes a while. A test that runs a search on each back end notices when the tables change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import DateTime, TextClause, bindparam, text

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial, Trial

OPTUNA_TABLES = frozenset({"studies", "trials", "version_info"})
QUEUED = "fixed_params"
"""System attribute of a trial that was queued: its parameters."""

STUDY_EXISTS = "SELECT study_id FROM studies WHERE study_id = :id"
TRIAL_EXISTS = "SELECT trial_id FROM trials WHERE trial_id = :id"
TRIAL_STATE = text("SELECT state FROM trials WHERE trial_id = :id")
ADD_PARAMETER = text(
    "INSERT INTO trial_params (trial_id, param_name, param_value, distribution_json)"
    " VALUES (:trial_id, :name, :value, :distribution)"
)
STUDIES = text(
    "SELECT s.study_name, count(t.trial_id) FROM studies s LEFT JOIN trials t"
    " ON t.study_id = s.study_id GROUP BY s.study_name ORDER BY s.study_name"
)
COUNTS = text("SELECT state, count(*) FROM trials WHERE study_id = :study GROUP BY state")
BEST = text(
    "SELECT t.number, v.value FROM trials t JOIN trial_values v ON v.trial_id = t.trial_id"
    " WHERE t.study_id = :study AND t.state = 'COMPLETE' AND v.value_type = 'FINITE'"
    " ORDER BY v.value DESC, t.number LIMIT 1"
)
RUNNING = text(
    "SELECT t.number, t.trial_id, s.launch_id FROM trials t LEFT JOIN search_trial s"
    " ON s.study_name = :name AND s.number = t.number"
    " WHERE t.study_id = :study AND t.state = 'RUNNING' ORDER BY t.number"
)
# CROSS JOIN: SQLite would else start from the study's trials, however few of their values are new.
VALUES_AFTER = text(
    "SELECT v.trial_intermediate_value_id AS id, t.number, v.step AS epoch,"
    " v.intermediate_value AS value, s.retry_of"
    " FROM trial_intermediate_values v CROSS JOIN trials t LEFT JOIN search_trial s"
    " ON s.study_name = :name AND s.number = t.number"
    " WHERE v.trial_intermediate_value_id > :after AND t.trial_id = v.trial_id"
    " AND t.study_id = :study AND v.intermediate_value_type = 'FINITE'"
    " ORDER BY v.trial_intermediate_value_id"
)

_WANTED = "t.study_id = :study AND (t.trial_id > :after OR t.trial_id IN :ids)"
TRIALS = (
    text(
        "SELECT t.trial_id, t.number, t.state, t.datetime_start, t.datetime_complete"
        f" FROM trials t WHERE {_WANTED} ORDER BY t.trial_id"
    )
    .bindparams(bindparam("ids", expanding=True))
    .columns(datetime_start=DateTime, datetime_complete=DateTime)
)


def _of_trials(columns: str, table: str, order: str) -> TextClause:
    query = (
        f"SELECT x.trial_id, {columns} FROM {table} x JOIN trials t ON t.trial_id = x.trial_id"
        f" WHERE {_WANTED} ORDER BY x.{order}"
    )
    return text(query).bindparams(bindparam("ids", expanding=True))


PARAMETERS = _of_trials("param_name, param_value, distribution_json", "trial_params", "param_id")
VALUES = _of_trials("objective, value, value_type", "trial_values", "objective")
REPORTED = _of_trials(
    "step, intermediate_value, intermediate_value_type",
    "trial_intermediate_values",
    "trial_intermediate_value_id",
)
USER_ATTRIBUTES = _of_trials("key, value_json", "trial_user_attributes", "trial_user_attribute_id")
SYSTEM_ATTRIBUTES = _of_trials(
    "key, value_json", "trial_system_attributes", "trial_system_attribute_id"
)


def trial_id_of(trial: Trial | FrozenTrial) -> int:
    """Optuna's identifier of a trial, which unlike its number is unique in the whole database."""
    return trial._trial_id


def queued_parameters(trial: Trial | FrozenTrial) -> dict[str, Any] | None:
    """The parameters that a trial was queued with; None where the sampler chooses them."""
    frozen: Any = getattr(trial, "_cached_frozen_trial", None) or trial
    queued: dict[str, Any] | None = frozen.system_attrs.get(QUEUED)
    return queued
