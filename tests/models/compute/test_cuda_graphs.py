"""Recorded passes: on fixed memory the same training to the last bit, with whatever is on.

On a CPU a recorded pass is done again instead of replayed; all around it is what a GPU runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from fmnist_models.compute.cuda_graphs import Body, GraphedPasses, untouched
from fmnist_models.compute.precision import Precision
from fmnist_models.config.optimizers import AdamWConfig
from fmnist_models.config.registry import FAMILIES
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.dataset import Dataset
from fmnist_models.families.quick import QuickConfig
from fmnist_models.training.trainer import Trainer
from tests.models.compute.recorded import INGREDIENTS, count_recorded, with_dropout
from tests.models.unbroken import figures

MakeConfig = Callable[..., TrialConfig]


@pytest.fixture(scope="module")
def fewer(few: Dataset) -> Dataset:
    """300 images to train, which are three steps, and 100 to validate."""
    return replace(
        few,
        train=few.train.subset(torch.arange(300)),
        validation=few.validation.subset(torch.arange(100)),
    )


def trainer(config: TrialConfig, dataset: Dataset, graphs: bool | None, **more: Any) -> Trainer:
    precision: Precision = more.pop("precision", "fp32")
    return Trainer(config, dataset, device="cpu", precision=precision, graphs=graphs, **more)


def assert_same_run(plain: Trainer, recorded: Trainer, passes: int) -> None:
    for one, other in zip(plain.epochs(), recorded.epochs(), strict=True):
        assert figures(other) == figures(one)
    assert recorded.step.graphs and recorded.step.graphs.failure == ""
    assert count_recorded(recorded.step.graphs) == passes
    for a, b in ((plain.model, recorded.model), (plain.averaged_model, recorded.averaged_model)):
        pairs = zip(a.state_dict().items(), b.state_dict().values(), strict=True)
        assert [name for (name, ours), theirs in pairs if not torch.equal(ours, theirs)] == []


@pytest.mark.parametrize(
    ("name", "precision"), [*((name, "fp32") for name in FAMILIES), ("quick", "bf16")]
)
def test_every_family_trains_as_without(
    fewer: Dataset, everything_on: MakeConfig, name: str, precision: Precision
) -> None:
    config = everything_on(model=with_dropout(name), epochs=1)
    plain, recorded = (trainer(config, fewer, on, precision=precision) for on in (False, True))
    assert_same_run(plain, recorded, passes=1)


@pytest.mark.parametrize("name", INGREDIENTS)
def test_every_ingredient_works_as_without(
    fewer: Dataset, everything_on: MakeConfig, name: str
) -> None:
    config = everything_on(epochs=2, **INGREDIENTS[name])
    plain, recorded = (trainer(config, fewer, on) for on in (False, True))
    assert_same_run(plain, recorded, passes=2 if config.regularization.sam_rho else 1)


def test_a_checkpoint_goes_on_on_the_same_curve(fewer: Dataset, everything_on: MakeConfig) -> None:
    config = everything_on(optimizer=AdamWConfig(lr=1e-3))
    unbroken, broken, resumed = (trainer(config, fewer, on) for on in (False, True, True))
    expected = [figures(metrics) for metrics in unbroken.epochs()]
    resumed.run_epoch()  # a graph that exists already must see what is loaded
    assert figures(broken.run_epoch()) == expected[0]
    resumed.load_state_dict(broken.state_dict())
    assert [figures(metrics) for metrics in resumed.epochs()] == expected[1:]


def test_a_pass_that_cannot_be_recorded_goes_on_as_it_is(
    fewer: Dataset, everything_on: MakeConfig
) -> None:
    def refuse(body: Body) -> Any:
        body()
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    config = everything_on(epochs=2)
    plain, refused = (trainer(config, fewer, on) for on in (False, True))
    refused.step.graphs = GraphedPasses(refused.model, "cpu", always=True, record=refuse)
    reason = "operation not permitted when stream is capturing"
    for one, other in zip(plain.epochs(), refused.epochs(), strict=True):
        assert figures(other) == figures(one)
    assert (count_recorded(refused.step.graphs), refused.step.graphs.failure) == (0, reason)


def test_a_batch_of_another_shape_is_not_replayed(
    fewer: Dataset, everything_on: MakeConfig
) -> None:
    runs = [trainer(everything_on(), fewer, on) for on in (False, True)]
    images, labels = runs[0]._batch(torch.arange(100))
    for count in (100, 60, 100):
        torch.manual_seed(3)
        loss, hits = runs[0].step(images[:count], labels[:count])
        torch.manual_seed(3)
        assert [t.item() for t in runs[1].step(images[:count], labels[:count])] == [
            loss.item(),
            hits.item(),
        ]


def test_on_a_cpu_and_in_parts_there_are_none_by_default(
    fewer: Dataset, everything_on: MakeConfig
) -> None:
    assert trainer(everything_on(), fewer, None).step.graphs is None
    assert trainer(everything_on(), fewer, True, micro_batches=2).step.graphs is None


def test_nothing_is_left_of_a_trial_pass(fewer: Dataset, everything_on: MakeConfig) -> None:
    run = trainer(everything_on(), fewer, False)
    run.run_epoch()
    run.model.zero_grad()
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    with untouched(run.model, "cpu"):
        run.model.train()
        run.step.backward(*run._batch(torch.arange(50)))
        moved = [n for n, v in run.model.state_dict().items() if not torch.equal(v, before[n])]
        assert moved and all("running" in name or "tracked" in name for name in moved)
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(value, before[n]) for n, value in run.model.state_dict().items())
    assert all(p.grad is None for p in run.model.parameters())


def test_recording_takes_one_trial_pass_and_then_each_step_one(
    fewer: Dataset, everything_on: MakeConfig
) -> None:
    run = trainer(everything_on(model=QuickConfig(width=8, depth=1)), fewer, True)
    count = 0

    def note(*_: object) -> None:
        nonlocal count
        count += run.model.training

    run.model.register_forward_hook(note)
    run.run_epoch()
    assert count == 2 + run.steps_per_epoch  # a warm-up, the recording, the steps
