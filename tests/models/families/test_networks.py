"""What the families beyond `quick` and plain `wrn` are made of; counts of published networks."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from fmnist_models.config.base import ModelConfig, explain
from fmnist_models.config.registry import FAMILIES, build_model, get_family
from fmnist_models.data.dataset import Dataset
from fmnist_models.families.convnext import ConvnextConfig
from fmnist_models.families.densenet import DensenetConfig
from fmnist_models.families.preact import PreactConfig
from fmnist_models.families.shake import Mode, ShakeConfig, mix_branches
from fmnist_models.families.wrn import Block, WideResNet, WrnConfig
from fmnist_models.training.cost import model_cost

DROPPING = [
    WrnConfig(depth=10, drop_block=0.2),
    WrnConfig(depth=10, stochastic_depth=0.5),
    WrnConfig(depth=10, dropout=0.5),
    PreactConfig(depth=8, stochastic_depth=0.5),
    ShakeConfig(depth=8, width=8),
    DensenetConfig(depth=10, growth=8, dropout=0.2),
    ConvnextConfig(width=8, depth=1, layer_scale=1.0, stochastic_depth=0.5),
]


@pytest.fixture
def images(few: Dataset) -> Tensor:
    return few.normalization(few.train.images[:8])


@pytest.mark.parametrize(
    ("config", "parameters"),
    [
        # github.com/kuangliu/pytorch-cifar: 11,171,146 with 3 channels and without the last norm.
        (PreactConfig(layout="imagenet", depth=18, width=4), 11_171_146 - 2 * 9 * 64 + 2 * 512),
        (PreactConfig(layout="imagenet", depth=34, width=4), 21_279_178),
        (PreactConfig(layout="imagenet", depth=50, width=4), 23_512_010),
        (PreactConfig(depth=20), 271_994),
        (PreactConfig(depth=20, width=4), 4_325_834),
        # The paper: 2.9 M, 11.7 M and 26.2 M.
        (ShakeConfig(width=32), 2_922_874),
        (ShakeConfig(width=64), 11_653_690),
        (ShakeConfig(width=96), 26_192_634),
        # The paper: 0.8 M; 769,162 with 3 channels.
        (DensenetConfig(depth=100, growth=12), 769_162 - 2 * 9 * 24),
        (ConvnextConfig(), 2_150_346),
        # Width 4 starts with 64 channels too, so that the first block needs no shortcut.
        (
            WrnConfig(depth=40, width=4, stem=64, pool="gem"),
            8_948_922 + 48 * (9 + 2 + 9 * 64) - 16 * 64 + 1,
        ),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else value.family,
)
def test_published_networks_have_their_parameters(config: ModelConfig, parameters: int) -> None:
    assert model_cost(config).parameters == parameters


def test_the_largest_shake_shake_costs_what_is_said_of_it() -> None:
    assert 2 * model_cost(ShakeConfig(width=96)).macs / 1e9 == pytest.approx(5.78, rel=0.01)


@pytest.mark.parametrize("name", FAMILIES)
def test_bf16_and_channels_last_stay_near_float32(name: str, images: Tensor) -> None:
    torch.manual_seed(0)
    model = build_model(get_family(name).example, 10).eval()
    expected = model(images)
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(images.to(memory_format=torch.channels_last))
    assert logits.dtype == torch.float32
    scale = expected.abs().max().item()
    torch.testing.assert_close(logits, expected, rtol=0, atol=0.06 * scale)


@pytest.mark.parametrize("config", DROPPING, ids=lambda c: c.family)
def test_what_is_dropped_is_dropped_in_training_only(config: ModelConfig, images: Tensor) -> None:
    torch.manual_seed(0)
    model = build_model(config, 10)
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = 0.0  # so that training leaves nothing behind
    first, second = model(images), model(images)
    assert not torch.equal(first, second)
    torch.manual_seed(1)
    third = model(images)
    torch.manual_seed(1)
    assert torch.equal(model(images), third)  # all draws are of torch's generator
    model.eval()
    assert torch.equal(model(images), model(images))


def shares(mode: Mode, per_image: bool = True) -> tuple[Tensor, Tensor]:
    """The shares of the first branch in the value and in the gradient, an image each."""
    first = torch.ones(64, 2, 3, 3, requires_grad=True)
    second = torch.zeros(64, 2, 3, 3, requires_grad=True)
    mixed = mix_branches(first, second, mode, per_image)
    mixed.sum().backward()  # type: ignore[no-untyped-call]
    assert first.grad is not None and second.grad is not None
    torch.testing.assert_close(first.grad + second.grad, torch.ones_like(first))
    for tensor in (mixed, first.grad):
        assert torch.equal(tensor, tensor[:, :1, :1, :1].expand_as(tensor))
    return mixed[:, 0, 0, 0].detach(), first.grad[:, 0, 0, 0]


@pytest.mark.parametrize("mode", ["shake-shake", "shake-keep", "shake-even"])
def test_shake_mixes_by_other_shares_each_image_and_by_mode_backward(mode: Mode) -> None:
    values, gradients = shares(mode)
    assert len(values.unique()) == 64
    assert 0 <= values.min() < 0.2 < 0.8 < values.max() <= 1
    if mode == "shake-shake":
        assert abs(torch.corrcoef(torch.stack([values, gradients]))[0, 1]) < 0.4
        assert len(gradients.unique()) == 64
    else:
        expected = values if mode == "shake-keep" else torch.full((64,), 0.5)
        torch.testing.assert_close(gradients, expected)


def test_shake_by_batch_and_even_modes() -> None:
    values, gradients = shares("shake-shake", per_image=False)
    assert len(values.unique()) == len(gradients.unique()) == 1
    assert values[0] != gradients[0]
    values, gradients = shares("even-shake")
    assert values.unique().tolist() == [0.5]
    assert len(gradients.unique()) == 64
    values, gradients = shares("even-even")
    assert values.unique().tolist() == gradients.unique().tolist() == [0.5]


def test_drop_block_is_in_the_later_stages_and_residuals_are_dropped_more_with_depth() -> None:
    model = build_model(WrnConfig(depth=16, drop_block=0.1, stochastic_depth=0.3), 10)
    assert isinstance(model, WideResNet)
    blocks = [block for block in model.stages if isinstance(block, Block)]
    kinds = [type(block.drop_block).__name__ for block in blocks]
    assert kinds == ["Identity"] * 2 + ["DropBlock"] * 4
    rates = [block.stochastic_depth.p for block in blocks]
    assert rates == pytest.approx([0.05, 0.1, 0.15, 0.2, 0.25, 0.3])


def test_zero_init_starts_every_block_as_its_shortcut(images: Tensor) -> None:
    model = build_model(WrnConfig(depth=16, zero_init=True), 10)
    assert isinstance(model, WideResNet)
    last = model.stages[-1]
    x = torch.randn(2, 64, 7, 7)
    assert torch.equal(last(x), x)
    assert not model(images).isnan().any()


def test_batch_norm_takes_momentum_and_epsilon() -> None:
    for config in (
        WrnConfig(depth=10, bn_momentum=0.3, bn_eps=1e-3),
        PreactConfig(depth=8, bn_momentum=0.3),
        ShakeConfig(depth=8, width=8, bn_momentum=0.3),
        DensenetConfig(depth=10, growth=8, bn_momentum=0.3),
    ):
        norms = [m for m in build_model(config, 10).modules() if isinstance(m, nn.BatchNorm2d)]
        assert {norm.momentum for norm in norms} == {0.3}
        assert {norm.eps for norm in norms} == {1e-3 if config.family == "wrn" else 1e-5}


@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_convnext_has_the_kernels_it_is_asked_for(kernel: int) -> None:
    config = ConvnextConfig.model_validate({"kernel": kernel, "width": 8, "depth": 1})
    model = build_model(config, 10)
    deep = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.groups > 1]
    assert [(m.kernel_size, m.in_channels) for m in deep] == [
        ((kernel, kernel), width) for width in (8, 16, 16, 16, 32)
    ]
    sizes: list[int] = []
    for conv in deep:
        conv.register_forward_hook(lambda m, i, out: sizes.append(out.shape[-1]))
    model(torch.zeros(1, 1, 28, 28))
    assert sizes == [14, 7, 7, 7, 4]


@pytest.mark.parametrize(
    ("config", "line"),
    [
        (
            {"family": "preact", "depth": 18},
            "depth must be 6n+2 (8, 14, 20, ...) in layout 'cifar'",
        ),
        (
            {"family": "preact", "layout": "imagenet", "depth": 20},
            "depth must be 18, 34 or 50 in layout 'imagenet', not 20",
        ),
        ({"family": "shake", "depth": 27}, "depth must be 6n+2 (8, 14, 20, 26, 32, ...), got 27"),
        ({"family": "densenet", "depth": 99}, "depth must be 6n+4 (10, 16, 22, 28, 34, 40, ...)"),
        ({"family": "convnext", "kernel": 9}, "Input should be 3, 5 or 7, got 9"),
        ({"family": "wrn", "drop_block_size": 4}, "Input should be 3, 5 or 7, got 4"),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_line(config: dict[str, object], line: str) -> None:
    with pytest.raises(ValidationError) as caught:
        get_family(str(config["family"])).config.model_validate(config)
    message = explain(caught.value)
    assert line in message
    assert "\n" not in message
