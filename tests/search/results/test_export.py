"""Summary and export of a study: whole or not at all, and never over somebody else's file."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fmnist_models.config.files import parse_config
from fmnist_models.errors import OutputError
from fmnist_models.training.metrics import wilson_interval
from search.errors import NoResultError, UsageError
from search.results.export import export, export_beside
from search.results.significance import simultaneous_interval
from search.results.summary import Summary, summarize, summary_lines
from storage import Database, StudyStore
from tests.conftest import ROOT
from tests.search.loop import ENVIRONMENT, IDENTITY, STUDY, metrics, open_session, search


@pytest.fixture
def study(database: Database) -> StudyStore:
    """Give a study of six finished trials."""
    search(database, 6)
    return database.open_study(STUDY)


def test_the_export_is_the_best_trial_with_its_evidence(study: StudyStore, tmp_path: Path) -> None:
    path = tmp_path / "new" / "best.json"
    best = export(study, path).best
    content = json.loads(path.read_text())
    trial = study.trials()[best.number]
    assert trial.value == max(t.value for t in study.trials() if t.state.name == "COMPLETE")
    assert (content["trial"], content["validation_accuracy"]) == (trial.number, trial.value)
    config = parse_config(path.read_text())
    assert config.model_dump(mode="json") == study.trial_record(trial.number).config
    evidence = content["evidence"]
    assert evidence["study_identity"] == IDENTITY
    assert evidence["environment"] == ENVIRONMENT
    assert evidence["epochs_trained"] == study.epoch_count()
    assert evidence["interval"] == list(wilson_interval(round(trial.value * 10_000), 10_000))
    assert path.stat().st_mode & 0o777 == 0o644


def test_of_equals_the_earlier_is_best(database: Database) -> None:
    session = open_session(database, 3, "fifo", epochs=1)
    for accuracy in (0.7, 0.8, 0.8):
        session.report(session.next_trial().number, metrics(1, accuracy))
    session.close("done")
    summary = summarize(session.store)
    assert summary.best.number == 1
    assert (summary.known_good_number, summary.known_good) == (1, 0.8)
    compared, to_train = summary_lines(summary)[-2:]
    assert "no sample beat it" in compared
    assert to_train.startswith("To train: trial 1;")


def test_the_best_is_compared_with_the_best_known_good_point(database: Database) -> None:
    session = open_session(database, 3, "fifo", epochs=1)
    for accuracy in (0.7, 0.8, 0.85):
        session.report(session.next_trial().number, metrics(1, accuracy))
    session.close("done")
    summary = summarize(session.store)
    assert (summary.known_good_number, summary.known_good) == (1, 0.8)
    compared, to_train = summary_lines(summary)[-2:]
    assert "+5.00 points" in compared
    assert to_train.startswith("To train: trial 2; sample 2 (85.00 %) truly beats")


def test_a_sample_ahead_by_luck_is_not_exported(database: Database, tmp_path: Path) -> None:
    session = open_session(database, 3, "fifo", epochs=1)
    for accuracy in (0.7, 0.8, 0.8001):
        session.report(session.next_trial().number, metrics(1, accuracy))
    session.close("done")
    path = tmp_path / "best.json"
    summary = export(session.store, path)
    content = json.loads(path.read_text())
    assert summary.best.number == content["evidence"]["best_trial"] + 1 == 2
    assert (content["trial"], content["validation_accuracy"]) == (1, 0.8)
    assert "known-good point 1" in content["evidence"]["recommendation"]


def test_nothing_complete_is_nothing_to_export(database: Database, tmp_path: Path) -> None:
    session = open_session(database, 3)
    session.report(session.next_trial().number, metrics(1, 0.5))
    session.close("interrupted")
    with pytest.raises(NoResultError, match=f"'{STUDY}' has no completed trial"):
        export(session.store, tmp_path / "best.json")
    assert not (tmp_path / "best.json").exists()
    assert "no best configuration yet" in summary_lines(summarize(session.store))[-1]


def test_only_our_own_export_is_overwritten_unasked(
    database: Database, study: StudyStore, tmp_path: Path
) -> None:
    path = tmp_path / "best.json"
    for foreign in ("", "[1]", '{"format": "other"}', "\0\xff"):
        path.write_bytes(foreign.encode("latin-1"))
        with pytest.raises(UsageError, match="is no export of ours; give --force"):
            export(study, path)
        assert path.read_bytes() == foreign.encode("latin-1")
    export(study, path, force=True)
    whole = path.read_text()
    export(study, path)
    assert path.read_text() == whole
    assert [p.name for p in tmp_path.glob("*best*")] == ["best.json"]


def test_beside_the_database_a_foreign_file_is_left_alone(
    database: Database, study: StudyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    summary = summarize(study)
    path = Path(f"{STUDY}.best.json")
    path.write_text("mine")
    nothing, reason = export_beside(study, summary)
    assert nothing is None
    assert str(path) in reason
    assert path.read_text() == "mine"
    path.unlink()
    assert export_beside(study, summary) == (path, None)


@pytest.mark.parametrize("place", ["/proc/best.json", "/sys/kernel/best.json", "/dev/null/x.json"])
def test_a_place_that_cannot_be_written(database: Database, study: StudyStore, place: str) -> None:
    with pytest.raises((OutputError, UsageError), match="cannot write /"):
        export(study, Path(place))


WRITER = """
import sys
from pathlib import Path
from search.results.export import export
from storage import open_database
with open_database(sys.argv[1]) as database:
    study = database.open_study(sys.argv[2])
    print("ready", flush=True)
    while True:
        export(study, Path(sys.argv[3]))
"""


def test_a_reader_sees_whole_exports_while_the_writer_is_killed(
    database: Database, study: StudyStore, tmp_path: Path, url: str
) -> None:
    path = tmp_path / "best.json"
    whole = json.loads((export(study, path), path.read_text())[1])
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, url, STUDY, str(path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert writer.stdout.readline() == b"ready\n"
    timer = threading.Timer(0.7, writer.send_signal, [signal.SIGKILL])
    timer.start()
    while writer.poll() is None:
        assert json.loads(path.read_text()) == whole
    writer.stdout.close()
    timer.join()
    assert json.loads(path.read_text()) == whole


def test_a_summary_is_json_and_back(database: Database, study: StudyStore) -> None:
    summary = summarize(study)
    text = json.dumps(summary.model_dump(mode="json"))
    assert Summary.model_validate_json(text) == summary
    assert sum(summary.trials.values()) == len(study.trials())


def test_stopped_trials_count_among_those_that_the_best_was_picked_from(
    database: Database, tmp_path: Path
) -> None:
    search(database, 12)
    study = database.open_study(STUDY)
    path = tmp_path / "best.json"
    summary = export(study, path)
    evidence = json.loads(path.read_text())["evidence"]
    assert summary.trials["PRUNED"] > 0
    assert evidence["corrected_for"] == summary.trials["COMPLETE"] + summary.trials["PRUNED"] == 12
    correct = round(10_000 * summary.recommended.trial.validation_accuracy)
    assert evidence["corrected_interval"] == list(simultaneous_interval(correct, 10_000, 12))
