"""What a person would do instead of this project in half an hour, each in the manner of its source.

A rival is a function from a `Task` to the network that it ended with: its search, where it has one,
then its best configuration trained on all 60,000 images for the rest of the time. Searches that
score on the test set in their source score on held-out training images here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.speed import usual
from fmnist_models.config.optimizers import AdadeltaConfig
from fmnist_models.config.registry import build_model
from spaces import SpaceContext, get_space

if TYPE_CHECKING:
    from optuna.trial import BaseTrial


HELD_OUT = 10_000
RESERVE_SECONDS = 15.0
"""For scoring at the end."""


@dataclass
class Task:
    """`folder`: data as torchvision finds it; `until`: by `time.monotonic()`; facts to report."""

    folder: Path
    until: float
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def seconds_left(self) -> float:
        """Until the time is up."""
        return self.until - time.monotonic()


@dataclass(frozen=True)
class Recipe:
    """A network and how to train it: what a search ends with."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    batch: int
    loss: usual.Loss = functional.cross_entropy


def train_for_the_rest(recipe: Recipe, task: Task) -> nn.Module:
    """Train on all training images in whole epochs, as long as another one fits."""
    data = usual.images(task.folder)
    workers = usual.faster_workers(recipe.model, data, recipe.batch)
    loader, longest, epochs = usual.batches(data, recipe.batch, workers), 0.0, 0
    while task.seconds_left > longest + RESERVE_SECONDS:
        start = time.monotonic()
        for _ in usual.steps(recipe.model, recipe.optimizer, loader, recipe.loss):
            if task.seconds_left < RESERVE_SECONDS:  # the first epoch alone did not fit
                break
        longest = max(longest, time.monotonic() - start)
        epochs += 1
    task.facts |= {"final_epochs": epochs, "loader_workers": workers}
    return recipe.model


def kaggle(task: Task) -> nn.Module:
    """No search: the convolutional net of Kaggle's "94 %" notebook, Adadelta, all the time."""
    config = get_space("cnn").configure("kaggle", SpaceContext(epochs=1))
    assert isinstance(config.optimizer, AdadeltaConfig)
    model = build_model(config.model, 10)
    optimizer = torch.optim.Adadelta(model.parameters(), lr=config.optimizer.lr)
    return train_for_the_rest(Recipe(model, optimizer, config.batch_size), task)


def optuna_example(task: Task) -> nn.Module:
    """Optuna's `pytorch_simple.py`: a multilayer perceptron, 100 trials of ten short epochs."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    data = usual.images(task.folder)
    split = len(data) - HELD_OUT
    train, held_out = usual.subset(data, range(split)), usual.subset(data, range(split, len(data)))
    study = optuna.create_study(direction="maximize")
    most = min(600.0, task.seconds_left / 2)
    study.optimize(lambda trial: _short_run(trial, train, held_out), n_trials=100, timeout=most)
    task.facts |= {"trials": len(study.trials), "search_accuracy": study.best_value}
    return train_for_the_rest(_perceptron(study.best_trial), task)


def _short_run(trial: Any, train: Any, held_out: Any) -> float:
    """Ten epochs of 30 batches, each scored on ten batches of 128."""
    from optuna import TrialPruned

    recipe, images, accuracy = _perceptron(trial), 10 * 128, 0.0
    for epoch in range(10):
        loader = usual.batches(train, recipe.batch)
        for step, _ in enumerate(usual.steps(recipe.model, recipe.optimizer, loader, recipe.loss)):
            if step == 29:
                break
        part = usual.subset(held_out, torch.randperm(HELD_OUT)[:images].tolist())
        accuracy = usual.hits(recipe.model, part) / images
        trial.report(accuracy, epoch)
        if trial.should_prune():
            raise TrialPruned
    return accuracy


def _perceptron(trial: BaseTrial) -> Recipe:
    layers: list[nn.Module] = [nn.Flatten()]
    inputs = 28 * 28
    for i in range(trial.suggest_int("n_layers", 1, 3)):
        units = trial.suggest_int(f"n_units_l{i}", 4, 128)
        dropout = trial.suggest_float(f"dropout_l{i}", 0.2, 0.5)
        layers += [nn.Linear(inputs, units), nn.ReLU(), nn.Dropout(dropout)]
        inputs = units
    model = nn.Sequential(*layers, nn.Linear(inputs, 10), nn.LogSoftmax(dim=1))
    name = trial.suggest_categorical("optimizer", ["Adam", "RMSprop", "SGD"])
    lr = trial.suggest_float("lr", 1e-5, 1e-1, log=True)
    optimizer = getattr(torch.optim, name)(model.parameters(), lr=lr)
    return Recipe(model, optimizer, 128, functional.nll_loss)


class Net(nn.Module):
    """The network of Ray's tutorial for CIFAR-10, for images (N, 1, 28, 28)."""

    def __init__(self, l1: int, l2: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2 = nn.Linear(16 * 4 * 4, l1), nn.Linear(l1, l2)
        self.fc3 = nn.Linear(l2, 10)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, 1, 28, 28) -> (N, 10)."""
        x = functional.max_pool2d(functional.relu(self.conv1(x)), 2)
        x = functional.max_pool2d(functional.relu(self.conv2(x)), 2)
        x = functional.relu(self.fc2(functional.relu(self.fc1(x.flatten(1)))))
        logits: Tensor = self.fc3(x)
        return logits


def _net(config: dict[str, Any]) -> Recipe:
    model = Net(config["l1"], config["l2"])
    optimizer = torch.optim.SGD(model.parameters(), lr=config["lr"], momentum=0.9)
    return Recipe(model, optimizer, config["batch_size"])


def _epochs_of_net(config: dict[str, Any]) -> None:
    """What Ray runs as a trial: ten epochs on 48,000 images, scored on the other 12,000."""
    from ray import tune

    torch.set_num_threads(1)
    data, recipe = usual.images(Path(config["folder"])), _net(config)
    split = int(0.8 * len(data))
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0)).tolist()
    train, held_out = usual.subset(data, order[:split]), usual.subset(data, order[split:])
    for _ in range(10):
        for _ in usual.steps(recipe.model, recipe.optimizer, usual.batches(train, recipe.batch)):
            pass
        accuracy = usual.hits(recipe.model, held_out) / len(held_out)
        tune.report({"accuracy": accuracy})


def ray_example(task: Task) -> nn.Module:
    """Ray Tune's `cifar10_pytorch.py`: LeNet, ten samples of up to ten epochs, ASHA, a core each.

    Half of the time at most, since batches of 2 to 16 images take long.
    """
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler

    from search.backend.ray_session import ray_alone
    from search.planning.plan import this_machine

    space = {
        "l1": tune.choice([2**i for i in range(2, 9)]),
        "l2": tune.choice([2**i for i in range(2, 9)]),
        "lr": tune.loguniform(1e-4, 1e-1),
        "batch_size": tune.choice([2, 4, 8, 16]),
        "folder": str(task.folder),
    }
    settings = tune.TuneConfig(
        metric="accuracy",
        mode="max",
        num_samples=10,
        scheduler=ASHAScheduler(max_t=10, grace_period=1, reduction_factor=2),
        time_budget_s=task.seconds_left / 2,
    )
    with ray_alone(this_machine(0, 0)):
        results = tune.Tuner(_epochs_of_net, param_space=space, tune_config=settings).fit()
        best = results.get_best_result("accuracy", "max")
        assert best.metrics
        task.facts |= {"trials": len(results), "search_accuracy": best.metrics["accuracy"]}
    return train_for_the_rest(_net(best.config or {}), task)


NETWORKS: dict[str, Callable[[Task], nn.Module]] = {
    "kaggle": kaggle,
    "optuna": optuna_example,
    "ray": ray_example,
}
