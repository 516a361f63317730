"""Commands and searches whose output cannot be written: a reader that is gone, a full disk."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fmnist_models.output import run_command
from tests.conftest import ROOT

POINT = [sys.executable, "-m", "spaces", "point", "quick", "quick-2-16"]
LIST = [sys.executable, str(ROOT / "run_search.py"), "--list-spaces"]


def to_nobody(command: list[str], both: bool = False) -> tuple[int, str]:
    """Status and errors of a command whose reader is gone; `both`: that of errors too."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        command, stdout=write, stderr=write if both else subprocess.PIPE, text=True, cwd=ROOT
    )
    os.close(write)
    return done.returncode, done.stderr or ""


def test_a_reader_that_is_gone_ends_a_command_without_a_word() -> None:
    assert to_nobody(POINT) == (141, "")
    assert to_nobody(POINT, both=True) == (141, "")
    assert to_nobody(LIST) == (0, "")


def test_a_full_disk_is_told_in_a_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(POINT, stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert done.returncode == 3
    assert done.stderr == ("the output cannot be written: [Errno 28] No space left on device\n")


def test_with_a_closed_output_nothing_is_printed_into_files(tmp_path: Path) -> None:
    program = """
import os, sys
from fmnist_models.output import run_command

def work():
    with open("database", "w") as file:
        print("said"), print("said", file=sys.stderr)
        os.write(1, b"by a library")
        os.write(2, b"by a library")
        file.write("kept")
    return 0

sys.exit(run_command(work))
"""
    shell = ["sh", "-c", 'exec "$0" -c "$1" <&- >&- 2>&-', sys.executable, program]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(shell, cwd=tmp_path, env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == 0
    assert (tmp_path / "database").read_text() == "kept"


class Broken:
    """A stream that takes nothing."""

    def __init__(self, error: type[OSError]) -> None:
        self.error = error

    def write(self, text: str) -> int:
        raise self.error(32, "lost")

    def flush(self) -> None:
        raise self.error(32, "lost")

    def fileno(self) -> int:
        raise OSError


@pytest.mark.parametrize("error", [BrokenPipeError, OSError])
def test_work_goes_on_though_nothing_can_be_printed(
    monkeypatch: pytest.MonkeyPatch, error: type[OSError]
) -> None:
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, Broken(error))
    done: list[int] = []

    def work() -> int:
        for number in range(3):
            print(number, file=sys.stderr, flush=True)
            print(number)
            done.append(number)
        return 0

    assert run_command(work, is_work=True) == 0
    assert done == [0, 1, 2]
    assert run_command(work) == 141
    assert isinstance(sys.stdout, Broken)


def raises() -> int:
    print("before")
    raise RuntimeError("a defect")


@pytest.mark.parametrize("end", [raises, lambda: sys.exit(2)])
def test_other_ends_are_as_they_were(
    end: Callable[[], int], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises((RuntimeError, SystemExit)):
        run_command(end)
    assert capsys.readouterr().out == ("before\n" if end is raises else "")
