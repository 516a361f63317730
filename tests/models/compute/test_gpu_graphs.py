"""CUDA graphs, where there is a GPU: the same training, without a trace, and gone when it is over.

What can be tried without a GPU is in test_graphs.py.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from fmnist_models.compute.memory import give_back_memory
from fmnist_models.compute.precision import Precision
from fmnist_models.config.optimizers import AdamWConfig
from fmnist_models.config.registry import FAMILIES
from fmnist_models.config.training import LrScheduleConfig, RegularizationConfig
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.dataset import Dataset
from fmnist_models.families.quick import QuickConfig
from fmnist_models.families.wrn import WrnConfig
from fmnist_models.training.metrics import EpochMetrics
from fmnist_models.training.trainer import Trainer
from tests.models.compute.recorded import INGREDIENTS, count_recorded, waits_in_epochs, with_dropout

MakeConfig = Callable[..., TrialConfig]
pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no CUDA device on this machine: nothing to record on"
)
LOSS = 0.02
"""How far the losses of two runs may be apart, relatively: sums on a card come in any order."""


def trainer(
    config: TrialConfig, dataset: Dataset, graphs: bool | None, precision: Precision = "fp32"
) -> Trainer:
    return Trainer(config, dataset, device="cuda", precision=precision, graphs=graphs)


def assert_recorded(run: Trainer) -> None:
    assert run.step.graphs is not None
    assert run.step.graphs.failure == ""
    assert count_recorded(run.step.graphs) == (2 if run.config.regularization.sam_rho else 1)


def assert_near(ours: EpochMetrics, theirs: EpochMetrics) -> None:
    assert ours.train_loss == pytest.approx(theirs.train_loss, rel=LOSS)
    assert ours.val_loss == pytest.approx(theirs.val_loss, rel=LOSS)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_family_trains_as_without(
    few: Dataset, everything_on: MakeConfig, name: str, precision: Precision
) -> None:
    config = everything_on(model=with_dropout(name), epochs=1)
    plain, graphed = (trainer(config, few, on, precision) for on in (False, True))
    assert_near(graphed.run_epoch(), plain.run_epoch())
    assert_recorded(graphed)


@pytest.mark.parametrize("name", INGREDIENTS)
def test_every_ingredient_works_as_without(
    few: Dataset, everything_on: MakeConfig, name: str
) -> None:
    config = everything_on(epochs=2, **INGREDIENTS[name])
    plain, graphed = (trainer(config, few, on) for on in (False, True))
    for one, other in zip(plain.epochs(), graphed.epochs(), strict=True):
        assert_near(other, one)
    assert_recorded(graphed)


def gradients(run: Trainer, images: Tensor, labels: Tensor) -> list[Tensor]:
    run.model.train()
    run.optimizer.zero_grad()
    torch.manual_seed(5)
    run.step.add_gradients(images, labels, "plain")
    return [p.grad.clone() for p in run.model.parameters() if p.grad is not None]


def test_dropout_draws_what_it_draws_without(few: Dataset, everything_on: MakeConfig) -> None:
    # Half of the features are dropped: gradients of other draws would be far apart.
    config = everything_on(model=QuickConfig(width=8, depth=1, dropout=0.5))
    plain, graphed = (trainer(config, few, on) for on in (False, True))
    images, labels = plain._batch(torch.arange(100, device="cuda"))
    for _ in range(3):  # the recording, and replays that must not add up
        for ours, theirs in zip(
            gradients(graphed, images, labels), gradients(plain, images, labels), strict=True
        ):
            torch.testing.assert_close(ours, theirs, rtol=1e-2, atol=1e-4)
    assert_recorded(graphed)


def test_recording_leaves_no_trace(few: Dataset, everything_on: MakeConfig) -> None:
    plain, graphed = (trainer(everything_on(), few, on) for on in (False, True))
    images, labels = plain._batch(torch.arange(100, device="cuda"))
    for run in (plain, graphed):
        gradients(run, images, labels)
    assert_recorded(graphed)
    for (name, ours), theirs in zip(
        graphed.model.state_dict().items(), plain.model.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5, msg=name)
    assert torch.equal(torch.cuda.get_rng_state(), _state_after(plain, images, labels))


def _state_after(run: Trainer, images: Tensor, labels: Tensor) -> Tensor:
    gradients(run, images, labels)
    return torch.cuda.get_rng_state()


@pytest.mark.parametrize("sam_rho", [0.0, 0.05])
def test_a_checkpoint_goes_on_on_the_same_curve(
    few: Dataset, everything_on: MakeConfig, sam_rho: float
) -> None:
    regularization = RegularizationConfig(ema_decay=0.9, sam_rho=sam_rho)
    config = everything_on(optimizer=AdamWConfig(lr=1e-3), regularization=regularization)
    unbroken, broken, resumed = (trainer(config, few, on) for on in (False, True, True))
    expected = list(unbroken.epochs())
    assert_near(broken.run_epoch(), expected[0])
    resumed.run_epoch()  # a graph that exists already must see what is loaded
    resumed.load_state_dict(broken.state_dict())
    for ours, theirs in zip(resumed.epochs(), expected[1:], strict=True):
        assert_near(ours, theirs)
    assert_recorded(resumed)


def memory_after(config: TrialConfig, dataset: Dataset) -> tuple[int, int]:
    run = trainer(config, dataset, True, "bf16")
    run.run_epoch()
    assert_recorded(run)
    del run
    give_back_memory("cuda")
    return torch.cuda.memory_allocated(), torch.cuda.memory_reserved()


@pytest.mark.parametrize("sam_rho", [0.0, 0.05])
def test_one_trainer_after_the_other_gives_its_memory_back(
    few: Dataset, everything_on: MakeConfig, sam_rho: float
) -> None:
    config = everything_on(
        model=WrnConfig(depth=10, width=4), regularization=RegularizationConfig(sam_rho=sam_rho)
    )
    # The first one also leaves workspaces of libraries behind.
    first, second, third = (memory_after(config, few) for _ in range(3))
    assert second[0] <= first[0] + 2**20
    assert third[0] <= second[0]
    assert third[1] <= second[1]


@pytest.mark.parametrize("name", FAMILIES)
def test_the_host_waits_no_more_in_a_long_epoch_than_in_a_short_one(
    few: Dataset, everything_on: MakeConfig, name: str
) -> None:
    config = everything_on(model=with_dropout(name), batch_size=32)
    short, long = waits_in_epochs(few, lambda part: trainer(config, part, True, "bf16"))
    assert short == long > 0


def make_wait(model: nn.Module) -> None:
    """Let the network wait for the card in the middle of its pass, which no graph can hold."""
    forward = model.forward

    def waiting(x: Tensor) -> Tensor:
        out: Tensor = forward(x)
        return out * 1.0 if out.sum().item() < 1e9 else out

    model.forward = waiting  # type: ignore[method-assign]


def test_a_network_that_cannot_be_recorded_trains_as_it_is(
    few: Dataset, everything_on: MakeConfig
) -> None:
    config = everything_on(lr_schedule=LrScheduleConfig(kind="constant"))
    plain, waiting = (trainer(config, few, on) for on in (False, True))
    make_wait(waiting.model)
    for one, other in zip(plain.epochs(), waiting.epochs(), strict=True):
        assert_near(other, one)
    assert waiting.step.graphs and count_recorded(waiting.step.graphs) == 0
    assert "captur" in waiting.step.graphs.failure
    again = trainer(config, few, True)  # the process is none the worse for it
    assert_near(again.run_epoch(), trainer(config, few, False).run_epoch())
    assert_recorded(again)


def test_small_networks_are_recorded_by_default_and_large_ones_are_not(
    data: Dataset, everything_on: MakeConfig
) -> None:
    small = trainer(everything_on(epochs=1), data, None, "bf16")
    wide = WrnConfig(depth=16, width=8)
    large = trainer(everything_on(model=wide, batch_size=1024, epochs=1), data, None, "bf16")
    for run in (small, large):
        run.run_epoch()
    assert small.step.graphs and count_recorded(small.step.graphs) == 1
    assert large.step.graphs and (count_recorded(large.step.graphs), large.step.graphs.failure) == (
        0,
        "",
    )
