r"""One training on several CPU cores: by threads, and by workers that train it together.

    python -m benchmarks.speed.workers --out results/workers [--steps 40] [--repeats 3]

Images/s on the 60,000 images (flip, shift, SGD, batch 128), each way in turns, the median of the
repeats; all on a quiet machine, then beside one process that keeps a core busy. One core is one
thread alone. Needs some minutes in which nothing else runs.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import torch

from benchmarks.report import machine, table
from fmnist_models.compute.precision import choose_precision, set_threads
from fmnist_models.config.base import ModelConfig
from fmnist_models.config.optimizers import SgdConfig
from fmnist_models.config.training import AugmentationConfig
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.dataset import load_training_data
from fmnist_models.data.download import find_data
from fmnist_models.families.quick import QuickConfig
from fmnist_models.families.wrn import WrnConfig
from fmnist_models.files import write_atomically
from fmnist_models.final.time_budget import measure_step
from fmnist_models.final.workers import WorkerPool

NETWORKS: dict[str, ModelConfig] = {
    "quick-1-8": QuickConfig(width=8, depth=1),
    "quick-2-16": QuickConfig(width=16),
    "quick-2-32": QuickConfig(width=32),
    "WRN-16-1": WrnConfig(depth=16, width=1),
}
BATCH = 128
WAYS = ("one core", "threads", "workers")
Speeds = dict[str, list[float]]


def config(model: ModelConfig) -> TrialConfig:
    """The network with the training of the known-good points."""
    return TrialConfig(
        model=model,
        optimizer=SgdConfig(lr=0.2, momentum=0.9),
        augmentation=AugmentationConfig(flip=True, shift=1),
        batch_size=BATCH,
        epochs=1,
    )


def _spin() -> None:
    while True:
        pass


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Within, so many processes keep a core busy each."""
    others = [multiprocessing.Process(target=_spin, daemon=True) for _ in range(processes)]
    for other in others:
        other.start()
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.join()


def measured(steps: int, repeats: int) -> dict[str, dict[str, Speeds]]:
    """Images/s by network, by how busy the machine is, and by way."""
    files, cores = find_data(), torch.get_num_threads()
    dataset, precision = load_training_data(files), choose_precision("cpu")

    def by_threads(threads: int) -> Callable[[TrialConfig], float]:
        def seconds(config: TrialConfig) -> float:
            set_threads(threads)
            found = measure_step(config, dataset, "cpu", precision, most_steps=steps)
            set_threads(cores)
            return found

        return seconds

    found: dict[str, dict[str, Speeds]] = {}
    with WorkerPool(cores, files, "cpu") as pool:
        ways = (by_threads(1), by_threads(cores), lambda one: pool.step_seconds(one, steps))
        for name, model in NETWORKS.items():
            for state, others in (("quiet", 0), ("one core busy", 1)):
                speeds: Speeds = {way: [] for way in WAYS}
                with busy(others):
                    for _ in range(repeats):
                        for way, seconds in zip(WAYS, ways, strict=True):
                            speeds[way].append(round(BATCH / seconds(config(model)), 1))
                found.setdefault(name, {})[state] = speeds
                print(name, state, speeds, flush=True)
    return found


def report(found: dict[str, dict[str, Speeds]]) -> str:
    """A row a network and state: images/s, and what workers are to the others and to quiet."""
    rows = []
    for name, states in found.items():
        quiet = median(states["quiet"]["workers"])
        for state, speeds in states.items():
            one, threads, workers = (median(speeds[way]) for way in WAYS)
            rows.append(
                [
                    f"{name}, {state}",
                    *(f"{speed:,.0f}" for speed in (one, threads, workers)),
                    f"{workers / one:.2f}",
                    f"{workers / threads:.2f}",
                    f"{workers / quiet:.2f}",
                ]
            )
    ratios = ["workers / one core", "workers / threads", "workers / quiet workers"]
    return table(["images/s", *WAYS, *ratios], rows) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    found = measured(options.steps, options.repeats)
    command = f"python -m benchmarks.speed.workers --out {options.out}"
    command += f" --steps {options.steps} --repeats {options.repeats}"
    about = {"command": command, "machine": machine(["torch"]), "cores": torch.get_num_threads()}
    about["precision"] = choose_precision("cpu")
    text = json.dumps({**about, "images_per_second": found}, indent=1) + "\n"
    write_atomically(options.out.with_suffix(".json"), text.encode())
    write_atomically(options.out.with_suffix(".md"), f"`{command}`\n\n{report(found)}".encode())
    print(report(found))


if __name__ == "__main__":
    main()
