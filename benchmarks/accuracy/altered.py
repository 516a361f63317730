r"""Tasks that nobody has tuned for: a search and final training beside a known-good point.

    python -m benchmarks.accuracy.altered few noisy turned permuted --out results/altered
        [--minutes 15] [--points quick/quick-2-32]

few: 1,000 training images; noisy: 30 % of the training labels are another class's at random;
turned: each image, of the test set too, turned by a random multiple of 90 degrees; permuted: the
pixels of all images in another order, one and the same. Made of the real images with a fixed seed,
as idx files in a temporary folder; all in another order; the test labels are right.

Each method has all cores for so many minutes, and its model is scored once on the test set: a
search in the space `all` that is told them as its --total-time, and final training for what it
leaves; and each of the known-good POINTS, SPACE/NAME, trained for all of the time. What
OUT.json has is not run again; delete its entry for that.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.commands import MOST_EPOCHS, SPARE_MINUTES, keep, run, trained
from benchmarks.report import machine, table
from fmnist_models.data.dataset import load_test_data
from fmnist_models.data.download import find_data
from fmnist_models.data.idx import FILE_NAMES, DataFiles
from fmnist_models.training.metrics import wilson_interval

Bytes = NDArray[np.uint8]
Images = tuple[Bytes, Bytes]
"""(N, 28, 28) and their labels (N,)."""
FEW, WRONG, CLASSES = 1_000, 0.3, 10


def few(train: Images, test: Images, draw: np.random.Generator) -> tuple[Images, Images]:
    """A hundred training images of each class."""
    images, labels = train
    kept = np.concatenate([np.flatnonzero(labels == c)[: FEW // CLASSES] for c in range(CLASSES)])
    draw.shuffle(kept)
    return (images[kept], labels[kept]), test


def noisy(train: Images, test: Images, draw: np.random.Generator) -> tuple[Images, Images]:
    """Of the training labels 30 % are another class's."""
    images, labels = train
    wrong = draw.random(len(labels)) < WRONG
    moved = (labels + draw.integers(1, CLASSES, len(labels))) % CLASSES
    return (images, np.where(wrong, moved, labels).astype(np.uint8)), test


def turned(train: Images, test: Images, draw: np.random.Generator) -> tuple[Images, Images]:
    """Each image by a multiple of 90 degrees of its own."""

    def turn(images: Bytes) -> Bytes:
        quarters = draw.integers(0, 4, len(images))
        return np.stack([np.rot90(one, k) for one, k in zip(images, quarters, strict=True)])

    return (turn(train[0]), train[1]), (turn(test[0]), test[1])


def permuted(train: Images, test: Images, draw: np.random.Generator) -> tuple[Images, Images]:
    """The pixels of all images in one other order."""
    order = draw.permutation(28 * 28)

    def permute(images: Bytes) -> Bytes:
        return images.reshape(len(images), -1)[:, order].reshape(images.shape)

    return (permute(train[0]), train[1]), (permute(test[0]), test[1])


TASKS: Mapping[str, Callable[[Images, Images, np.random.Generator], tuple[Images, Images]]] = {
    "few": few,
    "noisy": noisy,
    "turned": turned,
    "permuted": permuted,
}


def write_task(name: str, files: DataFiles, folder: Path) -> None:
    """Write the four idx files of a task."""
    draw = np.random.default_rng(0)
    held = load_test_data(files)
    test = held.images.numpy()[:, 0], held.labels.numpy().astype(np.uint8)
    # In another order, or files that stay as they are would be Fashion-MNIST's beside altered ones.
    shuffled = [_reordered(part, draw) for part in ((files.images, files.labels), test)]
    made = TASKS[name](*shuffled, draw)
    for path, values in zip(FILE_NAMES, [part for pair in made for part in pair], strict=True):
        shape = np.array(values.shape, ">i4").tobytes()
        (folder / path).write_bytes(bytes([0, 0, 8, values.ndim]) + shape + values.tobytes())


def _reordered(images: Images, draw: np.random.Generator) -> Images:
    order = draw.permutation(len(images[1]))
    return images[0][order], images[1][order]


def search(data: Path, minutes: float) -> dict[str, Any]:
    """The README's two commands, in the space of all families."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        begin = ["run_search.py", "--space", "all", "--trials", "10000", "--data-dir", str(data)]
        begin += ["--total-time", f"{round(60 * minutes)}s", "--json"]
        found = json.loads(run(begin, place).splitlines()[-1])
        left = round(minutes - (time.monotonic() - start) / 60 - SPARE_MINUTES, 2)
        train = ["-m", "fmnist_models", "train", "all.best.json", "--out", "model", "--no-report"]
        run([*train, "--data-dir", str(data), "--max-minutes", str(left)], place)
        return {
            **trained(Path(place) / "model"),
            "seconds": time.monotonic() - start,
            "trials": found["trials"],
            "search_accuracy": found["best"]["validation_accuracy"],
            "recommended": found["recommended"],
        }


def point(data: Path, minutes: float, name: str) -> dict[str, Any]:
    """A known-good point for all of the time."""
    start = time.monotonic()
    space, _, name = name.partition("/")
    with tempfile.TemporaryDirectory() as place:
        take = ["-m", "spaces", "point", space, name, "--epochs", str(MOST_EPOCHS)]
        run([*take, "--out", "point.json"], place)
        train = ["-m", "fmnist_models", "train", "point.json", "--out", "model", "--no-report"]
        train += ["--data-dir", str(data), "--max-minutes", str(minutes - SPARE_MINUTES)]
        run(train, place)
        return {**trained(Path(place) / "model"), "seconds": time.monotonic() - start}


def report(runs: Mapping[str, Mapping[str, Any]]) -> str:
    """A row a task and method."""
    rows = []
    for name, one in runs.items():
        low, high = wilson_interval(one["right"], one["test_images"])
        trials = sum(one["trials"].values()) if "trials" in one else ""
        row = [*name.split(": "), f"{100 * one['right'] / one['test_images']:.2f}"]
        interval, minutes = f"{100 * low:.2f} to {100 * high:.2f}", f"{one['seconds'] / 60:.1f}"
        processor = one.get("machine", {}).get("processor", "not kept")
        rows.append([*row, interval, minutes, trials, processor])
    header = ["task", "method", "test %", "95 %", "minutes", "trials", "processor"]
    return table(header, rows) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="+", choices=list(TASKS))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--points", nargs="+", default=["quick/quick-2-32"])
    options = parser.parse_args()
    kept, files = options.out.with_suffix(".json"), find_data()
    content = json.loads(kept.read_text()) if kept.exists() else {"runs": {}}
    for task in options.tasks:
        for method in [*options.points, "search"]:
            name = f"{task}: {method}"
            if name in content["runs"]:
                continue
            with tempfile.TemporaryDirectory() as place:
                write_task(task, files, Path(place))
                if method == "search":
                    one = search(Path(place), options.minutes)
                else:
                    one = point(Path(place), options.minutes, method)
            keep(options.out, content, name, {**one, "machine": machine()}, report)


if __name__ == "__main__":
    main()
