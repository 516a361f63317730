"""Reading, checking and splitting a data set: the real images, and every kind of bad file."""

from __future__ import annotations

import ast
import gzip
import hashlib
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fmnist_models.data.dataset import (
    Dataset,
    Images,
    load_search_data,
    load_test_data,
    load_training_data,
    split_indices,
)
from fmnist_models.data.download import find_data
from fmnist_models.data.idx import (
    FILE_NAMES,
    TEST_IMAGES,
    TEST_LABELS,
    TRAIN_IMAGES,
    TRAIN_LABELS,
    DataFiles,
    read_data_files,
)
from fmnist_models.errors import DataError

ROOT = Path(__file__).parents[3]


def idx(array: NDArray[Any]) -> bytes:
    """`array` in the idx format."""
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def images(count: int, side: int = 28) -> bytes:
    """An idx file of `count` random images."""
    return idx(np.random.RandomState(count).randint(0, 256, (count, side, side)))


def labels(count: int, classes: int = 3) -> bytes:
    """An idx file of `count` labels: 0, 1, 2, 0, 1, ..."""
    return idx(np.arange(count) % classes)


@pytest.fixture
def custom(tmp_path: Path) -> Path:
    """Another data set of three classes: 36 training and 9 test images, as plain files."""
    contents = (images(36), labels(36), images(9), labels(9))
    for name, data in zip(FILE_NAMES, contents, strict=True):
        (tmp_path / name).write_bytes(data)
    return tmp_path


@pytest.fixture(scope="session")
def real() -> DataFiles:
    """The real Fashion-MNIST."""
    return find_data()


@pytest.fixture(scope="session")
def search_data(real: DataFiles) -> Dataset:
    """The real data set, split."""
    return load_search_data(real)


def test_search_data_is_fashion_mnist_split_in_two(search_data: Dataset) -> None:
    assert (search_data.name, search_data.classes) == ("fashion-mnist", 10)
    assert search_data.train.images.shape == (50_000, 1, 28, 28)
    assert search_data.validation.images.shape == (10_000, 1, 28, 28)
    for part, a_class in ((search_data.train, 5_000), (search_data.validation, 1_000)):
        assert (part.images.dtype, part.labels.dtype) == (torch.uint8, torch.int64)
        assert len(part) == len(part.labels)
        assert part.labels.bincount().tolist() == [a_class] * 10


def test_mean_and_deviation_are_those_of_the_training_pixels(search_data: Dataset) -> None:
    pixels = search_data.train.images.double() / 255
    assert search_data.normalization.mean == pytest.approx(pixels.mean().item(), abs=1e-9)
    assert search_data.normalization.std == pytest.approx(pixels.std(correction=0).item(), abs=1e-9)


def test_the_split_never_changes(real: DataFiles) -> None:
    all_labels = load_training_data(real).train.labels.numpy().astype(np.uint8)
    train, validation = split_indices(all_labels)
    assert sorted([*train, *validation]) == list(range(60_000))
    digest = hashlib.sha256(np.concatenate([train, validation]).astype("<i8").tobytes())
    assert digest.hexdigest() == "9ed44b97f8cc0b898c072c97873ca509033d2dea3b1d96ca56388d795f8b02ff"


def test_images_keep_their_labels(real: DataFiles, search_data: Dataset) -> None:
    everything = load_training_data(real)
    train, _ = split_indices(everything.train.labels.numpy().astype(np.uint8))
    same = everything.train.subset(torch.from_numpy(train))
    assert torch.equal(same.images, search_data.train.images)
    assert torch.equal(same.labels, search_data.train.labels)


def test_training_data_is_every_image_in_the_files_order(real: DataFiles) -> None:
    data = load_training_data(real)
    assert (len(data.train), len(data.validation)) == (60_000, 0)
    assert data.train.labels[:4].tolist() == [9, 0, 0, 3]
    found = data.normalization.mean, data.normalization.std
    assert found == pytest.approx((0.2860406, 0.3530242), abs=1e-7)


def test_test_data(real: DataFiles) -> None:
    test = load_test_data(real)
    assert test.images.shape == (10_000, 1, 28, 28)
    assert test.labels.bincount().tolist() == [1_000] * 10


@pytest.mark.parametrize("count", [10, 11, 1_003, 49_999, 50_000])
def test_a_part_is_stratified_and_lies_within_a_larger_one(
    real: DataFiles, search_data: Dataset, count: int
) -> None:
    part = load_search_data(real, count)
    assert len(part.train) == count
    numbers = part.train.labels.bincount(minlength=10)
    assert numbers.max() - numbers.min() <= 1
    assert torch.equal(part.train.images, search_data.train.images[:count])
    assert len(part.validation) == 10_000
    assert part.digest == search_data.digest


@pytest.mark.parametrize("count", [-1, 0, 2, 31])
def test_a_part_out_of_range(custom: Path, count: int) -> None:
    with pytest.raises(DataError, match=rf"^{count} training samples .* 3 .* to 30 "):
        load_search_data(read_data_files(custom), count)


def test_images_subset_and_device() -> None:
    data = Images(torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1), torch.arange(4))
    part = data.subset(torch.tensor([3, 1]))
    assert part.images.flatten().tolist() == part.labels.tolist() == [3, 1]
    moved = part.to("meta")
    assert (moved.images.device.type, moved.labels.device.type) == ("meta", "meta")


def test_any_28x28_data_set_is_a_drop_in(custom: Path) -> None:
    data = load_search_data(read_data_files(custom))
    assert (data.name, data.classes, len(data.train), len(data.validation)) == ("custom", 3, 30, 6)
    assert len(load_training_data(read_data_files(custom)).train) == 36
    assert len(load_test_data(read_data_files(custom))) == 9


def test_plain_and_compressed_files_are_the_same_data_set(custom: Path) -> None:
    plain = load_search_data(read_data_files(custom))
    for name in FILE_NAMES:
        data = (custom / name).read_bytes()
        (custom / name).unlink()
        (custom / f"{name}.gz").write_bytes(gzip.compress(data))
    compressed = load_search_data(read_data_files(custom))
    assert compressed.digest == plain.digest
    assert torch.equal(compressed.train.images, plain.train.images)


def test_a_plain_file_wins_over_a_compressed_one(custom: Path) -> None:
    (custom / f"{TRAIN_IMAGES}.gz").write_bytes(b"not looked at")
    assert len(load_search_data(read_data_files(custom)).train) == 30


def test_unequal_classes_each_give_a_sixth_but_at_least_one() -> None:
    unequal = np.repeat(np.arange(4, dtype=np.uint8), [2, 10, 12, 60])
    train, validation = split_indices(unequal)
    assert np.bincount(unequal[validation]).tolist() == [1, 2, 2, 10]
    assert np.bincount(unequal[train[:7]]).tolist() == [1, 2, 2, 2]


def test_a_class_of_one_image_cannot_be_split() -> None:
    with pytest.raises(DataError, match="class 1 has 1 training image"):
        split_indices(np.array([0, 0, 1], dtype=np.uint8))


def truncated(data: bytes) -> bytes:
    """The first half."""
    return data[: len(data) // 2]


def flipped(data: bytes) -> bytes:
    """One bit in the middle flipped."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


BAD_FILES = {
    "gzip truncated": (f"{TRAIN_IMAGES}.gz", truncated(gzip.compress(images(36))), "cut short"),
    "gzip flipped": (f"{TRAIN_IMAGES}.gz", flipped(gzip.compress(images(36))), "corrupt"),
    "not gzip": (f"{TRAIN_LABELS}.gz", labels(36), "corrupt"),
    "gzip, but empty": (f"{TEST_LABELS}.gz", b"", "starts with nothing"),
    "plain truncated": (TRAIN_IMAGES, truncated(images(36)), "bytes instead of 28240"),
    "header cut short": (TRAIN_LABELS, labels(36)[:6], "not an idx file"),
    "too long": (TEST_IMAGES, images(9) + b"\0", "more than the 7072 bytes of its header"),
    "wrong magic": (TRAIN_IMAGES, b"\x89PNG" + images(36)[4:], "starts with 89504e47"),
    "labels as images": (TRAIN_IMAGES, labels(36), "not an idx file"),
    "images as labels": (TEST_LABELS, images(9), "not an idx file"),
    "wrong size": (TRAIN_IMAGES, images(36, side=32), "36 x 32 x 32 values, not N x 28 x 28"),
    "no images": (TRAIN_IMAGES, images(0), "0 x 28 x 28 values"),
    "fewer labels": (TRAIN_LABELS, labels(35), "36 images, but .* 35 labels"),
    "fewer test images": (TEST_IMAGES, images(8), "8 images, but .* 9 labels"),
    "gap in labels": (TRAIN_LABELS, idx(np.arange(36) % 2 * 2), "up to 2, but none is 1"),
}


@pytest.mark.parametrize("read", [find_data, read_data_files])
@pytest.mark.parametrize("fault", BAD_FILES)
def test_a_bad_file_is_named(custom: Path, fault: str, read: Callable[[Path], object]) -> None:
    name, data, message = BAD_FILES[fault]
    (custom / name.removesuffix(".gz")).unlink()
    (custom / name).write_bytes(data)
    with pytest.raises(DataError, match=message) as caught:
        read(custom)
    assert str(custom / name) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", FILE_NAMES)
def test_a_missing_file_is_named(custom: Path, name: str) -> None:
    (custom / name).unlink()
    with pytest.raises(DataError, match=rf"^no {name} or {name}\.gz in {re.escape(str(custom))};"):
        load_search_data(read_data_files(custom))


def test_a_directory_that_is_a_file(custom: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .* \(Not a directory\)"):
        read_data_files(custom / TRAIN_IMAGES)


def test_a_test_label_that_training_lacks(custom: Path) -> None:
    (custom / TEST_LABELS).write_bytes(labels(9, classes=4))
    with pytest.raises(DataError, match="label 3, but the training labels end at 2"):
        load_test_data(read_data_files(custom))


@pytest.mark.parametrize("name", FILE_NAMES)
def test_an_altered_file_among_those_of_fashion_mnist(
    real: DataFiles, tmp_path: Path, name: str
) -> None:
    for path in real.directory.iterdir():
        (tmp_path / path.name).symlink_to(path)
    plain = real.directory / name
    packed = real.directory / f"{name}.gz"
    data = plain.read_bytes() if plain.exists() else gzip.decompress(packed.read_bytes())
    (tmp_path / name).unlink(missing_ok=True)  # the link, lest the real file be written
    (tmp_path / name).write_bytes(flipped(data))
    with pytest.raises(
        DataError, match=rf"altered, by SHA-256: {re.escape(str(tmp_path / name))};"
    ):
        find_data(tmp_path)


@pytest.mark.parametrize(
    ("function", "file_that_may"),
    [
        ("load_test_data", "fmnist_models/final/evaluate.py"),
        ("open_test_set", "fmnist_models/data/dataset.py"),
        ("sealed", "fmnist_models/data/idx.py"),
    ],
)
def test_only_evaluation_reads_the_test_set(function: str, file_that_may: str) -> None:
    rooms = ("fmnist_models", "spaces", "storage", "search")
    files = [path for room in rooms for path in (ROOT / room).rglob("*.py")]
    files += [path for path in (ROOT / "run_search.py",) if path.exists()]
    users = {str(path.relative_to(ROOT)) for path in files if refers_to(path, function)}
    assert users <= {file_that_may}


def refers_to(path: Path, name: str) -> bool:
    """Whether the code in `path` imports, uses or spells out `name` (to define it is no use)."""
    spelled = {
        value
        for node in ast.walk(ast.parse(path.read_text()))
        for field in ("id", "attr", "name", "value")
        if not isinstance(node, ast.FunctionDef)
        and isinstance(value := getattr(node, field, None), str)
    }
    return name in spelled


@pytest.mark.parametrize(
    "code",
    [
        "from fmnist_models.data.dataset import load_test_data as innocent",
        "from fmnist_models import data\ndata.load_test_data(path)",
        "load_test_data(path)",
        "getattr(data, 'load_test_data')",
    ],
)
def test_the_walk_sees_every_way_to_refer_to_a_function(tmp_path: Path, code: str) -> None:
    (tmp_path / "user.py").write_text(code)
    assert refers_to(tmp_path / "user.py", "load_test_data")
