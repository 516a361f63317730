"""Final training of an ensemble: its members side by side, each on CPU cores of its own.

Several trainings of a core each get through more images than one that is spread over the cores by
threads (results/engine.md), never wait for a core that something else has taken, and know more
together than any of them. On GPUs each member has one of them; they share where there are fewer.

OUT/members/member-0, ...   a model folder each, whose test set stays unread
OUT/...                     the ensemble of all of them, scored once
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from fmnist_models.compute.precision import choose_precision, gpu_count, set_threads
from fmnist_models.config.training import ViewsConfig
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.dataset import load_training_data
from fmnist_models.data.idx import DataFiles
from fmnist_models.errors import OutputError
from fmnist_models.files import leftovers, make_folder
from fmnist_models.final.evaluate import evaluate
from fmnist_models.final.make_ensemble import make_ensemble
from fmnist_models.final.member_processes import MemberTask, run_members
from fmnist_models.final.progress import Watcher
from fmnist_models.final.time_budget import MOST_EPOCHS, epochs_within, measure_step
from fmnist_models.final.train import Extras, Say
from fmnist_models.saved_model.ensemble import EnsembleConfig
from fmnist_models.saved_model.folder import (
    CHECKPOINT,
    CONFIG,
    MEMBERS,
    METRICS,
    ModelMetrics,
    load_config,
    load_metrics,
    save_metrics,
)
from fmnist_models.saved_model.ownership import OURS, check_ours, foreign_names, remove_model
from fmnist_models.training.cost import model_cost
from fmnist_models.training.size_law import NetworkSize, error_after

MOST_SIDE_BY_SIDE = 4
"""Members where nothing else is said: more of them gain little over four."""
TOGETHER = 0.95
"""Of the images that members get through on cores of their own, so many one network does that all
cores train together (results/workers.md)."""
GAIN_OF_MEMBERS = 0.05
"""With so much of their number's power, inverse, goes the error of members together over that of
one of them: two had 0.966 times it (benchmarks/LOG.md, "One network or several")."""


def begun_members(folder: Path) -> int | None:
    """How many members the model has that was begun in `folder`, 1 for one network; else None."""
    members = len(list((folder / MEMBERS).glob("member-*")))
    if members:
        return members
    return 1 if any((folder / name).exists() for name in (CONFIG, CHECKPOINT)) else None


def usual_members(config: TrialConfig, files: DataFiles, device: str, minutes: float) -> int:
    """How many members a final training of so many `minutes` has on this machine.

    One for each CPU core, up to four, where by a short measurement they are expected to be ahead of
    one network that sees the images as often as all of them together; else, and on a GPU, one.
    """
    count = min(MOST_SIDE_BY_SIDE, torch.get_num_threads()) if device == "cpu" else 1
    if count == 1:
        return 1
    dataset = load_training_data(files)
    threads = torch.get_num_threads()
    set_threads(threads // count)
    try:
        most = config.model_copy(update={"epochs": MOST_EPOCHS})
        seconds = measure_step(most, dataset, device, choose_precision(device))
        epochs = epochs_within(most, len(dataset.train), seconds, minutes)
    finally:
        set_threads(threads)
    images = epochs * config.steps_per_epoch(len(dataset.train)) * config.batch_size
    return count if members_are_ahead(config, count, images / len(dataset.train)) else 1


def members_are_ahead(config: TrialConfig, count: int, passes: float) -> bool:
    """Whether `count` members of so many `passes` each are expected to have fewer errors than one.

    Many passes more are worth little to a small network, and more to a large one: see `size_law`.
    """
    cost = model_cost(config.model)
    size = NetworkSize(cost.macs, cost.passes)
    of_members: float = error_after(passes, size) * count**-GAIN_OF_MEMBERS
    return of_members < error_after(TOGETHER * count * passes, size)


def train_members(
    configs: Sequence[TrialConfig],
    folder: Path,
    views: ViewsConfig,
    *,
    files: DataFiles,
    device: str,
    minutes: float | None,
    force: bool,
    say: Say,
    extras: Extras,
    watchers: Sequence[Watcher] = (),
) -> ModelMetrics:
    """Train the members `configs` at once into `folder`, make them one, score that as `extras` say.

    Each has as many epochs as fit into `minutes`, measured while all of them run. Killed, it goes
    on from each member's last epoch when it is started again; a member's process ends with this
    one. `watchers`, if there are any, watch a member each. Raises as `train.train` does.
    """
    if force:
        remove_model(folder)
    places = [folder / MEMBERS / f"member-{number}" for number in range(len(configs))]
    metrics = None if force else _finished(folder, configs, places, minutes, files.digest)
    if metrics is None:
        make_folder(folder / MEMBERS)
        threads = max(1, torch.get_num_threads() // len(configs))
        tasks = [
            MemberTask(
                config=config,
                folder=place,
                data=files.directory,
                digest=files.digest,
                device=device,
                card=number % max(1, gpu_count()),
                threads=threads,
                minutes=minutes,
            )
            for number, (config, place) in enumerate(zip(configs, places, strict=True))
        ]
        how = f"{threads} CPU core(s) each" if device == "cpu" else f"{gpu_count()} GPU(s)"
        say(f"{len(configs)} members side by side, {how}")
        run_members(tasks, say, watchers)
        make_ensemble(places, folder, views, declared=False, force=True)
        metrics = load_metrics(folder)
    elif metrics.test_readings or not extras.test:
        say(f"{folder} holds this ensemble already: nothing to do")
    if extras.origin and not metrics.test_readings:
        metrics = metrics.model_copy(update={"origin": extras.origin})
        save_metrics(folder, metrics)
    if extras.test and not metrics.test_readings:
        evaluate(folder, files, device, report=extras.report)
    elif extras.report and not metrics.test_readings:
        from fmnist_models.report.page import write_card
        from fmnist_models.saved_model.folder import load_network

        write_card(folder, metrics, load_network(folder, "cpu")[1])
    return load_metrics(folder)


def _finished(
    folder: Path,
    configs: Sequence[TrialConfig],
    places: Sequence[Path],
    minutes: float | None,
    digest: str,
) -> ModelMetrics | None:
    """The metrics of the ensemble of `configs` in `folder`; None where training is due.

    Raises OutputError when the folder holds anything else.
    """
    other = OutputError(f"{folder} holds something else; give another --out, or --force")
    if not folder.is_dir() or not any(folder.iterdir()):
        return None
    check_ours(folder)
    for path in leftovers(folder, OURS):
        path.unlink()
    known = {place.name for place in places}
    members = folder / MEMBERS
    found = {path.name for path in members.iterdir()} if members.is_dir() else set()
    if foreign_names(folder) or (folder / CHECKPOINT).exists() or found != found & known:
        raise other
    if not (folder / CONFIG).exists():
        if {path.name for path in folder.iterdir()} - {MEMBERS}:
            raise other
        return None
    kept = load_config(folder)
    if not isinstance(kept, EnsembleConfig) or not _are_same(kept.members, configs, minutes):
        raise other
    metrics = load_metrics(folder) if (folder / METRICS).exists() else None
    if metrics and metrics.data_digest != digest:
        raise other
    return metrics


def _are_same(
    kept: Sequence[TrialConfig], wanted: Sequence[TrialConfig], minutes: float | None
) -> bool:
    """Whether they are the same, but for numbers of epochs where a time limited those."""
    if len(kept) != len(wanted):
        return False
    return all(
        one == (other if minutes is None else other.model_copy(update={"epochs": one.epochs}))
        for one, other in zip(kept, wanted, strict=True)
    )
