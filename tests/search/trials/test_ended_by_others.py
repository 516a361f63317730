"""Trials that others end, with whatever value: they are shown, and count for nothing."""

from __future__ import annotations

import json
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState, create_trial

import search.__main__ as search_main
from search.results.export import export
from search.results.fresh_seeds import top_trials
from search.results.summary import summarize, summary_lines
from search.settings import SAMPLERS
from search.trials.session import SearchSession
from storage import OUTSIDE, Database, open_database
from storage.optuna_reader import FROM_OUTSIDE
from tests.search.checker import check_study
from tests.search.loop import EPOCHS, STUDY, Listener, drive, metrics, open_session, search

VALUES = (0.99, 15.0, -1.0, float("inf"))


def add_from_outside(session: SearchSession) -> None:
    """Add trials that no search has trained, as `study.add_trial` does."""
    study = optuna.load_study(study_name=STUDY, storage=session.store.optuna_storage)
    parameters, distributions = study.trials[0].params, study.trials[0].distributions
    for value in VALUES:
        made = {"params": parameters, "distributions": distributions}
        values = dict.fromkeys(range(1, EPOCHS + 1), value)
        study.add_trial(create_trial(value=value, intermediate_values=values, **made))
    study.add_trial(create_trial(state=TrialState.PRUNED, intermediate_values={1: 0.99}))


def test_trials_from_outside_count_for_nothing(either_database: Database, tmp_path: Path) -> None:
    search(either_database, 3)
    listener = Listener()
    session = open_session(either_database, 6, observer=listener)
    add_from_outside(session)
    session.study.tell(session.study.ask(), 0.99)
    drive(session)
    session.close("done")
    assert "6 of the study's trials were ended from outside" in " ".join(listener.said)
    check_study(either_database, STUDY, 6)
    store = either_database.open_study(STUDY)
    summary = summarize(store)
    assert summary.from_outside == store.counts()[OUTSIDE] == 6
    assert summary.best.validation_accuracy < 0.96
    assert "6 trials more were ended from outside" in " ".join(summary_lines(summary))
    assert export(store, tmp_path / "best.json").recommended.trial.number in {
        number for number, _ in store.complete()
    }
    assert {number for number, _, _ in top_trials(store, 99)} <= {n for n, _ in store.complete()}
    assert max(value for _, value in store.complete()) == store.best()[1] < 0.96


@pytest.mark.parametrize("how", [0.99, 15.0, "its own last", TrialState.PRUNED, TrialState.FAIL])
def test_a_running_trial_that_somebody_ends_is_let_go(database: Database, how: object) -> None:
    listener = Listener()
    session = open_session(database, 3, "fifo", observer=listener)
    started = session.next_trial()
    session.report(started.number, metrics(1, 0.5))
    stranger = optuna.load_study(study_name=STUDY, storage=database.optuna_storage)
    if isinstance(how, TrialState):
        stranger.tell(started.number, state=how)
    else:
        stranger.tell(started.number, 0.5 if how == "its own last" else how)
    assert session.report(started.number, metrics(2, 0.6)).ended == "lost"
    assert f"trial {started.number} was ended elsewhere" in " ".join(listener.said)
    drive(session)
    session.close("done")
    check_study(database, STUDY, 3)
    store = database.open_study(STUDY)
    assert store.counts() == {"COMPLETE": 3, OUTSIDE: 1}
    assert started.number not in {number for number, _ in store.complete()}


def test_a_value_that_is_changed_afterwards_is_no_result(database: Database) -> None:
    search(database, 3, "fifo")
    store = database.open_study(STUDY)
    best, _ = store.best()
    with database.connections.engine.begin() as connection:
        connection.exec_driver_sql(
            f"UPDATE trial_values SET value = 0.99 WHERE trial_id = {best + 1}"
        )
    again = database.open_study(STUDY)
    assert again.counts() == {"COMPLETE": 2, OUTSIDE: 1}
    assert best not in {number for number, _ in again.complete()}


def test_patience_is_an_end_of_ones_own(database: Database) -> None:
    session = open_session(database, 1, "fifo")
    started = session.next_trial()
    live = session.view().running[0]
    impatient = live.config.model_copy(update={"patience": 1})
    session._live[started.number] = live.__class__(
        live.number, impatient, live.trial_id, live.chain
    )
    session.store.add_trial(started.number, session.launch_id, impatient.model_dump(mode="json"))
    session.report(started.number, metrics(1, 0.5))
    assert session.report(started.number, metrics(2, 0.4)).ended == "COMPLETE"
    assert session.store.counts()["COMPLETE"] == 1


def test_rungs_hold_what_was_trained_alone(database: Database) -> None:
    session = open_session(database, 6)
    drive(session, epochs=12)
    before = session.store.values_after(0)
    add_from_outside(session)
    assert session.store.values_after(0) == before
    session.close("interrupted")


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_samplers_see_them_as_failed(database: Database, sampler: str) -> None:
    search(database, 6)
    session = open_session(database, 12, sampler=sampler)
    add_from_outside(session)
    drive(session, epochs=3 * EPOCHS)
    trials = session.study.get_trials(deepcopy=False)
    foreign = [t for t in trials if FROM_OUTSIDE in t.user_attrs.get("reason", "")]
    assert {(t.state, t.value) for t in foreign} == {(TrialState.FAIL, None)}
    assert len(foreign) == 5
    assert session.study.best_value == session.store.best()[1]
    session.close("interrupted")


def test_status_and_export_show_them(
    database: Database, url: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session = search(database, 3)
    add_from_outside(session)
    assert search_main.main(["status", "--storage", url]) == 0
    assert "5 trials more were ended from outside" in capsys.readouterr().out
    assert search_main.main(["status", "--json", "--storage", url]) == 0
    assert json.loads(capsys.readouterr().out)["from_outside"] == 5
    out = ["--out", "best.json"]
    assert search_main.main(["export", "--study", STUDY, "--storage", url, *out]) == 0
    assert json.loads((folder / "best.json").read_text())["validation_accuracy"] < 0.96


def test_studies_of_optuna_itself_are_left_as_they_are(url: str) -> None:
    with open_database(url) as database:
        study = optuna.create_study(storage=database.optuna_storage, direction="maximize")
        study.add_trial(create_trial(value=15.0))
        assert study.best_value == 15.0
        assert study.trials[0].state == TrialState.COMPLETE
