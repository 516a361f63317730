"""Checkpoints of trials on disk: whole or not there at all, and never another trial's.

A file is written beside its place, brought to the disk and then renamed; the one before is kept.
What is loaded has passed its checksum and bears the mark of whoever asks (its configuration and
data). No torch here; files and folders are their owner's alone.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from fmnist_models.errors import OutputError
from fmnist_models.files import leftovers, load_checkpoint, make_private_folder, save_checkpoint

State = dict[str, Any]
"""Tensors and plain values, nested in dictionaries and lists."""
_NAME = re.compile(r"\.?trial_(\d+)\.")


class CheckpointStore:
    """The checkpoints of one study in `folder`, which is made when the first is saved.

    Trials are known by their number. `mark` is any text that tells what a checkpoint is of: only
    with the same mark is it given out again.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, number: int) -> Path:
        """Where the newest checkpoint of a trial is, if there is one."""
        return self.folder / f"trial_{number}.checkpoint"

    def previous_path(self, number: int) -> Path:
        """Where the checkpoint before the newest is."""
        return self.folder / f"trial_{number}.previous.checkpoint"

    def save(self, number: int, state: State, mark: str = "") -> None:
        """Keep `state` as the trial's newest checkpoint; the one that was it is the previous one.

        Raises OutputError (NoSpaceError when the disk is full), with what was there before intact.
        """
        make_private_folder(self.folder)
        content = {"mark": mark, "state": state}
        save_checkpoint(self.path(number), content, kept_as=self.previous_path(number))

    def load(self, numbers: Iterable[int], mark: str | None = None) -> State | None:
        """The state of the first of these trials that has a sound checkpoint, else None.

        Of each the newest is tried and then the previous one. What is damaged, cannot be read or
        bears another `mark` (None takes any) counts as not there.
        """
        for number in numbers:
            for path in (self.path(number), self.previous_path(number)):
                state = _sound(path, mark)
                if state is not None:
                    return state
        return None

    def numbers(self) -> set[int]:
        """The trials of which there are files, be they sound or not."""
        names = [_NAME.match(path.name) for path in self._files()]
        return {int(name[1]) for name in names if name}

    def discard(self, number: int) -> None:
        """Remove all files of a trial, also those that a killed worker left half written."""
        newest, previous = self.path(number), self.previous_path(number)
        for path in (newest, previous, *leftovers(self.folder, [newest.name])):
            with suppress(OSError):  # a checkpoint too many does no harm
                path.unlink(missing_ok=True)

    def tidy(self, keep: Collection[int] = ()) -> None:
        """Remove the files of all trials but those in `keep`, and the folder if it is empty then.

        The folder above it goes too if that leaves it empty. Not for while other drivers start
        trials that are not in `keep`.
        """
        for number in self.numbers() - set(keep):
            self.discard(number)
        with suppress(OSError):  # not empty, or not there
            self.folder.rmdir()
            self.folder.parent.rmdir()

    def _files(self) -> list[Path]:
        try:
            return list(self.folder.iterdir())
        except OSError:
            return []


def _sound(path: Path, mark: str | None) -> State | None:
    """The state in the file at `path`, or None."""
    try:
        content = load_checkpoint(path)
    except OutputError:
        return None
    if content is None or content.keys() != {"mark", "state"}:
        return None
    state = content["state"]
    return state if isinstance(state, dict) and mark in (None, content["mark"]) else None
