"""What a driver asks of a whole study, each in one statement, over Optuna's tables and ours.

Optuna's own API reads all trials with all they hold to answer any of it. Its tables are spelt out
here; a test that runs a search on each back end notices when they change.
"""

from __future__ import annotations

from sqlalchemy import and_, func, select, text

from storage import tables
from storage.records import Records
from storage.rows import ReportedValue, RunningTrial

_COUNTS = text("SELECT state, count(*) FROM trials WHERE study_id = :study GROUP BY state")
_BEST = text(
    "SELECT t.number, v.value FROM trials t JOIN trial_values v ON v.trial_id = t.trial_id"
    " WHERE t.study_id = :study AND t.state = 'COMPLETE' AND v.value_type = 'FINITE'"
    " ORDER BY v.value DESC, t.number LIMIT 1"
)
_RUNNING = text(
    "SELECT t.number, t.trial_id, s.launch_id FROM trials t LEFT JOIN search_trial s"
    " ON s.study_name = :name AND s.number = t.number"
    " WHERE t.study_id = :study AND t.state = 'RUNNING' ORDER BY t.number"
)
# CROSS JOIN: SQLite would else start from the study's trials, however few of their values are new.
_VALUES = text(
    "SELECT v.trial_intermediate_value_id AS id, t.number, v.step AS epoch,"
    " v.intermediate_value AS value, s.retry_of"
    " FROM trial_intermediate_values v CROSS JOIN trials t LEFT JOIN search_trial s"
    " ON s.study_name = :name AND s.number = t.number"
    " WHERE v.trial_intermediate_value_id > :after AND t.trial_id = v.trial_id"
    " AND t.study_id = :study AND v.intermediate_value_type = 'FINITE'"
    " ORDER BY v.trial_intermediate_value_id"
)


class StudyQueries(Records):
    """Questions about a study; `study_id` is Optuna's. Errors as those of `Records`."""

    def counts(self, study_id: int) -> dict[str, int]:
        """Give back how many trials are in each state (by its name; a state without any is left
        out)."""
        with self._transaction() as connection:
            rows = connection.execute(_COUNTS, {"study": study_id})
            return {row[0]: row[1] for row in rows}

    def best(self, study_id: int) -> tuple[int, float] | None:
        """Give back number and value of the best COMPLETE trial, of equals the earliest."""
        with self._transaction() as connection:
            row = connection.execute(_BEST, {"study": study_id}).first()
        return (row[0], row[1]) if row else None

    def running_trials(self, study_id: int, study_name: str) -> list[RunningTrial]:
        """Give back the RUNNING trials with the launches that they belong to."""
        with self._transaction() as connection:
            rows = connection.execute(_RUNNING, {"study": study_id, "name": study_name})
            return [RunningTrial(number=n, trial_id=t, launch_id=by) for n, t, by in rows]

    def values_after(self, study_id: int, study_name: str, after: int) -> list[ReportedValue]:
        """Give back the intermediate values with an id above `after`, in the order of their ids.

        Ids rise in the order in which values are kept where `Database.transaction` holds the study;
        elsewhere a driver may keep a value that has a lower id than one that is there already.
        """
        parameters = {"study": study_id, "name": study_name, "after": after}
        with self._transaction() as connection:
            rows = connection.execute(_VALUES, parameters)
            return [ReportedValue(*row) for row in rows]

    def retries(self, study_name: str) -> dict[int, int]:
        """Give back which trial each trial that repeats another one repeats, by number."""
        trial = tables.trial
        query = select(trial.c.number, trial.c.retry_of).where(
            trial.c.study_name == study_name, trial.c.retry_of.is_not(None)
        )
        with self._transaction() as connection:
            return {row.number: row.retry_of for row in connection.execute(query)}

    def rungs(self, study_name: str) -> list[int]:
        """Give back at which epochs the last launch that compared trials did so, ascending.

        Epochs at which a scheduler compares without a rung are not among them.
        """
        decision = tables.decision
        at_rungs = and_(decision.c.study_name == study_name, decision.c.rung.is_not(None))
        last = select(func.max(decision.c.launch_id)).where(at_rungs).scalar_subquery()
        query = select(decision.c.rung).where(at_rungs, decision.c.launch_id == last).distinct()
        with self._transaction() as connection:
            return sorted(row.rung for row in connection.execute(query))

    def epoch_count(self, study_name: str) -> int:
        """Give back how many epochs were trained in a study.

        What a trial took over from the one that it goes on from was trained once: such a row has
        the very duration of its original.
        """
        row, original = tables.epoch, tables.epoch.alias("original")
        is_of_trial = and_(
            row.c.study_name == tables.trial.c.study_name, row.c.number == tables.trial.c.number
        )
        is_the_same = and_(
            original.c.study_name == tables.trial.c.study_name,
            original.c.number == tables.trial.c.retry_of,
            original.c.epoch == row.c.epoch,
            original.c.seconds == row.c.seconds,
        )
        copies = (
            select(func.count())
            .select_from(tables.trial.join(row, is_of_trial).join(original, is_the_same))
            .where(tables.trial.c.study_name == study_name)
        )
        rows = select(func.count()).where(row.c.study_name == study_name)
        with self._transaction() as connection:
            kept: int = connection.execute(rows).scalar_one()
            taken_over: int = connection.execute(copies).scalar_one()
        return kept - taken_over
