"""What is printed may be lost: its reader has seen enough, the disk of its file is full.

A command whose output is its point then ends without a word, with the status that a shell expects.
A search or a training goes on: its work is not its output.

What is printed may also come from others, who wrote a database, a folder's name or a picture's: it
moves no cursor, and what is to be typed next is quoted.
"""

from __future__ import annotations

import errno
import os
import re
import shlex
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

if TYPE_CHECKING:
    from rich.console import Console

READER_GONE, NOT_WRITTEN, DEFECT = 141, 3, 70
"""Exit statuses: 128 + SIGPIPE, that of surroundings that fail, and sysexits.h's EX_SOFTWARE for an
exception that nobody foresaw: Python's own, 1, is what a search without a result ends with."""
CONSOLE_COMMAND = "fmnist-search"
"""The name of the command that does not depend on the working folder (search/cli/console.py)."""
_UNSHOWN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Control characters but tab and line feed, what turns the direction of writing, and what stands
for the bytes of a name that is not UTF-8."""


def printable(text: str) -> str:
    """`text` with what would steer a terminal written out: an escape character as \\x1b."""
    return _UNSHOWN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def quoted(word: object) -> str:
    """A word as a shell takes it, a path that begins with a dash as no option."""
    text = f"./{word}" if isinstance(word, Path) and str(word).startswith("-") else str(word)
    if text.isprintable():
        return shlex.quote(text)
    return "$'" + "".join(rf"\x{byte:02x}" for byte in os.fsencode(text)) + "'"


def command_line(module: str, *words: object) -> str:
    """A command of ours as it can be typed here: `python -m module`, or as this one was started."""
    started = Path(sys.argv[0])
    if started.name == CONSOLE_COMMAND:
        return " ".join(map(quoted, [_shortest(started, started.name), *words]))
    python = _shortest(Path(sys.executable or "python"), "python")
    return " ".join(map(quoted, [python, "-m", module, *words]))


def program_name(usual: str, command: str = "") -> str:
    """What a program calls itself: as usual, or as this `command` of the console command."""
    is_console = Path(sys.argv[0]).name == CONSOLE_COMMAND
    return f"{CONSOLE_COMMAND} {command}".strip() if is_console else usual


def _shortest(program: Path, name: str) -> str:
    """`name` where a shell finds `program` under it, else the path, from here if it is below."""
    found = Path(shutil.which(name) or os.devnull)
    with suppress(OSError):  # a folder that is closed to this user
        # The folder too: all virtual environments link to one interpreter.
        if found.parent.samefile(program.parent) and found.samefile(program):
            return name
    return str(program.relative_to(Path.cwd()) if program.is_relative_to(Path.cwd()) else program)


def error_console() -> Console:
    """Rich's console on standard error, which takes what is shown as it is."""
    from rich.console import Console

    return Console(file=cast("TextIO", _Styled()), emoji=False)


class Patient:
    """A stream like another, but what cannot be written is lost; `lost` is the first error."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.lost: OSError | ValueError | None = None

    def write(self, text: str) -> int:
        """Write or lose `text`, made printable; as of a stream."""
        self.write_styled(printable(text))
        return len(text)

    def write_styled(self, text: str) -> int:
        """Likewise, with sequences for the terminal that are meant."""
        try:
            self._stream.write(text)
        except (OSError, ValueError) as error:  # ValueError: it has been closed
            self._lose(error)
        return len(text)

    def flush(self) -> None:
        """Write or lose what was kept back."""
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._lose(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _lose(self, error: OSError | ValueError) -> None:
        self.lost = self.lost or error
        if isinstance(error, BrokenPipeError):
            self.give_up()

    def give_up(self) -> None:
        """Have all that is still to come, and what Python writes at its end, go nowhere."""
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


class _Styled:
    """Standard error, whichever stream that is by now, for rich, which makes its own sequences."""

    def write(self, text: str) -> int:
        """Write or lose `text`, with sequences for the terminal that are meant."""
        stream = self._stream()
        return stream.write_styled(text) if isinstance(stream, Patient) else stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream(), name)

    @staticmethod
    def _stream() -> Any:
        # What rich itself puts there, while it shows a table, would come back to this.
        return getattr(sys.stderr, "rich_proxied_file", sys.stderr)


def run_command(run: Callable[[], int], *, is_work: bool = False) -> int:
    """What `run` gives, an exit status; another one where its output was lost, unless it `is_work`.

    What raises is a defect: its traceback is printed.
    """
    with patient_streams() as (out, _):
        try:
            status = run()
        except Exception:
            traceback.print_exc()
            return DEFECT
        out.flush()
        if is_work or status or out.lost is None:
            return status
        if isinstance(out.lost, OSError) and out.lost.errno == errno.EPIPE:
            return READER_GONE
        print(f"the output cannot be written: {out.lost}", file=sys.stderr)
        return NOT_WRITTEN


@contextmanager
def patient_streams() -> Iterator[tuple[Patient, Patient]]:
    """Standard output and error as patient ones for the block."""
    _fill_closed()
    usual = sys.stdout, sys.stderr
    for stream in usual:
        with suppress(AttributeError, ValueError):  # made by others, or closed
            cast("Any", stream).reconfigure(errors="backslashreplace")
    out, err = (Patient(stream or open(os.devnull, "w")) for stream in usual)  # noqa: SIM115, PTH123
    sys.stdout, sys.stderr = cast("TextIO", out), cast("TextIO", err)
    try:
        yield out, err
    finally:
        for stream in (out, err):
            stream.flush()
            if stream.lost:
                stream.give_up()
        sys.stdout, sys.stderr = usual


def _fill_closed() -> None:
    """Open what is closed of files 0 to 2: else a file opened next would be printed to."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
