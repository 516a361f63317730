"""Optuna's trials read in six plain statements, for samplers that want to see all of them.

Optuna's own reader makes an object of each row and parses each parameter's distribution anew; with
thirty parameters a trial this one takes a fraction of its time (benchmarks/LOG.md).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Set
from functools import lru_cache
from json import loads
from typing import Any

from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import DateTime, Enum, TextClause, bindparam, text
from sqlalchemy.orm import Session

_WHICH = "t.study_id = :study AND (t.trial_id > :after OR t.trial_id IN :ids)"
_TRIALS = (
    text(
        "SELECT t.trial_id, t.number, t.state, t.datetime_start, t.datetime_complete"
        f" FROM trials t WHERE {_WHICH} ORDER BY t.trial_id"
    )
    .bindparams(bindparam("ids", expanding=True))
    .columns(state=Enum(TrialState), datetime_start=DateTime, datetime_complete=DateTime)
)


def _of_trials(columns: str, table: str, order: str) -> TextClause:
    query = (
        f"SELECT x.trial_id, {columns} FROM {table} x JOIN trials t ON t.trial_id = x.trial_id"
        f" WHERE {_WHICH} ORDER BY x.{order}"
    )
    return text(query).bindparams(bindparam("ids", expanding=True))


_PARAMETERS = _of_trials("param_name, param_value, distribution_json", "trial_params", "param_id")
_VALUES = _of_trials("objective, value, value_type", "trial_values", "objective")
_REPORTED = _of_trials(
    "step, intermediate_value, intermediate_value_type",
    "trial_intermediate_values",
    "trial_intermediate_value_id",
)
_USER = _of_trials("key, value_json", "trial_user_attributes", "trial_user_attribute_id")
_SYSTEM = _of_trials("key, value_json", "trial_system_attributes", "trial_system_attribute_id")
_NOT_FINITE = {"INF_POS": float("inf"), "INF_NEG": float("-inf"), "NAN": float("nan")}

_distribution: Callable[[str], BaseDistribution] = lru_cache(maxsize=4096)(json_to_distribution)


def read_trials(
    session: Session, study_id: int, after: int, others: Set[int] = frozenset()
) -> list[FrozenTrial]:
    """The study's trials with an id above `after`, and those of `others`, in the order of ids."""
    which = {"study": study_id, "after": after, "ids": sorted(others)}

    def rows(query: TextClause) -> dict[int, list[Any]]:
        by_trial = defaultdict(list)
        for trial_id, *rest in session.execute(query, which):
            by_trial[trial_id].append(rest)
        return by_trial

    # First of all, as PostgreSQL shows each statement what was committed before it: a trial that
    # is seen COMPLETE has its value, one that ends meanwhile is seen RUNNING.
    found = session.execute(_TRIALS, which).all()
    parameters, values, reported = rows(_PARAMETERS), rows(_VALUES), rows(_REPORTED)
    user, system = rows(_USER), rows(_SYSTEM)
    trials = []
    for trial_id, number, state, start, complete in found:
        distributions = {name: _distribution(text) for name, _, text in parameters[trial_id]}
        trials.append(
            FrozenTrial(
                trial_id=trial_id,
                number=number,
                state=state,
                value=None,
                values=[_number(value, kind) for _, value, kind in values[trial_id]] or None,
                datetime_start=start,
                datetime_complete=complete,
                params={
                    name: distributions[name].to_external_repr(value)
                    for name, value, _ in parameters[trial_id]
                },
                distributions=distributions,
                user_attrs={key: loads(value) for key, value in user[trial_id]},
                system_attrs={key: loads(value) for key, value in system[trial_id]},
                intermediate_values={
                    step: _number(value, kind) for step, value, kind in reported[trial_id]
                },
            )
        )
    return trials


def _number(value: float | None, kind: str) -> float:
    return _NOT_FINITE[kind] if value is None else value
