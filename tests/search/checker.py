"""One checker for every test that runs a search: what must hold of a study whatever happened."""

import math
from collections import defaultdict

import optuna
from optuna.trial import FrozenTrial, TrialState

from search.summary import summarize
from storage import Database, DecisionRow, EpochRow, TrialRecord

ENDED = {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL}


def check_study(database: Database, study: str, trials: int | None = None) -> list[FrozenTrial]:
    """Assert every invariant of a study at rest, with `trials` finished; give its trials back."""
    opened = optuna.load_study(study_name=study, storage=database.optuna_storage)
    all_trials = opened.get_trials()
    records = database.trial_records(study)
    rows, decisions = _by_trial(database.epochs(study)), _by_trial(database.decisions(study))
    assert [t.number for t in all_trials] == list(range(len(all_trials)))
    assert not [t.number for t in all_trials if t.state == TrialState.RUNNING]
    if trials is not None:
        finished = [t for t in all_trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
        assert len(finished) == trials
    for trial in all_trials:
        if trial.state in ENDED:
            record, number = records[trial.number], trial.number
            _check_trial(trial, record, rows[number], decisions[number])
            _check_retry(trial, record, all_trials)
    _check_best(database, opened, all_trials)
    return all_trials


def _by_trial(rows: list) -> dict[int, list]:
    grouped = defaultdict(list)
    for row in rows:
        grouped[row.number].append(row)
    return grouped


def _check_trial(
    trial: FrozenTrial, record: TrialRecord, rows: list[EpochRow], decisions: list[DecisionRow]
) -> None:
    kept = {row.epoch: row.val_accuracy for row in rows}
    assert list(kept) == list(range(1, len(rows) + 1))
    assert record.reason
    if trial.state == TrialState.FAIL:
        # Killed between two writes, Optuna has one epoch that we have not.
        assert kept.items() <= trial.intermediate_values.items()
        assert len(trial.intermediate_values) <= len(kept) + 1
        return
    epochs = record.config["epochs"]
    assert trial.intermediate_values == kept
    assert trial.value == kept[len(kept)]
    assert math.isfinite(trial.value)
    assert record.launch_id is not None
    if trial.state == TrialState.COMPLETE:
        assert len(kept) == epochs or record.reason.endswith("(patience)")
        assert [d.action for d in decisions] == ["continue"] * (len(kept) - 1)
    else:
        assert len(kept) < epochs
        assert [d.action for d in decisions] == ["continue"] * (len(kept) - 1) + ["stop"]
        assert decisions[-1].reason == record.reason
        assert decisions[-1].cutoff > decisions[-1].value
    assert [d.epoch for d in decisions] == list(range(1, len(decisions) + 1))


def _check_retry(trial: FrozenTrial, record: TrialRecord, trials: list[FrozenTrial]) -> None:
    retried = trial.user_attrs.get("retry_of")
    if record.launch_id is not None:
        assert record.retry_of == retried
    if retried is not None:
        assert trials[retried].state == TrialState.FAIL
        assert retried < trial.number
        if trial.params:  # else it was killed before it was asked for any
            common = trials[retried].params.keys() & trial.params.keys()
            assert all(trials[retried].params[key] == trial.params[key] for key in common)


def _check_best(database: Database, study: optuna.Study, trials: list[FrozenTrial]) -> None:
    values = [t.value for t in trials if t.state == TrialState.COMPLETE]
    summary = summarize(database, study)
    assert (summary.best.validation_accuracy if summary.best else None) == max(values, default=None)
    if summary.best:
        assert trials[summary.best.number].value == max(values)


def check_no_repeats(trials: list[FrozenTrial]) -> None:
    """Assert that no parameters were tried twice, but for retries."""
    fresh = [t.params for t in trials if "retry_of" not in t.user_attrs and t.params]
    assert len({tuple(sorted(p.items())) for p in fresh}) == len(fresh)
