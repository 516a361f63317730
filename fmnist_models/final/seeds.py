"""Final training with several seeds: all are trained, all are reported, none is picked.

DIR/seed-0, DIR/seed-1, ...   a model folder each
DIR/seeds.json                `SeedsReport`: the seeds, fixed before the first run, then the scores
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Literal

from pydantic import ValidationError

from fmnist_models.config.base import Config, Probability
from fmnist_models.config.trial import TrialConfig
from fmnist_models.errors import OutputError
from fmnist_models.files import make_folder, write_atomically
from fmnist_models.saved_model.folder import SEEDS, ModelMetrics
from fmnist_models.saved_model.ownership import check_ours

TrainOne = Callable[[TrialConfig, Path], ModelMetrics]


class SeedsReport(Config):
    """All runs of one configuration. `test_accuracies` in the seeds' order, when all are scored.

    `deviation` is the sample's standard deviation; None of a single run.
    """

    format: Literal["fmnist-seeds-1"] = "fmnist-seeds-1"
    config: TrialConfig
    seeds: tuple[int, ...]
    test_accuracies: tuple[Probability, ...] = ()
    mean: Probability | None = None
    deviation: float | None = None


def train_several(
    config: TrialConfig, folder: Path, count: int, *, force: bool, train_one: TrainOne
) -> SeedsReport:
    """Train `count` models of `config`, with seeds from its own upwards, and report them all.

    Started again after a kill it goes on. Raises OutputError when `folder` holds other seeds or
    another configuration, unless `force`, and what `train_one` raises.
    """
    seeds = tuple(config.seed + i for i in range(count))
    report = SeedsReport(config=config, seeds=seeds)
    _claim(folder, report, force)
    metrics = [
        train_one(config.model_copy(update={"seed": seed}), seed_folder(folder, seed))
        for seed in seeds
    ]
    report = with_scores(report, [one.test_accuracy for one in metrics])
    _save(folder, report)
    return report


def seed_folder(folder: Path, seed: int) -> Path:
    """Where the model of a seed is."""
    return folder / f"seed-{seed}"


def with_scores(report: SeedsReport, accuracies: Sequence[float | None]) -> SeedsReport:
    """`report` with the test accuracies of all runs; unchanged where one has not been scored."""
    scores = [accuracy for accuracy in accuracies if accuracy is not None]
    if len(scores) < len(report.seeds):
        return report
    deviation = stdev(scores) if len(scores) > 1 else None
    changes = {"test_accuracies": tuple(scores), "mean": mean(scores), "deviation": deviation}
    return report.model_copy(update=changes)


def read_seeds(folder: Path) -> SeedsReport | None:
    """What seeds.json in `folder` says; None where there is none of ours."""
    try:
        return SeedsReport.model_validate_json((folder / SEEDS).read_bytes())
    except (OSError, ValidationError):
        return None


def _claim(folder: Path, report: SeedsReport, force: bool) -> None:
    """Write down which seeds are to be trained; raises OutputError when others were."""
    if folder.is_dir() and any(folder.iterdir()) and not force:
        kept = read_seeds(folder)
        if kept is None or (kept.config, kept.seeds) != (report.config, report.seeds):
            raise OutputError(f"{folder} holds something else; give another --out, or --force")
    check_ours(folder, SEEDS, *(seed_folder(folder, seed).name for seed in report.seeds))
    make_folder(folder)
    _save(folder, report)


def _save(folder: Path, report: SeedsReport) -> None:
    text = json.dumps(report.model_dump(mode="json"), indent=2) + "\n"
    write_atomically(folder / SEEDS, text.encode())


def seeds_lines(report: SeedsReport, folder: Path) -> list[str]:
    """The report for people."""
    if report.mean is None:
        return [f"{folder}: {len(report.seeds)} models trained, not scored"]
    pairs = zip(report.seeds, report.test_accuracies, strict=True)
    lines = [f"{seed_folder(folder, seed)}: {100 * score:.2f} %" for seed, score in pairs]
    spread = "" if report.deviation is None else f" +- {100 * report.deviation:.2f}"
    total = f"mean test accuracy {100 * report.mean:.2f}{spread} % over {len(report.seeds)} seeds"
    return [*lines, total]
