"""The command lines: their frozen options, what `--help` costs, and one line for each mistake."""

from __future__ import annotations

import argparse
import gzip
import json
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
from search.cli.search_options import build_parser
from tests.conftest import ROOT, Refused

RUN_SEARCH = {
    *("--help", "--space", "--trials", "--list-spaces", "--study", "--storage", "--json"),
    *("--epochs", "--grace-period", "--reduction-factor", "--sampler", "--scheduler", "--seed"),
    *("--trust", "--time-budget", "--max-epoch-time", "--concurrency", "--cpus-per-trial"),
    *("--trial-time", "--final-time"),
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


def imported(what: str, *arguments: str, cwd: Path) -> tuple[str, list[str]]:
    """Run a program to exit status 0: its output, and which heavy libraries it imported."""
    ((status, output, heavy, _),) = run_all([what, *arguments], cwd=cwd)
    assert status == 0, output
    return output, heavy


HELPS = [
    [str(ROOT / "run_search.py"), "--help"],
    [str(ROOT / "run_search.py"), "--list-spaces"],
    ["search", "--help"],
    ["search", "export", "--help"],
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


IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


def _changed(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / name).write_bytes(change((folder / name).read_bytes()))

    return damage


def _compressed_and_cut(folder: Path) -> None:
    whole = gzip.compress((folder / IMAGES).read_bytes(), 1)
    (folder / IMAGES).unlink()
    (folder / f"{IMAGES}.gz").write_bytes(whole[: len(whole) // 2])


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda folder: (folder / IMAGES).unlink(), [IMAGES]),
        (lambda folder: (folder / "t10k-labels-idx1-ubyte").unlink(), ["t10k-labels"]),
        (_compressed_and_cut, [f"{IMAGES}.gz", "cut short or corrupt"]),
        (_changed(IMAGES, lambda data: data[:-1]), [IMAGES, "bytes instead of"]),
        (_changed(IMAGES, lambda data: data + b"x"), [IMAGES, "bytes instead of"]),
        (_changed(IMAGES, lambda data: b""), [IMAGES, "nothing"]),
        (_changed(IMAGES, lambda data: b"\0\0\x09" + data[3:]), [IMAGES, "not an idx file"]),
        (_changed(IMAGES, lambda data: data[:8] + b"\0\0\0\x1d" + data[12:]), [IMAGES, "29"]),
        (_changed(IMAGES, lambda data: data[:4] + b"\xff" * 4 + data[8:]), [IMAGES]),
        (
            _changed(LABELS, lambda data: data[:4] + b"\0\0\x09\x5f" + data[8:-1]),
            [LABELS, "2400 images", "2399 labels"],
        ),
        (_changed(LABELS, lambda data: data[:-1] + b"\xc8"), [LABELS, "labels up to 200"]),
    ],
)
def test_data_that_is_no_data(
    refused: Refused,
    small_data: Path,
    tmp_path: Path,
    damage: Callable[[Path], None],
    says: list[str],
) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(small_data, damaged)
    damage(damaged)
    refused(run_search.main, [*NEEDED, "--data-dir", str(damaged)], str(damaged), *says)


def test_a_place_with_no_data(refused: Refused, tmp_path: Path) -> None:
    common = [*NEEDED, "--data-dir"]
    refused(run_search.main, [*common, str(tmp_path / "none")], str(tmp_path / "none"))
    refused(run_search.main, [*common, __file__], __file__)
    refused(run_search.main, [*common, ""], "--data-dir")


def test_altered_fashion_mnist_is_refused(refused: Refused, tmp_path: Path) -> None:
    from fmnist_models.data.download import find_data

    altered = tmp_path / "altered"
    shutil.copytree(find_data().directory, altered)
    for path in altered.glob(f"{LABELS}*"):
        content = path.read_bytes()
        labels = gzip.decompress(content) if path.suffix == ".gz" else content
        path.unlink()
        (altered / LABELS).write_bytes(labels[:-1] + bytes([labels[-1] ^ 1]))
    refused(run_search.main, [*NEEDED, "--data-dir", str(altered)], "altered", LABELS)


GOOD = b'{"model": {"family": "quick"}, "optimizer": {"kind": "sgd", "lr": 0.1}, "epochs": 1}'
BOMB = json.dumps({"a": "x" * 1000}) * 2
CONFIGS: list[tuple[bytes, str]] = [
    (b"", "is not JSON"),
    (b"\xff\xfe{}", "is not UTF-8"),
    (b" " * 10_000_000, "over 1 MB"),
    (b"[" * 500_000, "is not JSON"),
    (b"{}", "model"),
    (b"a: &a [x]\nb: &b [*a, *a]\nc: [*b, *b]", "is not JSON"),
    (BOMB.encode(), "is not JSON"),
    (b"9" * 5000, "is not JSON"),
    (GOOD[:-1] + b', "batch_size": 1e400}', "batch_size"),
    (GOOD[:-1] + b', "nonsense": 1}', "nonsense"),
]


@pytest.mark.parametrize(("content", "says"), CONFIGS)
def test_a_file_that_is_no_configuration(
    refused: Refused, tmp_path: Path, content: bytes, says: str
) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    refused(models_main.main, ["train", str(path), "--out", "out"], "config.json", says)


def test_a_mistake_from_a_shell_is_one_line_too(tmp_path: Path) -> None:
    program = str(ROOT / "run_search.py")
    done = run(program, "--space", "quik", "--trials", "2", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "'quik'" in done.stderr
    assert list(tmp_path.iterdir()) == []
