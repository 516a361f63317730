"""Data sets of 28x28 images as four idx files: read, taken apart, checked. No torch here.

The format is MNIST's (LeCun, Cortes, Burges: "The MNIST database of handwritten digits"): two zero
bytes, 8 for unsigned bytes, the number of axes, each axis as a big-endian 32-bit count, the bytes.
"""

from __future__ import annotations

import hashlib
import math
import mmap
import struct
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fmnist_models.data.contents import (
    HEAD_BYTES,
    REMEDY,
    find_file,
    folder_of,
    read_contents,
    what_else,
)
from fmnist_models.errors import DataError

IMAGE_SIDE = 28  # pixels

TRAIN_IMAGES = "train-images-idx3-ubyte"
TRAIN_LABELS = "train-labels-idx1-ubyte"
TEST_IMAGES = "t10k-images-idx3-ubyte"
TEST_LABELS = "t10k-labels-idx1-ubyte"

FASHION_MNIST = "fashion-mnist"

# SHA-256 of Fashion-MNIST's decompressed files (arXiv:1708.07747). Not of the .gz files: Debian's
# package and the authors' server compress the same contents differently.
FASHION_MNIST_DIGESTS = {
    TRAIN_IMAGES: "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    TRAIN_LABELS: "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    TEST_IMAGES: "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    TEST_LABELS: "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
FILE_NAMES = tuple(FASHION_MNIST_DIGESTS)

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class IdxFile:
    """One checked file: where it was read, the digest of its contents, its values."""

    path: Path
    digest: str
    values: Bytes


@dataclass(frozen=True, eq=False)
class DataFiles:
    """A data set as it was read from its four files, all of them checked.

    directory: absolute, as workers run in other directories. origin: how it was found, for people.
    name: "fashion-mnist", or "custom" for any other data set. digest: SHA-256 (hex) over the four
    files' digests, so it tells data sets apart. images: (N, 28, 28) uint8, labels: (N,) uint8, both
    for training. sealed: images and labels of the test set, for `open_test_set` alone.
    """

    directory: Path
    origin: str
    name: str
    digest: str
    images: Bytes
    labels: Bytes
    sealed: tuple[IdxFile, IdxFile]

    @property
    def classes(self) -> int:
        """How many classes there are: labels go from 0 to classes - 1."""
        return int(self.labels.max()) + 1


def read_data_files(directory: Path, origin: str = "given", *, mapped: bool = False) -> DataFiles:
    """Read, unzip and check the four files in `directory`, or in the folder raw below it.

    Plain files win over those with .gz; a file that is gzip by its first bytes is unzipped whatever
    it is called. Their names may have the dot that 7-Zip gives them, train-images.idx3-ubyte.
    About a second for Fashion-MNIST, so a program does it once and hands on what was read. The test
    files are checked as well, so that a damaged one shows before hours of training. `mapped`: plain
    files are not copied into memory; processes that map them share it. Only for files that nobody
    will cut short, as that would end the process.

    Raises:
        DataError: a file is missing, unreadable, cut short, not idx, not 28x28, differs in count
            from its partner, has labels with a gap or of one class, only equal pixels, or is an
            altered file of Fashion-MNIST.
    """
    given, directory = directory, folder_of(directory, TRAIN_IMAGES)
    images, labels = _read_pair(directory, TRAIN_IMAGES, TRAIN_LABELS, mapped)
    sealed = _read_pair(directory, TEST_IMAGES, TEST_LABELS, mapped)
    files = dict(zip(FILE_NAMES, (images, labels, *sealed), strict=True))
    _check_labels(labels)
    _check_pixels(images)
    digests = "".join(file.digest for file in files.values())
    return DataFiles(
        directory=given.absolute(),
        origin=origin,
        name=_name_of(files),
        digest=hashlib.sha256(digests.encode()).hexdigest(),
        images=images.values,
        labels=labels.values,
        sealed=sealed,
    )


def open_test_set(files: DataFiles) -> tuple[Bytes, Bytes]:
    """The test set: images (N, 28, 28) uint8, labels (N,) uint8. Only for `load_test_data`.

    Raises:
        DataError: it has a label that training does not have.
    """
    images, labels = files.sealed
    if labels.values.max() >= files.classes:
        raise DataError(
            f"{labels.path} has label {labels.values.max()}, but the training labels end at "
            f"{files.classes - 1}; {REMEDY}"
        )
    return images.values, labels.values


def save_plain(files: DataFiles, directory: Path) -> None:
    """Write `files` into the new folder `directory`, unzipped: `read_data_files` can map them.

    Raises:
        DataError: they cannot be written there.
    """
    values = (files.images, files.labels, *(file.values for file in files.sealed))
    try:
        directory.mkdir()
        for name, array in zip(FILE_NAMES, values, strict=True):
            header = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
            (directory / name).write_bytes(header + array.tobytes())
    except OSError as error:
        raise DataError(
            f"the images that workers share cannot be written into {directory} "
            f"({error.strerror}); make room there or name another place by $TMPDIR"
        ) from error


def _read_pair(
    directory: Path, images_name: str, labels_name: str, mapped: bool
) -> tuple[IdxFile, IdxFile]:
    """Images and the labels that go with them, equal in number."""
    images = _read(directory, images_name, (IMAGE_SIDE, IMAGE_SIDE), mapped)
    labels = _read(directory, labels_name, (), mapped)
    if len(images.values) != len(labels.values):
        raise DataError(
            f"{images.path} has {len(images.values)} images, but {labels.path} has "
            f"{len(labels.values)} labels; {REMEDY}"
        )
    return images, labels


def _read(directory: Path, name: str, shape: tuple[int, ...], mapped: bool) -> IdxFile:
    """The file `name` in `directory`: N values of `shape`."""
    path = find_file(directory, name)
    contents = read_contents(path, partial(_total_bytes, shape=shape), mapped=mapped)
    sizes = _sizes(path, contents, shape)
    values = np.frombuffer(contents, dtype=np.uint8, offset=_header_bytes(shape)).reshape(sizes)
    return IdxFile(path, hashlib.sha256(contents).hexdigest(), values)


def _header_bytes(shape: tuple[int, ...]) -> int:
    return 4 + 4 * (1 + len(shape))


def _total_bytes(path: Path, head: bytes, shape: tuple[int, ...]) -> int:
    """How many bytes the idx file has that begins with `head`: N values of `shape`."""
    return _header_bytes(shape) + math.prod(_sizes(path, head, shape))


def _sizes(path: Path, contents: bytes | mmap.mmap, shape: tuple[int, ...]) -> tuple[int, ...]:
    """N, at least 1, and `shape`, as the header of an idx file has them."""
    axes = 1 + len(shape)
    magic, header_bytes = bytes([0, 0, 8, axes]), _header_bytes(shape)
    if contents[:4] != magic or len(contents) < header_bytes:
        what = what_else(contents[:HEAD_BYTES])
        if what:
            raise DataError(f"{path} {what}")
        raise DataError(
            f"{path} is not an idx file of bytes with {axes} axes: it starts with "
            f"{contents[:header_bytes].hex() or 'nothing'}, not with {magic.hex()} and the sizes; "
            f"{REMEDY}"
        )
    sizes = struct.unpack_from(f">{axes}I", contents, offset=4)
    if sizes[0] < 1 or sizes[1:] != shape:
        wanted = " x ".join(("N", *map(str, shape)))
        raise DataError(f"{path} has {' x '.join(map(str, sizes))} values, not {wanted}; {REMEDY}")
    return sizes


def _check_labels(labels: IdxFile) -> None:
    """Classes are numbered from 0 without a gap, and there are two at least."""
    missing = np.flatnonzero(np.bincount(labels.values) == 0)
    if len(missing):
        raise DataError(
            f"{labels.path} has labels up to {labels.values.max()}, but none is {missing[0]}; "
            "number the classes from 0 without a gap"
        )
    if labels.values.max() == 0:
        raise DataError(
            f"all labels of {labels.path} are 0: there is one class, and nothing to tell it from; "
            "give images of two classes at least"
        )


def _check_pixels(images: IdxFile) -> None:
    """There is something to be seen."""
    if images.values.min() == images.values.max():
        raise DataError(
            f"all pixels of {images.path} are {images.values[0, 0, 0]}: there is nothing to learn "
            f"from; {REMEDY}"
        )


def _name_of(files: dict[str, IdxFile]) -> str:
    """Fashion-MNIST if all four files are its, "custom" if none is; a mixture is an error."""
    altered = [
        str(file.path) for name, file in files.items() if file.digest != FASHION_MNIST_DIGESTS[name]
    ]
    if 0 < len(altered) < len(files):
        raise DataError(
            f"altered, by SHA-256: {', '.join(altered)}; the other files are Fashion-MNIST's; "
            f"{REMEDY}"
        )
    return "custom" if altered else FASHION_MNIST
