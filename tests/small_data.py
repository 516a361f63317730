"""A small data set of real images, for tests and benchmarks that train for real."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fmnist_models.data.download import find_data
from fmnist_models.data.idx import FILE_NAMES

IMAGES = 2400


def write_small_data(folder: Path) -> Path:
    """Write four idx files with the first images of the real training set; their folder."""
    files = find_data()
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILE_NAMES:
        whole = files.images if "images" in name else files.labels
        _write_idx(folder / name, whole[:IMAGES] if name.startswith("train") else whole[:200])
    return folder


def _write_idx(path: Path, values: NDArray[np.uint8]) -> None:
    header = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    path.write_bytes(header + values.tobytes())
