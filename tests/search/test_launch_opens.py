"""The opening of a launch: what it waits for, says of a study that is gone, and how it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import pytest

from fmnist_models.config.files import EXPORT_FORMAT
from search import SearchSettings, launch
from search.errors import Interrupted
from search.trials.study import start_launch
from storage import Database, StorageUnavailable, open_database
from tests.search.loop import STUDY
from tests.search.ray_loop import NODE


class _Site:
    """One CPU here, on which nothing is run."""

    device, nodes = "cpu", (NODE,)


@contextmanager
def _site(address: str | None, *, on_cpu: bool) -> Iterator[_Site]:
    yield _Site()


@pytest.fixture
def opening(
    small_data: Path, database: Database, url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> SearchSettings:
    """Give the settings of launches that are interrupted as soon as they have their study."""

    def interrupted(_: launch.Launch) -> None:
        raise Interrupted(2)

    monkeypatch.setattr(launch, "open_site", _site)
    monkeypatch.setattr(launch, "_bring_to_total", interrupted)
    return SearchSettings(
        space="mlp", trials=1, study=STUDY, storage=url, data_dir=str(small_data), epochs=2
    )


def test_a_study_that_is_gone_is_said_before_anything_starts(
    opening: SearchSettings, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / f"{STUDY}.best.json").write_text(json.dumps({"format": EXPORT_FORMAT}))
    checkpoints = tmp_path / "search.db.checkpoints" / STUDY
    checkpoints.mkdir(parents=True)
    (checkpoints / "3.pt").touch()
    assert launch.run_search(opening) == 130
    warned, _ = capsys.readouterr().err.splitlines()
    assert f"study {STUDY!r} is not in {opening.storage}" in warned
    assert f"{STUDY}.best.json and {checkpoints} tell of it" in warned
    assert launch.run_search(opening) == 130
    assert "warning" not in capsys.readouterr().err, "it is there now"


def test_a_study_that_was_never_there_is_none_of_it(
    opening: SearchSettings, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / f"{STUDY}.best.json").write_text("{}")  # somebody else's
    assert launch.run_search(opening) == 130
    assert capsys.readouterr().err.count("\n") == 1


def test_a_database_that_is_away_at_the_start_is_waited_for(
    opening: SearchSettings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real, refusals = open_database, iter(range(2))

    def late(*given: Any, **options: Any) -> Database:
        if next(refusals, None) is not None:
            raise StorageUnavailable("the server is starting up", passing=True)
        return real(*given, **options)

    monkeypatch.setattr(launch, "open_database", late)
    assert launch.run_search(opening) == 130
    waits, ended = capsys.readouterr().err.splitlines()
    assert waits == "the server is starting up; waiting for up to 60 s"
    assert "everything is saved" in ended
    again = opening.model_copy(update={"database_outage_seconds": 0.0})
    refusals = iter(range(1))
    assert launch.run_search(again) == 3
    assert capsys.readouterr().err.splitlines()[-1] == "run_search.py: the server is starting up"


PARTS = {
    "DROP TABLE search_epoch": "has no search_epoch any more",
    "DROP TABLE trial_values": "has no trial_values any more",
    "DELETE FROM trials WHERE number = 0": "somebody deleted trials of study 'made-up', 1 at least",
    "DELETE FROM search_study": "somebody deleted study 'made-up' from search_study",
}


@pytest.mark.parametrize("statement", PARTS)
def test_a_database_with_missing_parts_is_refused_in_a_line(
    opening: SearchSettings, url: str, statement: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert launch.run_search(opening) == 130
    with open_database(url) as database:
        study = optuna.load_study(study_name=STUDY, storage=database.optuna_storage)
        store = database.open_study(STUDY)
        begun = start_launch(store, opening, {})
        for _ in range(2):
            store.add_trial(study.ask().number, begun, {})
        with database.connections.engine.begin() as connection:
            connection.exec_driver_sql(statement)
    capsys.readouterr()
    assert launch.run_search(opening) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("run_search.py: ")
    assert PARTS[statement] in line
    assert "put back a backup" in line
