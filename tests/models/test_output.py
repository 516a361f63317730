"""Commands and searches whose output cannot be written: a reader that is gone, a full disk."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from rich.live import Live

from fmnist_models.output import (
    Patient,
    command_line,
    error_console,
    printable,
    quoted,
    run_command,
)
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
from fmnist_models.output import command_line, error_console, printable, quoted, run_command

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


HOSTILE = "a\x1b]0;title\x07\x9b2J\rb\u202ec\udce9"


def test_what_others_wrote_steers_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> int:
        print(HOSTILE, "two\nlines\tand a tab, \u00e4\u6f22")
        print(HOSTILE, file=sys.stderr)
        return 0

    assert run_command(work) == 0
    out, err = capsys.readouterr()
    shown = r"a\x1b]0;title\x07\x9b2J\rb\u202ec\udce9"
    assert (out, err) == (f"{shown} two\nlines\tand a tab, \u00e4\u6f22\n", f"{shown}\n")
    assert printable(printable(HOSTILE)) == shown


def test_rich_still_colours(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")

    def work() -> int:
        error_console().print("[red]red[/red]")
        return 0

    assert run_command(work) == 0
    assert "\x1b[31mred" in capsys.readouterr().err


def test_a_console_follows_standard_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ray's start has another stream there for a while, as has rich while it shows a table."""
    console, other = error_console(), io.StringIO()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", Patient(other))
        console.print("during")
        with Live("a table", console=Console(file=io.StringIO(), force_terminal=True)):
            console.print("beside a table")
    console.print("after")
    assert (other.getvalue(), capsys.readouterr().err) == ("during\nbeside a table\n", "after\n")


def test_what_a_terminal_has_no_letters_for_is_written_out() -> None:
    program = (
        "from fmnist_models.output import run_command as run; run(lambda: print('\\u6f22') or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "\\u6f22\n", "")


NAMES = ["plain.json", "my model", "a'b", "$(touch x)", "`x`", "; rm x", "-x", "a\nb", HOSTILE, "*"]


@pytest.mark.parametrize("name", NAMES)
def test_a_command_is_typed_as_it_was_printed(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)  # which has no interpreter below it
    line = command_line("fmnist_models", "train", Path(name), "--out", Path("models", name))
    assert line.startswith(quoted(Path(sys.executable))) or line.startswith("python ")
    assert printable(line) == line
    wanted = [f"./{name}" if name.startswith("-") else name, "--out", f"models/{name}"]
    shell = ["bash", "-c", f"set -- {line.partition(' train ')[2]}; printf '%s\\0' \"$@\""]
    said = subprocess.run(shell, capture_output=True, check=True).stdout
    assert said == b"".join(os.fsencode(word) + b"\0" for word in wanted)


def test_the_interpreter_is_named_as_a_shell_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def first() -> str:
        return command_line("search", "dashboard").partition(" -m ")[0]

    for place in ("a", "b"):  # two environments of one interpreter
        (tmp_path / place).mkdir()
        (tmp_path / place / "python").symlink_to(sys.executable)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "a" / "python"))
    monkeypatch.setenv("PATH", str(tmp_path / "a"))
    assert first() == "python"
    monkeypatch.setenv("PATH", str(tmp_path / "b"))
    assert first() == str(tmp_path / "a" / "python")
    monkeypatch.chdir(tmp_path)
    assert first() == "a/python"
    monkeypatch.setattr(sys, "argv", ["/bin/fmnist-search"])
    assert command_line("search", "dashboard") == "/bin/fmnist-search dashboard"


def test_a_defect_is_no_search_without_a_result(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(raises) == 70
    out, err = capsys.readouterr()
    assert out == "before\n"
    assert err.startswith("Traceback")
    assert err.endswith("RuntimeError: a defect\n")


def test_who_exits_himself_does() -> None:
    with pytest.raises(SystemExit, match="2"):
        run_command(lambda: sys.exit(2))
