"""Whether what the spaces believe is true: random samples by it, and without, on real images.

    python -m benchmarks.accuracy.beliefs --spaces quick mlp cnn wrn --seeds 5 --out results/beliefs

Every network of a space has one small size, so that all samples cost alike; everything else is
sampled: 24 configurations a seed from the space's belief, 24 evenly. They stand beside the space's
best known-good point of that size, five seeds of it, and beside that point with the batch size
that is believed in, which is 64 where there are few steps. Each trains on 2,000 images for 6
epochs, is ranked by 2,000 validation images and scored once, after the last epoch, by 4,000 others
of them, so that a best of 24 is not the luckiest of 24. The test set is not touched.

Seed by seed, all spaces. OUT.json is written after every run, and gone on from when started again;
OUT.md holds the tables (benchmarks/accuracy/belief_tables.py). `--first 100` takes other seeds:
those that a belief was chosen by are not those that it is reported on. `--images 20000` is nearer
to a search, and takes longer.
"""

from __future__ import annotations

import argparse
import json
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.samplers import PartialFixedSampler
from optuna.trial import FixedTrial

from benchmarks.accuracy.belief_tables import report
from benchmarks.report import machine
from fmnist_models.compute.precision import Precision, choose_precision, set_threads
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.dataset import Dataset, load_search_data
from fmnist_models.data.download import find_data
from fmnist_models.files import write_atomically
from fmnist_models.training.trainer import Trainer
from search.samplers.prior import EVEN, Prior
from search.samplers.prior_sampler import PriorSampler
from spaces import SpaceContext, get_space
from spaces.belief import Belief

RANKED_BY, SCORED_BY = 2_000, 4_000
POINT_SEEDS = 5
KINDS = ("believed", "even")
PINNED: dict[str, dict[str, Any]] = {
    "quick": {"width": 8, "depth": 1},
    "mlp": {"depth": 1, "width": 128},
    "cnn": {
        "convolutions": 2,
        "stages": 2,
        "width": 16,
        "widen": False,
        "kernel": 3,
        "dense_layers": 1,
        "dense": 128,
    },
    "wrn": {"depth": 10, "width": 1, "stem": 16},
}
"""What says how large a network is; the same for all samples and for the point."""
POINTS = {"quick": "quick-2-16", "mlp": "gradient-descent", "cnn": "kaggle", "wrn": "wrn-10-1"}
"""The known-good point that does best at that size, of those in the space."""


@dataclass(frozen=True)
class Task:
    """How long all trainings are, and how many samples a seed has."""

    images: int = 2_000
    epochs: int = 6
    samples: int = 24

    def options(self) -> str:
        """As one types them, where they are not the default."""
        default = asdict(Task())
        return "".join(f" --{k} {v}" for k, v in asdict(self).items() if v != default[k])

    def context(self, seed: int = 0) -> SpaceContext:
        return SpaceContext(self.epochs, seed=seed, train_images=self.images)

    def belief_of(self, space: str) -> Belief:
        """What such a search is told."""
        return get_space(space).believed(self.context()).trusted("normal")


@dataclass(frozen=True)
class Run:
    """One training run: the point with a seed, or a sample of a seed by its number."""

    space: str
    kind: str
    seed: int
    number: int = 0

    @property
    def key(self) -> str:
        return f"{self.space} {self.kind} {self.seed} {self.number}"


def runs(task: Task, spaces: list[str], seeds: range, kinds: list[str]) -> Iterator[Run]:
    """All runs in their order: the points, a seed of every space, then the next."""
    for space in spaces:
        batch = task.belief_of(space).axes[f"{space}.batch_size"].default
        same = get_space(space).points[POINTS[space]][f"{space}.batch_size"] == batch
        for kind in ("point",) if same else ("point", f"batch-{batch}"):
            yield from (Run(space, kind, seed) for seed in range(POINT_SEEDS))
    for seed in seeds:
        for space in spaces:
            for kind in kinds:
                yield from (Run(space, kind, seed, number) for number in range(task.samples))


@cache
def samples(task: Task, run: Run) -> list[tuple[dict[str, Any], TrialConfig]]:
    """Parameters and configurations of all samples of a seed, that of `run`."""
    prior: Prior = task.belief_of(run.space) if run.kind == "believed" else EVEN
    sampler = PartialFixedSampler(pinned(run.space), PriorSampler(prior, seed=run.seed))
    study = optuna.create_study(sampler=sampler)
    trials = [study.ask() for _ in range(task.samples)]
    suggest = get_space(run.space).suggest
    configs = [suggest(trial, task.context(trial.number)) for trial in trials]
    return [(trial.params, config) for trial, config in zip(trials, configs, strict=True)]


def pinned(space: str) -> dict[str, Any]:
    """PINNED by the names of parameters."""
    return {f"{space}.{name}": value for name, value in PINNED[space].items()}


def point_of(task: Task, run: Run) -> TrialConfig:
    """The known-good point at the pinned size, with its own batch size or another."""
    space = get_space(run.space)
    params = {**space.points[POINTS[run.space]], **pinned(run.space)}
    if run.kind != "point":
        params[f"{run.space}.batch_size"] = int(run.kind.removeprefix("batch-"))
    return space.suggest(FixedTrial(params), task.context(run.seed))


@cache
def data(images: int) -> tuple[Dataset, Dataset]:
    """The images to train on and to rank by; the same with those to score by."""
    whole = load_search_data(find_data(), images)
    ranked, rest = torch.arange(RANKED_BY), torch.arange(RANKED_BY, RANKED_BY + SCORED_BY)
    part = whole.validation.subset
    return replace(whole, validation=part(ranked)), replace(whole, validation=part(rest))


def execute(task: Task, run: Run, precision: Precision) -> dict[str, Any]:
    """Train; a divergence is a result too."""
    if run.kind not in KINDS:
        return train(task, point_of(task, run), precision)
    params, config = samples(task, replace(run, number=0))[run.number]
    short = {name.partition(".")[2]: _rounded(value) for name, value in params.items()}
    varied = {name: value for name, value in short.items() if name not in PINNED[run.space]}
    return {"params": varied, **train(task, config, precision)}


def train(task: Task, config: TrialConfig, precision: Precision) -> dict[str, Any]:
    """Fractions: validation accuracy after each epoch, and of the other images after the last."""
    ranked_by, scored_by = data(task.images)
    try:
        trainer = Trainer(config, ranked_by, device="cpu", precision=precision)
        epochs = list(trainer.epochs())
        trainer.evaluator.dataset = scored_by
        score = trainer.evaluator.validate(trainer.averaged_model)
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {error}"}
    assert score
    return {
        "epochs": [round(epoch.val_accuracy or 0.0, 4) for epoch in epochs],
        "score": round(score.accuracy, 5),
        "seconds": round(sum(epoch.seconds for epoch in epochs), 2),
    }


def _rounded(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def digest(belief: Belief) -> str:
    """Changes with the belief."""
    text = repr(sorted((name, repr(axis)) for name, axis in belief.axes.items()))
    return f"{zlib.crc32(text.encode()):08x}"


class Kept:
    """The rows of a file, kept after every run; a belief in it is not taken for another."""

    def __init__(self, out: Path, task: Task, spaces: list[str]) -> None:
        self._file = out.with_suffix(".json")
        old = json.loads(self._file.read_text()) if self._file.exists() else {}
        self.rows: dict[str, Any] = old.get("runs", {})
        self.head = {
            "command": f"python -m benchmarks.accuracy.beliefs --out {out}{task.options()}",
            "machine": machine(),
            "task": asdict(task),
            "precision": old.get("precision") or choose_precision("cpu"),
            "beliefs": old.get("beliefs", {}),
        }
        for space in spaces:
            now = digest(task.belief_of(space))
            if self.head["beliefs"].setdefault(space, now) != now:
                raise SystemExit(f"{self._file} has another belief of {space}: take another --out")

    def add(self, run: Run, row: dict[str, Any]) -> None:
        self.rows[run.key] = row
        lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(r)}" for key, r in self.rows.items())
        text = json.dumps(self.head)[:-1] + ',\n"runs": {\n' + lines + "\n}}\n"
        write_atomically(self._file, text.encode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spaces", nargs="+", choices=list(PINNED), default=list(PINNED))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="the first sampling seed")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--images", type=int, default=Task.images, help="training images")
    parser.add_argument("--epochs", type=int, default=Task.epochs)
    parser.add_argument("--samples", type=int, default=Task.samples, help="samples a seed")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    set_threads(1)
    task = Task(options.images, options.epochs, options.samples)
    kept = Kept(options.out, task, options.spaces)
    seeds = range(options.first, options.first + options.seeds)
    for run in runs(task, options.spaces, seeds, options.kinds):
        if run.key not in kept.rows:
            kept.add(run, execute(task, run, kept.head["precision"]))
            print(run.key, kept.rows[run.key].get("score"), flush=True)
    text = report(kept.head, kept.rows, task.belief_of)
    write_atomically(options.out.with_suffix(".md"), text.encode())


if __name__ == "__main__":
    main()
