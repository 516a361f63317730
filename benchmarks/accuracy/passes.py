"""What more passes over the images are worth to networks of several sizes.

    python -m benchmarks.accuracy.passes --out results/passes [--spaces quick mlp cnn]

Each network has its space's known-good training, ended within so many passes over the search's
50,000 images, and is scored once by the 10,000 validation images; one thread each, as many at once
as there are cores. Beside what it reached stands what is foretold from its fewest passes by the
law of fmnist_models/training/size_law.py, which was fitted to `quick` here. OUT.json is written
after every run and gone on from when started again; the quickest runs come first. The test set is
not touched.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from os import cpu_count
from pathlib import Path
from typing import Any

from benchmarks.report import machine, table
from fmnist_models.compute.precision import choose_precision, set_threads
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.dataset import load_search_data
from fmnist_models.data.download import find_data
from fmnist_models.files import write_atomically
from fmnist_models.training.cost import model_cost
from fmnist_models.training.size_law import NetworkSize, error_after
from fmnist_models.training.trainer import Trainer
from spaces import SpaceContext, get_space

PASSES = (2, 4, 8, 16, 32)
NETWORKS: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "quick": (
        "quick-2-16",
        [
            {"depth": 1, "width": 8},
            {"depth": 1, "width": 16},
            {"depth": 1, "width": 32},
            {"depth": 2, "width": 8},
            {"depth": 2, "width": 16},
            {"depth": 2, "width": 32},
        ],
    ),
    "mlp": (
        "gradient-descent",
        [{"depth": 1, "width": 128}, {"depth": 1, "width": 512}, {"depth": 2, "width": 1024}],
    ),
    "cnn": ("kaggle", [{"width": 16}, {"width": 32}]),
}
"""By space: the known-good point whose training they have, and what is different in the network."""
MOST_WORK = 4e12
"""Multiplications and additions forward of one run's training images at most: some 15 minutes."""


@dataclass(frozen=True)
class Run:
    """One training: a network of a space and how often it sees the images."""

    space: str
    network: int
    passes: int

    @property
    def key(self) -> str:
        sizes = NETWORKS[self.space][1][self.network].items()
        return f"{self.space} {' '.join(f'{n} {v}' for n, v in sizes)}, {self.passes} passes"

    def config(self) -> TrialConfig:
        point, networks = NETWORKS[self.space]
        space, sizes = get_space(self.space), networks[self.network]
        params = {**space.points[point], **{f"{self.space}.{n}": v for n, v in sizes.items()}}
        return space.configured(params, SpaceContext(self.passes))

    @property
    def work(self) -> float:
        return model_cost(self.config().model).macs * 50_000 * self.passes


def runs(spaces: list[str]) -> Iterator[Run]:
    """All that are short enough, the quickest first."""
    every = [
        Run(space, network, passes)
        for space in spaces
        for network in range(len(NETWORKS[space][1]))
        for passes in PASSES
    ]
    yield from sorted((run for run in every if run.work <= MOST_WORK), key=lambda run: run.work)


def train(run: Run) -> dict[str, Any]:
    """Fractions, images/s of this core, and what the network costs forward."""
    set_threads(1)
    precision = choose_precision("cpu")
    data = load_search_data(find_data())
    trainer = Trainer(run.config(), data, device="cpu", precision=precision)
    start = time.monotonic()
    last = list(trainer.epochs())[-1]
    seconds = time.monotonic() - start
    return {
        "accuracy": round(last.val_accuracy or 0.0, 4),
        "macs": model_cost(run.config().model).macs,
        "images_per_second": round(run.passes * 50_000 / seconds),
    }


def report(done: dict[str, Any]) -> str:
    """A row a network, a column for each number of passes."""
    networks = dict.fromkeys(key.partition(",")[0] for key in done)
    rows = []
    for network in networks:
        cells = [done.get(f"{network}, {passes} passes") for passes in PASSES]
        found = [cell for cell in cells if cell]
        speed = max(cell["images_per_second"] for cell in found)
        numbers = [f"{100 * cell['accuracy']:.2f}" if cell else "" for cell in cells]
        rows.append([network, f"{found[0]['macs'] / 1e6:.2f}", str(speed), *numbers])
        foretold = foretell(dict(zip(PASSES, cells, strict=True)))
        rows.append(["foretold", "", "", *(f"{100 * foretold[p]:.2f}" for p in PASSES)])
    return table(["network", "MMAC", "images/s", *map(str, PASSES)], rows) + "\n"


def foretell(cells: dict[int, dict[str, Any] | None]) -> dict[int, float]:
    """Accuracies after other passes, from that after the fewest."""
    passes, first = next((passes, cell) for passes, cell in cells.items() if cell)
    size = NetworkSize(first["macs"], 0)
    error = (1 - first["accuracy"]) / error_after(passes, size)
    return {passes: 1 - error * error_after(passes, size) for passes in cells}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--spaces", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    options = parser.parse_args()
    kept = options.out.with_suffix(".json")
    content = json.loads(kept.read_text()) if kept.exists() else {"runs": {}}
    done = content["runs"]
    head = {"command": "python -m benchmarks.accuracy.passes", "machine": machine()}
    left = [run for run in runs(options.spaces) if run.key not in done]
    with ProcessPoolExecutor(cpu_count(), mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(train, run): run for run in left}
        for future in as_completed(waiting):
            done[waiting[future].key] = future.result()
            print(waiting[future].key, future.result(), flush=True)
            write_atomically(kept, (json.dumps({**head, "runs": done}, indent=1) + "\n").encode())
            write_atomically(options.out.with_suffix(".md"), report(done).encode())


if __name__ == "__main__":
    main()
