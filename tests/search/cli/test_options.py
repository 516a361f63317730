"""The command lines: their frozen options, what `--help` costs, and one line for each mistake."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

import fmnist_models.__main__ as models_main
import run_search
import search.__main__ as search_main
from search.cli.search_options import build_parser
from tests.conftest import ROOT, Refused

RUN_SEARCH = {
    *("--help", "--space", "--trials", "--list-spaces", "--study", "--storage", "--json"),
    *("--epochs", "--grace-period", "--reduction-factor", "--sampler", "--scheduler", "--seed"),
    *("--trust", "--time-budget", "--max-epoch-time", "--concurrency", "--cpus-per-trial"),
    *("--trial-time", "--final-time", "--total-time", "--around"),
    *("--gpus-per-trial", "--address", "--data-dir", "--train-samples"),
    *("--checkpoint-dir", "--retries", "--trial-timeout", "--database-outage", "--min-free"),
}
COMMANDS = {
    "status": {"--help", "--study", "--storage", "--json"},
    "export": {
        *("--help", "--study", "--storage", "--out", "--force"),
        *("--format", "--top", "--seeds", "--data-dir"),
    },
    "dashboard": {"--help", "--study", "--storage", "--port", "--writable"},
    "report": {"--help", "--study", "--storage", "--out", "--force"},
    "compare": {"--help", "--storage", "--out", "--force"},
    "trials": {"--help", "--study", "--storage", "--out", "--force"},
    "epochs": {"--help", "--study", "--storage", "--out", "--force"},
}

MODELS = {
    "train": {
        *("--help", "--out", "--epochs", "--seed", "--force", "--data-dir", "--device"),
        *("--seeds", "--members", "--workers", "--max-minutes", "--no-test", "--no-report"),
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
    assert options_of(build_parser()) == RUN_SEARCH


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
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=200)


RUN_ALL = """
import contextlib, io, json, os, runpy, sys
sys.path.insert(0, {root!r})
for argv in {commands!r}:
    sys.argv, status, output = argv, 0, io.StringIO()
    run = runpy.run_path if argv[0].endswith(".py") else runpy.run_module
    with contextlib.redirect_stdout(output):
        try:
            run(argv[0], run_name="__main__")
        except SystemExit as end:
            status = end.code
    heavy = sorted({{"torch", "ray", "optuna"}} & sys.modules.keys())
    print(json.dumps([status or 0, output.getvalue(), heavy, os.listdir()]))
"""
Ran = tuple[int, str, list[str], list[str]]
"""The exit status of a program, its output, and the heavy libraries and files that there are."""


def run_all(*commands: list[str], cwd: Path) -> list[Ran]:
    """Run programs, by their paths or modules' names, one after another in one process."""
    done = run("-c", RUN_ALL.format(root=str(ROOT), commands=commands), cwd=cwd)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


HELPS = [
    [str(ROOT / "run_search.py"), "--help"],
    [str(ROOT / "run_search.py"), "--list-spaces"],
    ["search", "--help"],
    ["search", "export", "--help"],
    ["search", "epochs", "--help"],
    ["fmnist_models", "--help"],
]


@pytest.fixture(scope="module")
def helps(tmp_path_factory: pytest.TempPathFactory) -> list[Ran]:
    return run_all(*HELPS, cwd=tmp_path_factory.mktemp("helps"))


@pytest.mark.parametrize("number", range(len(HELPS)), ids=[" ".join(argv[-2:]) for argv in HELPS])
def test_help_exits_0_and_imports_nothing_heavy(helps: list[Ran], number: int) -> None:
    status, output, heavy, files = helps[number]
    assert (status, heavy, files) == (0, [], [])
    assert "quick" in output if "--list-spaces" in HELPS[number] else "usage:" in output


def test_help_states_defaults_and_units(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        run_search.main(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert end.value.code == 0
    assert [a.option_strings for a in build_parser()._actions if not a.help] == []
    for default in (
        *("(default: curves)", "(default: quota)", "(default: 3)", "9, 27 on a GPU"),
        *("(default: 2)", "(default: 5m)", "(default: 100MB)", "at least 10m"),
    ):
        assert default in said


Mistake = tuple[list[str], list[str]]
NEEDED = ["--space", "quick", "--trials", "2"]
WHOLE: list[Mistake] = [
    ([], ["--space and --trials"]),
    (["--space", "quick"], ["--trials"]),
    (["--trials", "3"], ["--space"]),
    (["--space", "quik", "--trials", "2"], ["'quik'", "did you mean 'quick'?"]),
    (["--space", "", "--trials", "2"], ["--space"]),
    (["--space", "quick", "--trials", "0"], ["--trials", "0"]),
    (["--space", "quick", "--trials", "-1"], ["--trials", "-1"]),
    (["--space", "quick", "--trials", "1000001"], ["--trials", "1000001"]),
    (["--space", "quick", "--trials", "abc"], ["--trials", "'abc'"]),
    (["--space", "quick", "--trials", "1.5"], ["--trials", "'1.5'"]),
    (["--space", "quick", "--trials", "1e3"], ["--trials", "'1e3'"]),
    (["--space", "quick", "--trials"], ["--trials"]),
    (["--space", "quick", "--trials", "9" * 5000], ["--trials"]),
]
OF_ONE_OPTION: list[Mistake] = [
    (["--epochs", "-3"], ["--epochs", "-3"]),
    (["--epochs", "10001"], ["--epochs", "10001"]),
    (["--grace-period", "0"], ["--grace-period", "0"]),
    (["--reduction-factor", "1"], ["--reduction-factor", "1"]),
    (["--reduction-factor", "x"], ["--reduction-factor", "'x'"]),
    (["--sampler", "tpee"], ["--sampler", "'tpee'", "tpe"]),
    (["--sampler", "TPE"], ["--sampler", "'TPE'", "tpe"]),
    (["--scheduler", "x"], ["--scheduler", "'x'", "asha"]),
    (["--scheduler", ""], ["--scheduler", "''", "asha"]),
    (["--seed", "-1"], ["--seed", "-1"]),
    (["--seed", "2147483648"], ["--seed", "2147483648"]),
    (["--seed", "0x1"], ["--seed", "'0x1'"]),
    (["--time-budget", "1y"], ["--time-budget", "'1y'"]),
    (["--time-budget", "0"], ["--time-budget", "0"]),
    (["--time-budget", "30 m"], ["--time-budget", "'30 m'"]),
    (["--time-budget", "inf"], ["--time-budget", "'inf'"]),
    (["--max-epoch-time", "soon"], ["--max-epoch-time", "'soon'"]),
    (["--trial-time", "0"], ["--trial-time", "0"]),
    (["--final-time", "0"], ["--final-time", "0"]),
    (["--study", "a/../b"], ["--study", "'a/../b'"]),
    (["--study", ".."], ["--study", "'..'"]),
    (["--study", "a b"], ["--study", "'a b'"]),
    (["--study", "a\nb"], ["--study", r"'a\nb'"]),
    (["--study", "\udcff"], ["--study"]),
    (["--study", "x" * 101], ["--study", "100"]),
    (["--train-samples", "9"], ["--train-samples", "9"]),
    (["--train-samples", "none"], ["--train-samples", "'none'"]),
    (["--concurrency", "0"], ["--concurrency", "0"]),
    (["--concurrency", "10001"], ["--concurrency", "10001"]),
    (["--cpus-per-trial", "0"], ["--cpus-per-trial", "0"]),
    (["--cpus-per-trial", "nan"], ["--cpus-per-trial", "nan"]),
    (["--gpus-per-trial", "-1"], ["--gpus-per-trial", "-1"]),
    (["--gpus-per-trial", "1.5"], ["--gpus-per-trial", "1.5", "whole ones"]),
    (["--address", "ray://host:10001"], ["--address", "HOST:PORT"]),
    (["--address", "host"], ["--address", "'host'", "HOST:PORT"]),
    (["--address", "host:0"], ["--address", "'host:0'"]),
    (["--address", "host:70000x"], ["--address", "'host:70000x'"]),
    (["--address", "-oProxyCommand=x:1"], ["--address"]),
    (["--around", "nowhere.json"], ["--around", "nowhere.json", "check the path"]),
    (["--trust", "blind"], ["--trust", "'blind'", "normal, strong, weak"]),
    (["--retries", "-1"], ["--retries", "-1"]),
    (["--retries", "101"], ["--retries", "101"]),
    (["--trial-timeout", "0"], ["--trial-timeout", "0"]),
    (["--trial-timeout", "-5m"], ["--trial-timeout"]),
    (["--database-outage", "never"], ["--database-outage", "'never'"]),
    (["--min-free", "much"], ["--min-free", "'much'", "500MB"]),
    (["--min-free", "-1GB"], ["--min-free"]),
    (["--min-free", "1GiB"], ["--min-free", "'1GiB'"]),
    (["--checkpoint-dir", ""], ["--checkpoint-dir"]),
    (["--storage", "postgresql://u:secret@h/d"], ["--storage", "***", ".pgpass"]),
    (["--storage", "postgresql://h/d?password=secret"], ["--storage", "***", ".pgpass"]),
    (["--nonsense"], ["--nonsense"]),
    (["--epoch", "3"], ["--epoch"]),
    (["extra"], ["extra"]),
]
AT_ONCE = [*WHOLE, *(([*NEEDED, *options], says) for options, says in OF_ONE_OPTION)]


def test_there_are_sixty_mistakes() -> None:
    assert len(AT_ONCE) >= 60


@pytest.mark.parametrize(("arguments", "says"), AT_ONCE)
def test_a_mistake_in_the_arguments(
    refused: Refused, arguments: list[str], says: list[str]
) -> None:
    assert "secret" not in refused(run_search.main, arguments, *says)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--epochs", "3", "--grace-period", "5"], ["--grace-period 5", "3 epochs"]),
        (["--cpus-per-trial", "999"], ["--cpus-per-trial 999", "lower it"]),
        (["--gpus-per-trial", "64"], ["--gpus-per-trial 64", "lower it"]),
        (["--concurrency", "9999"], ["--concurrency 9999", "lower it"]),
        (["--final-time", "5m"], ["--final-time 300s", "needs --time-budget"]),
        (["--train-samples", "2401"], ["2401", "training split"]),
        (["--storage", "mysql://u@h/d"], ["mysql is not supported", "sqlite:///"]),
        (["--storage", "oracle://h/d"], ["oracle is not supported"]),
        (["--storage", "nonsense"], ["'nonsense'", "sqlite:///"]),
        (["--storage", "sqlite://"], ["sqlite:///"]),
        (["--storage", "sqlite:////proc/search.db"], ["/proc/search.db", ": "]),
        (["--storage", "sqlite:////sys/kernel/search.db"], ["/sys/kernel/search.db", "name"]),
        (["--storage", "sqlite:///no/such/folder/x.db"], ["no/such/folder", "mkdir -p"]),
        (["--checkpoint-dir", "/proc/version"], ["--checkpoint-dir", "/proc/version"]),
        (["--checkpoint-dir", "/proc/version/x"], ["--checkpoint-dir", "/proc/version"]),
    ],
)
def test_a_mistake_that_shows_on_this_machine(
    refused: Refused, small_data: Path, options: list[str], says: list[str]
) -> None:
    refused(run_search.main, [*NEEDED, "--data-dir", str(small_data), *options], *says)


def test_a_mistake_from_a_shell_is_one_line_too(tmp_path: Path) -> None:
    program = str(ROOT / "run_search.py")
    done = run(program, "--space", "quik", "--trials", "2", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "'quik'" in done.stderr
    assert list(tmp_path.iterdir()) == []
