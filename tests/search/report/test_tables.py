"""The tables of a study: every figure that is stored is in them, and each column is explained."""

from __future__ import annotations

import csv
import json
import re
import shutil
import sys
from pathlib import Path

import pandas
import pytest

import search.__main__ as search_main
from search import open_study
from search.errors import UsageError
from search.report.columns import EPOCH_COLUMNS, TRIAL_COLUMNS
from search.report.study_data import StudyData
from search.report.tables import epoch_table, trial_table
from storage import StorageRefused, open_database
from tests.conftest import Refused
from tests.search.cli.test_options import run_all
from tests.search.loop import STUDY
from tests.search.report.conftest import TRIALS


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_trials_and_epochs_are_written_as_they_are_stored(
    told: StudyData, told_url: str, folder: Path
) -> None:
    for name in ("trials", "epochs"):
        command = [name, "--study", STUDY, "--storage", told_url, "--out", f"{name}.csv"]
        assert search_main.main(command) == 0
    trials, epochs = _read(Path("trials.csv")), _read(Path("epochs.csv"))
    assert [int(row["number"]) for row in trials] == [t.number for t in told.trials]
    assert [row["state"] for row in trials].count("FAIL") == 2
    assert {row["failure"] for row in trials} == {"", "raised", "diverged"}
    for row, trial in zip(trials, told.trials, strict=True):
        assert row["value"] == ("" if trial.value is None else repr(trial.value))
        assert json.loads(row["config"]) == told.record(trial.number).config
        for parameter, value in trial.params.items():
            assert row[f"params_{parameter}"] == str(value)
    kept = [e for rows in told.epochs.values() for e in rows]
    assert [(int(r["number"]), int(r["epoch"])) for r in epochs] == [
        (e.number, e.epoch) for e in kept
    ]
    for row, kept_row in zip(epochs, kept, strict=True):
        assert float(row["seconds"]) == kept_row.seconds
        decision = told.decisions.get((kept_row.number, kept_row.epoch))
        assert row["action"] == (decision.action if decision else "")
    by_trial = {int(row["number"]): float(row["seconds"]) for row in trials}
    assert sum(by_trial.values()) == pytest.approx(sum(e.seconds for e in kept))


def test_what_a_trial_took_over_is_not_counted_twice(told: StudyData) -> None:
    repeat = next(number for number, record in told.records.items() if record.retry_of is not None)
    original = told.record(repeat).retry_of
    assert original is not None
    own = told.epochs[repeat]
    taken_over = {**told.epochs, original: own[:1]}
    again = StudyData(**{**vars_of(told), "epochs": taken_over})
    assert again.own_epochs(repeat) == own[1:]
    assert again.seconds(repeat) == pytest.approx(sum(e.seconds for e in own[1:]))


def vars_of(data: StudyData) -> dict[str, object]:
    return {name: getattr(data, name) for name in StudyData.__dataclass_fields__}


def test_frames_and_parquet_hold_what_the_csv_holds(told_url: str, folder: Path) -> None:
    study = open_study(STUDY, told_url)
    for name, frame in (("trials", study.trials()), ("epochs", study.epochs())):
        command = [name, "--storage", told_url, "--out"]
        assert search_main.main([*command, f"{name}.parquet"]) == 0
        assert search_main.main([*command, f"{name}.csv"]) == 0
        pandas.testing.assert_frame_equal(pandas.read_parquet(f"{name}.parquet"), frame)
        rows = _read(Path(f"{name}.csv"))
        assert list(frame.columns) == list(rows[0])
        assert frame["number"].tolist() == [int(row["number"]) for row in rows]
    trials = study.trials()
    assert str(trials["datetime_start"].dtype) == "datetime64[us, UTC]"
    assert trials["value"].max() == max(t.value or 0 for t in study.read().trials)
    assert str(trials["params_quick.width"].dtype) == "Int64"


def test_every_column_is_explained(told: StudyData, capsys: pytest.CaptureFixture[str]) -> None:
    for name, columns in (("trials", TRIAL_COLUMNS), ("epochs", EPOCH_COLUMNS)):
        with pytest.raises(SystemExit):
            search_main.main([name, "--help"])
        said = capsys.readouterr().out
        for column in columns:
            assert re.search(rf"^  {column.name}\s+\S", said, re.M), column.name
    tables = (trial_table(told), TRIAL_COLUMNS), (epoch_table(told), EPOCH_COLUMNS)
    for table, columns in tables:
        for row in table.rows:  # what is not a column would be lost
            assert set(row) <= {c.name for c in table.columns}
        filled = {name for row in table.rows for name, value in row.items() if value is not None}
        assert {column.name for column in columns} <= filled


def test_tables_are_refused_in_one_line(
    refused: Refused, told_url: str, folder: Path, empty_sqlite: Path
) -> None:
    main, here = search_main.main, ["--storage", told_url]
    Path("mine.csv").write_text("mine")
    refused(main, ["trials", "--out", "mine.csv", *here], "mine.csv exists", "--force")
    refused(main, ["trials", "--out", "t.xlsx", *here], "t.xlsx", ".csv, .parquet")
    refused(main, ["epochs", "--out", "t", *here], "--out t:", ".csv, .parquet")
    refused(main, ["epochs", "--out", "t.csv", "--study", "no", *here], "'no'", STUDY)
    refused(main, ["epochs", "--out", "/proc/t.csv", *here], "/proc/t.csv")
    refused(main, ["trials", *here], "--out")
    shutil.copy(empty_sqlite, "empty.db")
    empty = ["--storage", "sqlite:///empty.db", "--out", "t.csv"]
    refused(main, ["trials", *empty], "--study", "none is there yet")
    assert Path("mine.csv").read_text() == "mine"
    assert main(["trials", "--out", "mine.csv", "--force", *here]) == 0
    assert len(_read(Path("mine.csv"))) > TRIALS


def test_a_study_without_a_trial_is_refused(
    refused: Refused, folder: Path, empty_sqlite: Path
) -> None:
    import optuna

    shutil.copy(empty_sqlite, "none.db")
    with open_database("sqlite:///none.db") as database:
        for name in ("bare", "other"):
            database.remember_study(name, {"space": "quick"})
            optuna.create_study(study_name=name, storage=database.optuna_storage)
    here = ["--storage", "sqlite:///none.db", "--out", "t.csv"]
    refused(search_main.main, ["trials", "--study", "bare", *here], "'bare' has no trial yet")
    refused(search_main.main, ["trials", *here], "--study", "one of bare, other")


def test_csv_needs_neither_pandas_nor_torch(told_url: str, folder: Path) -> None:
    [done] = run_all(["search", "trials", "--storage", told_url, "--out", "t.csv"], cwd=folder)
    assert (done[0], done[2]) == (0, ["optuna"])


def test_a_package_that_is_not_installed_is_named(
    refused: Refused, told_url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    command = ["trials", "--storage", told_url, "--out", "t.parquet"]
    refused(search_main.main, command, "pip install pandas", ".csv")
    with pytest.raises(UsageError, match="pip install pandas"):
        open_study(STUDY, told_url).trials()


def test_unknown_studies_are_refused_in_python(told_url: str) -> None:
    with pytest.raises(StorageRefused, match=STUDY):
        open_study("nope", told_url)
