"""The command lines: their frozen options, what `--help` costs, and one line for each mistake."""

import argparse
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

import fmnist_models.__main__ as models_main
import run_search
import search.__main__ as search_main
from tests.conftest import ROOT, Refused

RUN_SEARCH = {
    *("--help", "--space", "--trials", "--list-spaces", "--study", "--storage", "--json"),
    *("--epochs", "--grace-period", "--reduction-factor", "--sampler", "--scheduler", "--seed"),
    *("--time-budget", "--max-epoch-time", "--concurrency", "--cpus-per-trial"),
    *("--gpus-per-trial", "--address", "--data-dir", "--train-samples"),
}
COMMANDS = {
    "status": {"--help", "--study", "--storage", "--json"},
    "export": {
        *("--help", "--study", "--storage", "--out", "--force"),
        *("--format", "--top", "--seeds", "--data-dir"),
    },
    "dashboard": {"--help", "--study", "--storage", "--port", "--writable"},
}

MODELS = {
    "train": {
        *("--help", "--out", "--epochs", "--seed", "--force", "--data-dir", "--device"),
        *("--seeds", "--max-minutes", "--no-test", "--no-report"),
    },
    "evaluate": {"--help", "--data-dir", "--device", "--json", "--no-report"},
    "predict": {"--help", "--invert", "--json", "--device"},
    "export-onnx": {"--help", "--out", "--force", "--data-dir"},
    "ensemble": {"--help", "--out", "--flip", "--shift", "--chosen-before-test", "--force"},
}


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    return {o for action in parser._actions for o in action.option_strings if o.startswith("--")}


def commands_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    actions = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    return dict(actions[0].choices)


def test_the_options_of_run_search_are_frozen() -> None:
    assert options_of(run_search.build_parser()) == RUN_SEARCH


@pytest.mark.parametrize(
    ("parser", "frozen"),
    [(search_main.build_parser(), COMMANDS), (models_main.build_parser(), MODELS)],
    ids=["search", "fmnist_models"],
)
def test_the_commands_are_frozen(
    parser: argparse.ArgumentParser, frozen: dict[str, set[str]]
) -> None:
    commands = commands_of(parser)
    # Scripts rely on these; further commands may come.
    assert {name: options_of(commands[name]) for name in frozen} == frozen


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=50)


IMPORTED = (
    "import sys, runpy; sys.path.insert(0, {root!r}); sys.argv = {argv!r}\n"
    "try: runpy.{run}({what!r}, run_name='__main__')\n"
    "except SystemExit as end: assert not end.code, end.code\n"
    "print(); print(*sorted({{'torch', 'ray', 'optuna'}} & sys.modules.keys()))"
)


def imported(what: str, *arguments: str, cwd: Path) -> tuple[str, list[str]]:
    """Run a program to exit status 0: its output, and which heavy libraries it imported."""
    way = "run_path" if what.endswith(".py") else "run_module"
    code = IMPORTED.format(root=str(ROOT), argv=[what, *arguments], run=way, what=what)
    done = run("-c", code, cwd=cwd)
    assert done.returncode == 0, done.stderr
    *output, last = done.stdout.splitlines()
    return "\n".join(output), last.split()


@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        (str(ROOT / "run_search.py"), ["--help"]),
        (str(ROOT / "run_search.py"), ["--list-spaces"]),
        ("search", ["--help"]),
        ("search", ["export", "--help"]),
        ("fmnist_models", ["--help"]),
    ],
)
def test_help_exits_0_and_imports_nothing_heavy(
    program: str, arguments: list[str], tmp_path: Path
) -> None:
    output, heavy = imported(program, *arguments, cwd=tmp_path)
    assert heavy == []
    assert "quick" in output if "--list-spaces" in arguments else "usage:" in output
    assert list(tmp_path.iterdir()) == []


def test_help_states_defaults_and_units(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        run_search.main(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert end.value.code == 0
    assert [a.option_strings for a in run_search.build_parser()._actions if not a.help] == []
    for default in ("(default: tpe)", "(default: asha)", "(default: 3)", "9 on a CPU, 27 on a GPU"):
        assert default in said


Mistake = tuple[list[str], list[str]]
AT_ONCE: list[Mistake] = [
    ([], ["--space and --trials"]),
    (["--space", "quick"], ["--trials"]),
    (["--space", "quik", "--trials", "2"], ["'quik'", "did you mean 'quick'?"]),
    (["--space", "quick", "--trials", "0"], ["--trials", "0"]),
    (["--space", "quick", "--trials", "abc"], ["--trials", "'abc'"]),
    (["--space", "quick", "--trials", "2", "--epochs", "-3"], ["--epochs", "-3"]),
    (["--space", "quick", "--trials", "2", "--sampler", "tpee"], ["--sampler", "'tpee'", "tpe"]),
    (["--space", "quick", "--trials", "2", "--scheduler", "x"], ["--scheduler", "'x'", "asha"]),
    (["--space", "quick", "--trials", "2", "--time-budget", "1y"], ["--time-budget", "'1y'"]),
    (["--space", "quick", "--trials", "2", "--time-budget", "0"], ["--time-budget", "0"]),
    (["--space", "quick", "--trials", "2", "--study", "a/../b"], ["--study", "'a/../b'"]),
    (["--space", "quick", "--trials", "2", "--train-samples", "9"], ["--train-samples", "9"]),
    (["--space", "quick", "--trials", "2", "--concurrency", "0"], ["--concurrency", "0"]),
    (["--space", "quick", "--trials", "2", "--nonsense"], ["--nonsense"]),
    (["--space", "quick", "--trials", "2", "extra"], ["extra"]),
]


@pytest.mark.parametrize(("arguments", "says"), AT_ONCE)
def test_a_mistake_in_the_arguments(
    refused: Refused, arguments: list[str], says: list[str]
) -> None:
    refused(run_search.main, arguments, *says)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--epochs", "3", "--grace-period", "5"], ["--grace-period 5", "3 epochs"]),
        (["--cpus-per-trial", "999"], ["--cpus-per-trial 999", "lower it"]),
        (["--gpus-per-trial", "64"], ["--gpus-per-trial 64", "lower it"]),
        (["--train-samples", "2401"], ["2401", "training split"]),
        (["--storage", "mysql://u:secret@h/d"], ["mysql is not supported", "sqlite:///"]),
        (["--storage", "oracle://h/d"], ["oracle is not supported"]),
        (["--storage", "nonsense"], ["'nonsense'", "sqlite:///"]),
        (["--storage", "sqlite:////proc/search.db"], ["/proc/search.db", ": "]),
        (["--storage", "sqlite:////sys/kernel/search.db"], ["/sys/kernel/search.db", "name"]),
        (["--storage", "sqlite:///no/such/folder/x.db"], ["no/such/folder", "mkdir -p"]),
    ],
)
def test_a_mistake_that_shows_on_this_machine(
    refused: Refused, small_data: Path, options: list[str], says: list[str]
) -> None:
    common = ["--space", "quick", "--trials", "2", "--data-dir", str(small_data)]
    said = refused(run_search.main, [*common, *options], *says)
    assert "secret" not in said


def _garbage(path: Path) -> None:
    path.write_bytes(b"this is no database, but it is long enough to look like one" * 50)


def _foreign(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE recipes (cake TEXT)")
    connection.close()


def _plain_optuna(path: Path) -> None:
    optuna.create_study(study_name="quick", storage=f"sqlite:///{path}")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (_garbage, ["is not a SQLite database"]),
        (_foreign, ["belongs to another program"]),
        (_plain_optuna, ["'quick'", "was not made by fmnist-search"]),
        (Path.mkdir, ["is a folder"]),
    ],
)
def test_a_file_that_is_no_search(
    refused: Refused, small_data: Path, folder: Path, make: Callable[[Path], None], says: list[str]
) -> None:
    make(folder / "search.db")
    common = ["--space", "quick", "--trials", "2", "--data-dir", str(small_data)]
    refused(run_search.main, [*common, "--storage", "sqlite:///search.db"], *says)


def test_data_that_is_missing_or_cut_short(
    refused: Refused, small_data: Path, tmp_path: Path
) -> None:
    common = ["--space", "quick", "--trials", "2", "--data-dir"]
    refused(run_search.main, [*common, str(tmp_path / "none")], str(tmp_path / "none"))
    damaged = tmp_path / "damaged"
    shutil.copytree(small_data, damaged)
    images = damaged / "train-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:-1])
    refused(run_search.main, [*common, str(damaged)], str(images), "bytes instead of")


def test_a_mistake_from_a_shell_is_one_line_too(tmp_path: Path) -> None:
    program = str(ROOT / "run_search.py")
    done = run(program, "--space", "quik", "--trials", "2", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "'quik'" in done.stderr
    assert list(tmp_path.iterdir()) == []
