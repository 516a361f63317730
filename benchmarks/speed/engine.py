r"""The training engine beside the loop that everybody writes: images/s, and accuracy for them.

    python -m benchmarks.speed.engine --out results/engine [--steps 60] [--threads 2] [--repeats 5]
    python -m benchmarks.speed.engine --out results/engine_accuracy --accuracy
        [--epochs 3] [--seeds 3]

The rival: torchvision's FashionMNIST with its transforms (flip, padded crop, ToTensor, Normalize),
a DataLoader (the better of none and two worker processes), fp32, default layout, SGD. Same network,
batch, augmentation and optimizer settings, all threads. Ours once with all threads and once as a
search trains, a trial on each core, images/s of all together. All are timed in turns, so that
whoever else uses the machine slows all; the ratio of the medians is what counts. Accuracy is that
of quick-2-16 on the 10,000 validation images, after equal epochs on the other 50,000 at the same
constant learning rate, without weight averaging. What OUT.json has is not run again.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import torch
from torch import nn

from benchmarks.report import last_epoch, machine, table
from benchmarks.speed import usual
from fmnist_models.compute.allocator import keep_memory
from fmnist_models.compute.cpu_layers import PointwiseConv2d
from fmnist_models.compute.precision import Precision, choose_precision, set_threads
from fmnist_models.config.base import ModelConfig
from fmnist_models.config.optimizers import SgdConfig
from fmnist_models.config.registry import build_model
from fmnist_models.config.training import AugmentationConfig, LrScheduleConfig
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.dataset import Dataset, load_search_data, split_indices
from fmnist_models.data.download import find_data
from fmnist_models.data.idx import read_data_files
from fmnist_models.families.quick import QuickConfig
from fmnist_models.families.wrn import WrnConfig
from fmnist_models.files import write_atomically
from fmnist_models.training.trainer import Trainer

BATCH, SHIFT = 256, 2
SGD = SgdConfig(lr=0.1, momentum=0.9, weight_decay=5e-4)
NETWORKS: dict[str, ModelConfig] = {
    "WRN-10-1": WrnConfig(depth=10, width=1),
    "WRN-16-1": WrnConfig(depth=16, width=1),
    "WRN-16-2": WrnConfig(depth=16, width=2),
    "quick-1-8": QuickConfig(width=8, depth=1),
    "quick-2-16": QuickConfig(width=16, depth=2),
    "quick-2-32": QuickConfig(width=32, depth=2),
}
USUAL, USUAL_WORKERS = "usual loop", "usual loop, 2 workers"
OURS, OURS_AT_ONCE = "ours", "ours, one a core"


def config_of(model: ModelConfig, epochs: int = 1, seed: int = 0) -> TrialConfig:
    return TrialConfig(
        model=model,
        optimizer=SGD,
        augmentation=AugmentationConfig(flip=True, shift=SHIFT),
        batch_size=BATCH,
        epochs=epochs,
        seed=seed,
    )


def usual_network(model: ModelConfig) -> nn.Module:
    """The network, with strided 1x1 convolutions as everybody writes them."""
    network = build_model(model, 10)
    for module in network.modules():
        if isinstance(module, PointwiseConv2d):
            module.__class__ = nn.Conv2d
    return network


def usual_optimizer(network: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(
        network.parameters(), lr=SGD.lr, momentum=0.9, nesterov=True, weight_decay=5e-4
    )


def rival_accuracy(
    model: ModelConfig, data: Dataset, folder: Path, epochs: int, seed: int
) -> float:
    """Validation accuracy after so many epochs on the images that ours trains on."""
    everything = usual.images(folder, shift=SHIFT)
    train, _ = split_indices(read_data_files(folder / "FashionMNIST" / "raw").labels)
    torch.manual_seed(seed)
    network = usual_network(model)
    optimizer = usual_optimizer(network)
    for _ in range(epochs):
        loader = usual.batches(usual.subset(everything, train.tolist()), BATCH)
        for _ in usual.steps(network, optimizer, loader):
            pass
    network.eval()
    images = (data.validation.images.float() / 255 - usual.MEAN) / usual.STD
    with torch.inference_mode():
        found = torch.cat([network(part).argmax(1) for part in images.split(1000)])
    return float((found == data.validation.labels).float().mean())


def rival_speed(model: ModelConfig, folder: Path, workers: int, steps: int) -> float:
    """Images a second, without the first steps, in which processes and threads start."""
    torch.manual_seed(0)
    network = usual_network(model)
    loader = usual.batches(usual.images(folder, shift=SHIFT), BATCH, workers)
    loop = usual.steps(network, usual_optimizer(network), loader)
    for _ in range(5):
        next(loop)
    start = time.perf_counter()
    done = sum(1 for _ in islice(loop, steps))
    return done * BATCH / (time.perf_counter() - start)


def _part(data: Dataset, steps: int) -> Dataset:
    """Images for so many steps, none to validate."""
    train, validation = torch.arange(steps * BATCH), torch.arange(0)
    return replace(
        data, train=data.train.subset(train), validation=data.validation.subset(validation)
    )


def our_speed(model: ModelConfig, part: Dataset, precision: Precision) -> float:
    """Images a second of an epoch of `part`, after one that is not counted."""
    trainer = Trainer(config_of(model, epochs=2), part, device="cpu", precision=precision)
    trainer.run_epoch()
    return trainer.run_epoch().images_per_second


def speeds(options: argparse.Namespace, data: Dataset, folder: Path) -> Iterator[dict[str, Any]]:
    """Images a second of each network by each way, in turns; and what augmentation takes of it.

    Ours run in processes of their own, which the usual loop shares nothing with.
    """
    precision = choose_precision("cpu")
    with _processes(1, options.threads) as one, _processes(options.threads, 1) as each:
        for name in options.networks:
            model, part = NETWORKS[name], _part(data, options.steps)
            ways: dict[str, Callable[[], float]] = {
                USUAL: partial(rival_speed, model, folder, 0, options.steps),
                USUAL_WORKERS: partial(rival_speed, model, folder, 2, options.steps),
                OURS: partial(at_once, one, 1, model, part, precision),
                OURS_AT_ONCE: partial(at_once, each, options.threads, model, part, precision),
            }
            found: dict[str, list[float]] = {way: [] for way in ways}
            for _ in range(options.repeats):
                for way, measure in ways.items():
                    found[way].append(round(measure()))
            share = each.submit(augmentation_share, model, _part(data, 10), precision).result()
            yield {"network": name, **found, "augmentation": share}


def _processes(count: int, threads: int) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(count, context, initializer=_prepare, initargs=(threads,))


def _prepare(threads: int) -> None:
    keep_memory("cpu")
    set_threads(threads)


def at_once(
    pool: ProcessPoolExecutor, count: int, model: ModelConfig, part: Dataset, precision: Precision
) -> float:
    """Images a second of so many trainings at the same time, together."""
    tasks = [pool.submit(our_speed, model, part, precision) for _ in range(count)]
    return sum(task.result() for task in tasks)


def augmentation_share(model: ModelConfig, part: Dataset, precision: Precision) -> float:
    """Share of an epoch's time that goes into making the batches, with all kinds on."""
    everything = AugmentationConfig(flip=True, shift=SHIFT, cutout=8, random_erasing=0.5)
    config = config_of(model, epochs=2).model_copy(update={"augmentation": everything})
    trainer = Trainer(config, part, device="cpu", precision=precision)
    trainer.run_epoch()
    step = BATCH / trainer.run_epoch().images_per_second
    seconds = []
    for _ in range(10):
        start = time.perf_counter()
        trainer._batch(torch.arange(BATCH))
        seconds.append(time.perf_counter() - start)
    return round(median(seconds) / step, 3)


def speed_table(rows: list[dict[str, Any]]) -> str:
    """Medians and ratios of medians; in brackets the lowest and highest of the repeats."""
    ways = [USUAL, USUAL_WORKERS, OURS, OURS_AT_ONCE]
    header = ["images/s", *ways, "ours, times", "one a core, times", "augmentation"]
    cells = []
    for row in rows:
        middle = {way: median(row[way]) for way in ways}
        rival = max(middle[USUAL], middle[USUAL_WORKERS])
        figures = [f"{middle[w]:,.0f} ({min(row[w]):,.0f}-{max(row[w]):,.0f})" for w in ways]
        ratios = [f"{middle[way] / rival:.2f}" for way in (OURS, OURS_AT_ONCE)]
        cells.append([row["network"], *figures, *ratios, f"{100 * row['augmentation']:.1f} %"])
    return table(header, cells)


def accuracies(
    options: argparse.Namespace, data: Dataset, folder: Path
) -> Iterator[dict[str, Any]]:
    """Validation accuracy after equal epochs on all 60,000 images but those 10,000."""
    precision = choose_precision("cpu")
    model = NETWORKS["quick-2-16"]
    for seed in options.seeds:
        constant = LrScheduleConfig(kind="constant")
        config = config_of(model, options.epochs, seed).model_copy(update={"lr_schedule": constant})
        ours = last_epoch(config, data, precision)["val_accuracy"]
        fp32 = last_epoch(config, data, "fp32")["val_accuracy"]
        rival = rival_accuracy(model, data, folder, options.epochs, seed)
        yield {"seed": seed, "ours": ours, "ours in fp32": fp32, "usual loop": rival}


def accuracy_table(rows: list[dict[str, Any]]) -> str:
    ways = [key for key in rows[0] if key != "seed"]
    cells = []
    for way in ways:
        found = [row[way] for row in rows]
        deviation = f"{stdev(found):.4f}" if len(found) > 1 else ""
        cells.append([way, f"{mean(found):.4f}", deviation])
    return table(["", "mean", "deviation"], cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--accuracy", action="store_true")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    set_threads(options.threads)
    source = find_data()
    data = load_search_data(source)
    kept = options.out.with_suffix(".json")
    content = json.loads(kept.read_text()) if kept.exists() else {"rows": []}
    done = {row.get("network") for row in content["rows"]}
    seeds = {row.get("seed") for row in content["rows"]}
    options.networks = [name for name in options.networks if name not in done]
    options.seeds = [seed for seed in range(options.seeds) if seed not in seeds]
    write = accuracy_table if options.accuracy else speed_table
    measure = accuracies if options.accuracy else speeds
    content |= {
        "command": "python -m benchmarks.speed.engine " + " ".join(sys.argv[1:]),
        "machine": machine(["torch", "torchvision"]),
        "batch": BATCH,
    }
    with tempfile.TemporaryDirectory() as name:
        usual.unpacked(source.directory, Path(name))
        for row in measure(options, data, Path(name)):
            print(row, flush=True)
            content["rows"].append(row)
            write_atomically(kept, (json.dumps(content, indent=1) + "\n").encode())
            text = write(content["rows"]) + "\n"
            write_atomically(options.out.with_suffix(".md"), text.encode())


if __name__ == "__main__":
    main()
