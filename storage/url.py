"""Database URLs: what is accepted, how it is shown, and whether a file may live where it points."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from storage.errors import StorageRefused

_FORMS = "use sqlite:///FILE.db or postgresql://USER@HOST/DATABASE"
_POSTGRESQL_NAMES = frozenset({"postgres", "postgresql", "postgresql+psycopg"})
_MOUNTS = Path("/proc/mounts")
_NETWORK_FILE_SYSTEMS = (
    "9p afs beegfs blobfuse2 ceph ceph-fuse cifs coda davfs drvfs gcsfuse glusterfs"
    " gpfs lustre ncpfs nfs nfs4 orangefs pvfs2 rclone s3fs smb2 smb3 smbfs sshfs"
)

PASSWORD_VARIABLE = "PGPASSWORD"
"""Environment variable of PostgreSQL's own programs, heeded here as there."""
_hidden: dict[str, str] = {}


def hide_password() -> None:
    """Take $PGPASSWORD out of the environment, which all processes that start from now on inherit.

    `parse_url` still knows it.
    """
    if PASSWORD_VARIABLE in os.environ:
        _hidden[PASSWORD_VARIABLE] = os.environ.pop(PASSWORD_VARIABLE)


def mask_url(text: str) -> str:
    """`text` with each password of a database URL in it replaced by `***`.

    Works on text that is not a valid URL too, and masks `?password=`, which SQLAlchemy does not.
    """
    # Rather too much than too little: a password may hold spaces, slashes and more @.
    text = re.sub(r"(?s)(://[^:/]*):.*@", r"\1:***@", text)
    return re.sub(r"(?i)([?&](?:ssl)?password=)[^&]*", r"\1***", text)


def display_url(url: URL) -> str:
    """`url` as text that may be shown and logged: all passwords masked."""
    return mask_url(url.render_as_string(hide_password=True))


def parse_url(text: str) -> URL:
    """The URL of a supported database in one normal form.

    SQLite paths become absolute with symbolic links followed, PostgreSQL is always reached with
    psycopg 3, and a password in the query moves to where SQLAlchemy masks it.

    Raises StorageRefused when the URL is not one of the two forms or the driver is missing.
    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        # "from None": the parser's own error quotes the text, password and all.
        raise StorageRefused(f"{mask_url(text)!r} is not a database URL: {_FORMS}") from None
    if url.drivername == "sqlite":
        return _sqlite_url(url)
    if url.drivername in _POSTGRESQL_NAMES:
        return _postgresql_url(url)
    raise StorageRefused(f"{display_url(url)}: {url.drivername} is not supported: {_FORMS}")


def sqlite_path(url: URL) -> Path | None:
    """The database file of a parsed URL, or None when it is PostgreSQL."""
    return Path(url.database or "") if url.drivername == "sqlite" else None


def is_read_only(path: Path) -> bool:
    """Whether a SQLite file is there and can only be read.

    SQLite in WAL mode writes two more files beside its own, so the folder counts as well.
    """
    return path.exists() and not all(os.access(p, os.W_OK) for p in (path, path.parent))


def check_file(path: Path, *, writes: bool = True, mounts: str | None = None) -> None:
    """Make sure that a SQLite file can live at `path`; changes nothing.

    With `writes` false it may be read-only. `mounts` is the mount table in the format of
    /proc/mounts; None reads the machine's own.

    Raises StorageRefused when the folder is missing, the place is not writable, is a folder, or
    lies on a network file system.
    """
    if path.is_dir():
        raise StorageRefused(f"{path} is a folder: name a file in it, sqlite:///{path}/search.db")
    if not path.parent.is_dir():
        raise StorageRefused(f"{path}: its folder does not exist: create it (mkdir -p) first")
    if path.exists() and not os.access(path, os.R_OK):
        raise StorageRefused(f"{path} is closed to you: ask its owner, or name another file")
    if not writes and is_read_only(path):
        return  # no network loses what is not written
    for place in (path, path.parent):
        if writes and place.exists() and not os.access(place, os.W_OK):
            raise StorageRefused(f"{place} is read-only: make it writable or name another file")
    kind = _network_file_system(path.parent, _read_mounts() if mounts is None else mounts)
    if kind is not None:
        raise StorageRefused(
            f"{path} is on a network file system ({kind}), where SQLite loses data:"
            " name a file on a local disk or use postgresql://"
        )


def check_space(path: Path, least_bytes: int) -> None:
    """Make sure that a search that starts now has room for its database at `path`.

    Raises StorageRefused when fewer than `least_bytes` are free on its disk.
    """
    free = shutil.disk_usage(path.parent).free
    if free < least_bytes:
        raise StorageRefused(
            f"{path}: only {free / 1e6:.0f} MB are free on its disk: make it"
            f" {least_bytes / 1e6:.0f} MB or name a file on another disk"
        )


def _sqlite_url(url: URL) -> URL:
    shown = display_url(url)
    if url.host or url.query:
        raise StorageRefused(f"{shown}: a SQLite URL has three slashes and no options: {_FORMS}")
    if url.database in (None, "", ":memory:"):
        raise StorageRefused(f"{shown}: a search must be kept in a file: {_FORMS}")
    try:
        path = Path(str(url.database)).expanduser()
    except RuntimeError:
        raise StorageRefused(
            f"{shown}: that home is not known here; write the path in full"
        ) from None
    return url.set(database=str(path.resolve()))


def _postgresql_url(url: URL) -> URL:
    try:
        import psycopg  # noqa: F401
    except ImportError:
        raise StorageRefused(
            f"{display_url(url)} needs the PostgreSQL driver: pip install 'psycopg[binary]'"
        ) from None
    url = url.set(drivername="postgresql+psycopg")
    password = url.query.get("password")
    if password is None:
        kept = os.environ.get(PASSWORD_VARIABLE) or _hidden.get(PASSWORD_VARIABLE)
        return url.set(password=kept) if kept and url.password is None else url
    secret = password if isinstance(password, str) else password[-1]
    return url.difference_update_query(["password"]).set(password=secret)


def _read_mounts() -> str:
    return _MOUNTS.read_text(errors="replace") if _MOUNTS.exists() else ""


def _network_file_system(folder: Path, mounts: str) -> str | None:
    """The type of the network file system that `folder` lies on, or None."""
    point, kind = "", ""
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) < 3:
            continue
        # The table writes a space in a path as \040; a later mount hides an earlier one.
        candidate = re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), fields[1])
        if len(candidate) >= len(point) and folder.is_relative_to(candidate):
            point, kind = candidate, fields[2]
    # A sandbox such as gVisor shows its own root, which is safe, as 9p.
    if (kind, point) == ("9p", "/"):
        return None
    return kind if kind.removeprefix("fuse.") in _NETWORK_FILE_SYSTEMS.split() else None
