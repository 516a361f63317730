"""Writing files so that whoever reads them finds the old one or the new one, never half of one."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fmnist_models.errors import NoSpaceError, OutputError

_CHECKSUM_BYTES = hashlib.sha256().digest_size


def write_atomically(path: Path, content: bytes) -> None:
    """Replace the file at `path` by `content`; raises OutputError, with the old one intact."""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise _cannot_write(path, error) from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except OSError as error:
        raise _cannot_write(path, error) from None
    finally:
        Path(temporary).unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """Make the folder at `path` where there is none; raises OutputError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_write(path, error) from None


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values with a checksum in front; raises OutputError."""
    import torch

    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    write_atomically(path, hashlib.sha256(content).digest() + content)


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """What `save_checkpoint` wrote; None when there is no file or its checksum is wrong.

    The checksum comes first, since torch loads most files with a flipped bit without complaint.
    """
    import torch

    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    checksum, content = content[:_CHECKSUM_BYTES], content[_CHECKSUM_BYTES:]
    if hashlib.sha256(content).digest() != checksum:
        return None
    state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return state


def _cannot_write(path: Path, error: OSError) -> OutputError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return NoSpaceError(
            f"cannot write {path}: {error.strerror}; make room and start again to go on"
        )
    return OutputError(f"cannot write {path}: {error.strerror}; choose another place")


def leftovers(folder: Path, names: Iterable[str]) -> list[Path]:
    """What `write_atomically` left of files called `names` in `folder` when it was killed."""
    return [path for name in names for path in folder.glob(f".{name}.*")]
