"""What the commands of `python -m fmnist_models` do; heavy libraries come in when needed."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import ValidationError

from fmnist_models.config.base import Config, explain
from fmnist_models.config.files import read_export
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.download import find_data
from fmnist_models.errors import ConfigError

if TYPE_CHECKING:
    from fmnist_models.data.idx import DataFiles
    from fmnist_models.final.train import Extras, Say
    from fmnist_models.saved_model.folder import ModelMetrics


Options = argparse.Namespace
Kind = TypeVar("Kind", bound=Config)


def train(options: Options) -> int:
    """Train one model, or several seeds of it."""
    config, foreseen = read_export(options.config)
    config = _changed(config, options.epochs, options.seed)
    device = _training_device(options.device)
    files = find_data(options.data_dir)
    say, extras = _watched(options)
    config = _limited(options, config, foreseen, files, device, say)
    from fmnist_models.final.seeds import seeds_lines, train_several
    from fmnist_models.final.train import train as train_model

    def one(config: TrialConfig, folder: Path) -> ModelMetrics:
        return train_model(
            config,
            folder,
            files=files,
            device=device,
            force=options.force,
            say=say,
            extras=with_events(extras, folder),
        )

    if options.seeds is None:
        _print_outcome(options.out, one(config, options.out))
        return 0
    report = train_several(config, options.out, options.seeds, force=options.force, train_one=one)
    print("\n".join(seeds_lines(report, options.out)))
    return 0


def distill(options: Options) -> int:
    """Train one model that a teacher helps."""
    config, foreseen = read_export(options.config)
    config = _changed(config, options.epochs, options.seed)
    device = _training_device(options.device)
    from fmnist_models.final.distill import DistillConfig
    from fmnist_models.final.distill import distill as distill_model

    how = _checked(DistillConfig, temperature=options.temperature, share=options.share)
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


def evaluate(options: Options) -> int:
    """Read the test set with a model, and say what came of it."""
    from fmnist_models.final.evaluate import evaluate as evaluate_model
    from fmnist_models.report.text_tables import reading_lines
    from fmnist_models.saved_model.folder import REPORT, load_metrics

    device = _device(options.device)
    load_metrics(options.folder)  # a wrong folder shows before any data set is fetched
    files = find_data(options.data_dir)
    reading = evaluate_model(options.folder, files, device, report=not options.no_report)
    readings = len(load_metrics(options.folder).test_readings)
    if options.json:
        print(json.dumps({**reading.model_dump(mode="json"), "readings": readings}))
        return 0
    print("\n".join(reading_lines(options.folder, reading, readings)))
    if not options.no_report:
        print(f"Report: {options.folder / REPORT}")
    return 0


def predict(options: Options) -> int:
    """Say what is on pictures; those that cannot be read are a line each on stderr."""
    from fmnist_models.report.text_tables import prediction_lines
    from fmnist_models.saved_model.pictures import read_picture
    from fmnist_models.saved_model.predictor import load_model

    model = load_model(options.folder, _device(options.device))
    names, pictures, refused = [], [], 0
    for path in options.images:
        try:
            pictures.append(read_picture(path))
            names.append(str(path))
        except ConfigError as error:
            refused += 1
            print(f"python -m fmnist_models predict: {error}", file=sys.stderr)
    predictions = model.predict(pictures, options.invert)
    if options.json:
        pairs = zip(names, predictions, strict=True)
        print(json.dumps([{"picture": name, **vars(one)} for name, one in pairs]))
    elif predictions:
        print("\n".join(prediction_lines(names, predictions)))
    return 2 if refused else 0


def export_onnx(options: Options) -> int:
    """Write a model as an ONNX file that was checked."""
    from fmnist_models.saved_model.folder import ONNX
    from fmnist_models.saved_model.onnx_export import export_onnx as export

    path = options.out or options.folder / ONNX
    check = export(options.folder, path, options.data_dir, force=options.force)
    print(
        f"{path}: probabilities differ from torch's by {check.largest_difference:.1e} at most "
        f"on {check.images} real images (allowed: {check.tolerance:g})"
    )
    return 0


def ensemble(options: Options) -> int:
    """Make an ensemble; the test set stays unread."""
    from fmnist_models.final.make_ensemble import make_ensemble
    from fmnist_models.saved_model.ensemble import CHOSEN, ViewsConfig

    views = _checked(ViewsConfig, flip=options.flip, shift=options.shift)
    config = make_ensemble(
        options.folders,
        options.out,
        views,
        declared=options.chosen_before_test,
        force=options.force,
    )
    print(f"{options.out}: {len(config.members)} members, {views.count} views of each image")
    print(f"On record: {CHOSEN[config.chosen]}.")
    print(f"Next: python -m fmnist_models evaluate {options.out}")
    return 0


def augmentations(options: Options) -> int:
    """Draw what augmentation does."""
    from fmnist_models.augmentation.gallery import draw_gallery

    draw_gallery(options.out, options.data_dir, force=options.force)
    print(options.out)
    return 0


def _changed(config: TrialConfig, epochs: int | None, seed: int | None) -> TrialConfig:
    """`config` with what the command line changes of it, checked again."""
    changes = {k: v for k, v in {"epochs": epochs, "seed": seed}.items() if v is not None}
    return _checked(TrialConfig, **{**config.model_dump(), **changes})


def _checked(kind: type[Kind], **values: object) -> Kind:
    """A configuration of command-line options; raises ConfigError that names the option."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"--{explain(error)}") from None


def _limited(
    options: Options,
    config: TrialConfig,
    foreseen: float | None,
    files: DataFiles,
    device: str,
    say: Say,
) -> TrialConfig:
    """`config` with the epochs that fit into --max-minutes, or into the `foreseen` seconds a model.

    Where epochs were shares of a time their number is no limit, but for --epochs.
    """
    minutes = None if options.epochs or foreseen is None else foreseen / 60
    if options.max_minutes is not None:
        minutes = options.max_minutes / (getattr(options, "seeds", None) or 1)
    if minutes is None:
        return config
    from fmnist_models.final.time_budget import MOST_EPOCHS, limit_epochs

    if config.epoch_images and not options.epochs:
        config = config.model_copy(update={"epochs": MOST_EPOCHS})
    return limit_epochs(
        config,
        options.out,
        files=files,
        device=device,
        minutes=minutes,
        fresh=options.force,
        say=say,
    )


def _watched(options: Options) -> tuple[Say, Extras]:
    """Where lines go, and what watches: on a terminal a bar with the lines above it."""
    from rich.console import Console

    from fmnist_models.final.progress import Bar
    from fmnist_models.final.train import Extras

    extras = Extras(test=not options.no_test, report=not options.no_report)
    if not sys.stderr.isatty():
        return _to_stderr, extras
    console = Console(stderr=True)

    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

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
        print(f"Next: python -m fmnist_models evaluate {folder}")
        return
    print(score_line(folder, metrics.test_accuracy, metrics.test_interval))
    if (folder / REPORT).exists():
        print(f"Report: {folder / REPORT}")
    print(f"Next: python -m fmnist_models predict {folder} IMAGE...")


def _training_device(wanted: str | None) -> str:
    """As `_device`, with memory made ready before the first tensor."""
    from fmnist_models.compute.allocator import keep_memory

    device = _device(wanted)
    keep_memory(device)
    return device


def _device(wanted: str | None) -> str:
    from fmnist_models.compute.precision import default_device

    best = default_device()
    if wanted not in (None, "cpu", best):
        raise ConfigError(f"--device {wanted}: this machine has {best}; leave --device out")
    return wanted or best


COMMANDS: dict[str, Callable[[Options], int]] = {
    "train": train,
    "evaluate": evaluate,
    "predict": predict,
    "export-onnx": export_onnx,
    "ensemble": ensemble,
    "distill": distill,
    "augmentations": augmentations,
}
