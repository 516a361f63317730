r"""Learning curves of real spaces on real images, recorded once, for searches in simulated time.

    python -m benchmarks.samplers.recorded_curves quick --out results/curves/quick0.json
        [--minutes 25] [--images 3000] [--seed 0]

Configurations of a space are trained to their end on a stratified part of the training images, and
scored on as many validation images: none is stopped. The first 60 are random; from then on random
ones, what TPE and what the curve sampler would try next take turns, so that the best regions are
known well and neither sampler is favoured. One thread: start it once a core, with another --seed
and OUT, and give `spaces_surrogate.py`, which learns from it, all files. Kept after every trial.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.trial import TrialState

from benchmarks.report import machine
from fmnist_models.compute.precision import choose_precision, set_threads
from fmnist_models.config.base import ModelConfig
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.dataset import Dataset, load_search_data
from fmnist_models.data.download import find_data
from fmnist_models.errors import DivergedError
from fmnist_models.files import write_atomically
from fmnist_models.training.cost import model_cost
from fmnist_models.training.trainer import Trainer
from search.samplers.registry import make_sampler
from spaces import SPACES, SpaceContext, get_space

EPOCHS = 9
RANDOM_FIRST = 60
SAMPLERS = ("random", "tpe", "curves")
MOST_MACS = {"quick": 2e6, "mlp": 1e6}
"""Of an image, where a space's larger networks would take too long to record many."""


def affordable(space: str) -> SpaceContext:
    """What may be sampled of a space here."""
    most = MOST_MACS.get(space, float("inf"))

    def fits(model: ModelConfig) -> bool:
        return model_cost(model).macs <= most

    return SpaceContext(epochs=EPOCHS, affordable=fits)


def part_of(images: int) -> Dataset:
    """So many images to train on, stratified, and as many of the validation images."""
    dataset = load_search_data(find_data(), images)
    part = torch.randperm(len(dataset.validation), generator=torch.Generator().manual_seed(0))
    return replace(dataset, validation=dataset.validation.subset(part[:images]))


def train(config: TrialConfig, dataset: Dataset) -> tuple[list[float], list[float]]:
    """Validation accuracy and seconds of each epoch; fewer than EPOCHS where it diverged."""
    values, seconds = [], []
    trainer = Trainer(config, dataset, device="cpu", precision=choose_precision("cpu"))
    try:
        for metrics in trainer.epochs():
            values.append(round(float(metrics.val_accuracy or 0.0), 4))
            seconds.append(round(metrics.seconds, 3))
    except DivergedError:
        pass
    return values, seconds


def record(content: dict[str, Any], options: argparse.Namespace) -> None:
    """Train one configuration after another until the time is over."""
    space, context = get_space(options.space), affordable(options.space)
    end = time.monotonic() + 60 * options.minutes
    dataset = part_of(options.images)
    study = optuna.create_study(direction="maximize")
    samplers = [make_sampler(name, options.seed) for name in SAMPLERS]
    for count in range(10**9):
        if time.monotonic() > end:
            return
        turn = 0 if count < RANDOM_FIRST else count % len(SAMPLERS)
        study.sampler = samplers[turn]
        trial = study.ask()
        config = space.suggest(trial, context)
        values, seconds = train(config, dataset)
        for epoch, value in enumerate(values, start=1):
            trial.report(value, epoch)
        whole = len(values) == EPOCHS
        study.tell(trial, values[-1] if whole else None, None if whole else TrialState.FAIL)
        found = {"sampler": SAMPLERS[turn], "params": trial.params}
        content["trials"].append(found | {"values": values, "seconds": seconds})
        write_atomically(options.out, written(content).encode())


def written(content: dict[str, Any]) -> str:
    """JSON with a line a trial."""
    head = {key: value for key, value in content.items() if key != "trials"}
    lines = ",\n".join(json.dumps(trial) for trial in content["trials"])
    return json.dumps(head)[:-1] + ', "trials": [\n' + lines + "\n]}\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("space", choices=list(SPACES))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=25.0)
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    set_threads(1)
    content = {
        "space": options.space,
        "version": get_space(options.space).version,
        "images": options.images,
        "commands": [f"python -m benchmarks.samplers.recorded_curves {' '.join(sys.argv[1:])}"],
        "machine": machine(),
        "trials": [],
    }
    record(content, options)


if __name__ == "__main__":
    main()
