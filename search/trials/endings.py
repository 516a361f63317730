"""How a running trial ends in the database, and is queued again where it is worth it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from search.trials.retry_chain import INTERRUPTED, Chain
from storage import Database

if TYPE_CHECKING:  # it needs torch, which commands that only read do without
    pass


def give_up(database: Database, study: optuna.Study, trial_id: int, reason: str) -> int | None:
    """End a running trial as FAIL through no fault of its own, and queue its parameters again.

    Gives back its number, or None where another driver was first.
    """
    try:
        with database.transaction(study._study_id):
            trial = database.optuna_storage.get_trial(trial_id)
            if trial.state != TrialState.RUNNING:
                return None
            again = Chain.of(trial.user_attrs).after(trial.number, None, 0)
            end_as_failed(database, study, trial, reason, again, interrupted=True)
    except UpdateFinishedTrialError:  # just now, by the driver that was taken for dead
        return None
    return trial.number


def end_as_failed(
    database: Database,
    study: optuna.Study,
    trial: FrozenTrial,
    reason: str,
    again: Chain | None,
    *,
    interrupted: bool = False,
) -> None:
    """End a running trial as FAIL and queue what repeats it; inside `database.transaction` only."""
    if interrupted:
        database.optuna_storage.set_trial_user_attr(trial._trial_id, INTERRUPTED, True)
    end(database, study, trial, TrialState.FAIL, None, reason)
    # Killed before it was asked for all its parameters, a queued trial has them only there.
    params = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
    if again is not None and params:
        study.enqueue_trial(params, user_attrs=again.attributes())


def end(
    database: Database,
    study: optuna.Study,
    trial: FrozenTrial,
    state: TrialState,
    value: float | None,
    reason: str,
) -> None:
    """End a running trial; inside `database.transaction` only.

    As `Study.tell` does, but by the trial's id: Optuna's cache of numbers may hold one of a
    transaction that was undone. Raises UpdateFinishedTrialError where another driver was first.
    """
    storage, values = database.optuna_storage, None if value is None else [value]
    storage.set_trial_user_attr(trial._trial_id, "reason", reason.splitlines()[0])  # for dashboards
    database.set_reason(study.study_name, trial.number, reason)
    study.sampler.after_trial(study, trial, state, values)
    storage.set_trial_state_values(trial._trial_id, state, values)
