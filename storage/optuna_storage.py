"""Optuna's storage on our database; apart from the rest because importing Optuna takes a while.

It overrides three private methods of RDBStorage and calls a fourth: Optuna offers no other way to
read all trials faster, to say which of them count, or to keep a trial's parameters in one
transaction.
"""

from __future__ import annotations

import threading
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, NoReturn

from optuna.distributions import (
    BaseDistribution,
    check_distribution_compatibility,
    distribution_to_json,
)
from optuna.storages import BaseStorage, RDBStorage, get_storage
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import URL, Connection, text
from sqlalchemy.exc import ResourceClosedError
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from storage.engine import engine_options
from storage.errors import StorageRefused, StorageUnavailable
from storage.optuna_reader import judged_trials, read_trials
from storage.optuna_tables import (
    ADD_PARAMETER,
    QUEUED,
    STUDY_EXISTS,
    TRIAL_EXISTS,
    TRIAL_STATE,
)
from storage.url import display_url

COMPLETE = TrialState.COMPLETE.name


class Parameter(NamedTuple):
    """A suggested parameter that is not kept yet; `value` is Optuna's internal one.

    `known` says that the study's distribution of that name was compared with this one.
    """

    name: str
    value: float
    distribution: BaseDistribution
    known: bool


class _JoinableSession(Session):
    """A session in which several of Optuna's operations can be made one transaction.

    Optuna commits and closes after each operation; inside `joined` that only flushes and forgets
    the objects, so that the next operation reads the database anew.
    """

    is_joined = False
    is_undone = False

    def commit(self) -> None:
        """End the transaction, or inside `joined` this part of it."""
        if self.is_joined:
            self.flush()
        else:
            super().commit()

    def rollback(self) -> None:
        """Undo the transaction; inside `joined` the whole of it, which then cannot be kept."""
        self.is_undone = True
        super().rollback()

    def close(self) -> None:
        """Let go of objects, and outside `joined` of the connection."""
        if self.is_joined:
            self.expunge_all()
        else:
            super().close()

    @contextmanager
    def joined(self) -> Iterator[Connection]:
        """Make all that the block does one transaction."""
        self.is_joined, self.is_undone = True, False
        try:
            yield self.connection()
            if self.is_undone:  # by Optuna, which kept the reason (an equal key, say) to itself
                raise StorageUnavailable("another search wrote the same: start again", passing=True)
            super().commit()
        except ResourceClosedError as error:
            super().rollback()
            if not self.is_undone:
                raise
            # Cut in an operation that Optuna then tried again, over another connection than ours.
            raise StorageUnavailable("the connection was cut: start again", passing=True) from error
        except BaseException:
            super().rollback()
            raise
        finally:
            self.is_joined = False
            super().close()


class SearchRDBStorage(RDBStorage):
    """Optuna's RDBStorage, with transactions of several operations, between several drivers.

    It is kept from being pickled: the pickle would hold the password in clear.
    """

    def __init__(self, url: URL, busy_timeout_seconds: float) -> None:
        # Optuna fills the URL in with str.format, so braces in a path or password are doubled.
        template = url.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")
        super().__init__(template, engine_options(url, busy_timeout_seconds))
        self.shown_url = display_url(url)
        self.remove_session()
        self.scoped_session = scoped_session(
            sessionmaker(bind=self.engine, class_=_JoinableSession)
        )
        self._local = threading.local()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a storage is not pickled: call open_database(url) in the other process")

    @contextmanager
    def joined(self, study_id: int, trial_id: int | None = None) -> Iterator[Connection]:
        """Make all that this thread does through the storage in the block one transaction.

        Until its end no other such block is entered for the study, or where `trial_id` is given,
        for that trial (on SQLite: for the whole database). Not re-entrant.

        Raises StorageUnavailable when the study was deleted.
        """
        session = self.scoped_session()
        assert isinstance(session, _JoinableSession)
        with session.joined() as connection:
            query, key = (STUDY_EXISTS, study_id) if trial_id is None else (TRIAL_EXISTS, trial_id)
            if self.engine.name == "sqlite":
                # The write lock from the start: what is read first must still hold when writing.
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            else:
                query += " FOR UPDATE"
            if connection.execute(text(query), {"id": key}).first() is None:
                what = "the study" if trial_id is None else f"a running trial (trial_id {trial_id})"
                raise StorageUnavailable(
                    f"{self.shown_url}: {what} was deleted meanwhile; start the search again"
                )
            yield connection

    def cached(self) -> BaseStorage:
        """This storage behind Optuna's cache, which reads ended trials once."""
        return get_storage(self)

    def queue_trial(
        self, study_id: int, parameters: dict[str, Any], attributes: Mapping[str, Any]
    ) -> None:
        """Queue a trial with these parameters and user attributes, as `Study.enqueue_trial`."""
        queued = create_trial(
            state=TrialState.WAITING,
            system_attrs={QUEUED: parameters},
            user_attrs=dict(attributes),
        )
        self.create_new_trial(study_id, template_trial=queued)

    @contextmanager
    def parameters_held_back(self) -> Iterator[list[Parameter]]:
        """Collect what this thread's trial is suggested in the block, instead of keeping it.

        One by one, parameters are half of what a trial costs, and a death may leave some of them.
        All of them are sampled from the same trials: those that were there at the first.
        """
        held: list[Parameter] = []
        self._local.held, self._local.has_read = held, False
        try:
            yield held
        finally:
            self._local.held = None

    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        """What Optuna's cache of trials asks for: those that it does not know in their last state.

        Raises KeyError where there is no such study.
        """
        if getattr(self._local, "held", None) is not None:
            if self._local.has_read:
                return []
            self._local.has_read = True
        with self._reading() as session:
            trials = read_trials(session, study_id, trial_id_greater_than, included_trial_ids)
        return [trial for trial in trials if states is None or trial.state in states]

    def _get_best_trial_id(self, study_id: int, direction: Any) -> int:
        """The best of the trials that count; raises ValueError where there is none."""
        with self._reading() as session:
            judged = judged_trials(session, {"study": study_id, "after": -1, "ids": []})
        if judged is None:
            return int(super()._get_best_trial_id(study_id, direction))
        complete = [
            (-(value or 0.0), number, trial_id)
            for trial_id, number, state, value in judged
            if state == COMPLETE
        ]
        if not complete:
            raise ValueError("No trials are completed yet.")
        return min(complete)[2]

    @contextmanager
    def _reading(self) -> Iterator[Session]:
        session = self.scoped_session()
        try:
            yield session
            session.commit()
        except BaseException:
            session.rollback()
            raise
        finally:
            session.close()

    def _set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
        previous_distribution: BaseDistribution | None,
    ) -> None:
        held: list[Parameter] | None = getattr(self._local, "held", None)
        if held is None:
            super()._set_trial_param(
                trial_id, param_name, param_value_internal, distribution, previous_distribution
            )
            return
        known = previous_distribution is not None
        if previous_distribution is not None:
            check_distribution_compatibility(previous_distribution, distribution)
        held.append(Parameter(param_name, param_value_internal, distribution, known))

    def keep_parameters(self, trial_id: int, held: Sequence[Parameter]) -> None:
        """Keep the parameters of a running trial; inside `joined` only.

        Raises UpdateFinishedTrialError when the trial has ended.
        """
        session = self.scoped_session()
        state = session.execute(TRIAL_STATE, {"id": trial_id}).scalar_one()
        self.check_trial_is_updatable(trial_id, TrialState[state])
        for name, value, distribution, known in held:
            if not known:
                self._set_trial_param_without_commit(session, trial_id, name, value, distribution)
        rows = [
            {
                "trial_id": trial_id,
                "name": name,
                "value": value,
                "distribution": distribution_to_json(distribution),
            }
            for name, value, distribution, known in held
            if known
        ]
        if rows:
            session.execute(ADD_PARAMETER, rows)


def make_optuna_storage(url: URL, busy_timeout_seconds: float) -> SearchRDBStorage:
    """Optuna's storage on `url`, its tables created.

    Raises StorageRefused when the tables were made by another, incompatible version of Optuna.
    """
    try:
        return SearchRDBStorage(url, busy_timeout_seconds)
    except RuntimeError as error:
        raise StorageRefused(f"{display_url(url)}: {error}") from error
