"""What the commands of `python -m fmnist_models` do; heavy libraries come in when needed."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import fields

from fmnist_models.cli.checks import checked, device_named
from fmnist_models.cli.parsing import PROGRAM
from fmnist_models.cli.training import distill, train
from fmnist_models.data.download import find_data
from fmnist_models.errors import ConfigError
from fmnist_models.output import command_line, program_name

Options = argparse.Namespace


def evaluate(options: Options) -> int:
    """Read the test set with a model, and say what came of it."""
    from fmnist_models.final.evaluate import evaluate as evaluate_model
    from fmnist_models.report.text_tables import reading_lines
    from fmnist_models.saved_model.folder import REPORT, load_metrics

    device = device_named(options.device)
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
    """Say what is on pictures; where that cannot be told, why, in a line each on stderr."""
    from fmnist_models.report.text_tables import prediction_lines
    from fmnist_models.saved_model.predictor import Prediction, load_model

    model = load_model(options.folder, device_named(options.device))
    found: dict[str, Prediction] = {}
    rows: list[dict[str, object]] = []
    nothing = dict.fromkeys(field.name for field in fields(Prediction))
    for path in options.images:
        row = {"picture": str(path), **nothing, "error": None}
        try:
            (found[str(path)],) = model.predict(path, options.invert)
            row |= vars(found[str(path)])
        except ConfigError as error:
            row["error"] = str(error)
            print(f"{program_name(PROGRAM)} predict: {error}", file=sys.stderr)
        rows.append(row)
    if options.json:
        print(json.dumps(rows))
    elif found:
        print("\n".join(prediction_lines(list(found), list(found.values()))))
    return 2 if any(row["error"] for row in rows) else 0


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
    from fmnist_models.config.training import ViewsConfig
    from fmnist_models.final.make_ensemble import make_ensemble
    from fmnist_models.saved_model.ensemble import CHOSEN

    views = checked(ViewsConfig, flip=options.flip, shift=options.shift)
    config = make_ensemble(
        options.folders,
        options.out,
        views,
        declared=options.chosen_before_test,
        force=options.force,
    )
    print(f"{options.out}: {len(config.members)} members, {views.count} views of each image")
    print(f"On record: {CHOSEN[config.chosen]}.")
    print(f"Next: {command_line('fmnist_models', 'evaluate', options.out)}")
    return 0


def augmentations(options: Options) -> int:
    """Draw what augmentation does."""
    from fmnist_models.augmentation.gallery import draw_gallery

    draw_gallery(options.out, options.data_dir, force=options.force)
    print(options.out)
    return 0


COMMANDS: dict[str, Callable[[Options], int]] = {
    "train": train,
    "evaluate": evaluate,
    "predict": predict,
    "export-onnx": export_onnx,
    "ensemble": ensemble,
    "distill": distill,
    "augmentations": augmentations,
}
