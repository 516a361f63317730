"""All that is stored of a study's trials, which only tests ask for."""

from __future__ import annotations

from storage import DecisionRow, StudyStore, TrialRecord


def records_of(store: StudyStore) -> list[TrialRecord]:
    """Give what our tables hold of each trial, by number."""
    found = [store.trial_record(trial.number) for trial in store.trials()]
    return [record for record in found if record is not None]


def decisions_of(store: StudyStore) -> list[DecisionRow]:
    """Give the scheduler's decisions on all trials, by trial and epoch."""
    found = [store.decision(row.number, row.epoch) for row in store.epochs()]
    return [decision for decision in found if decision is not None]
