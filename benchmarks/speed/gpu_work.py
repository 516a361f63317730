"""What benchmarks/speed/gpu.py trains: networks, data, and processes that train side by side."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from fmnist_models.compute.memory import give_back_memory
from fmnist_models.compute.precision import choose_precision
from fmnist_models.config.base import ModelConfig
from fmnist_models.config.optimizers import SgdConfig
from fmnist_models.config.training import AugmentationConfig
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.dataset import Dataset, Images, Normalization, load_search_data
from fmnist_models.errors import FmnistError
from fmnist_models.families.quick import QuickConfig
from fmnist_models.families.wrn import WrnConfig
from fmnist_models.training.trainer import Trainer

NETWORKS: dict[str, ModelConfig] = {
    "WRN-28-10": WrnConfig(depth=28, width=10),
    "WRN-16-4": WrnConfig(depth=16, width=4),
    "WRN-10-1": WrnConfig(depth=10, width=1),
    "quick-2-32": QuickConfig(width=32, depth=2),
}
LARGE_BATCH, SMALL_BATCH, TOGETHER = 512, 128, 4


def config_of(model: ModelConfig, batch: int) -> TrialConfig:
    """What is trained: with a learning rate that lets nothing diverge, and epochs without end."""
    return TrialConfig(
        model=model,
        optimizer=SgdConfig(lr=1e-4, momentum=0.9, weight_decay=5e-4),
        augmentation=AugmentationConfig(flip=True, shift=2),
        batch_size=batch,
        epochs=10_000,
    )


def dataset_of(images: int, data_dir: Path | None) -> tuple[Dataset, str]:
    """So many images to train on, as they are needed, and where they are from."""
    index = torch.arange(images)
    try:
        from fmnist_models.data.download import find_data

        data, origin = load_search_data(find_data(data_dir)), "real"
        train = data.train.subset(index % len(data.train))
    except (FmnistError, ImportError):
        generator = torch.Generator().manual_seed(0)
        pixels = torch.randint(256, (images, 1, 28, 28), dtype=torch.uint8, generator=generator)
        train = Images(pixels, torch.randint(10, (images,), generator=generator))
        normalization = Normalization(0.5, 0.29)
        data, origin = Dataset("custom", "", 10, normalization, train, train), "random"
    return replace(data, train=train, validation=train.subset(index[:0])), origin


class Stand:
    """The card at hand, the data on it and how long is measured."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.device = options, options.device
        self.precision = choose_precision(self.device)
        self.data, self.origin = dataset_of(options.steps * LARGE_BATCH, options.data_dir)
        torch.backends.cudnn.benchmark = options.cudnn_benchmark

    def trainer(self, network: str, batch: int, graphs: bool | None = None) -> Trainer:
        """A fresh trainer on so many images that an epoch has `--steps` steps."""
        give_back_memory(self.device)
        index = torch.arange(self.options.steps * batch)
        return Trainer(
            config_of(NETWORKS[network], batch),
            replace(self.data, train=self.data.train.subset(index)),
            device=self.device,
            precision=self.precision,
            graphs=graphs,
        )


class Member:
    """A process with a trainer of its own, which trains epochs as it is told."""

    def __init__(self, network: str, options: argparse.Namespace) -> None:
        words = ["--serve", network, "--device", options.device, "--steps", str(options.steps)]
        if options.data_dir:
            words += ["--data-dir", str(options.data_dir)]
        if options.cudnn_benchmark:
            words.append("--cudnn-benchmark")
        command = [sys.executable, "-m", "benchmarks.speed.gpu", *words]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)

    def begin(self, epochs: int) -> None:
        assert self._process.stdin
        self._process.stdin.write(f"{epochs}\n")
        self._process.stdin.flush()

    def end(self) -> float:
        """The seconds that it took."""
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("a packed process died; what it said is above")
        return float(line)

    def train(self, epochs: int) -> float:
        self.begin(epochs)
        return self.end()

    def close(self) -> None:
        """Its input ends, and so does it."""
        self._process.communicate()


def serve(options: argparse.Namespace) -> None:
    """What a `Member` runs: for each line with a number of epochs one with its seconds."""
    torch.set_num_threads(1)
    trainer = Stand(options).trainer(options.serve, SMALL_BATCH)
    for line in sys.stdin:
        start = time.perf_counter()
        for _ in range(int(line)):
            trainer.run_epoch()
        print(time.perf_counter() - start, flush=True)
