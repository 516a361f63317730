"""Training one network in the processes that torchrun has started, on one machine or several."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import torch

from fmnist_models.compute.precision import Precision, choose_precision
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.dataset import load_training_data
from fmnist_models.data.idx import DataFiles
from fmnist_models.final.time_budget import limit_epochs, measure_step
from fmnist_models.final.train import Extras, Say, train, train_and_save
from fmnist_models.saved_model.folder import ModelMetrics
from fmnist_models.training.data_parallel import DataParallel, join, leave


def is_started_by_torchrun() -> bool:
    """Whether this process is one of torchrun's."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def train_by_torchrun(
    config: TrialConfig,
    folder: Path,
    *,
    files: DataFiles,
    device: str,
    minutes: float | None,
    force: bool,
    say: Say,
    extras: Extras,
) -> ModelMetrics | None:
    """As `train.train`, which happens in the first process; the others help, and get None.

    `folder` is the same for all: what a killed run left is read by each. `minutes`: as many epochs
    as fit into them. Raises as `train.train` does.
    """
    if device != "cpu":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    workers = join(rank, size, device, "env://")
    try:
        precision = _common_precision(workers, device)
        if minutes is not None:
            config = limit_epochs(
                config,
                folder,
                files=files,
                device=device,
                minutes=minutes,
                fresh=force,
                say=say if rank == 0 else _quiet,
                step_seconds=lambda: _step_seconds(workers, config, files, device, precision),
            )
        if rank == 0:
            return _lead(config, folder, files, device, force, say, extras, workers, precision)
        if workers.first(0.0, device):
            extras = Extras(workers=workers, precision=precision)
            train_and_save(config, folder, files, device, _quiet, extras)
        return None
    finally:
        leave(workers)


def _lead(
    config: TrialConfig,
    folder: Path,
    files: DataFiles,
    device: str,
    force: bool,
    say: Say,
    extras: Extras,
    workers: DataParallel,
    precision: Precision,
) -> ModelMetrics:
    """The first process's part: it finds out whether there is anything to train, and scores it."""
    begun = False

    def together(config: TrialConfig, folder: Path, say: Say, extras: Extras) -> None:
        nonlocal begun
        begun = bool(workers.first(1.0, device))
        train_and_save(config, folder, files, device, say, extras)

    metrics = train(
        config,
        folder,
        files=files,
        device=device,
        force=force,
        say=say,
        extras=replace(extras, workers=workers, precision=precision),
        elsewhere=together,
    )
    if not begun:
        workers.first(0.0, device)
    return metrics


def _common_precision(workers: DataParallel, device: str) -> Precision:
    """The first process's choice: all must sum the same gradients."""
    is_bf16 = workers.first(float(choose_precision(device) == "bf16"), device)
    return "bf16" if is_bf16 else "fp32"


def _step_seconds(
    workers: DataParallel,
    config: TrialConfig,
    files: DataFiles,
    device: str,
    precision: Precision,
) -> float:
    dataset = load_training_data(files)
    own = measure_step(config, dataset, device, precision, workers)
    return workers.first(own, device)


def _quiet(line: str) -> None:
    """Say nothing: the first process does."""
