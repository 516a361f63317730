"""Trials stored as a search stores them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import optuna
from optuna.trial import TrialState
from pydantic import JsonValue

from storage import EpochRow, StudyStore, trial_id_of
from tests.search.made_up_curves import metrics


def complete_trial(
    store: StudyStore,
    trial: optuna.Trial,
    launch_id: int,
    config: Mapping[str, JsonValue],
    accuracies: Sequence[float],
) -> None:
    """End a trial as a search does: its configuration, an epoch for each accuracy, COMPLETE."""
    key = {"number": trial.number, "launch_id": launch_id}
    rows = [
        EpochRow.model_validate({**key, **metrics(epoch, accuracy).model_dump()})
        for epoch, accuracy in enumerate(accuracies, 1)
    ]
    store.configure(trial, launch_id, config, [])
    with store.transaction():
        store.record_epochs(trial_id_of(trial), rows, None)
        frozen = store.trial(trial_id_of(trial))
        store.end_trial(frozen, TrialState.COMPLETE, accuracies[-1], "all epochs done")
