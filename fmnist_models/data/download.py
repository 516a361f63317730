"""Where the data set is: looked for, and fetched where it is nowhere. No torch unless it fetches.

The order: the directory asked for, $FASHION_MNIST_DIR, the user's cache, Debian's package
`dataset-fashion-mnist`; then into the cache from torchvision's mirrors or, where those cannot be
reached, from that package.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from http.client import HTTPException
from pathlib import Path

from fmnist_models.data.idx import FASHION_MNIST, FILE_NAMES, DataFiles, read_data_files
from fmnist_models.errors import DataError
from fmnist_models.files import expand_home, user_cache

ENVIRONMENT_VARIABLE = "FASHION_MNIST_DIR"
DEBIAN_PACKAGE = "dataset-fashion-mnist"
DEBIAN_DIRECTORY = Path("/usr/share/datasets/fashion-mnist")

SILENCE_SECONDS = 5  # a server that says nothing for so long counts as unreachable
COMMAND_SECONDS = 120  # most time for one run of apt-get or dpkg-deb

_log = logging.getLogger(__name__)


def find_data(
    data_dir: Path | None = None,
    *,
    debian_directory: Path = DEBIAN_DIRECTORY,
    mirrors: Sequence[str] | None = None,
) -> DataFiles:
    """Find the data set, fetch it if need be, and read its four files (about a second).

    `data_dir` may hold any 28x28 idx data set; every other place must hold Fashion-MNIST. A place
    that the user named is never passed over in silence; an incomplete cache or package is.
    `mirrors`: see `fetch_fashion_mnist`. The origin of what is found is "--data-dir",
    "$FASHION_MNIST_DIR", "cache", "Debian package" or "fetched".

    Raises:
        DataError: the place that was named is incomplete, files are damaged or altered, or nothing
            was found and nothing could be fetched.
        ConfigError: the variable names a home that is not known.
    """
    if data_dir is not None:
        return read_data_files(data_dir, "--data-dir")
    if named := os.environ.get(ENVIRONMENT_VARIABLE):
        return _read_fashion_mnist(expand_home(named), f"${ENVIRONMENT_VARIABLE}")
    cache = cache_directory()
    for directory, origin in ((cache, "cache"), (debian_directory, "Debian package")):
        if directory and _has_all_files(directory):
            return _read_fashion_mnist(directory, origin)
    if cache is None:
        raise DataError(
            "Fashion-MNIST is not on this machine, and no home is known to fetch it into: set HOME "
            f"or XDG_CACHE_HOME, or name a folder by --data-dir or ${ENVIRONMENT_VARIABLE}"
        )
    fetch_fashion_mnist(cache, mirrors)
    return _read_fashion_mnist(cache, "fetched")


def cache_directory() -> Path | None:
    """The user's cache of the data set, below $XDG_CACHE_HOME where that is set; None: no home."""
    cache = user_cache()
    return cache and cache / FASHION_MNIST


def fetch_fashion_mnist(directory: Path, mirrors: Sequence[str] | None = None) -> None:
    """Fetch Fashion-MNIST (31 MB) into `directory`: four .gz files, all checked, or none.

    mirrors: URLs of folders with the four .gz files; default torchvision's.

    Raises:
        DataError: no mirror and no Debian archive can be reached, or `directory` not be written.
    """
    failures = []
    for label, way in _ways(mirrors):
        _log.info("fetching Fashion-MNIST from %s", label)
        try:
            _fetch(way, directory)
            return
        except (DataError, OSError, HTTPException, subprocess.SubprocessError) as error:
            failures.append(f"{label}: {error}")
    raise DataError(
        f"Fashion-MNIST is not on this machine and cannot be fetched into {directory} "
        f"({'; '.join(failures)}); put its four idx files in a directory and name that by "
        f"--data-dir or ${ENVIRONMENT_VARIABLE}"
    )


def _read_fashion_mnist(directory: Path, origin: str) -> DataFiles:
    """The files in `directory`; raises DataError when they are another data set's."""
    files = read_data_files(directory, origin)
    if files.name != FASHION_MNIST:
        raise DataError(
            f"{directory} ({origin}) is not Fashion-MNIST: by SHA-256 none of "
            f"{', '.join(FILE_NAMES)} is; another data set is named by --data-dir"
        )
    return files


def _has_all_files(directory: Path) -> bool:
    """Whether each file is there, plain or compressed; a folder that is closed to us has none."""
    present = {path.name.removesuffix(".gz") for path in directory.glob("*")}
    return present.issuperset(FILE_NAMES)


def _is_fashion_mnist(directory: Path) -> bool:
    """Whether all four files are there and intact."""
    try:
        return read_data_files(directory).name == FASHION_MNIST
    except DataError:
        return False


_Way = Callable[[Path], Path]  # fetches into an empty folder; returns the folder of the four files


def _ways(mirrors: Sequence[str] | None) -> Iterator[tuple[str, _Way]]:
    """What to try, in this order, each with a label for messages."""
    for mirror in _torchvision_mirrors() if mirrors is None else mirrors:
        yield mirror, partial(_from_mirror, mirror)
    yield f"Debian's {DEBIAN_PACKAGE}", _from_debian


def _fetch(way: _Way, directory: Path) -> None:
    """Fetch beside the goal, check, then rename: a reader never sees a half file."""
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory, prefix="partial-") as scratch:
        fetched = way(Path(scratch))
        if not _is_fashion_mnist(fetched):
            raise DataError("what came is cut short or is not Fashion-MNIST")
        for name in FILE_NAMES:
            (fetched / f"{name}.gz").replace(directory / f"{name}.gz")


def _torchvision_mirrors() -> list[str]:
    """The addresses that torchvision knows; none where it does not fit the torch that is there.

    Imported late, as it takes seconds and torch.
    """
    try:
        from torchvision.datasets import FashionMNIST  # type: ignore[import-untyped]
    except (ImportError, RuntimeError):
        return []
    return list(FashionMNIST.mirrors)


def _from_mirror(mirror: str, scratch: Path) -> Path:
    """Download the four files; the check that follows finds those that are cut short."""
    for name in FILE_NAMES:
        url = f"{mirror.rstrip('/')}/{name}.gz"
        with (
            urllib.request.urlopen(url, timeout=SILENCE_SECONDS) as response,
            (scratch / f"{name}.gz").open("wb") as file,
        ):
            shutil.copyfileobj(response, file)
    return scratch


def _from_debian(scratch: Path) -> Path:
    """Download and unpack the package, without root.

    The system's package lists may be missing or out of date, and only root may renew them; then a
    private copy of the lists is made below `scratch`.
    """
    try:
        _apt_get("download", DEBIAN_PACKAGE, folder=scratch)
    except DataError as first:
        try:
            _apt_get("update", folder=scratch, private=True)
            _apt_get("download", DEBIAN_PACKAGE, folder=scratch, private=True)
        except DataError as second:
            raise DataError(f"{first}; with fresh package lists: {second}") from second
    package = next(scratch.glob(f"{DEBIAN_PACKAGE}_*.deb"))
    _command(["dpkg-deb", "--extract", str(package), str(scratch)], scratch)
    return scratch / DEBIAN_DIRECTORY.relative_to("/")


def _apt_get(*arguments: str, folder: Path, private: bool = False) -> None:
    """Run apt-get in `folder`; `private`: with package lists and a cache of its own there."""
    options = [
        f"Acquire::http::Timeout={SILENCE_SECONDS}",
        f"Acquire::https::Timeout={SILENCE_SECONDS}",
        "Acquire::Retries=0",
        "APT::Sandbox::User=",  # as root it would change to a user who may not write in `folder`
    ]
    if private:
        for part in ("lists/partial", "cache/archives/partial"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        options += [f"Dir::State::Lists={folder / 'lists'}", f"Dir::Cache={folder / 'cache'}"]
    _command(["apt-get", *(f"--option={option}" for option in options), *arguments], folder)


def _command(command: list[str], folder: Path) -> None:
    """Run a command quietly in `folder`; its last words go into the error."""
    done = subprocess.run(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise DataError(f"{command[0]}: {said[-1]}")
