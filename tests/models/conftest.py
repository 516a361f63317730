"""Real images, few of them, and configurations that train in a second."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fmnist_models.config.optimizers import SgdConfig
from fmnist_models.config.training import AugmentationConfig, LrScheduleConfig, RegularizationConfig
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.dataset import Dataset, load_search_data, load_test_data, load_training_data
from fmnist_models.data.download import find_data
from fmnist_models.families.quick import QuickConfig
from fmnist_models.saved_model.folder import Header, ModelMetrics, save_metrics, save_model
from fmnist_models.training.trainer import Trainer

MakeConfig = Callable[..., TrialConfig]


@pytest.fixture(scope="session")
def data() -> Dataset:
    """3,000 real training images with their own mean and deviation, 1,000 to validate."""
    dataset = load_search_data(find_data(), train_samples=3_000)
    return replace(dataset, validation=dataset.validation.subset(torch.arange(1_000)))


@pytest.fixture(scope="session")
def few(data: Dataset) -> Dataset:
    """512 real training images, 256 to validate."""
    return replace(
        data,
        train=data.train.subset(torch.arange(512)),
        validation=data.validation.subset(torch.arange(256)),
    )


@pytest.fixture(scope="session")
def everything_on() -> MakeConfig:
    """Makes a short run in which every ingredient is at work; keywords change it."""

    def make(**changes: Any) -> TrialConfig:
        parts: dict[str, Any] = {
            "model": QuickConfig(width=8, depth=1, dropout=0.3),
            "optimizer": SgdConfig(lr=0.05),
            "lr_schedule": LrScheduleConfig(kind="cosine", warmup=0.2),
            "augmentation": AugmentationConfig(flip=True, shift=2, cutout=8, random_erasing=0.5),
            "regularization": RegularizationConfig(label_smoothing=0.1, ema_decay=0.9),
            "batch_size": 100,
            "epochs": 3,
            "seed": 7,
        }
        return TrialConfig(**{**parts, **changes})

    return make


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """640 real training images and 100 real test images as a data set of their own."""
    folder = tmp_path_factory.mktemp("idx")
    real = find_data()
    parts = {"train": (load_training_data(real).train, 640), "t10k": (load_test_data(real), 100)}
    for name, (images, count) in parts.items():
        write_idx(folder / f"{name}-images-idx3-ubyte", images.images[:count, 0].numpy())
        write_idx(folder / f"{name}-labels-idx1-ubyte", images.labels[:count].numpy())
    return folder


def write_idx(path: Path, values: NDArray[Any]) -> None:
    header = bytes([0, 0, 8, values.ndim]) + b"".join(n.to_bytes(4, "big") for n in values.shape)
    path.write_bytes(header + values.astype(np.uint8).tobytes())


@pytest.fixture(scope="session")
def trained(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small model of Fashion-MNIST, trained on 3,000 images; not to be changed."""
    config = TrialConfig(
        model=QuickConfig(width=8, depth=1),
        optimizer=SgdConfig(lr=0.1),
        batch_size=64,
        epochs=4,
    )
    trainer = Trainer(config, data, device="cpu", precision="fp32")
    epochs = [
        e.model_copy(update={"val_loss": None, "val_accuracy": None}) for e in trainer.epochs()
    ]
    folder = tmp_path_factory.mktemp("models") / "small"
    folder.mkdir()
    save_model(folder, trainer.averaged_model, config, Header.of(data))
    save_metrics(
        folder,
        ModelMetrics(
            train_images=len(data.train),
            train_seconds=sum(e.seconds for e in epochs),
            data=data.name,
            data_digest=data.digest,
            environment={"device": "cpu", "device_name": "a processor", "precision": "fp32"},
            epochs=epochs,
        ),
    )
    return folder


@pytest.fixture
def model(trained: Path, tmp_path: Path) -> Path:
    """A copy of `trained` to do anything with."""
    return Path(shutil.copytree(trained, tmp_path / "model"))
