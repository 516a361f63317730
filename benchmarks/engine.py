r"""The training engine beside the loop that everybody writes: images/s, and accuracy for them.

    python -m benchmarks.engine --out results/engine [--steps 60] [--threads 2] [--repeats 5]
    python -m benchmarks.engine --out results/engine_accuracy --accuracy [--epochs 3] [--seeds 3]

The rival: torchvision's FashionMNIST with its transforms (flip, padded crop, ToTensor, Normalize),
a DataLoader (the better of none and two worker processes), fp32, default layout, SGD. Same network,
batch, augmentation and optimizer settings. Both are timed in turns in one process, so that whoever
else uses the machine slows both; the ratio of the medians is what counts. Accuracy is that of
quick-2-16 on the 10,000 validation images, after equal epochs on the other 50,000 at the same
constant learning rate, without weight averaging.
"""

from __future__ import annotations

import argparse
import gzip
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import torch
from torch import nn

from benchmarks.report import last_epoch, machine, table
from fmnist_models.config import AugmentationConfig, ModelConfig, SgdConfig, TrialConfig
from fmnist_models.data import Dataset, load_search_data, split_indices
from fmnist_models.engine import Trainer
from fmnist_models.families import build_model
from fmnist_models.fetch import find_data
from fmnist_models.files import write_atomically
from fmnist_models.idx import read_training_files
from fmnist_models.ingredients import LrScheduleConfig
from fmnist_models.precision import Precision, choose_precision, set_threads
from fmnist_models.quick import QuickConfig
from fmnist_models.wrn import WrnConfig

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


def config_of(model: ModelConfig, epochs: int = 1, seed: int = 0) -> TrialConfig:
    return TrialConfig(
        model=model,
        optimizer=SGD,
        augmentation=AugmentationConfig(flip=True, shift=SHIFT),
        batch_size=BATCH,
        epochs=epochs,
        seed=seed,
    )


class UsualLoop:
    """What a tutorial would train: one epoch a call of `epoch`."""

    def __init__(
        self,
        model: ModelConfig,
        folder: Path,
        workers: int,
        seed: int = 0,
        indices: Sequence[int] | None = None,
    ) -> None:
        from torchvision import transforms  # type: ignore[import-untyped]
        from torchvision.datasets import FashionMNIST  # type: ignore[import-untyped]

        torch.manual_seed(seed)
        steps = [
            transforms.RandomHorizontalFlip(),
            transforms.RandomCrop(28, padding=SHIFT),
            transforms.ToTensor(),
            transforms.Normalize((0.2860,), (0.3530,)),
        ]
        data = FashionMNIST(str(folder), train=True, transform=transforms.Compose(steps))
        if indices is not None:
            data = torch.utils.data.Subset(data, indices)
        self.batches: Any = torch.utils.data.DataLoader(
            data, batch_size=BATCH, shuffle=True, drop_last=True, num_workers=workers
        )
        self.model = build_model(model, 10)
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), lr=SGD.lr, momentum=0.9, nesterov=True, weight_decay=5e-4
        )
        self.loss = nn.CrossEntropyLoss()

    def steps(self, most: int) -> Iterator[None]:
        """Train a step at a time, no more than `most`."""
        self.model.train()
        for step, (images, labels) in enumerate(self.batches):
            if step == most:
                return
            self.optimizer.zero_grad()
            self.loss(self.model(images), labels).backward()
            self.optimizer.step()
            yield


def rival_accuracy(
    model: ModelConfig, data: Dataset, folder: Path, epochs: int, seed: int
) -> float:
    """Validation accuracy after so many epochs on the images that ours trains on."""
    labels = read_training_files(folder / "FashionMNIST" / "raw").labels
    train, _ = split_indices(labels)
    loop = UsualLoop(model, folder, 0, seed, train.tolist())
    for _ in range(epochs):
        for _ in loop.steps(len(loop.batches)):
            pass
    loop.model.eval()
    images = (data.validation.images.float() / 255 - 0.2860) / 0.3530
    with torch.inference_mode():
        found = torch.cat([loop.model(part).argmax(1) for part in images.split(1000)])
    return float((found == data.validation.labels).float().mean())


def unpacked(source: Path, folder: Path) -> None:
    """The data where torchvision looks for it."""
    raw = folder / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for path in source.iterdir():
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        (raw / path.name.removesuffix(".gz")).write_bytes(content)


def rival_speed(model: ModelConfig, folder: Path, workers: int, steps: int) -> float:
    """Images a second, without the first steps, in which processes and threads start."""
    loop = UsualLoop(model, folder, workers).steps(steps + 5)
    for _ in range(5):
        next(loop)
    start = time.perf_counter()
    done = sum(1 for _ in loop)
    return done * BATCH / (time.perf_counter() - start)


def our_speed(model: ModelConfig, data: Dataset, precision: Precision, steps: int) -> float:
    """Images a second of an epoch of so many steps, after one that is not counted."""
    part = replace(
        data,
        train=data.train.subset(torch.arange(steps * BATCH)),
        validation=data.validation.subset(torch.arange(0)),
    )
    trainer = Trainer(config_of(model, epochs=2), part, device="cpu", precision=precision)
    trainer.run_epoch()
    return trainer.run_epoch().images_per_second


def speeds(options: argparse.Namespace, data: Dataset, folder: Path) -> list[dict[str, Any]]:
    precision = choose_precision("cpu")
    rows = []
    for name, model in NETWORKS.items():
        ways: dict[str, Callable[[], float]] = {
            "usual loop, no workers": lambda m=model: rival_speed(m, folder, 0, options.steps),
            "usual loop, 2 workers": lambda m=model: rival_speed(m, folder, 2, options.steps),
            "ours": lambda m=model: our_speed(m, data, precision, options.steps),
        }
        found: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(options.repeats):
            for way, measure in ways.items():
                found[way].append(round(measure()))
        middle = {way: median(values) for way, values in found.items()}
        rival = max(value for way, value in middle.items() if way != "ours")
        rows.append({"network": name, **found, "ratio": round(middle["ours"] / rival, 2)})
        print(rows[-1], flush=True)
    return rows


def speed_table(rows: list[dict[str, Any]]) -> str:
    ways = [key for key in rows[0] if key not in ("network", "ratio")]
    cells = [
        [row["network"], *(f"{median(row[way]):,.0f}" for way in ways), f"{row['ratio']:.1f}"]
        for row in rows
    ]
    return table(["images/s", *ways, "ratio"], cells)


def accuracies(options: argparse.Namespace, data: Dataset, folder: Path) -> list[dict[str, Any]]:
    """Validation accuracy after equal epochs on all 60,000 images but those 10,000."""
    precision = choose_precision("cpu")
    model = NETWORKS["quick-2-16"]
    rows = []
    for seed in range(options.seeds):
        constant = LrScheduleConfig(kind="constant")
        config = config_of(model, options.epochs, seed).model_copy(update={"lr_schedule": constant})
        ours = last_epoch(config, data, precision)["val_accuracy"]
        fp32 = last_epoch(config, data, "fp32")["val_accuracy"]
        rival = rival_accuracy(model, data, folder, options.epochs, seed)
        rows.append({"seed": seed, "ours": ours, "ours in fp32": fp32, "usual loop": rival})
        print(rows[-1], flush=True)
    return rows


def accuracy_table(rows: list[dict[str, Any]]) -> str:
    ways = [key for key in rows[0] if key != "seed"]
    cells = [
        [way, f"{mean(r[way] for r in rows):.4f}", f"{stdev([r[way] for r in rows]):.4f}"]
        for way in ways
    ]
    return table(["", "mean", "deviation"], cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--accuracy", action="store_true")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    set_threads(options.threads)
    source = find_data().directory
    data = load_search_data(source)
    with tempfile.TemporaryDirectory() as name:
        unpacked(source, Path(name))
        measure = accuracies if options.accuracy else speeds
        rows = measure(options, data, Path(name))
    content = {
        "command": f"python -m benchmarks.engine --threads {options.threads}",
        "machine": machine(["torch", "torchvision"]),
        "batch": BATCH,
        "rows": rows,
    }
    text = (accuracy_table if options.accuracy else speed_table)(rows) + "\n"
    write_atomically(
        options.out.with_suffix(".json"), (json.dumps(content, indent=1) + "\n").encode()
    )
    write_atomically(options.out.with_suffix(".md"), text.encode())
    print(text)


if __name__ == "__main__":
    main()
