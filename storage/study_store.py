"""All that is asked and written about one study, in Optuna's tables and in ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue
from sqlalchemy import Table

from storage import tables
from storage.connections import Connections
from storage.error_translation import storage_errors
from storage.optuna_tables import queued_parameters, trial_id_of
from storage.rows import DecisionRow, EpochRow, JsonObject
from storage.study_reader import StudyReader

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial, Trial, TrialState

    from storage.optuna_storage import Parameter, SearchRDBStorage

RETRY_OF = "retry_of"
"""User attribute of a trial that repeats another one: the number of that one."""
_COUNTED = ("COMPLETE", "PRUNED", "RUNNING")


class StudyStore(StudyReader):
    """One study, opened by `Database.open_study`.

    `name` and `study_id` are Optuna's; `identity` is what all trials of the study have in common.
    Each method is a transaction of its own where it is not called inside of `transaction`. When the
    database is locked for too long, its disk is full or its server is gone, it raises
    StorageUnavailable, or an error of Optuna's that as_storage_error puts into words.
    """

    def __init__(
        self,
        name: str,
        study_id: int,
        identity: JsonObject,
        connections: Connections,
        open_storage: Callable[[], SearchRDBStorage],
    ) -> None:
        super().__init__(name, study_id, identity, connections)
        self._open_storage = open_storage

    @cached_property
    def _rdb(self) -> SearchRDBStorage:
        return self._open_storage()  # only now, as Optuna takes longer to load than SQL to answer

    @cached_property
    def optuna_storage(self) -> BaseStorage:
        """What an optuna.Study of this study stands on; it remembers the trials that have ended."""
        return self._rdb.cached()

    @contextmanager
    def transaction(self, trial_id: int | None = None) -> Iterator[None]:
        """Keep all that the block does, in Optuna's tables and in ours, together or not at all.

        One process and thread at a time is in such a block of the study, so that what it reads
        still holds when it writes. With `trial_id` the block is about that trial alone and waits
        only for others that are. On SQLite blocks wait for each other in any case. Reads see what
        the block has written. Not re-entrant.

        Raises StorageUnavailable, with nothing kept, when the database fails or the study is gone.
        """
        self.connections.check_place()
        with (
            storage_errors(self.url),
            self._rdb.joined(self.study_id, trial_id) as connection,
            self.connections.joined(connection),
        ):
            yield
        self.connections.check_place()

    def forget_session(self) -> None:
        """Let go of a connection that may be broken, before the next attempt."""
        self._rdb.remove_session()

    # Trials

    def reserve(self, ask: Callable[[], Trial], total: int, launch_id: int) -> Trial | None:
        """The trial that `ask` gives, the launch's from now on; None when `total` are taken.

        Exact between any number of drivers: finished and running trials are counted, and the new
        one made, in one transaction.
        """
        with self.transaction():
            counts = self.counts()
            if sum(counts.get(state, 0) for state in _COUNTED) >= total:
                return None
            trial = ask()
            self.add_trial(trial.number, launch_id, {}, _retry_of(trial))
        return trial

    def parameters_held_back(self) -> AbstractContextManager[list[Parameter]]:
        """Collect what a trial is suggested in the block, for `configure` to keep it in one go."""
        return self._rdb.parameters_held_back()

    def configure(
        self,
        trial: Trial,
        launch_id: int,
        config: Mapping[str, JsonValue],
        parameters: Sequence[Parameter],
    ) -> None:
        """Keep the configuration of a reserved trial and the parameters that it was made of.

        Raises UpdateFinishedTrialError when another driver has ended the trial.
        """
        with self.transaction(trial_id_of(trial)):
            self._rdb.keep_parameters(trial_id_of(trial), parameters)
            self.add_trial(trial.number, launch_id, config, _retry_of(trial))

    def add_trial(
        self,
        number: int,
        launch_id: int,
        config: Mapping[str, JsonValue],
        retry_of: int | None = None,
    ) -> None:
        """Keep the configuration of a trial; added again, it is replaced but for its reason."""
        values = {"launch_id": launch_id, "config": dict(config), "retry_of": retry_of}
        self._put(tables.trial, {"number": number, **values}, replace=values)

    def set_reason(self, number: int, reason: str) -> None:
        """Keep why a trial was stopped or failed, even of a trial that was never added."""
        values = {"number": number, "config": {}, "reason": reason}
        self._put(tables.trial, values, replace={"reason": reason})

    def end_trial(
        self, trial: FrozenTrial, state: TrialState, value: float | None, reason: str
    ) -> None:
        """End a running trial; inside `transaction` only.

        As `Study.tell` does, but by the trial's identifier: Optuna's cache of numbers may hold one
        of a transaction that was undone. Raises UpdateFinishedTrialError where another driver was
        first.
        """
        trial_id, values = trial_id_of(trial), None if value is None else [value]
        # For optuna-dashboard, which shows user attributes and not our tables.
        self._rdb.set_trial_user_attr(trial_id, "reason", reason.splitlines()[0])
        self.set_reason(trial.number, reason)
        self._rdb.set_trial_state_values(trial_id, state, values)

    def fail_trial(
        self,
        trial: FrozenTrial,
        reason: str,
        *,
        attributes: Mapping[str, Any] | None = None,
        again: Mapping[str, Any] | None = None,
    ) -> None:
        """End a running trial as FAIL; inside `transaction` only.

        `attributes` are user attributes that it gets. With `again` a trial with these user
        attributes and its parameters is queued, unless it has no parameters. Errors as `end_trial`.
        """
        from optuna.trial import TrialState

        for name, value in (attributes or {}).items():
            self._rdb.set_trial_user_attr(trial_id_of(trial), name, value)
        self.end_trial(trial, TrialState.FAIL, None, reason)
        # Killed before it was asked for all its parameters, a queued trial has them only there.
        parameters = {**(queued_parameters(trial) or {}), **trial.params}
        if again is not None and parameters:
            self._rdb.queue_trial(self.study_id, parameters, again)

    def trial(self, trial_id: int) -> FrozenTrial:
        """A trial as Optuna keeps it."""
        return self._rdb.get_trial(trial_id)

    def trials(self) -> list[FrozenTrial]:
        """All trials as samplers and the dashboard see them, by number; not to be changed.

        Those that others have ended are FAIL, see `optuna_reader`.
        """
        return self.optuna_storage.get_all_trials(self.study_id, deepcopy=False)

    # Epochs and decisions

    def record_epochs(
        self, trial_id: int, epochs: Sequence[EpochRow], decision: DecisionRow | None
    ) -> None:
        """Keep epochs of a running trial, and the scheduler's word after the last of them.

        What is there of the same epochs is replaced. Inside `transaction` only. Raises
        UpdateFinishedTrialError when another driver has ended the trial.
        """
        for epoch in epochs:
            self._rdb.set_trial_intermediate_value(trial_id, epoch.epoch, epoch.val_accuracy)
            self._put(tables.epoch, epoch.model_dump())
        if decision is not None:
            values = {**decision.model_dump(), "created_at": self.connections.clock()}
            self._put(tables.decision, values)

    def _put(
        self, table: Table, values: dict[str, Any], replace: Mapping[str, Any] | None = None
    ) -> None:
        """Insert a row of the study; of an existing one only `replace` (all, if None) changes."""
        row = {"study_name": self.name, **values}
        self.connections.upsert(table, row, values if replace is None else replace)


def _retry_of(trial: Trial) -> int | None:
    """What a trial repeats, if it is a number: anybody may have queued it."""
    number = trial.user_attrs.get(RETRY_OF)
    return number if isinstance(number, int) else None
