"""Every registered family, from the moment it is registered; counts of published networks."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from fmnist_models.config.base import ModelConfig
from fmnist_models.config.files import ExportedConfig, parse_config
from fmnist_models.config.optimizers import SgdConfig
from fmnist_models.config.registry import (
    FAMILIES,
    build_model,
    check_name,
    get_family,
    make_registry,
)
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.dataset import Dataset
from fmnist_models.errors import ConfigError
from fmnist_models.families.layers import conv3x3, norm
from fmnist_models.families.quick import QuickConfig
from fmnist_models.families.wrn import WideResNet, WrnConfig
from fmnist_models.training.cost import model_cost

families = pytest.mark.parametrize("name", FAMILIES)


def example(name: str) -> ModelConfig:
    return get_family(name).example


def seeded(config: ModelConfig, seed: int = 3) -> nn.Module:
    """A network with weights drawn from `seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_model(config, 10)


@families
def test_a_family_is_registered_under_its_own_name(name: str) -> None:
    family = get_family(name)
    assert family.name == family.example.family == name
    assert isinstance(family.example, family.config)
    assert family.config.model_fields["family"].default == name


@families
@pytest.mark.parametrize("classes", [10, 3])
def test_logits_have_one_column_a_class_and_are_finite(
    name: str, classes: int, few: Dataset
) -> None:
    images = few.normalization(few.train.images[:16])
    logits = build_model(example(name), classes)(images)
    assert (logits.shape, logits.dtype) == ((16, classes), torch.float32)
    assert logits.isfinite().all()


@families
def test_an_image_alone_is_scored_as_in_a_batch(name: str, few: Dataset) -> None:
    model = seeded(example(name)).eval()
    images = few.normalization(few.train.images[:4])
    alone = torch.cat([model(image[None]) for image in images])
    torch.testing.assert_close(alone, model(images), rtol=1e-4, atol=1e-4)


@families
def test_every_parameter_gets_a_gradient(name: str, few: Dataset) -> None:
    model = seeded(example(name))
    images = few.normalization(few.train.images[:64])
    # The second step's: what is initialised to zero may hold back the gradients of the first.
    for lr in (0.01, 0.0):
        model.zero_grad()
        loss = cross_entropy(model(images), few.train.labels[:64])
        loss.backward()  # type: ignore[no-untyped-call]
        torch.optim.SGD(model.parameters(), lr=lr).step()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
        assert parameter.grad.any(), parameter_name


@families
def test_the_same_seed_gives_the_same_weights(name: str) -> None:
    first, second, other = (seeded(example(name), seed).state_dict() for seed in (3, 3, 4))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


@families
def test_a_configuration_comes_back_from_json(name: str) -> None:
    config = TrialConfig(model=example(name), optimizer=SgdConfig(lr=0.1), epochs=5)
    export = ExportedConfig(config=config, study="s", trial=3, validation_accuracy=0.9)
    for text in (config.model_dump_json(), export.model_dump_json(indent=2)):
        again = parse_config(text)
        assert again == config
        assert again.model == example(name)
        assert type(again.model) is type(example(name))
        assert hash(again) == hash(config)


@families
def test_a_family_refuses_what_it_does_not_know(name: str) -> None:
    with pytest.raises(ValueError, match="nonsense"):
        get_family(name).config.model_validate({"family": name, "nonsense": 1})


@pytest.mark.parametrize(
    ("depth", "width", "parameters", "forward_gflop"),
    [(16, 4, 2_748_602, 0.60), (40, 4, 8_948_922, 1.99), (28, 10, 36_478_906, 8.03)],
)
def test_wide_residual_networks_are_those_of_the_paper(
    depth: int, width: int, parameters: int, forward_gflop: float
) -> None:
    cost = model_cost(WrnConfig(depth=depth, width=width))
    assert cost.parameters == parameters
    assert 2 * cost.macs / 1e9 == pytest.approx(forward_gflop, rel=0.03)


def test_a_wide_residual_network_has_as_many_convolutions_as_its_depth_says() -> None:
    model = build_model(WrnConfig(depth=22), 10)
    # d = 6n + 4 counts 6n in the blocks, the stem, and the shortcuts of three stages.
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    threes = [c for c in convolutions if c.kernel_size == (3, 3)]
    assert len(threes) == 22 - 3
    assert len(convolutions) - len(threes) == 2  # width 1: the first stage keeps 16 channels


@pytest.mark.parametrize("config", [QuickConfig(batch_norm=False), WrnConfig(batch_norm=False)])
def test_without_batch_norm_there_is_none_but_biases(config: ModelConfig) -> None:
    model = build_model(config, 10)
    assert not [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    threes = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert all(conv.bias is not None and not conv.bias.any() for conv in threes)


def test_a_deep_network_without_batch_norm_keeps_its_scale(few: Dataset) -> None:
    images = few.normalization(few.train.images[:32])
    model = seeded(WrnConfig(depth=40, batch_norm=False))
    assert isinstance(model, WideResNet)
    with torch.no_grad():
        stem = model.stem(images)
        deep = model.stages(stem)
    assert 0.1 < deep.std() / stem.std() < 10


@pytest.mark.parametrize("family", [QuickConfig, WrnConfig])
@pytest.mark.parametrize("activation", ["relu", "silu", "gelu", "mish"])
def test_every_activation_is_used(
    family: type[QuickConfig] | type[WrnConfig], activation: str
) -> None:
    config = family.model_validate({"activation": activation})
    names = {type(m).__name__.lower() for m in build_model(config, 10).modules()}
    applied = {"appliedrelu"} if activation == "relu" else {activation}
    assert names & {"appliedrelu", "relu", "silu", "gelu", "mish"} == applied


def test_shared_parts() -> None:
    assert isinstance(norm(4, False, 0.1), nn.Identity)
    layer = norm(4, True, 0.3)
    assert isinstance(layer, nn.BatchNorm2d)
    assert (layer.num_features, layer.momentum) == (4, 0.3)
    conv = conv3x3(64, 128, stride=2, bias=True)
    assert conv(torch.zeros(1, 64, 14, 14)).shape == (1, 128, 7, 7)
    assert conv.weight.std().item() == pytest.approx((2 / (9 * 128)) ** 0.5, rel=0.02)


def test_a_duplicate_name_in_a_registry_raises() -> None:
    with pytest.raises(ValueError, match=r"^'a' is registered twice: x and z$"):
        make_registry([("a", "x"), ("b", "y"), ("a", "z")])


@pytest.mark.parametrize(
    ("asked", "hint"), [("wnr", "; did you mean 'wrn'?"), ("WRN", ""), ("", ""), ("a\nb", "")]
)
def test_an_unknown_family_gives_the_known_and_the_nearest(asked: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        get_family(asked)
    message = f"unknown family {asked!r}: known are {', '.join(sorted(FAMILIES))}{hint}"
    assert str(caught.value) == message
    assert "\n" not in message
    assert check_name("wrn", FAMILIES, "family") == "wrn"
