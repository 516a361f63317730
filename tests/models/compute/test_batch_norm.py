"""Our batch norm gives what torch's and a ReLU give, in training as in use."""

from collections.abc import Iterator
from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from fmnist_models.compute import batch_norm
from fmnist_models.compute.batch_norm import BatchNorm2d
from fmnist_models.compute.precision import set_threads

SHAPE = 8, 9, 7
"""Images, height and width."""


def maps(channels: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    """(8, channels, 9, 7), channels last, each with a mean and a spread of its own."""
    rng = torch.Generator().manual_seed(seed)
    images, height, width = SHAPE
    x = torch.randn(images, height, width, channels, generator=rng)
    x = x * (1 + torch.arange(channels) % 5) + 3 * (torch.arange(channels) % 7)
    return x.to(dtype).permute(0, 3, 1, 2)


def both(channels: int, with_relu: bool) -> tuple[BatchNorm2d, nn.BatchNorm2d]:
    ours, plain = BatchNorm2d(channels, momentum=0.3, relu=with_relu), nn.BatchNorm2d(channels)
    plain.momentum = 0.3
    with torch.no_grad():
        plain.weight.copy_(torch.linspace(-2, 2, channels))
        plain.bias.copy_(torch.linspace(1, -1, channels))
    ours.load_state_dict(plain.state_dict())
    return ours, plain


def trained(norm: nn.Module, x: Tensor, with_relu: bool) -> dict[str, Tensor]:
    """What two steps give, and leave behind."""
    for _ in range(2):
        x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
        norm.zero_grad()
        y = relu(norm(x)) if with_relu else norm(x)
        y.backward(maps(x.shape[1], seed=1).to(y.dtype))
    assert x.grad is not None
    of_weights = {
        f"gradient of {n}": p.grad for n, p in norm.named_parameters() if p.grad is not None
    }
    return {"y": y.detach(), "gradient of x": x.grad, **of_weights, **norm.state_dict()}


@pytest.fixture(autouse=True)
def as_trials_train() -> Iterator[None]:
    assert batch_norm.kernels() is not None, "numba is installed with the tests"
    before = torch.get_num_threads()
    set_threads(1)
    yield
    set_threads(before)


@pytest.mark.parametrize("with_relu", [True, False])
@pytest.mark.parametrize("channels", [1, 10, 16, 64, 5000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_is_torchs(dtype: torch.dtype, channels: int, with_relu: bool) -> None:
    ours, plain = both(channels, with_relu)
    x, exact = maps(channels, dtype), deepcopy(plain).double()
    found, torchs = trained(ours, x, False), trained(plain, x, with_relu)
    for name, wanted in trained(exact, x.double(), with_relu).items():
        assert found[name].dtype == torchs[name].dtype
        error, torchs_error = (
            float((values[name].double() - wanted.double()).abs().max())
            for values in (found, torchs)
        )
        assert error <= 1.5 * torchs_error + 1e-4 * float(wanted.abs().max()), name


def test_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above would pass with torch's alone."""
    calls = []
    loops = batch_norm.kernels()
    assert loops is not None
    for name in ("sums", "scaled", "gradient_sums", "gradients"):
        loop = getattr(loops, name)
        monkeypatch.setattr(
            loops, name, lambda *a, loop=loop, name=name: (calls.append(name), loop(*a))[1]
        )
    trained(both(16, True)[0], maps(16), False)
    assert calls == ["sums", "scaled", "gradient_sums", "gradients"] * 2


@pytest.mark.parametrize("case", ["no numba", "channels first", "in use", "threads"])
def test_elsewhere_it_is_torchs_own(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, plain = both(16, True)
    x = maps(16)
    if case == "no numba":
        monkeypatch.setattr(batch_norm, "kernels", lambda: None)
    elif case == "channels first":
        x = x.contiguous()
    elif case == "threads":
        set_threads(2)
    else:
        ours.eval()
        plain.eval()
    assert torch.equal(ours(x), relu(plain(x)))
    assert torch.equal(ours.running_var, plain.running_var)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 3e38])
def test_what_is_no_number_stays_none(value: float) -> None:
    """A network that diverged must not look like one that learns; nor does numpy warn of it."""
    ours, _ = both(16, True)
    x = maps(16)
    x[0, 3, 0, 0] = value
    x.requires_grad_()
    y = ours(x)
    y.sum().backward()
    assert y[:, 3].isnan().all()
    assert not y[:, [2, 4]].isnan().any()
    assert x.grad is not None
    assert not x.grad[:, [2, 4]].isnan().any()


def test_a_large_mean_does_not_swallow_the_variance() -> None:
    ours, plain = both(4, False)
    x = maps(4) * 1e-2 + 1000
    assert (ours(x) - plain(x)).abs().max() < 0.05


def test_statistics_that_stand_still_and_plain_means() -> None:
    """As sharpness-aware steps and weight averages ask for."""
    ours, plain = both(16, True)
    for norm in (ours, plain):
        norm.track_running_stats = False
        norm(maps(16))
        norm.track_running_stats = True
        assert norm.num_batches_tracked == 0
        assert torch.equal(norm.running_mean, torch.zeros(16))
        norm.momentum = None
        for seed in range(3):
            norm(maps(16, seed=seed))
    assert torch.allclose(ours.running_mean, plain.running_mean, atol=1e-5)
    assert torch.allclose(ours.running_var, plain.running_var, rtol=1e-4)
    assert ours.num_batches_tracked == plain.num_batches_tracked == 3


def test_one_value_a_channel_is_refused_as_by_torch() -> None:
    with pytest.raises(ValueError, match="more than 1 value"):
        BatchNorm2d(3)(torch.zeros(1, 3, 1, 1))


def test_its_gradient_is_that_of_differences() -> None:
    """Independently of torch's: by small steps, in a function of x alone."""
    ours, _ = both(2, True)
    x = maps(2)[:2, :, :2, :2].contiguous(memory_format=torch.channels_last).requires_grad_()
    to = torch.linspace(-1, 1, x.numel()).view_as(x)
    (ours(x) * to).sum().backward()
    rng = np.random.default_rng(0)
    for place in rng.permutation(x.numel())[:8]:
        index = np.unravel_index(place, x.shape)
        values = []
        for sign in (1, -1):
            moved = x.detach().clone(memory_format=torch.preserve_format)
            moved[index] += sign * 1e-2
            values.append((ours(moved) * to).sum().item())
        assert x.grad is not None
        assert x.grad[index].item() == pytest.approx((values[0] - values[1]) / 2e-2, abs=0.02)
