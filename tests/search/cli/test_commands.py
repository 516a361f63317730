"""The commands that read a database: what they refuse, import and say."""

import ast
import json
import os
import shlex
import shutil
import socket
from importlib import import_module
from pathlib import Path

import optuna
import pytest

import search.__main__ as search_main
from fmnist_models.config.files import ExportedConfig
from search.errors import UsageError
from search.results.drivers import Driver
from search.results.export_formats import as_text, format_of
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


HOSTILE = (
    "a\x1b]0;title\x07",
    "../../up",
    "'\"\"\"\nimport os; os.system('touch x')\n",
    "a; touch x",
    "-x",
    "a\nStudy b: 9 complete",
    "<script>",
    "[bold]x",
    "x" * 300,
)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_study_of_a_strange_name_is_refused_in_a_line(
    searched: str, refused: Refused, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    with open_database(searched) as database:
        database.remember_study(name, database.study_identity(STUDY) or {})
        optuna.create_study(study_name=name, storage=database.optuna_storage)
    here = ["--storage", searched]
    for command in (["status"], ["dashboard"], ["export", "--out", "best.py", "--force"]):
        said = refused(search_main.main, [*command, f"--study={name}", *here], "no such name")
        assert said[:-1].isprintable()
    assert search_main.main(["status", *here]) == 0
    out, err = capsys.readouterr()
    assert out.count("Study ") == 1
    assert out.startswith(f"Study {STUDY}: ")
    assert (err.count("\n"), "no such name" in err) == (1, True)
    said = refused(search_main.main, ["status", "--study", "nope", *here], "'nope'", STUDY)
    assert said[:-1].isprintable()


@pytest.mark.parametrize("text", HOSTILE)
def test_what_a_database_says_is_only_text_in_a_program(
    searched: str, folder: Path, text: str
) -> None:
    export = ["export", "--study", STUDY, "--storage", searched, "--out", "best.json"]
    assert search_main.main(export) == 0
    content = json.loads((folder / "best.json").read_text())
    content["study"] = text
    content["evidence"] = {text: [text, {"name": text}], "recommendation": text}
    program = ast.parse(as_text(content, "python"))
    kinds = [type(statement).__name__ for statement in program.body]
    assert kinds == ["Expr", "ImportFrom", *["Assign"] * 4]
    _, _, _, evidence, made, _ = program.body
    assert ast.literal_eval(evidence.value) == content["evidence"]
    given = {word.arg: word.value for word in made.value.keywords}
    assert ast.literal_eval(given["study"]) == text
    assert ExportedConfig.model_validate_json(as_text(content, "json")).study == text


def test_the_ending_says_what_a_file_holds(refused: Refused, searched: str) -> None:
    endings = ("", ".json", ".YML", ".yaml", ".py")
    forms = ["json", "json", "yaml", "yaml", "python"]
    assert [format_of(Path(f"x{ending}"), None) for ending in endings] == forms
    assert format_of(Path("x.csv"), "json") == "json"
    for name in ("x.csv", "x.toml", "quick.best"):
        with pytest.raises(UsageError, match="--format"):
            format_of(Path(name), None)
    export = ["export", "--study", STUDY, "--storage", searched, "--out", "x.toml"]
    refused(search_main.main, export, "x.toml", ".json")


def test_what_to_type_next_can_be_typed(
    searched: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export = ["export", "--study", STUDY, "--storage", searched, "--out", "my best $x.json"]
    assert search_main.main(export) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("Next: ")
    assert shlex.split(line)[-4:] == ["train", "my best $x.json", "--out", f"models/{STUDY}"]


def test_a_pipe_in_the_place_of_an_export_is_not_waited_for(
    refused: Refused, searched: str, folder: Path
) -> None:
    os.mkfifo(folder / "best.json")
    export = ["export", "--study", STUDY, "--storage", searched, "--out", "best.json"]
    refused(search_main.main, export, "best.json")
    refused(search_main.main, [*export, "--force"], "best.json", "no ordinary file")
