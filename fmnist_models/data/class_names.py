"""What the classes of a data set are called: Fashion-MNIST's by name, all others by number."""

from __future__ import annotations

import hashlib

from fmnist_models.data.idx import FASHION_MNIST_DIGESTS

FASHION_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
"""In the order of the labels (arXiv:1708.07747, table 2)."""
LOOKALIKES = (0, 2, 4, 6)
"""The four classes that are taken for each other: most errors are among them."""

FASHION_DIGEST = hashlib.sha256("".join(FASHION_MNIST_DIGESTS.values()).encode()).hexdigest()
"""The digest of the whole data set, as `idx.read_data_files` computes it."""


def is_fashion_mnist(digest: str) -> bool:
    """Whether a data set with this digest (hex) is Fashion-MNIST."""
    return digest == FASHION_DIGEST


def class_names(digest: str, classes: int) -> tuple[str, ...]:
    """The names of labels 0 to `classes` - 1 of the data set with this digest."""
    if is_fashion_mnist(digest) and classes == len(FASHION_CLASSES):
        return FASHION_CLASSES
    return tuple(str(label) for label in range(classes))
