"""Writing files so that whoever reads them finds the old one or the new one, never half of one."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from fmnist_models.errors import ConfigError, FmnistError, OutputError, as_fmnist_error

MAKER = "fmnist-search"
"""How files name the program that wrote them."""
PUBLIC, PRIVATE = 0o644, 0o600
"""Modes of files: to be read by all, or by their owner alone."""
_CHECKSUM_BYTES = hashlib.sha256().digest_size
_UNFINISHED = ".half"
"""How the name of a file ends that is being written."""


def expand_home(text: str) -> Path:
    """A path as people write it, in which ~ and ~user are homes; raises ConfigError."""
    if not text:
        raise ConfigError("'' names no file and no folder; write its path")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ConfigError(
            f"{text!r}: that home is not known here; write the path in full"
        ) from None


def has_home() -> bool:
    """Whether the user's home is known; in a container it may not be."""
    try:
        return Path.home().is_absolute()
    except RuntimeError:
        return False


def user_cache() -> Path | None:
    """The folder of what we keep for a user; None where no home is known, as in some containers."""
    import platformdirs

    try:
        place = platformdirs.user_cache_path(MAKER).expanduser()
    except RuntimeError:
        return None
    return place if place.is_absolute() else None


def write_atomically(
    path: Path, *content: bytes | memoryview, mode: int = PUBLIC, kept_as: Path | None = None
) -> None:
    """Replace the file at `path` by the parts of `content`; raises OutputError, the old one intact.

    The file that was at `path` before lives on as `kept_as`, in the same folder, if that is given.
    A link is replaced, not followed; a device or a pipe is left alone, unless it is to be kept so.
    """
    try:
        if kept_as is None and path.exists() and not path.is_file():
            raise OutputError(f"cannot write {path}: it is no ordinary file; choose another place")
        handle, temporary = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name}.", suffix=_UNFINISHED
        )
    except OSError as error:
        raise _cannot_write(path, error) from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(mode)
        if kept_as:
            with suppress(FileNotFoundError):
                path.replace(kept_as)
        Path(temporary).replace(path)
    except OSError as error:
        raise _cannot_write(path, error) from None
    finally:
        Path(temporary).unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Bring the names in `folder` to the disk, where its file system knows how to."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def make_folder(path: Path) -> None:
    """Make the folder at `path` where there is none; raises OutputError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_write(path, error) from None


def make_private_folder(path: Path) -> None:
    """As `make_folder`, and what had to be made is its owner's alone, the folders above it too."""
    try:
        for folder in reversed([path, *path.parents]):
            if not folder.is_dir():
                folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise _cannot_write(path, error) from None


def save_checkpoint(path: Path, state: dict[str, Any], *, kept_as: Path | None = None) -> None:
    """Write tensors and plain values with a checksum in front; raises OutputError.

    The file is its owner's alone. `kept_as` is as for `write_atomically`.
    """
    import torch

    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getbuffer()
    checksum = hashlib.sha256(content).digest()
    write_atomically(path, checksum, content, mode=PRIVATE, kept_as=kept_as)


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """What `save_checkpoint` wrote; None when there is no file or it is not as it was written.

    The checksum comes first, since torch loads most files with a flipped bit without complaint.
    Raises OutputError when there is a file that cannot be read, and what torch raises when memory
    does not suffice.
    """
    import torch

    from fmnist_models.compute.memory import is_out_of_memory

    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        why = f"cannot read {path}: {error.strerror}; correct that or remove the file"
        raise OutputError(why) from None
    checksum = hashlib.sha256(memoryview(content)[_CHECKSUM_BYTES:]).digest()
    if checksum != content[:_CHECKSUM_BYTES]:
        return None
    file = io.BytesIO(content)
    file.seek(_CHECKSUM_BYTES)
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # written by another version of torch, or by someone else
        if is_out_of_memory(error):
            raise
        return None
    return state if isinstance(state, dict) else None


def leftovers(folder: Path, names: Iterable[str]) -> list[Path]:
    """What `write_atomically` left of files called `names` in `folder` when it was killed."""
    return [path for name in names for path in folder.glob(f".{name}*{_UNFINISHED}")]


def _cannot_write(path: Path, error: OSError) -> FmnistError:
    known = as_fmnist_error(OSError(error.errno, error.strerror, f"cannot write {path}"))
    return known or OutputError(f"cannot write {path}: {error.strerror}; choose another place")
