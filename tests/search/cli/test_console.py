"""`fmnist-search`: every command, in every folder, told apart from a stranger's files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import fmnist_models.cli.parsing
import search.__main__
import spaces.__main__
from search.cli import console
from tests.conftest import ROOT

SCRIPT = """#!{python}
import sys
from search.cli.console import main
sys.exit(main())
"""
HEAVY = ("torch", "optuna", "sqlalchemy", "pydantic", "ray", "rich", "numpy", "yaml")


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """The command as pip would write it."""
    path = tmp_path / "bin" / "fmnist-search"
    path.parent.mkdir()
    path.write_text(SCRIPT.format(python=sys.executable))
    path.chmod(0o755)
    return path


def run(*command: object, path: str = str(ROOT), cwd: Path) -> tuple[int, str, str]:
    environment = {**os.environ, "PYTHONPATH": path}
    words = list(map(str, command))
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def test_it_has_every_command() -> None:
    def commands(parser: object) -> set[str]:
        (choices,) = (a.choices for a in parser._actions if a.dest == "command")
        return set(choices)

    rooms = (search.__main__, fmnist_models.cli.parsing, spaces.__main__)
    found = set().union(*(commands(room.build_parser()) for room in rooms))
    assert set(console.COMMANDS) == {"search", *found} - {"catalog"}


def test_it_works_beside_a_strangers_files(script: Path, folder: Path) -> None:
    for name in ("search", "storage", "spaces", "run_search", "fmnist_models"):
        (folder / f"{name}.py").write_text("raise SystemExit('a stranger')")
    code, out, err = run(script, "status", cwd=folder)
    assert (code, out) == (2, "")
    assert "no search has been stored there yet" in err
    assert err.startswith("fmnist-search status: ")
    assert sorted(p.name for p in folder.iterdir() if p.suffix != ".py") == []


@pytest.mark.parametrize("name", ["storage", "spaces"])
def test_what_hides_a_package_of_ours_is_named(script: Path, folder: Path, name: str) -> None:
    (folder / f"{name}.py").write_text("raise SystemExit('a stranger')")
    for command, path in (
        ([sys.executable, "-m", "search", "status"], str(ROOT)),
        ([script, "status"], f".{os.pathsep}{ROOT}"),
    ):
        code, out, err = run(*command, path=path, cwd=folder)
        assert (code, out, err.count("\n")) == (2, "", 1), err
        assert f"{folder}/{name}.py hides the package {name}" in err
        assert "rename it" in err


def test_help_and_version_import_nothing_heavy(folder: Path) -> None:
    program = f"""
import sys
from search.cli import console
for arguments in (["--help"], ["--version"]):
    try:
        console.main(arguments)
    except SystemExit as end:
        assert end.code == 0
print([name for name in {HEAVY} if name in sys.modules])
"""
    code, out, err = run(sys.executable, "-c", program, cwd=folder)
    assert (code, err) == (0, "")
    *_, version, heavy = out.splitlines()
    assert version.startswith("fmnist-search ")
    assert heavy == "[]"
    if (ROOT / ".git").exists():
        command = ["git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD"]
        commit = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        assert f"(commit {commit}" in version


def test_the_commit_of_what_pip_installed_is_known(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(console, "__file__", str(tmp_path / "search" / "cli" / "console.py"))
    record = '{"url": "https://x", "vcs_info": {"vcs": "git", "commit_id": "0123456789abcdef"}}'
    assert console._commit(record) == ["(commit 0123456789ab)"]
    assert console._commit('{"url": "x", "dir_info": {}}') == []
    assert console._commit(None) == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "name a COMMAND: search, status"),
        (["nonsense"], "'nonsense'"),
        (["--nonsense"], "--nonsense"),
        (["search", "--nonsense"], "fmnist-search search: "),
        (["search", "--space", "quick"], "fmnist-search search: "),
        (["train", "none.json", "--out", "x"], "fmnist-search train: "),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str],
    says: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/fmnist-search"])
    try:
        code = console.main(arguments)
    except SystemExit as end:
        code = end.code
    out, err = capsys.readouterr()
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert says in err
