"""The files of a data set on the disk: where they are, and their bytes, unzipped within bounds."""

from __future__ import annotations

import gzip
import mmap
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO

from fmnist_models.errors import DataError

HEAD_BYTES = 16
"""So many bytes of a file say how many there are in all."""
MOST_BYTES = 2**31
"""Of an unzipped file: 2.7 million images. A .gz of 2 MB may claim as much."""
REMEDY = "put an intact copy there (in the cache: delete it, and it is fetched again)"
GZIP = b"\x1f\x8b"


def folder_of(directory: Path, name: str) -> Path:
    """`directory`, or the folder below it in which torchvision keeps the data set: [NAME/]raw.

    `name`: a file that is looked for. Raises DataError where there are several such folders.
    """
    if _is_there(directory, name):
        return directory
    folders = [directory / "raw", *sorted(directory.glob("*/raw"))]
    found = [f for f in folders if _is_there(f, name)]
    if len(found) > 1:
        raise DataError(f"{directory} has several data sets; name {' or '.join(map(str, found))}")
    return found[0] if found else directory


def find_file(directory: Path, name: str) -> Path:
    """The file `name` in `directory`, plain or with .gz; plain wins. Raises DataError."""
    for path in _candidates(directory, name):
        try:
            path.stat()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise DataError(f"cannot read {path} ({error.strerror}); {REMEDY}") from error
        return path
    raise DataError(
        f"no {name} or {name}.gz in {directory}; name a directory that has all four idx files"
    )


def _is_there(directory: Path, name: str) -> bool:
    """Whether one of its names is there; a folder that is closed to us has none."""
    return any(os.path.exists(path) for path in _candidates(directory, name))  # noqa: PTH110


def _candidates(directory: Path, name: str) -> list[Path]:
    dotted = name.replace("-idx", ".idx")  # as 7-Zip calls what it unpacks
    return [directory / f"{stem}{ending}" for stem in (name, dotted) for ending in ("", ".gz")]


def read_contents(
    path: Path, total_bytes: Callable[[Path, bytes], int], *, mapped: bool
) -> bytes | mmap.mmap:
    """The bytes of the file at `path`, unzipped if they are gzip.

    `total_bytes` says by the first bytes how many there are in all, before they are read, or raises
    DataError. `mapped`: a file that is not zipped is mapped, not read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
            file.seek(0)
            if head.startswith(GZIP):
                with gzip.open(file) as unzipped:
                    return _read_all(path, unzipped, total_bytes)
            if path.suffix == ".gz" and head and not what_else(head):
                raise DataError(f"{path} is cut short or corrupt (not gzip); {REMEDY}")
            if not mapped or not head:
                return _read_all(path, file, total_bytes)
            contents = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
            _check_total(path, len(contents), total_bytes(path, head))
            return contents
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is cut short or corrupt ({error}); {REMEDY}") from error
    except OSError as error:
        raise DataError(f"cannot read {path} ({error.strerror}); {REMEDY}") from error


def _read_all(
    path: Path, file: IO[bytes] | gzip.GzipFile, total_bytes: Callable[[Path, bytes], int]
) -> bytes:
    total = total_bytes(path, file.read(HEAD_BYTES))
    if total > MOST_BYTES:
        raise DataError(
            f"{path} says of itself that it has {total:,} bytes; {MOST_BYTES:,} are read at most"
        )
    file.seek(0)
    contents = file.read(total + 1)  # a byte more than there is to be tells who has too many
    _check_total(path, len(contents), total)
    return contents


def _check_total(path: Path, found: int, total: int) -> None:
    if found > total:
        raise DataError(f"{path} has more than the {total} bytes of its header; {REMEDY}")
    if found < total:
        raise DataError(f"{path} has {found} bytes instead of {total}; {REMEDY}")


def what_else(head: bytes) -> str | None:
    """What a file is by its first bytes that people take for another, and what to do."""
    if head.lstrip().startswith(b"<"):
        return "is a web page, not the file itself; download that"
    if head.startswith(b"version https://"):
        return "is a Git LFS pointer, not the file itself; run: git lfs pull"
    return None
