"""Training on a GPU, where there is one: as on a CPU, without waiting within an epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch

from fmnist_models.compute.memory import give_back_memory, is_out_of_memory, is_usable
from fmnist_models.compute.precision import Precision, choose_precision
from fmnist_models.config.base import ModelConfig
from fmnist_models.config.optimizers import SgdConfig
from fmnist_models.config.registry import FAMILIES, get_family
from fmnist_models.config.training import RegularizationConfig
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.dataset import Dataset
from fmnist_models.families.quick import QuickConfig
from fmnist_models.families.wrn import WrnConfig
from fmnist_models.training.trainer import Trainer
from tests.models.compute.recorded import waits_in_epochs

MakeConfig = Callable[..., TrialConfig]
pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no CUDA device on this machine: nothing to train on"
)
families = pytest.mark.parametrize("name", FAMILIES)


def example(name: str) -> ModelConfig:
    return get_family(name).example


@families
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_epoch_on_the_gpu_is_near_that_on_a_cpu(
    few: Dataset, name: str, precision: Precision
) -> None:
    # Without dropout and augmentation, but the order of images differs: so the loss is only near.
    config = TrialConfig(
        model=example(name),
        optimizer=SgdConfig(lr=0.02),
        regularization=RegularizationConfig(ema_decay=0.9),
        batch_size=64,
        epochs=3,
    )
    losses = []
    for device, number_format in (("cpu", "fp32"), ("cuda", precision)):
        run = Trainer(config, few, device=device, precision=number_format)  # type: ignore[arg-type]
        *_, last = run.epochs()
        losses.append((last.train_loss, last.val_loss))
    assert losses[1] == pytest.approx(losses[0], rel=0.15)


@families
def test_everything_lives_on_the_gpu(few: Dataset, everything_on: MakeConfig, name: str) -> None:
    precision = choose_precision("cuda")
    run = Trainer(everything_on(model=example(name)), few, device="cuda", precision=precision)
    metrics = run.run_epoch()
    assert {p.device.type for p in run.averaged_model.parameters()} == {"cuda"}
    resident = few.train.images.numel() + few.validation.images.numel()
    assert resident < metrics.peak_memory_bytes < 100e9


@families
def test_the_host_waits_no_more_in_a_long_epoch_than_in_a_short_one(
    few: Dataset, everything_on: MakeConfig, name: str
) -> None:
    config = everything_on(model=example(name), batch_size=32)
    short, long = waits_in_epochs(
        few, lambda part: Trainer(config, part, device="cuda", precision="bf16", graphs=False)
    )
    assert short > 0  # the figures of an epoch do have to be fetched
    assert short == long


def test_training_leaves_the_generators_of_host_and_device_alone(
    few: Dataset, everything_on: MakeConfig
) -> None:
    torch.cuda.manual_seed(5)
    before = torch.get_rng_state(), torch.cuda.get_rng_state()
    Trainer(everything_on(), few, device="cuda", precision="fp32").run_epoch()
    assert torch.equal(torch.get_rng_state(), before[0])
    assert torch.equal(torch.cuda.get_rng_state(), before[1])


def test_a_checkpoint_goes_on_from_the_gpu_to_the_cpu(
    few: Dataset, everything_on: MakeConfig
) -> None:
    config = everything_on()
    run = Trainer(config, few, device="cuda", precision="fp32")
    run.run_epoch()
    other = Trainer(config, few, device="cpu", precision="fp32")
    other.load_state_dict(run.state_dict())
    assert other.run_epoch().epoch == 2
    ours = [p.cpu() for p in run.model.parameters()]
    assert len(ours) == len(list(other.model.parameters()))


@contextmanager
def card_of(bytes_: int) -> Iterator[None]:
    """torch has no more of the card than so many bytes."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(bytes_ / total)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def reserved_by_an_epoch(config: TrialConfig, dataset: Dataset, micro_batches: int) -> int:
    give_back_memory("cuda")
    run = Trainer(config, dataset, device="cuda", precision="fp32", micro_batches=micro_batches)
    run.run_epoch()
    return torch.cuda.max_memory_reserved()


def test_what_does_not_fit_the_card_fits_in_parts_once_memory_is_given_back(few: Dataset) -> None:
    config = TrialConfig(
        model=WrnConfig(depth=16, width=4), optimizer=SgdConfig(lr=0.02), batch_size=512, epochs=1
    )
    whole, parts = (reserved_by_an_epoch(config, few, n) for n in (1, 8))
    assert parts < whole / 2
    give_back_memory("cuda")
    before = torch.cuda.memory_allocated()
    with card_of((whole + parts) // 2):
        with pytest.raises(torch.OutOfMemoryError) as caught:
            reserved_by_an_epoch(config, few, 1)
        assert is_out_of_memory(caught.value)
        del caught  # it holds on to all that was on the card
        give_back_memory("cuda")
        assert is_usable("cuda")
        assert torch.cuda.memory_allocated() <= before + 2**20
        assert reserved_by_an_epoch(config, few, 8) <= (whole + parts) // 2


def test_parts_are_the_undivided_step_on_the_gpu_too(few: Dataset) -> None:
    config = TrialConfig(
        model=QuickConfig(width=8, depth=1, batch_norm=False),
        optimizer=SgdConfig(lr=0.02),
        batch_size=100,
        epochs=2,
    )
    losses = []
    for micro_batches in (1, 3):
        run = Trainer(config, few, device="cuda", precision="fp32", micro_batches=micro_batches)
        *_, last = run.epochs()
        losses.append((last.train_loss, last.val_loss))
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
