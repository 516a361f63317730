"""The commands that train: one model, an ensemble, several seeds, a student of a teacher."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fmnist_models.cli.checks import check_apart, checked, device_named
from fmnist_models.config.files import read_export
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.download import find_data
from fmnist_models.errors import ConfigError
from fmnist_models.output import command_line, error_console, printable, quoted

if TYPE_CHECKING:
    from fmnist_models.data.idx import DataFiles
    from fmnist_models.final.train import Extras, Say
    from fmnist_models.final.workers import WorkerPool
    from fmnist_models.saved_model.folder import ModelMetrics

Options = argparse.Namespace


def train(options: Options) -> int:
    """Train one model, an ensemble, or several seeds of a model."""
    check_apart(options.config, options.out, options.force)
    config, foreseen, options.origin = read_export(options.config)
    config = _changed(config, options.epochs, options.seed)
    device = _training_device(options.device)
    files = find_data(options.data_dir)
    from fmnist_models.final.torchrun import is_started_by_torchrun

    if is_started_by_torchrun():
        return _train_by_torchrun(options, config, foreseen, files, device)
    members = _members(options, config, foreseen, files, device)
    if members > 1:
        _print_outcome(
            options.out, _train_members(options, config, foreseen, files, device, members)
        )
        return 0
    say, extras = _watched(options)
    from fmnist_models.final.seeds import seeds_lines, train_several
    from fmnist_models.final.train import train as train_model

    with _workers(options, config, foreseen, files, device) as (pool, step_seconds):
        config = _limited(options, config, foreseen, files, device, say, step_seconds)

        def one(config: TrialConfig, folder: Path) -> ModelMetrics:
            return train_model(
                config,
                folder,
                files=files,
                device=device,
                force=options.force,
                say=say,
                extras=with_events(extras, folder),
                elsewhere=pool.train if pool else None,
            )

        if options.seeds is None:
            _print_outcome(options.out, one(config, options.out))
            return 0
        report = train_several(
            config, options.out, options.seeds, force=options.force, train_one=one
        )
    print("\n".join(seeds_lines(report, options.out)))
    models, out = f"{quoted(options.out)}/seed-*", Path(f"{options.out}-ensemble")
    print(f"Next: {command_line('fmnist_models', 'ensemble')} {models} --out {quoted(out)}")
    return 0


@contextmanager
def _workers(
    options: Options, config: TrialConfig, foreseen: float | None, files: DataFiles, device: str
) -> Iterator[tuple[WorkerPool | None, Callable[[], float] | None]]:
    """The processes that train together, None for this one alone, and what measures their step."""
    from fmnist_models.final.workers import WorkerPool, begun_workers, check_workers, race

    minutes = _minutes(options, foreseen)
    most = _unlimited(options, config, minutes)
    wanted = options.workers or (None if options.force else begun_workers(options.out))
    if wanted is None:
        pool, seconds = race(most, files, device, minutes)
        measured = (lambda: float(seconds)) if seconds else None
    elif wanted == 1:
        pool = measured = None
    else:
        check_workers(wanted, config, device)
        pool = WorkerPool(wanted, files, device)
        measured = partial(pool.step_seconds, most)
    try:
        yield pool, measured
    finally:
        if pool:
            pool.close()


def _train_by_torchrun(
    options: Options, config: TrialConfig, foreseen: float | None, files: DataFiles, device: str
) -> int:
    """Train one model in the processes that torchrun has started, of which this is one."""
    from fmnist_models.final.torchrun import train_by_torchrun

    for name in ("members", "seeds", "workers"):
        if getattr(options, name):
            raise ConfigError(f"--{name} goes not with torchrun, which trains one model; leave out")
    say, extras = _watched(options)
    minutes = _minutes(options, foreseen)
    metrics = train_by_torchrun(
        _unlimited(options, config, minutes),
        options.out,
        files=files,
        device=device,
        minutes=minutes,
        force=options.force,
        say=say,
        extras=with_events(extras, options.out),
    )
    if metrics:
        _print_outcome(options.out, metrics)
    return 0


def _members(
    options: Options, config: TrialConfig, foreseen: float | None, files: DataFiles, device: str
) -> int:
    """How many members the trained model has: as said, else what an export by time gets here."""
    minutes = _minutes(options, foreseen)
    said = options.seeds or options.members or options.workers
    if said or foreseen is None or minutes is None:
        return options.members or 1
    from fmnist_models.final.members import begun_members, usual_members

    begun = None if options.force else begun_members(options.out)
    return begun or usual_members(config, files, device, minutes)


def _train_members(
    options: Options,
    config: TrialConfig,
    foreseen: float | None,
    files: DataFiles,
    device: str,
    count: int,
) -> ModelMetrics:
    """Train an ensemble whose members differ by their seeds; on a terminal each has a bar."""
    from fmnist_models.config.training import ViewsConfig
    from fmnist_models.final.members import train_members
    from fmnist_models.final.progress import Bar

    minutes = _minutes(options, foreseen)
    say, extras = _watched(options)
    bars = [
        bar.another(f"member {number} ")
        for bar in extras.watchers
        if isinstance(bar, Bar)
        for number in range(count)
    ]
    config = _unlimited(options, config, minutes)
    seeds = range(config.seed, config.seed + count)
    return train_members(
        [config.model_copy(update={"seed": seed}) for seed in seeds],
        options.out,
        ViewsConfig(),
        files=files,
        device=device,
        minutes=minutes,
        force=options.force,
        say=say,
        extras=extras,
        watchers=bars,
    )


def distill(options: Options) -> int:
    """Train one model that a teacher helps."""
    check_apart(options.config, options.out, options.force)
    config, foreseen, options.origin = read_export(options.config)
    config = _changed(config, options.epochs, options.seed)
    device = _training_device(options.device)
    from fmnist_models.final.distill import DistillConfig
    from fmnist_models.final.distill import distill as distill_model

    how = checked(DistillConfig, temperature=options.temperature, share=options.share)
    files = find_data(options.data_dir)
    say, extras = _watched(options)
    config = _limited(options, config, foreseen, files, device, say)
    metrics = distill_model(
        options.teacher,
        config,
        options.out,
        how,
        files=files,
        device=device,
        force=options.force,
        say=say,
        extras=with_events(extras, options.out),
    )
    _print_outcome(options.out, metrics)
    return 0


def _changed(config: TrialConfig, epochs: int | None, seed: int | None) -> TrialConfig:
    """`config` with what the command line changes of it, checked again."""
    changes = {k: v for k, v in {"epochs": epochs, "seed": seed}.items() if v is not None}
    return checked(TrialConfig, **{**config.model_dump(), **changes})


def _limited(
    options: Options,
    config: TrialConfig,
    foreseen: float | None,
    files: DataFiles,
    device: str,
    say: Say,
    step_seconds: Callable[[], float] | None = None,
) -> TrialConfig:
    """`config` with the epochs that fit into the time of a model, if there is one."""
    minutes = _minutes(options, foreseen)
    if minutes is None:
        return config
    from fmnist_models.final.time_budget import limit_epochs

    return limit_epochs(
        _unlimited(options, config, minutes),
        options.out,
        files=files,
        device=device,
        minutes=minutes,
        fresh=options.force,
        say=say,
        step_seconds=step_seconds,
    )


def _minutes(options: Options, foreseen: float | None) -> float | None:
    """How long one model may train; None without a limit."""
    if options.max_minutes is not None:
        return float(options.max_minutes / (getattr(options, "seeds", None) or 1))
    return None if options.epochs or foreseen is None else foreseen / 60


def _unlimited(options: Options, config: TrialConfig, minutes: float | None) -> TrialConfig:
    """`config`, whose number of epochs is no limit where they were shares of a time."""
    from fmnist_models.final.time_budget import MOST_EPOCHS

    if minutes is None or options.epochs or not config.epoch_images:
        return config
    return config.model_copy(update={"epochs": MOST_EPOCHS})


def _watched(options: Options) -> tuple[Say, Extras]:
    """Where lines go, and what watches: on a terminal a bar with the lines above it."""
    from fmnist_models.final.progress import Bar
    from fmnist_models.final.train import Extras

    extras = Extras(test=not options.no_test, report=not options.no_report, origin=options.origin)
    if not sys.stderr.isatty():
        return _to_stderr, extras
    console = error_console()

    def say(line: str) -> None:
        console.print(printable(line), markup=False, highlight=False, soft_wrap=True)

    return say, replace(extras, watchers=(Bar(console),))


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def with_events(extras: Extras, folder: Path) -> Extras:
    """`extras` with curves for TensorBoard in the model's folder."""
    from fmnist_models.final.progress import Events
    from fmnist_models.saved_model.folder import EVENTS

    return replace(extras, watchers=(*extras.watchers, Events(folder / EVENTS)))


def _print_outcome(folder: Path, metrics: ModelMetrics) -> None:
    """What training came to, and what can be done with it."""
    from fmnist_models.report.text_tables import score_line
    from fmnist_models.saved_model.folder import REPORT

    if metrics.test_accuracy is None or metrics.test_interval is None:
        print(f"{folder}: trained, the test set is unread")
        print(f"Next: {command_line('fmnist_models', 'evaluate', folder)}")
        return
    print(score_line(folder, metrics.test_accuracy, metrics.test_interval))
    if (folder / REPORT).exists():
        print(f"Report: {folder / REPORT}")
    print(f"Next: {command_line('fmnist_models', 'predict', folder)} IMAGE...")


def _training_device(wanted: str | None) -> str:
    """As `device_named`, with memory made ready before the first tensor."""
    from fmnist_models.compute.allocator import keep_memory

    device = device_named(wanted)
    keep_memory(device)
    return device
