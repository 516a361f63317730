"""Angular margins: by hand, in training alone, on any family's head, kept in the model folder."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from fmnist_models.config.base import ModelConfig
from fmnist_models.config.files import parse_config
from fmnist_models.config.registry import FAMILIES, get_family
from fmnist_models.config.training import (
    ArcFaceConfig,
    CrossEntropyConfig,
    RegularizationConfig,
    SphereFaceConfig,
)
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.dataset import Dataset
from fmnist_models.errors import ConfigError
from fmnist_models.saved_model.folder import Header, load_network, save_model
from fmnist_models.training.losses import CosineHead, build_network, training_loss, with_margin
from tests.models.unbroken import assert_a_break_changes_nothing, new_run

MakeConfig = Callable[..., TrialConfig]
ANGULAR = [ArcFaceConfig(), SphereFaceConfig()]
angular = pytest.mark.parametrize("loss", ANGULAR, ids=lambda loss: loss.kind)
ANGLES = torch.linspace(0.02, math.pi - 0.02, 40)


def true_logits(loss: ArcFaceConfig | SphereFaceConfig) -> torch.Tensor:
    """Logits of the true class, over its scale, at each of ANGLES."""
    logits = loss.scale * torch.stack([torch.cos(ANGLES), torch.zeros(40)], dim=1)
    lowered = with_margin(loss, logits, torch.zeros(40, dtype=torch.int64))
    assert torch.equal(lowered[:, 1], logits[:, 1])
    return lowered[:, 0] / loss.scale


def test_arcface_adds_to_the_angle_and_never_rises() -> None:
    found = true_logits(ArcFaceConfig(margin=0.5))
    inside = math.pi >= ANGLES + 0.5
    torch.testing.assert_close(found[inside], torch.cos(ANGLES + 0.5)[inside], rtol=0, atol=1e-4)
    assert (found.diff() < 0).all()


@pytest.mark.parametrize("margin", [1, 2, 3, 4])
def test_sphereface_multiplies_the_angle_and_never_rises(margin: int) -> None:
    found = true_logits(SphereFaceConfig(margin=float(margin)))
    assert (found.diff() < 1e-6).all()
    first = margin * ANGLES < math.pi
    torch.testing.assert_close(found[first], torch.cos(margin * ANGLES)[first], rtol=0, atol=1e-4)


@angular
def test_a_margin_makes_the_loss_larger_and_its_gradient_is_finite(
    loss: ArcFaceConfig | SphereFaceConfig,
) -> None:
    cosines = torch.tensor([[1.0, -1.0, 0.3], [-1.0, 1.0, 0.0]], requires_grad=True)
    targets = torch.tensor([0, 0])
    logits = loss.scale * cosines
    value = cross_entropy(with_margin(loss, logits, targets), targets)
    assert value > cross_entropy(logits, targets)
    value.backward()  # type: ignore[no-untyped-call]
    assert cosines.grad is not None
    assert cosines.grad.isfinite().all()


@angular
def test_one_hot_targets_are_as_good_as_labels(loss: ArcFaceConfig | SphereFaceConfig) -> None:
    logits = loss.scale * (2 * torch.rand(5, 3) - 1)
    labels = torch.tensor([0, 1, 2, 1, 0])
    whole = torch.eye(3)[labels]
    torch.testing.assert_close(with_margin(loss, logits, labels), with_margin(loss, logits, whole))


@angular
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_gets_a_cosine_head(
    loss: ArcFaceConfig | SphereFaceConfig, name: str, everything_on: MakeConfig, few: Dataset
) -> None:
    config = everything_on(model=get_family(name).example, loss=loss)
    assert parse_config(config.model_dump_json()) == config
    model = build_network(config, 10).eval()
    heads = [m for m in model.modules() if isinstance(m, CosineHead)]
    assert len(heads) == 1
    logits = model(few.train.images[:8].float() / 255)
    assert (logits.shape, logits.dtype) == ((8, 10), torch.float32)
    assert logits.abs().max() <= loss.scale * 1.0001
    weight = heads[0].weight
    torch.testing.assert_close(  # neither the length of a class nor of a feature matters
        CosineHead.forward(heads[0], 3 * weight.detach()),
        loss.scale * torch.cosine_similarity(weight[:, None], weight[None], dim=2),
    )


def test_a_family_without_a_linear_head_is_named(
    everything_on: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def headless(config: ModelConfig, classes: int) -> nn.Module:
        return nn.Conv2d(1, classes, 28)

    monkeypatch.setattr("fmnist_models.training.losses.build_model", headless)
    with pytest.raises(ConfigError, match=r"^loss arcface replaces .* quick has none"):
        build_network(everything_on(loss=ArcFaceConfig()), 10)


@angular
def test_it_learns_and_a_break_changes_nothing(
    few: Dataset, everything_on: MakeConfig, loss: ArcFaceConfig | SphereFaceConfig
) -> None:
    regularization = RegularizationConfig()
    config = everything_on(loss=loss, regularization=regularization, epochs=3, batch_size=64)
    first, *_, last = assert_a_break_changes_nothing(config, few)
    assert last.train_loss < first.train_loss
    assert last.val_accuracy is not None
    assert last.val_accuracy > 0.3


def test_validation_knows_no_margin(few: Dataset, everything_on: MakeConfig) -> None:
    runs = [new_run(everything_on(loss=ArcFaceConfig(margin=margin)), few) for margin in (0.0, 1.0)]
    images, labels = runs[0]._batch(torch.arange(64))
    losses = [run.step.forward(images, labels)[0].item() for run in runs]
    assert losses[0] < losses[1]
    scores = [run.evaluator.validate(run.averaged_model) for run in runs]
    assert scores[0] == scores[1]


def test_a_model_folder_brings_the_head_back(
    tmp_path: Path, few: Dataset, everything_on: MakeConfig
) -> None:
    config = everything_on(loss=ArcFaceConfig(scale=9.0))
    model = build_network(config, 10).eval()
    save_model(tmp_path, model, config, Header.of(few))
    loaded, _ = load_network(tmp_path, "cpu")
    images = few.train.images[:4].float() / 255
    assert torch.equal(loaded(images), model(images))


def test_cross_entropy_is_the_plain_one(everything_on: MakeConfig) -> None:
    config = everything_on()
    assert config.loss == CrossEntropyConfig()
    logits, labels = torch.randn(6, 10), torch.arange(6)
    expected = cross_entropy(logits, labels, label_smoothing=0.1)
    assert torch.equal(training_loss(config, logits, labels), expected)
