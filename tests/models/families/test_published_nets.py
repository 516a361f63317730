"""MLP, VGG and MobileNet: the counts of what is published, and how each is fitted to 28x28."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.nn.functional import cross_entropy

from fmnist_models.config.base import ModelConfig
from fmnist_models.config.registry import build_model
from fmnist_models.data.dataset import Dataset
from fmnist_models.families.mlp import MlpConfig
from fmnist_models.families.mobilenet import MobilenetConfig
from fmnist_models.families.vgg import VggConfig
from fmnist_models.training.cost import model_cost

VERSIONS = ["v1", "v2", "v3_small", "v3_large"]


@pytest.mark.parametrize(
    ("config", "parameters"),
    [
        (MlpConfig(), 784 * 128 + 128 + 1290),  # 101,770
        # Convolutions as published less two channels in (1,152); 512 -> 512 -> 512 -> 10.
        (VggConfig(depth=11), 9_220_480 - 1_152 + 2 * 262_656 + 5_130),
        (VggConfig(depth=13), 9_404_992 - 1_152 + 2 * 262_656 + 5_130),
        (VggConfig(depth=16), 14_714_688 - 1_152 + 2 * 262_656 + 5_130),
        (VggConfig(depth=19), 20_024_384 - 1_152 + 2 * 262_656 + 5_130),
        (VggConfig(depth=16, batch_norm=True), 14_723_136 - 1_152 + 2 * 262_656 + 5_130),
        # As published less the last layer for 1000 classes and two channels in.
        (MobilenetConfig(version="v1"), 4_231_976 - 1_025_000 - 576 + 10_250),
        (MobilenetConfig(version="v2"), 3_504_872 - 1_281_000 - 576 + 12_810),
        (MobilenetConfig(version="v3_small"), 2_542_856 - 1_025_000 - 288 + 10_250),
        (MobilenetConfig(version="v3_large"), 5_483_032 - 1_281_000 - 288 + 12_810),
    ],
)
def test_published_networks_have_their_parameters(config: ModelConfig, parameters: int) -> None:
    assert model_cost(config).parameters == parameters


@pytest.mark.parametrize("depth", [11, 13, 16, 19])
def test_a_vgg_has_as_many_weight_layers_as_its_name_says(depth: int) -> None:
    model = build_model(VggConfig.model_validate({"depth": depth, "width": 2, "dense": 4}), 10)
    assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in model.modules()) == depth


def test_the_five_pools_of_a_vgg_leave_one_pixel() -> None:
    model = build_model(VggConfig(width=2, dense=4), 10)
    sizes = []
    for pool in (m for m in model.modules() if isinstance(m, nn.MaxPool2d)):
        pool.register_forward_hook(lambda _module, _inputs, out: sizes.append(out.shape[-1]))
    model(torch.rand(1, 1, 28, 28))
    assert sizes == [14, 7, 4, 2, 1]


def test_mobilenets_see_the_same_sizes_at_28_and_56_pixels() -> None:
    plain, finer = (
        MobilenetConfig.model_validate({"width": 0.25, "resolution": r}) for r in (28, 56)
    )
    assert model_cost(plain) == model_cost(finer)


def test_an_upsampled_image_is_seen_finer_than_a_plain_one(few: Dataset) -> None:
    images = few.normalization(few.train.images[:4])
    seen = []
    model = build_model(MobilenetConfig(width=0.25, resolution=56), 10).eval()
    stem = model.get_submodule("features.0.0")
    stem.register_forward_hook(lambda _m, inputs, out: seen.append((inputs[0], out)))
    model(images)
    (inputs, outputs), *_ = seen
    assert (inputs.shape, outputs.shape[2:]) == ((4, 1, 56, 56), (28, 28))
    torch.testing.assert_close(inputs.mean(), images.mean(), rtol=0.01, atol=0.01)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_parameter_of_every_mobilenet_gets_a_gradient(version: str, few: Dataset) -> None:
    config = MobilenetConfig.model_validate({"version": version, "width": 0.25, "dropout": 0.1})
    torch.manual_seed(0)
    model = build_model(config, 10)
    images = few.normalization(few.train.images[:32])
    cross_entropy(model(images), few.train.labels[:32]).backward()  # type: ignore[no-untyped-call]
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("version", VERSIONS)
def test_batch_norm_and_dropout_of_a_mobilenet_are_as_configured(version: str) -> None:
    config = MobilenetConfig.model_validate(
        {"version": version, "width": 0.25, "bn_momentum": 0.3, "dropout": 0.4}
    )
    with torch.device("meta"):
        modules = list(build_model(config, 10).modules())
    assert {(m.momentum, m.eps) for m in modules if isinstance(m, nn.BatchNorm2d)} == {(0.3, 1e-3)}
    assert [m.p for m in modules if isinstance(m, nn.Dropout)] == [0.4]


def test_a_deep_vgg_without_batch_norm_keeps_its_scale(few: Dataset) -> None:
    images = few.normalization(few.train.images[:32])
    torch.manual_seed(0)
    model = build_model(VggConfig(depth=19, width=16), 10)
    with torch.no_grad():
        assert 0.01 < model(images).std() < 10


@pytest.mark.parametrize(
    ("family", "wrong", "message"),
    [
        (VggConfig, {"depth": 12}, "11, 13, 16 or 19"),
        (VggConfig, {"width": 0}, "greater than or equal to 1"),
        (MobilenetConfig, {"version": "v4"}, "'v1', 'v2', 'v3_small' or 'v3_large'"),
        (MobilenetConfig, {"resolution": 32}, "28 or 56"),
        (MobilenetConfig, {"width": 0.0}, "greater than or equal to 0.1"),
        (MlpConfig, {"depth": 0}, "greater than or equal to 1"),
        (MlpConfig, {"width": 10_000}, "less than or equal to 4096"),
    ],
)
def test_what_cannot_be_built_is_refused_with_what_is_allowed(
    family: type[ModelConfig], wrong: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError, match=message) as caught:
        family.model_validate(wrong)
    assert f"input_value={next(iter(wrong.values()))!r}" in str(caught.value)
