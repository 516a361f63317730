"""From what the user asked to what will run: every default resolved for this machine and space."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version

import psutil
from pydantic import JsonValue

from fmnist_models.config import Config
from fmnist_models.precision import device_name
from search.errors import UsageError
from search.settings import SearchSettings
from spaces import Space

TRIALS_IN_BUDGET = 3
"""So many trials, one after another, shall fit into a time budget."""
WORKER_MEMORY_BYTES = 1_500_000_000
"""An allowance for a worker: a search with two took 3.0 to 5.2 GB in all (results/README.md)."""
PACKAGES = ("torch", "torchvision", "optuna", "ray", "sqlalchemy", "numpy")


class SearchPlan(Config):
    """What a launch will do: settings without a None that matters.

    No epoch longer than `max_epoch_seconds` is started, nor, but for the smallest networks, one
    that is longer than `budget_epoch_seconds`: with a time budget, several trials shall be able to
    run all their epochs one after another.
    """

    epochs: int
    grace_period: int
    reduction_factor: int
    device: str
    concurrency: int
    cpus_per_trial: float
    gpus_per_trial: float
    max_epoch_seconds: float | None
    budget_epoch_seconds: float | None


def make_plan(
    settings: SearchSettings, space: Space, *, device: str, cpus: float, gpus: float
) -> SearchPlan:
    """Resolve defaults; raises UsageError where what was asked for does not fit."""
    on_gpu = device != "cpu"
    epochs = settings.epochs or (space.epochs_gpu if on_gpu else space.epochs_cpu)
    grace = settings.grace_period or max(1, epochs // settings.reduction_factor**2)
    if grace > epochs:
        raise UsageError(f"--grace-period {grace} is longer than the {epochs} epochs; lower it")
    cpus_per_trial = settings.cpus_per_trial or 1.0
    gpus_per_trial = settings.gpus_per_trial
    if gpus_per_trial is None:
        gpus_per_trial = 1.0 if on_gpu else 0.0
    fits = _fitting(cpus, cpus_per_trial, gpus, gpus_per_trial)
    if settings.concurrency and settings.concurrency > fits:
        raise UsageError(
            f"--concurrency {settings.concurrency}: {fits} trials fit here at {cpus_per_trial:g} "
            f"CPU and {gpus_per_trial:g} GPU each; lower it"
        )
    by_memory = psutil.virtual_memory().available // WORKER_MEMORY_BYTES
    default = max(1, min(fits, by_memory))
    limit = settings.max_epoch_seconds
    if limit is None and not on_gpu:
        limit = space.max_epoch_seconds_cpu
    return SearchPlan(
        epochs=epochs,
        grace_period=grace,
        reduction_factor=settings.reduction_factor,
        device=device,
        concurrency=min(settings.concurrency or default, settings.trials),
        cpus_per_trial=cpus_per_trial,
        gpus_per_trial=gpus_per_trial,
        max_epoch_seconds=limit or None,
        budget_epoch_seconds=_budget_epoch_seconds(settings, epochs),
    )


def _budget_epoch_seconds(settings: SearchSettings, epochs: int) -> float | None:
    """See `SearchPlan`; whoever says how long an epoch may take is taken at his word."""
    if settings.time_budget_seconds is None or settings.max_epoch_seconds is not None:
        return None
    return settings.time_budget_seconds / (TRIALS_IN_BUDGET * epochs)


def _fitting(cpus: float, cpus_per_trial: float, gpus: float, gpus_per_trial: float) -> int:
    """How many trials fit at once by cores and cards; at least one, or UsageError."""
    if cpus_per_trial > cpus:
        raise UsageError(f"--cpus-per-trial {cpus_per_trial:g}: there are {cpus:g}; lower it")
    if gpus_per_trial > gpus:
        raise UsageError(f"--gpus-per-trial {gpus_per_trial:g}: there are {gpus:g}; lower it")
    fits = [cpus / cpus_per_trial]
    if gpus_per_trial:
        fits.append(gpus / gpus_per_trial)
    return int(min(fits) + 1e-9)


def study_identity(
    settings: SearchSettings, space: Space, plan: SearchPlan, data_digest: str
) -> dict[str, JsonValue]:
    """What all trials of a study must have in common to be comparable."""
    return {
        "space": space.name,
        "space_version": space.version,
        "epochs": plan.epochs,
        "data_digest": data_digest,
        "train_samples": settings.train_samples,
    }


def environment(plan: SearchPlan, precision: str, validation_images: int) -> dict[str, JsonValue]:
    """Hardware, versions and data of this launch, for the record."""
    packages: dict[str, JsonValue] = {}
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = None
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": available_cpus(),
        "memory_bytes": psutil.virtual_memory().total,
        "device": plan.device,
        "device_name": device_name(plan.device),
        "precision": precision,
        "validation_images": validation_images,
        "packages": packages,
    }


def available_cpus() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
