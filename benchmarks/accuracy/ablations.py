r"""What each ingredient is worth on a small net: one change at a time, the same seeds for all.

    python -m benchmarks.accuracy.ablations --out results/ablations [--jobs 2] [--seeds 3]

Trains on a stratified part of the 50,000 images, scores the averaged weights after the last epoch
on the 10,000 validation images; the test set is not touched. Writes OUT.json after every run, and
goes on from it when started again; OUT.md at the end. Each optimizer runs first with three learning
rates on a seed of its own, then with the best of them on the seeds of all the others.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from textwrap import fill
from typing import Any

from benchmarks.report import last_epoch, machine, spread, table
from fmnist_models.compute.precision import choose_precision, set_threads
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.dataset import Dataset, load_search_data
from fmnist_models.data.download import find_data
from fmnist_models.files import write_atomically

IMAGES, EPOCHS = 10_000, 8
TUNING_SEED = 1000
BASE: dict[str, Any] = {
    "model": {"family": "quick", "width": 16, "depth": 1},
    "optimizer": {"kind": "sgd", "lr": 0.2, "momentum": 0.9, "weight_decay": 5e-4},
    "lr_schedule": {"kind": "linear", "warmup": 0.15},
    "augmentation": {"flip": True, "shift": 1},
    "regularization": {"ema_decay": 0.99},
    "batch_size": 128,
    "epochs": EPOCHS,
}
"""What every other configuration differs from in one thing."""

CHANGES: dict[str, dict[str, dict[str, Any]]] = {
    "flip": {"off": {"augmentation": {"flip": False}}},
    "shift": {
        "off": {"augmentation": {"shift": 0}},
        "2 pixels": {"augmentation": {"shift": 2}},
        "4 pixels": {"augmentation": {"shift": 4}},
    },
    "cutout, random erasing": {
        **{f"cutout {side}": {"augmentation": {"cutout": side}} for side in (4, 8, 12, 16)},
        "random erasing 0.5": {"augmentation": {"random_erasing": 0.5}},
    },
    "policies": {
        "RandAugment 2 x 9": {"augmentation": {"policy": "randaugment"}},
        "TrivialAugment": {"augmentation": {"policy": "trivialaugment"}},
    },
    "mixing": {
        f"{kind}, alpha {alpha}": {"augmentation": {"mixing": kind, "mixing_alpha": alpha}}
        for kind, alpha in [("mixup", 0.2), ("mixup", 1.0), ("cutmix", 1.0), ("ricap", 0.3)]
    },
    "averaging": {
        "off": {"regularization": {"ema_decay": 0.0}},
        "EMA 0.998": {"regularization": {"ema_decay": 0.998}},
        "SWA over the last quarter": {"regularization": {"ema_decay": 0.0, "swa_fraction": 0.25}},
    },
    "label smoothing": {
        str(share): {"regularization": {"label_smoothing": share}} for share in (0.05, 0.1, 0.2)
    },
    "padding": {
        kind: {"model": {"padding": kind}} for kind in ("weighted", "reflect", "replicate")
    },
    "dropout": {"0.2": {"model": {"dropout": 0.2}}, "0.4": {"model": {"dropout": 0.4}}},
    "SAM (twice the time)": {"rho 0.05": {"regularization": {"sam_rho": 0.05}}},
    "loss": {
        "ArcFace": {"loss": {"kind": "arcface"}},
        "SphereFace": {"loss": {"kind": "sphereface"}},
    },
}
NORM_LRS = (0.02, 0.1, 0.5, 2.5)
STACK: dict[str, Any] = {
    "family": "cnn",
    "layers": [16, "P", 32, "P", 64],
    "dense": [],
    "dropout": 0.0,
}
NORMS: dict[str, dict[str, Any]] = {
    "without, biases": {"model": {**STACK, "batch_norm": False, "bias": True}},
    "with, no biases": {"model": {**STACK, "batch_norm": True, "bias": False}},
    "with, biases": {"model": {**STACK, "batch_norm": True, "bias": True}},
}
"""Three convolutions, each with or without a batch norm in front of its ReLU."""
OPTIMIZER_LRS: dict[str, tuple[float, float, float]] = {
    "sgd": (0.05, 0.2, 0.8),
    "adam": (1e-3, 3e-3, 1e-2),
    "adamw": (1e-3, 3e-3, 1e-2),
    "nadam": (1e-3, 3e-3, 1e-2),
    "adamax": (2e-3, 6e-3, 2e-2),
    "rmsprop": (3e-4, 1e-3, 3e-3),
    "adagrad": (1e-2, 3e-2, 1e-1),
    "adadelta": (0.3, 1.0, 3.0),
    "lion": (2e-4, 6e-4, 2e-3),
    "muon": (3e-3, 1e-2, 3e-2),
    "schedulefree": (3e-3, 1e-2, 3e-2),
}


@dataclass(frozen=True)
class Run:
    """One training run: what it is called, its changes of BASE as JSON, its seed."""

    group: str
    name: str
    changes: str
    seed: int

    @property
    def key(self) -> str:
        return f"{self.group} | {self.name} | seed {self.seed}"


def config_of(run: Run) -> TrialConfig:
    """BASE with the changes of a run; another optimizer or family replaces the whole part."""
    changes = json.loads(run.changes)
    whole = dict(BASE)
    for part, change in changes.items():
        replaced = part in ("optimizer", "lr_schedule") or "family" in change
        whole[part] = change if replaced else {**whole.get(part, {}), **change}
    return TrialConfig.model_validate({**whole, "seed": run.seed})


def optimizer_changes(kind: str, lr: float) -> dict[str, Any]:
    """An optimizer at its own defaults, SGD as in BASE; Schedule-Free brings its average along."""
    changes: dict[str, Any] = {"optimizer": {**BASE["optimizer"], "lr": lr}}
    if kind != "sgd":
        changes["optimizer"] = {"kind": kind, "lr": lr}
    if kind == "schedulefree":
        changes["lr_schedule"] = {"kind": "constant", "warmup": 0.15}
        changes["regularization"] = {"ema_decay": 0.0}
    return changes


def fixed_runs(seeds: int) -> Iterator[Run]:
    """All runs that are known beforehand; the learning rates of the optimizers are tried here."""
    for seed in range(seeds):
        yield Run("base", "base", "{}", seed)
        for group, changes in CHANGES.items():
            for name, change in changes.items():
                yield Run(group, name, json.dumps(change), seed)
        for norm, change in NORMS.items():
            for lr in NORM_LRS:
                optimizer = {"optimizer": {**BASE["optimizer"], "lr": lr}}
                text = json.dumps({**change, **optimizer})
                yield Run("batch norm", f"{norm}, lr {lr}", text, seed)
    for kind, lrs in OPTIMIZER_LRS.items():
        for lr in lrs:
            text = json.dumps(optimizer_changes(kind, lr))
            yield Run("learning rates", f"{kind} {lr}", text, TUNING_SEED)


def optimizer_runs(done: dict[str, Any], seeds: int) -> Iterator[Run]:
    """Each optimizer with the best of its learning rates."""
    for kind, lrs in OPTIMIZER_LRS.items():
        lr = max(lrs, key=lambda lr: accuracy(done, "learning rates", f"{kind} {lr}", TUNING_SEED))
        text = json.dumps(optimizer_changes(kind, lr))
        for seed in range(seeds):
            yield Run("optimizers", f"{kind}, lr {lr}", text, seed)


@cache
def data() -> Dataset:
    return load_search_data(find_data(), IMAGES)


def execute(run: Run) -> dict[str, Any]:
    """Train in a worker process, on one thread; a divergence is a result too."""
    set_threads(1)
    record: dict[str, Any] = {"changes": json.loads(run.changes)}
    try:
        result = last_epoch(config_of(run), data(), choose_precision("cpu"))
    except Exception as error:
        return {**record, "failed": f"{type(error).__name__}: {error}"}
    kept = ("val_accuracy", "val_loss", "train_accuracy", "seconds")
    return {**record, **{name: round(result[name], 5) for name in kept}}


def accuracy(done: dict[str, Any], group: str, name: str, seed: int) -> float:
    """Per cent of the validation images; what diverged guesses one in ten."""
    return 100 * float(done[Run(group, name, "", seed).key].get("val_accuracy", 0.1))


def carry_out(runs: list[Run], done: dict[str, Any], out: Path, jobs: int) -> None:
    """Make the runs that are not `done` yet, and keep each as it ends."""
    due = [run for run in runs if run.key not in done]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        futures = {pool.submit(execute, run): run for run in due}
        for count, future in enumerate(as_completed(futures), start=1):
            run = futures[future]
            done[run.key] = future.result()
            keep(done, out)
            print(f"{count}/{len(due)} {run.key}: {done[run.key].get('val_accuracy')}", flush=True)


def keep(done: dict[str, Any], out: Path) -> None:
    content = {
        "command": f"python -m benchmarks.accuracy.ablations --out {out}",
        "machine": machine(),
        "images": IMAGES,
        "base": BASE,
        "runs": {key: done[key] for key in sorted(done)},
    }
    text = json.dumps(content, indent=1) + "\n"
    write_atomically(out.with_suffix(".json"), text.encode())


def group_rows(done: dict[str, Any], group: str, names: list[str], seeds: int) -> list[list[str]]:
    """One row a configuration: accuracy, and how far it is from BASE seed by seed."""
    base = [accuracy(done, "base", "base", seed) for seed in range(seeds)]
    rows = []
    for name in names:
        values = [accuracy(done, group, name, seed) for seed in range(seeds)]
        gains = [value - of_base for value, of_base in zip(values, base, strict=True)]
        rows.append([name, spread(values), spread(gains, sign="+")])
    return rows


def report(done: dict[str, Any], seeds: int, out: Path) -> str:
    """All tables, as Markdown."""
    base = [accuracy(done, "base", "base", seed) for seed in range(seeds)]
    header = ["", f"validation accuracy, {seeds} seeds", "difference from the base"]
    about = [
        f"`python -m benchmarks.accuracy.ablations --out {out}`: one change at a time of the base, "
        f"a `quick` net of width 16 and depth 1 ({EPOCHS} epochs of {IMAGES:,} images, SGD with "
        "Nesterov momentum, lr 0.2, linear schedule, flips, shifts of 1 pixel, EMA 0.99).",
        f"Per cent of the 10,000 validation images; mean +- standard deviation of {seeds} seeds; "
        "differences are taken seed by seed. One score has a standard error of 0.3 points, so that "
        "a difference under its own deviation says nothing. So few epochs of so small a net punish "
        "whatever makes the task harder: what the same ingredient is worth in a long run of a "
        "large net is another question. An EMA's decay grows with the steps done, and in runs this "
        "short does not reach 0.99, so that 0.998 is the same.",
    ]
    lines = ["# Ablations", *(f"\n{fill(text, 100)}" for text in about)]
    lines.append(f"\nThe base itself: {spread(base)}.")
    for group, changes in CHANGES.items():
        rows = group_rows(done, group, list(changes), seeds)
        lines += [f"\n## {group[0].upper()}{group[1:]}\n", table(header, rows)]
    return "\n".join([*lines, *norm_lines(done, seeds), *optimizer_lines(done, seeds)]) + "\n"


def norm_lines(done: dict[str, Any], seeds: int) -> list[str]:
    """What batch norm allows: a row a network, a column a learning rate."""
    rows = [
        [norm]
        + [
            spread([accuracy(done, "batch norm", f"{norm}, lr {lr}", s) for s in range(seeds)])
            for lr in NORM_LRS
        ]
        for norm in NORMS
    ]
    text = (
        "Three convolutions of 16, 32 and 64 channels (`cnn`), trained as the base; validation "
        "accuracy by learning rate (10.00: diverged). The effects that arXiv:1502.03167 names: "
        "larger learning rates work, and a bias in front of it changes nothing but the noise."
    )
    header = ["batch norm", *[f"lr {lr}" for lr in NORM_LRS]]
    return ["\n## Batch norm\n", fill(text, 100) + "\n", table(header, rows)]


def starred(name: str) -> str:
    """The name of an optimizer with its learning rate, marked where that ends its grid."""
    kind, _, lr = name.partition(", lr ")
    ends = OPTIMIZER_LRS[kind][0], OPTIMIZER_LRS[kind][-1]
    return f"{name} *" if float(lr) in ends else name


def optimizer_lines(done: dict[str, Any], seeds: int) -> list[str]:
    names = dict.fromkeys(run.name for run in optimizer_runs(done, seeds))
    rows = group_rows(done, "optimizers", list(names), seeds)
    best = sorted(([starred(row[0]), *row[1:]] for row in rows), key=lambda r: r[1], reverse=True)
    header = ["", f"validation accuracy, {seeds} seeds", "difference from the base"]
    text = (
        f"Each with the best of three learning rates, chosen on seed {TUNING_SEED}, its other "
        "settings as in `fmnist_models/config/optimizers.py`; the best first. Where that is the "
        "first or the last of the three (*), a better one may lie beyond."
    )
    return ["\n## Optimizers\n", fill(text, 100) + "\n", table(header, best)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=2, help="runs at once, one thread each")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    kept = options.out.with_suffix(".json")
    done = json.loads(kept.read_text())["runs"] if kept.exists() else {}
    carry_out(list(fixed_runs(options.seeds)), done, options.out, options.jobs)
    carry_out(list(optimizer_runs(done, options.seeds)), done, options.out, options.jobs)
    text = report(done, options.seeds, options.out)
    write_atomically(options.out.with_suffix(".md"), text.encode())


if __name__ == "__main__":
    main()
