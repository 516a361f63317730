"""The commands that read a database: what they refuse, import and say."""

import json
from pathlib import Path

import pytest

import search.__main__ as search_main
from storage import open_database
from tests.conftest import Refused
from tests.search.loop import STUDY, search
from tests.test_cli import imported


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


def test_status_and_export_import_neither_torch_nor_ray(searched: str, folder: Path) -> None:
    output, heavy = imported("search", "status", "--json", "--storage", searched, cwd=folder)
    assert heavy == ["optuna"]
    assert json.loads(output)["study"] == STUDY
    arguments = ["export", "--study", STUDY, "--storage", searched, "--out", "best.json"]
    _, heavy = imported("search", *arguments, cwd=folder)
    assert heavy == ["optuna"]
    assert json.loads((folder / "best.json").read_text())["study"] == STUDY


def test_status_is_written_for_people(searched: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert search_main.main(["status", "--storage", searched]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"Study {STUDY}: ")
    assert "complete" in said
    assert "95 % interval" in said
