"""The field's plain convolutional networks on Fashion-MNIST, and what no such network can be."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from fmnist_models.config.files import parse_config
from fmnist_models.config.optimizers import SgdConfig
from fmnist_models.config.registry import build_model
from fmnist_models.config.trial import TrialConfig
from fmnist_models.errors import ConfigError
from fmnist_models.families.cnn import CnnConfig, layer_steps
from fmnist_models.training.cost import model_cost

VGG_LIKE = CnnConfig(layers=(32, 32, "D", 64, "P", "D", 128, 128, 256, "P", "D"), dense=(512, 64))
KAGGLE = CnnConfig(layers=(32, 32, "P", "D", 64, 64, "P", "D"), dense=(128,), dense_norm="after")
TWO = CnnConfig(
    layers=(32, "P", "D", 64, "P", "D"), kernel=5, padded=False, dense=(512,), dense_dropout=0.0
)


def conv2d_net(*widths: int) -> CnnConfig:
    """The larger networks of SixConv2dNet's author."""
    return CnnConfig(
        layers=tuple(layer for w in widths for layer in (w, w, "P", "D")),
        pointwise_stem=True,
        pad_pools=True,
        activate="pool",
        batch_norm=True,
        dropout=0.5,
        dense=(512,),
    )


def sizes(config: CnnConfig) -> list[int]:
    """Side of the image behind each convolution and pool."""
    return [step.size for step in layer_steps(config) if step.kind != "D"]


@pytest.mark.parametrize(
    ("config", "parameters"),
    [
        # 320 + 9,248 + 18,496 + 73,856 + 147,584 + 295,168 + 6,423,040 + 32,832 + 650
        (VGG_LIKE, 7_001_194),
        # 320 + 9,248 + 18,496 + 36,928 + 401,536 + 256 (norm) + 1,290
        (KAGGLE, 468_074),
        # 832 + 51,264 + 524,800 + 5,130
        (TWO, 582_026),
        # 128 + 36,928 + 128 (norm) + 73,856 + 147,584 + 256 + 8,192 * 512 + 512 + 5,130
        (conv2d_net(64, 128), 4_458_826),
        (conv2d_net(64, 128, 256), 4_427_082),
        (conv2d_net(64, 128, 256, 512), 7_050_570),
    ],
)
def test_published_networks_have_their_parameters(config: CnnConfig, parameters: int) -> None:
    assert model_cost(config).parameters == parameters


def test_the_layers_of_the_vgg_like_network_come_in_the_published_order() -> None:
    kinds = {nn.Conv2d: "C", nn.MaxPool2d: "P", nn.Dropout: "D", nn.Linear: "L"}
    modules = [m for m in build_model(VGG_LIKE, 10).modules() if not list(m.children())]
    order = "".join(kinds.get(type(m), "") for m in modules)
    assert order == "CCDCPDCCCPDLDLD"
    assert sizes(VGG_LIKE) == [28, 28, 28, 14, 14, 14, 14, 7]


def test_a_stage_of_six_conv_2d_net_convolves_twice_then_pools_and_bends() -> None:
    model = build_model(conv2d_net(64, 128, 256), 10)
    features = next(m for m in model.children() if isinstance(m, nn.Sequential))
    stage = ["Conv2d", "Conv2d", "MaxPool2d", "BatchNorm2d", "AppliedReLU", "Dropout"]
    assert [type(m).__name__ for m in features] == 3 * stage
    kernels = [(m.kernel_size, m.padding) for m in features if isinstance(m, nn.Conv2d)]
    assert kernels == [((1, 1), (1, 1)), *[((3, 3), (1, 1))] * 5]
    assert sizes(conv2d_net(64, 128, 256, 512)) == [30, 30, 15, 15, 15, 8, 8, 8, 5, 5, 5, 3]


@pytest.mark.parametrize("norm", ["before", "after"])
def test_the_norm_of_the_head_is_before_or_after_the_activation(norm: str) -> None:
    config = CnnConfig.model_validate({"dense_norm": norm})
    names = [type(m).__name__ for m in build_model(config, 10).modules()]
    start = names.index("Linear")
    middle = ["BatchNorm1d", "ReLU"] if norm == "before" else ["ReLU", "BatchNorm1d"]
    assert names[start : start + 5] == ["Linear", *middle, "Dropout", "Head"]


def test_without_a_hidden_layer_the_head_is_linear() -> None:
    model = build_model(CnnConfig(layers=(4,), dense=()), 10)
    assert [m.in_features for m in model.modules() if isinstance(m, nn.Linear)] == [4 * 28 * 28]


def test_a_bias_in_front_of_a_batch_norm_changes_nothing() -> None:
    images = torch.rand(8, 1, 28, 28)
    model = build_model(conv2d_net(4, 4), 10)
    for dropout in (m for m in model.modules() if isinstance(m, nn.Dropout)):
        dropout.p = 0.0
    logits = model(images)
    last = [m for m in model.modules() if isinstance(m, nn.Conv2d)][-1]
    assert last.bias is not None
    nn.init.constant_(last.bias, 3.0)
    torch.testing.assert_close(model(images), logits, rtol=1e-3, atol=1e-4)


def test_layers_come_back_from_json_as_they_were() -> None:
    config = TrialConfig(model=VGG_LIKE, optimizer=SgdConfig(lr=0.1), epochs=1)
    text = config.model_dump_json()
    assert json.loads(text)["model"]["layers"][:4] == [32, 32, "D", 64]
    assert parse_config(text).model == VGG_LIKE
    assert hash(parse_config(text)) == hash(config)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"layers": [32, "X"]}, "'X' is no layer: each is a number of channels from 1 to 1024"),
        ({"layers": [0]}, "0 is no layer"),
        ({"layers": [2000]}, "2000 is no layer"),
        ({"layers": [32.0]}, "32.0 is no layer"),
        ({"layers": [True]}, "True is no layer"),
        ({"layers": [[32]]}, "[32] is no layer"),
        ({"layers": 3}, "model.layers: Input should be a valid array, got 3"),
        ({"layers": "PD"}, "model.layers: Input should be a valid array, got 'PD'"),
        ({"layers": []}, "layers [] must have a convolution (a number)"),
        ({"layers": [4] * 65}, "at most 64 items"),
        ({"layers": ["P", "D"]}, "must have a convolution"),
        ({"layers": [4, "P", 4], "activate": "pool"}, 'a "P" must follow the last convolution'),
        (
            {"layers": [4, *"PPPPP"]},
            "layer 6 of [4, 'P', 'P', 'P', 'P', 'P'] is 2x2, but finds 1x1",
        ),
        (
            {"layers": [4, 4], "kernel": 27, "padded": False},
            "[4, 4] is 27x27, but finds 2x2 pixels",
        ),
        ({"kernel": 28}, "model.kernel: Input should be less than 28, got 28"),
        ({"kernel": 4}, "kernel must be odd (1, 3, 5, ..., 27), got 4"),
        ({"dense": [0]}, "model.dense.0: Input should be greater than or equal to 1, got 0"),
        ({"dense": [64.5]}, "model.dense.0: Input should be a valid integer, got 64.5"),
        ({"dense_norm": "both"}, "'none', 'before' or 'after', got 'both'"),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_line(wrong: dict[str, Any], message: str) -> None:
    trial = {"model": {"family": "cnn", **wrong}, "epochs": 1}
    with pytest.raises(ConfigError) as caught:
        parse_config(json.dumps({**trial, "optimizer": {"kind": "sgd", "lr": 0.1}}))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValidationError):
        CnnConfig.model_validate(wrong)
