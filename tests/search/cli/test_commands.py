"""The commands that read a database: what they refuse, import and say."""

import json
import os
import shutil
import socket
from importlib import import_module
from pathlib import Path

import pytest

import search.__main__ as search_main
from search.results.drivers import Driver
from search.trials.driver_leases import LEASE_SECONDS
from storage import open_database
from tests.conftest import Refused, Unprivileged
from tests.search.cli.test_options import run_all
from tests.search.loop import STUDY, open_session, search


@pytest.fixture
def searched(folder: Path) -> str:
    """Give the URL of a database with a study, closed."""
    url = f"sqlite:///{folder}/made.db"
    with open_database(url) as database:
        search(database, 4)
    return url


def test_commands_refuse_what_is_not_there(refused: Refused, searched: str) -> None:
    main = search_main.main
    here = ["--storage", searched]
    refused(main, ["status", "--study", "nope", *here], "'nope'", STUDY)
    refused(main, ["export", "--study", "nope", "--out", "x.json", *here], "'nope'", STUDY)
    refused(
        main, ["status", "--storage", "sqlite:///none.db"], "none.db", "no search has been stored"
    )
    refused(main, ["status", "--storage", "oracle://x"], "oracle is not supported")
    refused(main, ["dashboard", "--port", "99999", *here], "--port 99999")
    refused(main, ["dashboard", "--port", "x", *here], "--port", "'x'")
    refused(main, ["nonsense"], "'nonsense'")
    refused(main, [], "COMMAND")


def test_export_refuses_places_that_it_must_not_write(
    refused: Refused, searched: str, folder: Path
) -> None:
    mine = folder / "mine.json"
    mine.write_text('{"mine": 1}')
    common = ["export", "--study", STUDY, "--storage", searched, "--out"]
    refused(search_main.main, [*common, str(mine)], "mine.json", "--force")
    assert mine.read_text() == '{"mine": 1}'
    refused(search_main.main, [*common, "/proc/best.json"], "/proc/best.json")
    refused(search_main.main, [*common, "/proc/no/best.json"], "/proc/no")
    refused(search_main.main, [*common, str(folder)], str(folder))


def test_status_and_export_import_no_heavy_libraries(searched: str, folder: Path) -> None:
    status = ["search", "status", "--json", "--storage", searched]
    export = ["search", "export", "--study", STUDY, "--storage", searched, "--out", "best.json"]
    (code, output, heavy, _), exported = run_all(status, export, cwd=folder)
    assert (code, heavy) == (0, [])
    assert json.loads(output)["study"] == STUDY
    assert (exported[0], exported[2]) == (0, [])
    assert json.loads((folder / "best.json").read_text())["study"] == STUDY


def test_what_can_only_be_read_is_shown_and_exported(
    searched: str,
    public_folder: Path,
    unprivileged: Unprivileged,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = public_folder / "closed" / "made.db"
    path.parent.mkdir()
    shutil.copy(searched.removeprefix("sqlite:///"), path)
    here, out = ["--storage", f"sqlite:///{path}"], public_folder / "best.json"
    assert search_main.main(["export", "--study", STUDY, "--out", str(out), *here]) == 0
    import_module("search.display.dashboard")  # who is nobody may not
    out.unlink()
    path.chmod(0o444)
    path.parent.chmod(0o555)
    public_folder.chmod(0o777)
    with unprivileged():
        assert search_main.main(["status", *here]) == 0
        assert search_main.main(["export", "--study", STUDY, "--out", str(out), *here]) == 0
        assert search_main.main(["dashboard", "--writable", *here]) == 2
    said = capsys.readouterr()
    assert f"Study {STUDY}: " in said.out
    assert f"--writable: {path} can only be read" in said.err
    assert json.loads(out.read_text())["study"] == STUDY
    assert [file.name for file in path.parent.iterdir()] == ["made.db"]


def test_status_is_written_for_people(searched: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert search_main.main(["status", "--storage", searched]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"Study {STUDY}: ")
    assert "complete" in said
    assert "95 % interval" in said


def test_status_shows_the_drivers_of_a_study(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{folder}/made.db"
    with open_database(url) as database:
        session = open_session(database, 4)
        assert search_main.main(["status", "--storage", url]) == 0
        said = capsys.readouterr().out
        assert f"Driver: process {os.getpid()} on {socket.gethostname()}, for " in said
        assert "last heard of " in said
        assert search_main.main(["status", "--storage", url, "--json"]) == 0
        [driver] = json.loads(capsys.readouterr().out)["drivers"]
        assert driver["pid"] == os.getpid()
        session.close("done")
    assert search_main.main(["status", "--storage", url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["drivers"] == []


def test_a_silent_driver_is_told_from_a_living_one() -> None:
    about = {"host": "h", "pid": 7, "running_seconds": 7200.0}
    living = Driver(**about, silent_seconds=LEASE_SECONDS - 1)
    dead = Driver(**about, silent_seconds=LEASE_SECONDS)
    assert living.line == "Driver: process 7 on h, for 2 h 0 min, last heard of 1 min 59 s ago."
    assert "silent, its trials are queued again" in dead.line


@pytest.mark.parametrize("command", ["status", "dashboard"])
def test_a_password_in_an_argument_is_refused(refused: Refused, command: str) -> None:
    said = refused(
        search_main.main, [command, "--storage", "postgresql://u:secret@h/d"], "***", ".pgpass"
    )
    assert "secret" not in said
