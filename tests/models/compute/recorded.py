"""What recorded passes are tried with, on a CPU and on a GPU, and how waiting for a GPU is seen."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from fmnist_models.compute.cuda_graphs import GraphedPasses
from fmnist_models.config.base import ModelConfig
from fmnist_models.config.optimizers import AdamWConfig, MuonConfig, ScheduleFreeConfig
from fmnist_models.config.registry import get_family
from fmnist_models.config.training import (
    ArcFaceConfig,
    AugmentationConfig,
    LrScheduleConfig,
    RegularizationConfig,
)
from fmnist_models.data.dataset import Dataset
from fmnist_models.families.shake import ShakeConfig
from fmnist_models.families.wrn import WrnConfig
from fmnist_models.training.trainer import Trainer

INGREDIENTS: dict[str, dict[str, Any]] = {
    "SAM": {"regularization": RegularizationConfig(sam_rho=0.05, ema_decay=0.9)},
    "SAM, clipping, mixing": {
        "regularization": RegularizationConfig(sam_rho=0.05, clip_norm=0.05),
        "augmentation": AugmentationConfig(mixing="cutmix", flip=True),
    },
    "clipping": {"regularization": RegularizationConfig(clip_norm=0.05)},
    "mixing": {"augmentation": AugmentationConfig(mixing="mixup", shift=2)},
    "margin": {"loss": ArcFaceConfig(), "augmentation": AugmentationConfig(mixing="ricap")},
    "margin, plain labels": {"loss": ArcFaceConfig()},
    "SWA": {"regularization": RegularizationConfig(swa_fraction=0.5)},
    "AdamW": {"optimizer": AdamWConfig(lr=1e-3)},
    "Muon": {"optimizer": MuonConfig(lr=1e-3)},
    "Schedule-Free": {
        "optimizer": ScheduleFreeConfig(lr=1e-3),
        "lr_schedule": LrScheduleConfig(kind="constant"),
        "regularization": RegularizationConfig(ema_decay=0.0),
    },
    "shake-even": {"model": ShakeConfig(depth=8, width=8, mode="shake-even")},
    "DropBlock, depth, GeM": {
        "model": WrnConfig(
            depth=10, width=1, dropout=0.2, drop_block=0.1, stochastic_depth=0.2, pool="gem"
        )
    },
    "weighted padding": {"model": WrnConfig(depth=10, width=1, padding="weighted")},
}


def count_recorded(graphs: GraphedPasses) -> int:
    """How many passes are recorded by now."""
    return sum(found is not None for found in graphs.passes.values())


def with_dropout(name: str) -> ModelConfig:
    """The family's example, with dropout where it has any."""
    family = get_family(name)
    change = {"dropout": 0.3} if "dropout" in family.config.model_fields else {}
    return family.config.model_validate({**family.example.model_dump(), **change})


@contextmanager
def _waits() -> Iterator[list[warnings.WarningMessage]]:
    """Collects a warning for each time that the host waits for the device."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        caught.clear()  # of the warning that this mode is a prototype
        try:
            yield caught
        finally:
            torch.cuda.set_sync_debug_mode("default")


def waits_in_epochs(few: Dataset, start: Callable[[Dataset], Trainer]) -> list[int]:
    """How often the host waits for the card in an epoch of 128 images and in one of 512.

    In the second epoch of each training: the first one also sets things up.
    """
    counts = []
    for images in (128, 512):
        run = start(replace(few, train=few.train.subset(torch.arange(images))))
        run.run_epoch()
        with _waits() as waited:
            run.run_epoch()
        counts.append(len(waited))
    return counts
