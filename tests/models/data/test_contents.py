"""Files of a data set as people have them: other names, zipped, something else, too large."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from fmnist_models.data.idx import FILE_NAMES, TEST_IMAGES, TRAIN_IMAGES, read_data_files
from fmnist_models.errors import DataError
from tests.models.conftest import write_idx

COUNTS = (36, 36, 9, 9)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A small data set of three classes, as plain files."""
    folder = tmp_path / "good"
    folder.mkdir()
    draw = np.random.default_rng(0)
    for name, count in zip(FILE_NAMES, COUNTS, strict=True):
        is_images = "images" in name
        values = draw.integers(0, 256, (count, 28, 28)) if is_images else np.arange(count) % 3
        write_idx(folder / name, values)
    return folder


def test_names_with_a_dot_are_read(good: Path) -> None:
    expected = read_data_files(good).digest
    for name in FILE_NAMES:
        (good / name).rename(good / name.replace("-idx", ".idx"))
    assert read_data_files(good).digest == expected


@pytest.mark.parametrize("below", ["raw", "FashionMNIST/raw"])
def test_the_folder_that_torchvision_makes_is_read(good: Path, tmp_path: Path, below: str) -> None:
    expected = read_data_files(good).digest
    root = tmp_path / "root"
    (root / below).parent.mkdir(parents=True)
    good.rename(root / below)
    found = read_data_files(root)
    assert (found.digest, found.directory) == (expected, root)


def test_of_several_data_sets_none_is_guessed(good: Path, tmp_path: Path) -> None:
    for name in ("MNIST", "FashionMNIST"):
        (tmp_path / "root" / name).mkdir(parents=True)
        (tmp_path / "root" / name / "raw").symlink_to(good)
    with pytest.raises(DataError, match=r"several data sets; name .*FashionMNIST/raw or .*MNIST"):
        read_data_files(tmp_path / "root")


def test_gzip_is_known_by_its_first_bytes(good: Path) -> None:
    expected = read_data_files(good).digest
    for name in FILE_NAMES:
        (good / name).write_bytes(gzip.compress((good / name).read_bytes()))
    assert read_data_files(good).digest == expected
    assert read_data_files(good, mapped=True).digest == expected


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\n<!DOCTYPE html><title>Sign in</title>", "is a web page, not the file itself"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer.*git lfs pull"),
    ],
)
def test_what_is_not_the_file_is_said_to_be_what_it_is(
    good: Path, content: bytes, says: str, mapped: bool
) -> None:
    for name in (TRAIN_IMAGES, f"{TRAIN_IMAGES}.gz"):
        (good / TRAIN_IMAGES).unlink(missing_ok=True)
        (good / name).write_bytes(content)
        with pytest.raises(DataError, match=f"{name} {says}"):
            read_data_files(good, mapped=mapped)


def test_one_class_is_refused(good: Path) -> None:
    write_idx(good / "train-labels-idx1-ubyte", np.zeros(36))
    with pytest.raises(DataError, match="there is one class"):
        read_data_files(good)


def test_equal_pixels_are_refused(good: Path) -> None:
    write_idx(good / TRAIN_IMAGES, np.full((36, 28, 28), 7))
    with pytest.raises(DataError, match=r"all pixels of .* are 7: there is nothing to learn"):
        read_data_files(good)


@pytest.mark.parametrize(
    ("claimed", "says"),
    [(9, "more than the 7072 bytes"), (2**26, "says of itself that it has 52,613,349,392 bytes")],
)
def test_a_bomb_is_refused_before_it_is_unpacked(good: Path, claimed: int, says: str) -> None:
    header = struct.pack(">4B3I", 0, 0, 8, 3, claimed, 28, 28)
    with gzip.open(good / f"{TEST_IMAGES}.gz", "wb", compresslevel=1) as file:
        file.write(header)
        for _ in range(100):
            file.write(bytes(1_000_000))
    (good / TEST_IMAGES).unlink()
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=says):
            read_data_files(good)
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()
