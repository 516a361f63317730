"""One checker for every test that runs a search: what must hold of a study whatever happened."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from search.results.summary import summarize
from search.schedulers.rules import TrialScheduler, make_scheduler
from search.settings import SearchSettings
from search.trials.epoch_recorder import RUNS_ON
from search.trials.foresight import Foresight
from search.trials.retry_chain import INTERRUPTED, MOST_DEATHS, Chain
from storage import RETRY_OF, Database, DecisionRow, EpochRow, StudyStore, TrialRecord
from storage.optuna_reader import FROM_OUTSIDE

ENDED = {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL}


def check_study(
    database: Database,
    study: str,
    trials: int | None = None,
    *,
    acknowledged: Mapping[tuple[int, int], float] | None = None,
    exported: Path | None = None,
) -> list[FrozenTrial]:
    """Assert every invariant of a study at rest, with `trials` finished; give its trials back.

    `acknowledged` are accuracies that drivers were told are kept, by number and epoch; `exported`
    is a file that must be what the database says is best.
    """
    store = database.open_study(study)
    all_trials = optuna.load_study(study_name=study, storage=database.optuna_storage).get_trials()
    records = {record.number: record for record in store.trial_records()}
    rows, decisions = _by_trial(store.epochs()), _by_trial(store.decisions())
    assert [t.number for t in all_trials] == list(range(len(all_trials)))
    assert not [t.number for t in all_trials if t.state == TrialState.RUNNING]
    if trials is not None:
        finished = [t for t in all_trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
        assert len(finished) == trials
    outside = {
        t.number
        for t in all_trials
        if t.state == TrialState.FAIL and FROM_OUTSIDE in t.user_attrs.get("reason", "")
    }
    for trial in all_trials:
        if trial.state in ENDED and trial.number not in outside:
            record, number = records[trial.number], trial.number
            _check_trial(trial, record, rows[number], decisions[number])
            _check_retry(trial, records, all_trials)
    _check_chains([trial for trial in all_trials if trial.number not in outside])
    _check_best(store, all_trials)
    check_replay(store)
    for (number, epoch), accuracy in (acknowledged or {}).items():
        assert all_trials[number].intermediate_values[epoch] == accuracy
    if exported is not None:
        _check_export(store, exported)
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
    assert trial.intermediate_values == kept
    assert record.reason
    assert trial.user_attrs["reason"] == record.reason.splitlines()[0]
    # What it took over from a checkpoint was decided upon before, but for the last of it.
    decided = [d.epoch for d in decisions]
    assert decided == list(range(decided[0], decided[-1] + 1)) if decided else True
    assert not decided or decided[0] == 1 or record.retry_of is not None
    if trial.state == TrialState.FAIL:
        return
    assert trial.value == kept[len(kept)]
    assert math.isfinite(trial.value)
    assert record.launch_id is not None
    *before, last = [d.action for d in decisions] or ["continue"]
    assert set(before) <= {"continue"}
    if trial.state == TrialState.COMPLETE:
        assert len(kept) == record.config["epochs"] or "patience" in record.reason
        assert last == "continue"
        assert not decided or decided[-1] == len(kept) - 1
    else:
        assert len(kept) < record.config["epochs"]
        assert (last, decided[-1]) == ("stop", len(kept))
        assert decisions[-1].reason == record.reason
        cutoff = decisions[-1].cutoff
        compared = decisions[-1].value
        assert "may pass rung" in record.reason if cutoff is None else cutoff > compared


def _check_retry(
    trial: FrozenTrial, records: dict[int, TrialRecord], trials: list[FrozenTrial]
) -> None:
    record, retried = records[trial.number], trial.user_attrs.get(RETRY_OF)
    if record.launch_id is not None:
        assert record.retry_of == retried
    if retried is None:
        return
    parent = trials[retried]
    assert parent.state == TrialState.FAIL
    assert retried < trial.number
    assert trial.user_attrs["repeats"] == [retried, *parent.user_attrs.get("repeats", [])]
    common = parent.params.keys() & trial.params.keys()  # it may have died while it was asked
    assert all(parent.params[key] == trial.params[key] for key in common)
    if records[retried].config and record.config:
        assert record.config == records[retried].config
    known = parent.intermediate_values.keys() & trial.intermediate_values.keys()
    assert all(parent.intermediate_values[e] == trial.intermediate_values[e] for e in known)


def _has_cost_its_drivers(trial: FrozenTrial) -> bool:
    return Chain.of(trial.user_attrs).deaths == MOST_DEATHS - 1 and "not tried again" in str(
        trial.user_attrs["reason"]
    )


def _check_chains(trials: list[FrozenTrial]) -> None:
    """No trial is repeated twice, and none that was interrupted is forgotten.

    But for those with which drivers died again and again, before they had another epoch.
    """
    retried = [t.user_attrs[RETRY_OF] for t in trials if RETRY_OF in t.user_attrs]
    assert len(set(retried)) == len(retried)
    given_up = {
        t.number
        for t in trials
        if INTERRUPTED in t.user_attrs and t.params and not _has_cost_its_drivers(t)
    }
    assert given_up <= set(retried)


def _check_best(store: StudyStore, trials: list[FrozenTrial]) -> None:
    values = [t.value for t in trials if t.state == TrialState.COMPLETE]
    summary = summarize(store)
    assert (summary.best.validation_accuracy if summary.best else None) == max(values, default=None)
    assert (store.best() or (None, None))[1] == max(values, default=None)
    if summary.best:
        assert trials[summary.best.number].value == max(values)
        assert summary.best.config["epochs"] >= len(trials[summary.best.number].intermediate_values)


def _check_export(store: StudyStore, path: Path) -> None:
    content, best = json.loads(path.read_text()), summarize(store).best
    assert best is not None
    assert (content["trial"], content["config"]) == (best.number, best.config)
    assert content["validation_accuracy"] == best.validation_accuracy


def schedulers_of(store: StudyStore) -> dict[int, TrialScheduler]:
    """Give the scheduler of each launch of a study, as it was told, with nothing observed yet."""
    epochs = int(str(store.identity["epochs"]))
    found = {}
    for launch in store.launches.all():
        settings = SearchSettings.model_validate(launch.settings)
        factor = settings.reduction_factor
        grace = settings.grace_period or max(1, epochs // factor**2)
        found[launch.id] = make_scheduler(
            settings.scheduler,
            grace_period=grace,
            reduction_factor=factor,
            epochs=epochs,
            trials=settings.trials,
        )
    return found


def check_replay(store: StudyStore, train_images: int = 1) -> int:
    """Assert that each decision is made again from what is stored, whichever driver made it.

    `train_images` are those of a study of equal time. Gives back how many decisions compared a
    trial with others.
    """
    values = store.values_after(0)
    kept = {(d.number, d.epoch): d for d in store.decisions()}
    if not values:
        return 0
    schedulers, before = schedulers_of(store), store.retries()
    at_end = Foresight(store, train_images).at_end
    for value in values:
        root = value.number
        while root in before:
            root = before[root]
        compared = at_end(value.number, value.epoch, value.value)
        decision = kept.get((value.number, value.epoch))
        if decision is not None:
            again = schedulers[decision.launch_id].decide(root, value.epoch, compared)
            assert (again.rung, again.cutoff) == (decision.rung, decision.cutoff), decision
            assert again.value == decision.value
            runs_on = decision.reason.startswith(RUNS_ON)
            assert again.action == ("stop" if runs_on else decision.action)
        for scheduler in schedulers.values():
            scheduler.observe(root, value.epoch, compared)
    return sum(d.cutoff is not None for d in kept.values())


def check_no_repeats(trials: list[FrozenTrial]) -> None:
    """Assert that no parameters were tried twice, but for retries."""
    fresh = [t.params for t in trials if RETRY_OF not in t.user_attrs and t.params]
    assert len({tuple(sorted(p.items())) for p in fresh}) == len(fresh)


def check_no_secret(secret: str, *folders: Path) -> None:
    """Assert that no file below the folders holds `secret`, a password that was used."""
    for folder in folders:
        for path in folder.rglob("*"):
            assert not path.is_file() or secret.encode() not in path.read_bytes(), path
