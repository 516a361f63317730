"""The data set as tensors: whole splits, small enough to live on the device (47 MB of uint8).

Shapes: images (N, 1, 28, 28) uint8, one channel of grey from 0 to 255; labels (N,) int64.
The idea of one tensor a split is cifar10-airbench's (arXiv:2404.00498).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fmnist_models.data.idx import Bytes, DataFiles, open_test_set
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


@dataclass(frozen=True)
class Normalization:
    """Brings pixels to mean 0 and deviation 1.

    mean, std: of the training pixels, where 0 is black and 1 is white.
    """

    mean: float
    std: float

    def __call__(self, images: Tensor) -> Tensor:
        """images: (N, 1, 28, 28) of 0 to 255, uint8 or float -> float32 of mean 0, deviation 1."""
        return (images.float() - 255 * self.mean) / (255 * self.std)

    @property
    def black(self) -> float:
        """What a black pixel becomes."""
        return -self.mean / self.std


@dataclass(frozen=True, eq=False)
class Dataset:
    """What a training run may see.

    name: "fashion-mnist" or "custom". digest: SHA-256 (hex) over the digests of the four files.
    classes: labels go from 0 to classes - 1. normalization: by the pixels of `train`. validation:
    empty in final training.
    """

    name: str
    digest: str
    classes: int
    normalization: Normalization
    train: Images
    validation: Images

    def to(self, device: str) -> Dataset:
        """The same on a device."""
        return replace(self, train=self.train.to(device), validation=self.validation.to(device))


def load_search_data(files: DataFiles, train_samples: int | None = None) -> Dataset:
    """The training images split in two for a search: 50,000 / 10,000 of Fashion-MNIST.

    The split is stratified and always the same. `train_samples` takes the first so many of the
    training split's fixed order, in which the classes take turns: a smaller part lies within a
    larger one, and numbers a class differ by at most 1 until a class runs out.

    Raises:
        DataError: a class has fewer than two images, or `train_samples` is out of range.
    """
    train, validation = split_indices(files.labels)
    if train_samples is not None and not files.classes <= train_samples <= len(train):
        raise DataError(
            f"{train_samples} training samples asked for; choose from {files.classes} "
            f"(one a class) to {len(train)} (the whole training split)"
        )
    return _dataset(files, train[:train_samples], validation)


def load_training_data(files: DataFiles) -> Dataset:
    """All training images (60,000 of Fashion-MNIST's) for final training; validation is empty."""
    # Nothing held out: how long to train was settled by the search.
    return _dataset(files, slice(None), slice(0))


def load_test_data(files: DataFiles) -> Images:
    """The test set (10,000 images of Fashion-MNIST's). ONLY `evaluate` MAY CALL THIS.

    Nothing may be chosen by it, so nobody else sees it; a test walks the source for other uses.

    Raises:
        DataError: it has a label that training does not have.
    """
    images, labels = open_test_set(files)
    return _images(images, labels, slice(None))


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


def _dataset(files: DataFiles, train: Indices | slice, validation: Indices | slice) -> Dataset:
    """Tensors of the images at `train` and `validation`, normalised by the former's pixels."""
    train_images = _images(files.images, files.labels, train)
    return Dataset(
        name=files.name,
        digest=files.digest,
        classes=files.classes,
        normalization=_normalization_of(train_images.images),
        train=train_images,
        validation=_images(files.images, files.labels, validation),
    )


def _images(images: Bytes, labels: Bytes, which: Indices | slice) -> Images:
    """Tensors of those of images (N, 28, 28) and labels (N,).

    Copies, but for a slice of files that are mapped: that stays in the memory that is shared.
    """
    chosen = images[which]
    if not chosen.flags.writeable:  # torch knows no tensors that cannot be written to
        chosen = chosen.copy()
    return Images(
        images=torch.from_numpy(chosen).unsqueeze(1),
        labels=torch.from_numpy(labels[which].astype(np.int64)),
    )


def _normalization_of(images: Tensor) -> Normalization:
    """By mean and deviation of the pixels; from counts of the 256 levels, so exact and fast."""
    counts = torch.bincount(images.flatten(), minlength=256).double()
    levels = torch.arange(256, dtype=torch.float64) / 255
    share = counts / counts.sum()
    mean = share @ levels
    return Normalization(mean.item(), (share @ (levels - mean) ** 2).sqrt().item())
