"""What is printed may be lost: its reader has seen enough, the disk of its file is full.

A command whose output is its point then ends without a word, with the status that a shell expects.
A search or a training goes on: its work is not its output.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

READER_GONE, NOT_WRITTEN = 141, 3
"""Exit statuses: 128 + SIGPIPE, and that of surroundings that fail."""


class Patient:
    """A stream like another, but what cannot be written is lost; `lost` is the first error."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.lost: OSError | ValueError | None = None

    def write(self, text: str) -> int:
        """Write or lose `text`; as of a stream."""
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


def run_command(run: Callable[[], int], *, is_work: bool = False) -> int:
    """What `run` gives, an exit status; another one where its output was lost, unless it `is_work`.

    What raises does so after what was printed is written, or lost.
    """
    with patient_streams() as (out, _):
        status = run()
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
