"""Optuna's tables and identifiers, spelt in this file alone; a test holds that.

Optuna's own API reads all trials with all they hold to answer any of these questions, and keeps
identifiers and queued parameters in private attributes. Optuna is not imported here, because that
takes a while. A test that runs a search on each back end notices when the tables change.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import DateTime, TextClause, bindparam, text

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial, Trial

OPTUNA_TABLES = frozenset({"studies", "trials", "version_info"})
NEEDED_TABLES = OPTUNA_TABLES | {
    *("study_directions", "study_system_attributes", "study_user_attributes"),
    *("trial_heartbeats", "trial_intermediate_values", "trial_params", "trial_system_attributes"),
    *("trial_user_attributes", "trial_values"),
}
"""All but `alembic_version`, which Optuna makes anew without a loss."""
QUEUED = "fixed_params"
"""System attribute of a trial that was queued: its parameters."""

STUDY_ID = text("SELECT study_id FROM studies WHERE study_name = :name")
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
IS_OURS = text(
    "SELECT EXISTS (SELECT 1 FROM search_study o WHERE o.study_name = s.study_name)"
    " FROM studies s WHERE s.study_id = :study"
)
TRIALS_IN_ALL = text("SELECT count(*) FROM trials WHERE study_id = :study")
NUMBERS = text(
    "SELECT (SELECT count(*) FROM trials WHERE study_id = :study),"
    " (SELECT max(number) FROM trials WHERE study_id = :study),"
    " (SELECT max(number) FROM search_trial WHERE study_name = :name)"
)
ATTRIBUTES = text(
    "SELECT t.number, a.value_json FROM trial_user_attributes a"
    " JOIN trials t ON t.trial_id = a.trial_id WHERE a.key = :key AND t.study_id = :study"
)
ATTRIBUTE = text(
    "SELECT a.value_json FROM trial_user_attributes a JOIN trials t ON t.trial_id = a.trial_id"
    " WHERE a.key = :key AND t.study_id = :study AND t.number = :number"
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
    " AND t.study_id = :study AND EXISTS (SELECT 1 FROM search_epoch e"
    " WHERE e.study_name = :name AND e.number = t.number AND e.epoch = v.step"
    " AND e.val_accuracy = v.intermediate_value)"
    " ORDER BY v.trial_intermediate_value_id"
)

_WANTED = "t.study_id = :study AND (t.trial_id > :after OR t.trial_id IN :ids)"
OUTSIDE = "OUTSIDE"
"""Stands for the state of a trial that others have ended, see `judged`."""
_JSON = {"sqlite": "json_extract(s.config, '$.{}')", "postgresql": "(s.config ->> '{}')"}


@cache
def judged(dialect: str) -> TextClause:
    """Identifier, number, state and value of trials, where `OUTSIDE` is the state of some.

    Anybody can end a trial by Optuna's API, with any value. What a search has ended has its reason
    and a launch of the study in our tables, and where it is COMPLETE all its epochs (or ran out of
    patience) and the value of the last, in [0, 1]. All else is from outside.
    """
    epochs, patience = (_JSON[dialect].format(name) for name in ("epochs", "patience"))
    state = "CAST(t.state AS VARCHAR(8))"  # PostgreSQL knows no other words for a state
    query = f"""
        SELECT t.trial_id, t.number, CASE
            WHEN t.state IN ('RUNNING', 'WAITING') THEN {state}
            WHEN s.reason IS NULL THEN '{OUTSIDE}'
            WHEN t.state = 'FAIL' THEN {state}
            WHEN s.launch_id IS NULL OR s.launch_id NOT IN
                (SELECT id FROM search_launch WHERE study_name = y.study_name) THEN '{OUTSIDE}'
            WHEN t.state = 'PRUNED' THEN {state}
            WHEN v.value BETWEEN 0 AND 1 AND EXISTS (
                SELECT 1 FROM search_epoch e
                WHERE e.study_name = y.study_name AND e.number = t.number
                AND e.val_accuracy = v.value AND e.epoch = (
                    SELECT max(x.epoch) FROM search_epoch x
                    WHERE x.study_name = y.study_name AND x.number = t.number)
                AND (e.epoch >= CAST({epochs} AS INTEGER) OR {patience} IS NOT NULL)
            ) THEN {state}
            ELSE '{OUTSIDE}' END AS state, v.value
        FROM trials t JOIN studies y ON y.study_id = t.study_id
        LEFT JOIN search_trial s ON s.study_name = y.study_name AND s.number = t.number
        LEFT JOIN trial_values v ON v.trial_id = t.trial_id AND v.objective = 0
        WHERE {_WANTED}"""
    return text(query).bindparams(bindparam("ids", expanding=True))


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
