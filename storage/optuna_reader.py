"""Optuna's trials read in six plain statements, for samplers that want to see all of them.

Optuna's own reader makes an object of each row and parses each parameter's distribution anew; with
thirty parameters a trial this one takes a fraction of its time (benchmarks/LOG.md).

Of a study that a search has made, trials that others have ended (`optuna_tables.judged`) are FAIL
here: what values they were given leads neither a sampler nor optuna-dashboard's heading astray.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence, Set
from functools import lru_cache
from json import dumps, loads
from typing import Any

from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import TextClause
from sqlalchemy.orm import Session

from storage import optuna_tables

FROM_OUTSIDE = "ended from outside (by Optuna's API or dashboard)"
_NOT_FINITE = {"INF_POS": float("inf"), "INF_NEG": float("-inf"), "NAN": float("nan")}

_distribution: Callable[[str], BaseDistribution] = lru_cache(maxsize=4096)(json_to_distribution)


def read_trials(
    session: Session, study_id: int, after: int, others: Set[int] = frozenset()
) -> list[FrozenTrial]:
    """The study's trials with an id above `after`, and those of `others`, in the order of ids.

    Raises KeyError where there is no such study.
    """
    which = {"study": study_id, "after": after, "ids": sorted(others)}

    def rows(query: TextClause) -> dict[int, list[Any]]:
        by_trial = defaultdict(list)
        for trial_id, *rest in session.execute(query, which):
            by_trial[trial_id].append(rest)
        return by_trial

    # First of all, as PostgreSQL shows each statement what was committed before it: a trial that
    # is seen COMPLETE has its value, one that ends meanwhile is seen RUNNING.
    found = session.execute(optuna_tables.TRIALS, which).all()
    parameters, values = rows(optuna_tables.PARAMETERS), rows(optuna_tables.VALUES)
    reported = rows(optuna_tables.REPORTED)
    user, system = rows(optuna_tables.USER_ATTRIBUTES), rows(optuna_tables.SYSTEM_ATTRIBUTES)
    judged = judged_trials(session, which) or []
    outside = {trial_id for trial_id, _, state, _ in judged if state == optuna_tables.OUTSIDE}
    trials = []
    for trial_id, number, kept, start, complete in found:
        state = "FAIL" if trial_id in outside else kept
        if trial_id in outside:
            ended = f"{FROM_OUTSIDE}, as {kept}: not counted"
            user[trial_id].append(["reason", dumps(ended)])
        distributions = {name: _distribution(text) for name, _, text in parameters[trial_id]}
        trials.append(
            FrozenTrial(
                trial_id=trial_id,
                number=number,
                state=TrialState[state],
                value=None,
                values=None
                if trial_id in outside
                else [_number(value, kind) for _, value, kind in values[trial_id]] or None,
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


def judged_trials(
    session: Session, which: Mapping[str, Any]
) -> Sequence[tuple[int, int, str, float | None]] | None:
    """What `optuna_tables.judged` says of the wanted trials; None where no search made the study.

    Raises KeyError where there is no such study.
    """
    is_ours = session.execute(optuna_tables.IS_OURS, which).scalar()
    if is_ours is None:
        raise KeyError(f"there is no study {which['study']}")
    if not is_ours:
        return None
    judged = optuna_tables.judged(session.get_bind().dialect.name)
    return [(*row,) for row in session.execute(judged, which)]


def _number(value: float | None, kind: str) -> float:
    return _NOT_FINITE[kind] if value is None else value
