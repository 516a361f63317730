"""The ladder of places where the data set is looked for, and fetching it, over real sockets."""

from __future__ import annotations

import gzip
import logging
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from fmnist_models.data.download import (
    DEBIAN_PACKAGE,
    cache_directory,
    fetch_fashion_mnist,
    find_data,
)
from fmnist_models.data.idx import FILE_NAMES, TRAIN_IMAGES, TRAIN_LABELS
from fmnist_models.errors import DataError

UNREACHABLE = "http://127.0.0.1:9"  # the discard port, where nobody listens


@pytest.fixture(scope="session")
def real() -> Path:
    """The directory of the real Fashion-MNIST, wherever this machine has it."""
    return find_data().directory


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for each test, and nothing asked for by the environment."""
    monkeypatch.delenv("FASHION_MNIST_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    return tmp_path / "xdg" / "fmnist-search" / "fashion-mnist"


@pytest.fixture
def no_apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without apt-get."""
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))


@pytest.fixture
def served(tmp_path: Path, real: Path) -> Path:
    """A folder with Fashion-MNIST's four .gz files."""
    return copy(real, tmp_path / "served")


@pytest.fixture
def mirror(served: Path) -> Iterator[str]:
    """The address under which a local server serves `served`."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(served))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def copy(real: Path, folder: Path) -> Path:
    """The real four files in `folder`, as .gz."""
    folder.mkdir(parents=True)
    for name in FILE_NAMES:
        if (real / f"{name}.gz").exists():
            shutil.copy(real / f"{name}.gz", folder)
        else:
            (folder / f"{name}.gz").write_bytes(gzip.compress((real / name).read_bytes(), 1))
    return folder


def write_custom(folder: Path) -> Path:
    """The smallest other data set: a black image of class 0 and a white one of class 1 a split."""
    folder.mkdir()
    for name in FILE_NAMES:
        sizes = (2, 28, 28) if "images" in name else (2,)
        header = struct.pack(f">HBB{len(sizes)}I", 0, 8, len(sizes), *sizes)
        values = b"\0" * 784 + b"\xff" * 784 if "images" in name else b"\0\1"
        (folder / name).write_bytes(header + values)
    return folder


def names(folder: Path) -> list[str]:
    """What is in `folder`, sorted."""
    return sorted(path.name for path in folder.iterdir())


def test_the_order_of_places(
    tmp_path: Path, cache: Path, real: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    custom, debian = write_custom(tmp_path / "custom"), copy(real, tmp_path / "debian")
    named = copy(real, tmp_path / "named")
    find = partial(find_data, debian_directory=debian, mirrors=[UNREACHABLE])

    assert (find().directory, find().origin) == (debian, "Debian package")
    copy(real, cache)
    assert (find().directory, find().origin) == (cache, "cache")
    monkeypatch.setenv("FASHION_MNIST_DIR", str(named))
    assert (find().directory, find().origin) == (named, "$FASHION_MNIST_DIR")
    asked = find(custom)
    assert (asked.directory, asked.origin, asked.name) == (custom, "--data-dir", "custom")


def test_what_is_found_is_absolute_and_has_a_digest(
    real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_custom(tmp_path / "custom")
    monkeypatch.chdir(tmp_path)
    custom, fashion = find_data(Path("custom")), find_data(real)
    assert custom.directory == tmp_path / "custom"
    assert fashion.name == "fashion-mnist"
    assert fashion.digest != custom.digest
    assert re.fullmatch("[0-9a-f]{64}", custom.digest)


@pytest.mark.parametrize("by_environment", [True, False])
def test_a_place_the_user_named_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_environment: bool
) -> None:
    nowhere = tmp_path / "nowhere"
    if by_environment:
        monkeypatch.setenv("FASHION_MNIST_DIR", str(nowhere))
    with pytest.raises(DataError, match=f"no {TRAIN_IMAGES} or .* in {re.escape(str(nowhere))};"):
        find_data(None if by_environment else nowhere)


def test_another_data_set_only_by_data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    custom = write_custom(tmp_path / "custom")
    monkeypatch.setenv("FASHION_MNIST_DIR", str(custom))
    with pytest.raises(DataError, match=r"is not Fashion-MNIST: .* --data-dir"):
        find_data()
    assert find_data(custom).name == "custom"


def test_a_damaged_cache_is_an_error(cache: Path, real: Path) -> None:
    path = copy(real, cache) / f"{TRAIN_LABELS}.gz"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError, match=f"{re.escape(str(path))} is cut short .* delete it"):
        find_data()


def test_fetched_from_a_mirror_once(
    tmp_path: Path, cache: Path, mirror: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    nowhere = tmp_path / "nowhere"
    fetched = find_data(debian_directory=nowhere, mirrors=[UNREACHABLE, mirror])
    assert (fetched.directory, fetched.origin, fetched.name) == (cache, "fetched", "fashion-mnist")
    assert names(cache) == sorted(f"{name}.gz" for name in FILE_NAMES)
    assert caplog.messages[-1] == f"fetching Fashion-MNIST from {mirror}"
    again = find_data(debian_directory=nowhere, mirrors=[UNREACHABLE])
    assert (again.origin, again.digest) == ("cache", fetched.digest)


def test_an_incomplete_cache_is_completed(
    tmp_path: Path, cache: Path, real: Path, mirror: str
) -> None:
    (copy(real, cache) / f"{TRAIN_IMAGES}.gz").unlink()
    assert find_data(debian_directory=tmp_path, mirrors=[mirror]).origin == "fetched"


@pytest.mark.usefixtures("no_apt")
@pytest.mark.parametrize("fault", ["cut short", "another file", "missing"])
def test_a_bad_download_leaves_nothing_behind(
    cache: Path, served: Path, mirror: str, fault: str
) -> None:
    path = served / f"{FILE_NAMES[-1]}.gz"
    if fault == "missing":
        path.unlink()
    else:
        data = path.read_bytes()[:-9] if fault == "cut short" else gzip.compress(b"hello")
        path.write_bytes(data)
    with pytest.raises(DataError, match=rf"{mirror}: (what came|HTTP Error 404)"):
        fetch_fashion_mnist(cache, [mirror])
    assert names(cache) == []


@pytest.mark.usefixtures("no_apt")
def test_all_that_was_tried_is_named(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(DataError) as caught:
        find_data(debian_directory=tmp_path, mirrors=[UNREACHABLE])
    message = str(caught.value)
    assert "\n" not in message
    for part in (UNREACHABLE, "refused", DEBIAN_PACKAGE, "apt-get", str(cache), "--data-dir"):
        assert part in message


@pytest.mark.usefixtures("no_apt")
def test_a_cache_that_cannot_be_written(tmp_path: Path, mirror: str) -> None:
    (tmp_path / "xdg").write_text("a file where the cache's folder should be")
    with pytest.raises(DataError, match="Not a directory"):
        find_data(debian_directory=tmp_path, mirrors=[mirror])


needs_apt = pytest.mark.skipif(not shutil.which("apt-get"), reason="no apt-get on this machine")


def configure_apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: str) -> None:
    """Let apt-get run with `settings` besides the system's."""
    (tmp_path / "apt.conf").write_text(settings)
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))


@needs_apt
@pytest.mark.parametrize("lists", ["system's", "missing"])
def test_fetched_with_apt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path, lists: str
) -> None:
    if lists == "missing":
        configure_apt(tmp_path, monkeypatch, f'Dir::State::Lists "{tmp_path}/no-lists";')
    found = find_data(debian_directory=tmp_path, mirrors=[])
    assert (found.directory, found.origin, found.name) == (cache, "fetched", "fashion-mnist")
    assert names(cache) == sorted(f"{name}.gz" for name in FILE_NAMES)


@needs_apt
def test_an_archive_without_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    no_sources = 'Dir::Etc::SourceList "/dev/null"; Dir::Etc::SourceParts "/dev/null";'
    configure_apt(tmp_path, monkeypatch, no_sources)
    with pytest.raises(
        DataError, match=rf"apt-get: .*{DEBIAN_PACKAGE}.*; with fresh package lists"
    ):
        fetch_fashion_mnist(cache, [])
    assert names(cache) == []


def test_torchvisions_mirrors_are_the_default(
    cache: Path, monkeypatch: pytest.MonkeyPatch, mirror: str
) -> None:
    monkeypatch.setattr("torchvision.datasets.FashionMNIST.mirrors", [f"{mirror}/"])
    fetch_fashion_mnist(cache)
    assert names(cache) == sorted(f"{name}.gz" for name in FILE_NAMES)


def test_looking_for_data_imports_no_torch(real: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from fmnist_models.data.download import find_data;"
        "find_data(Path(sys.argv[1])); sys.exit('torch' in sys.modules)"
    )
    root = Path(__file__).parents[3]
    subprocess.run([sys.executable, "-c", code, str(real)], cwd=root, check=True, timeout=200)


def test_the_cache_is_below_xdg_cache_home(cache: Path) -> None:
    assert cache_directory() == cache
