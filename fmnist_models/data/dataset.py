"""The data set as tensors: whole splits, small enough to live on the device (47 MB of uint8).

Shapes: images (N, 1, 28, 28) uint8, one channel of grey from 0 to 255; labels (N,) int64.
The idea of one tensor a split is cifar10-airbench's (arXiv:2404.00498).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fmnist_models.data.idx import Bytes, TrainingFiles, read_test_files, read_training_files
from fmnist_models.errors import DataError

SPLIT_SEED = 20170825  # day of Fashion-MNIST's paper; changing it makes searches incomparable
VALIDATION_PART = 6  # one image in so many: 10,000 of Fashion-MNIST's 60,000

Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Images:
    """Labelled images: images (N, 1, 28, 28) uint8, labels (N,) int64, on one device."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        """N, the number of images."""
        return len(self.labels)

    def to(self, device: torch.device | str) -> Images:
        """The same images on `device`."""
        return Images(self.images.to(device), self.labels.to(device))

    def subset(self, indices: Tensor) -> Images:
        """The images at `indices` (M,) int64, in their order: a copy."""
        return Images(self.images[indices], self.labels[indices])


@dataclass(frozen=True, eq=False)
class Dataset:
    """What a training run may see.

    name: "fashion-mnist" or "custom". digest: SHA-256 (hex) over the digests of the four files.
    classes: labels go from 0 to classes - 1. mean, std: of the pixels of `train`, where 0 is black
    and 1 is white. validation: empty in final training.
    """

    name: str
    digest: str
    classes: int
    mean: float
    std: float
    train: Images
    validation: Images


def load_search_data(directory: Path, train_samples: int | None = None) -> Dataset:
    """The training images split in two for a search: 50,000 / 10,000 of Fashion-MNIST.

    The split is stratified and always the same. `train_samples` takes the first so many of the
    training split's fixed order, in which the classes take turns: a smaller part lies within a
    larger one, and numbers a class differ by at most 1 until a class runs out.

    Raises:
        DataError: the files are not acceptable (see `idx.read_training_files`), a class has fewer
            than two images, or `train_samples` is out of range.
    """
    files = read_training_files(directory)
    train, validation = split_indices(files.labels)
    if train_samples is not None and not files.classes <= train_samples <= len(train):
        raise DataError(
            f"{train_samples} training samples asked for; choose from {files.classes} "
            f"(one a class) to {len(train)} (the whole training split)"
        )
    return _dataset(files, train[:train_samples], validation)


def load_training_data(directory: Path) -> Dataset:
    """All training images (60,000 of Fashion-MNIST's) for final training; validation is empty.

    Raises:
        DataError: the files are not acceptable (see `idx.read_training_files`).
    """
    files = read_training_files(directory)
    everything = np.arange(len(files.labels))
    return _dataset(files, everything, everything[:0])


def load_test_data(directory: Path) -> Images:
    """The test set (10,000 images of Fashion-MNIST's). ONLY `evaluate` MAY CALL THIS.

    Nothing may be chosen by it, so nobody else sees it; a test walks the source for other uses.

    Raises:
        DataError: the files are not acceptable (see `idx.read_test_files`).
    """
    images, labels = read_test_files(directory)
    return _images(images, labels, np.arange(len(labels)))


def split_indices(labels: Bytes) -> tuple[Indices, Indices]:
    """Stratified split of `labels` (N,) uint8: indices of the training and the validation split.

    A sixth of each class, rounded, but at least one image, is for validation. In both splits the
    classes take turns, so that every beginning of them is stratified as well.

    Raises:
        DataError: a class has fewer than two images.
    """
    counts = np.bincount(labels)
    if counts.min() < 2:
        raise DataError(
            f"class {counts.argmin()} has {counts.min()} training image(s), too few to split; "
            "give each class at least 2"
        )
    held_out = np.maximum(1, np.rint(counts / VALIDATION_PART).astype(np.int64))
    # RandomState, as its stream is frozen for ever (NEP 19); Generator's may change with numpy.
    shuffled = np.random.RandomState(SPLIT_SEED).permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    # An image's turn: its place within its class, counted from the class's first for training.
    turns = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts + held_out, counts)
    order = by_class[np.argsort(turns, kind="stable")]
    return order[held_out.sum() :], order[: held_out.sum()]


def _dataset(files: TrainingFiles, train: Indices, validation: Indices) -> Dataset:
    """Tensors of the images at `train` and `validation`, with the former's mean and deviation."""
    train_images = _images(files.images, files.labels, train)
    mean, std = _pixel_statistics(train_images.images)
    return Dataset(
        name=files.name,
        digest=files.digest,
        classes=files.classes,
        mean=mean,
        std=std,
        train=train_images,
        validation=_images(files.images, files.labels, validation),
    )


def _images(images: Bytes, labels: Bytes, indices: Indices) -> Images:
    """Copies, as tensors, of images (N, 28, 28) and labels (N,) at `indices`."""
    return Images(
        images=torch.from_numpy(images[indices]).unsqueeze(1),
        labels=torch.from_numpy(labels[indices].astype(np.int64)),
    )


def _pixel_statistics(images: Tensor) -> tuple[float, float]:
    """Mean and standard deviation in [0, 1]; from counts of the 256 levels, so exact and fast."""
    counts = torch.bincount(images.flatten(), minlength=256).double()
    levels = torch.arange(256, dtype=torch.float64) / 255
    share = counts / counts.sum()
    mean = share @ levels
    return mean.item(), (share @ (levels - mean) ** 2).sqrt().item()
