"""Repeatable runs: the same seed, the same curve, with or without a break, for every family."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from fmnist_models.compute.precision import Precision
from fmnist_models.config.base import ModelConfig
from fmnist_models.config.optimizers import AdamWConfig, SgdConfig
from fmnist_models.config.registry import FAMILIES, get_family
from fmnist_models.config.training import LrScheduleConfig
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.dataset import Dataset
from fmnist_models.training.metrics import EpochMetrics
from fmnist_models.training.trainer import Trainer

MakeConfig = Callable[..., TrialConfig]
EVERY = [*((name, "fp32") for name in FAMILIES), ("quick", "bf16")]
"""bf16 is the same code for each family, and slow where it is emulated."""
every = pytest.mark.parametrize(("name", "precision"), EVERY)


def with_dropout(name: str) -> ModelConfig:
    """The family's example, with dropout where it has any."""
    family = get_family(name)
    fields = family.config.model_fields
    change = {"dropout": 0.3} if "dropout" in fields else {}
    return family.config.model_validate({**family.example.model_dump(), **change})


def curve(run: Trainer) -> list[dict[str, Any]]:
    return [figures(metrics) for metrics in run.epochs()]


def figures(metrics: EpochMetrics) -> dict[str, Any]:
    """What must repeat exactly: all but times and memory."""
    return metrics.model_dump(exclude={"seconds", "images_per_second", "peak_memory_bytes"})


def weights(run: Trainer) -> Mapping[str, Tensor]:
    both = {"model": run.model, "average": run.averaged_model}
    return {f"{k}.{n}": t for k, m in both.items() for n, t in m.state_dict().items()}


def assert_equal_weights(first: Trainer, second: Trainer) -> None:
    ours, theirs = weights(first), weights(second)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def saved_and_loaded(state: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded: dict[str, Any] = torch.load(file, weights_only=True)
    return loaded


@every
def test_the_same_seed_gives_the_same_run_and_a_break_changes_nothing(
    fewer: Dataset, everything_on: MakeConfig, name: str, precision: Precision
) -> None:
    config = everything_on(model=with_dropout(name), epochs=2)
    unbroken = Trainer(config, fewer, device="cpu", precision=precision)
    expected = curve(unbroken)

    broken = Trainer(config, fewer, device="cpu", precision=precision)
    first = figures(broken.run_epoch())
    assert first == expected[0]
    state = saved_and_loaded(broken.state_dict())
    torch.rand(3)  # the state of the global generator must not matter

    resumed = Trainer(config, fewer, device="cpu", precision=precision)
    resumed.load_state_dict(state)
    assert resumed.epoch == 1
    assert curve(resumed) == expected[1:]
    assert_equal_weights(resumed, unbroken)


def test_adamw_goes_on_after_a_break_too(fewer: Dataset, everything_on: MakeConfig) -> None:
    config = everything_on(optimizer=AdamWConfig(lr=1e-3), epochs=2)
    unbroken, broken, resumed = (
        Trainer(config, fewer, device="cpu", precision="fp32") for _ in range(3)
    )
    expected = curve(unbroken)
    broken.run_epoch()
    resumed.load_state_dict(saved_and_loaded(broken.state_dict()))
    assert curve(resumed) == expected[1:]
    assert_equal_weights(resumed, unbroken)


def test_a_checkpoint_on_disk_is_not_changed_by_going_on(
    fewer: Dataset, everything_on: MakeConfig
) -> None:
    run = Trainer(everything_on(), fewer, device="cpu", precision="fp32")
    run.run_epoch()
    state = saved_and_loaded(run.state_dict())
    expected = curve(run)
    run.load_state_dict(state)
    assert run.epoch == 1
    assert curve(run) == expected


def test_another_seed_gives_another_start_and_other_draws(
    fewer: Dataset, everything_on: MakeConfig
) -> None:
    runs = [
        Trainer(everything_on(seed=seed), fewer, device="cpu", precision="fp32") for seed in (1, 2)
    ]
    starts = [weights(run)["model.head.weight"].clone() for run in runs]
    assert not torch.equal(*starts)
    # From equal weights, so that what differs is what was drawn.
    runs[1].load_state_dict(saved_and_loaded(runs[0].state_dict()))
    assert figures(runs[0].run_epoch()) != figures(runs[1].run_epoch())


def test_every_epoch_draws_anew(fewer: Dataset, everything_on: MakeConfig) -> None:
    # The weights stand still, so that only the draws can change the loss.
    config = everything_on(optimizer=SgdConfig(lr=1e-12), lr_schedule=LrScheduleConfig(), epochs=9)
    losses = [m.train_loss for m in Trainer(config, fewer, device="cpu", precision="fp32").epochs()]
    assert len({round(loss, 4) for loss in losses}) > 7


def test_the_draws_of_training_do_not_depend_on_the_global_generator(
    fewer: Dataset, everything_on: MakeConfig
) -> None:
    torch.manual_seed(1)
    first = Trainer(everything_on(epochs=1), fewer, device="cpu", precision="fp32")
    torch.manual_seed(2)
    second = Trainer(everything_on(epochs=1), fewer, device="cpu", precision="fp32")
    assert curve(first) == curve(second)


def test_passes_over_the_images_go_on_from_epoch_to_epoch(fewer: Dataset) -> None:
    """200 images in batches of 32 are six batches a pass; an epoch of 130 images has four."""
    config = plain(epochs=6, epoch_images=130)
    run = Trainer(config, fewer, device="cpu", precision="fp32")
    assert run.steps_per_epoch == 4
    seen: list[Tensor] = []
    load = run._load
    run._load = lambda index, part: seen.append(index) or load(index, part)  # type: ignore[assignment, func-returns-value]
    expected = curve(run)
    assert [len(batch) for batch in seen] == [32] * 24
    passes = [torch.cat(seen[i : i + 6]) for i in range(0, 24, 6)]
    assert [len(one.unique()) for one in passes] == [192] * 4, "no image twice in a pass"
    assert len({tuple(one.tolist()) for one in passes}) == 4
    for epochs in (1, 2, 5):  # some end in the middle of a pass
        broken, resumed = (Trainer(config, fewer, device="cpu", precision="fp32") for _ in "ab")
        for _ in range(epochs):
            broken.run_epoch()
        resumed.load_state_dict(saved_and_loaded(broken.state_dict()))
        assert curve(resumed) == expected[epochs:]


@pytest.mark.parametrize(("images", "steps"), [(0, 6), (10, 1), (700, 21)])
def test_an_epoch_has_as_many_steps_as_its_images_make(
    fewer: Dataset, images: int, steps: int
) -> None:
    """Less than a batch is one, more than all images are several passes."""
    run = Trainer(plain(epochs=1, epoch_images=images), fewer, device="cpu", precision="fp32")
    told: list[tuple[int, int]] = []
    run.on_step = lambda done, of: told.append((done, of))
    run.run_epoch()
    assert told == [(i + 1, steps) for i in range(steps)]


def plain(**values: Any) -> TrialConfig:
    return TrialConfig(
        model=get_family("quick").example, optimizer=SgdConfig(lr=0.1), batch_size=32, **values
    )
