"""Every optimizer: it learns, steps as its paper writes, resumes exactly."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from fmnist_models.config.files import parse_config
from fmnist_models.config.optimizers import (
    AdadeltaConfig,
    AdagradConfig,
    AdamaxConfig,
    AdamConfig,
    AdamWConfig,
    LionConfig,
    MuonConfig,
    NAdamConfig,
    OptimizerConfig,
    RmspropConfig,
    ScheduleFreeConfig,
    SgdConfig,
)
from fmnist_models.config.registry import FAMILIES, build_model, get_family
from fmnist_models.config.training import LrScheduleConfig, RegularizationConfig
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.dataset import Dataset
from fmnist_models.errors import ConfigError
from fmnist_models.families.quick import QuickConfig
from fmnist_models.training.optimizers import Muon, build_optimizer
from tests.models.unbroken import assert_a_break_changes_nothing, new_run

MakeConfig = Callable[..., TrialConfig]
EVERY: list[OptimizerConfig] = [
    SgdConfig(lr=0.05),
    SgdConfig(lr=0.05, nesterov=False),
    SgdConfig(lr=0.1, momentum=0.0),
    AdamConfig(lr=3e-3),
    AdamConfig(lr=3e-3, amsgrad=True, weight_decay=1e-4),
    AdamWConfig(lr=3e-3),
    NAdamConfig(lr=3e-3),
    AdamaxConfig(lr=5e-3),
    RmspropConfig(lr=1e-3),
    RmspropConfig(lr=1e-3, momentum=0.5),
    AdagradConfig(lr=0.02),
    AdadeltaConfig(lr=1.0),
    LionConfig(lr=1e-3),
    MuonConfig(lr=3e-3),
    ScheduleFreeConfig(lr=5e-3),
]


def name_of(config: OptimizerConfig) -> str:
    flags = [k for k, v in config.model_dump(exclude_defaults=True).items() if k != "lr"]
    return "-".join([config.kind, *flags])


KINDS_OF_THEIR_OWN = ("sgd", "lion", "muon", "schedulefree")
"""Those that we step ourselves or treat apart, and one of torch's, which stands for the rest."""
OWN = [config for config in EVERY if config.kind in KINDS_OF_THEIR_OWN]
every = pytest.mark.parametrize("config", EVERY, ids=name_of)
own = pytest.mark.parametrize("config", OWN, ids=name_of)


def trial(config: OptimizerConfig, **changes: Any) -> TrialConfig:
    parts: dict[str, Any] = {
        "model": QuickConfig(width=8, depth=1, dropout=0.2),
        "optimizer": config,
        "lr_schedule": LrScheduleConfig(kind="constant", warmup=0.2),
        "batch_size": 50,
        "epochs": 3,
    }
    return TrialConfig(**{**parts, **changes})


def test_every_kind_is_tested_here() -> None:
    union, *_ = get_args(OptimizerConfig)
    assert {type(config) for config in EVERY} == set(get_args(union))
    assert all(type(c).model_fields["kind"].default == c.kind for c in EVERY)


@pytest.mark.parametrize(
    ("config", "rho"),
    [
        *(pytest.param(config, 0.0, id=name_of(config)) for config in EVERY),
        *(pytest.param(config, 0.05, id=f"sam-{name_of(config)}") for config in OWN),
    ],
)
def test_twenty_steps_on_real_images_lower_the_loss(
    config: OptimizerConfig, rho: float, few: Dataset
) -> None:
    whole = trial(config, regularization=RegularizationConfig(sam_rho=rho))
    assert parse_config(whole.model_dump_json()) == whole
    run = new_run(whole, few)
    images = few.normalization(few.train.images[:128])
    labels = few.train.labels[:128]
    losses = [run.step(images, labels)[0].item() for _ in range(20)]
    assert losses[-1] < 0.75 * losses[0]


@own
def test_a_break_changes_nothing(config: OptimizerConfig, fewer: Dataset) -> None:
    curve = assert_a_break_changes_nothing(trial(config), fewer)
    assert all(math.isfinite(metrics.train_loss) for metrics in curve)


def test_a_break_changes_nothing_with_sam(fewer: Dataset) -> None:
    sam = RegularizationConfig(sam_rho=0.05, ema_decay=0.9)
    assert_a_break_changes_nothing(trial(EVERY[0], regularization=sam), fewer)


@every
def test_the_engine_sets_the_learning_rate_of_every_group(
    config: OptimizerConfig, fewer: Dataset
) -> None:
    run = new_run(trial(config), fewer)
    run._set_lr(0)
    expected = config.lr * (0.5 / 12) / 0.2
    assert [g["lr"] for g in run.optimizer.param_groups] == pytest.approx(
        [expected] * len(run.optimizer.param_groups)
    )


def weight(value: float) -> nn.Linear:
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, value)
    return model


def after(config: OptimizerConfig, *gradients: float) -> list[float]:
    """The weight, from 2, after each of the gradients."""
    model, path = weight(2.0), []
    optimizer = build_optimizer(model, config)
    for gradient in gradients:
        model.weight.grad = torch.tensor([[gradient]])
        optimizer.step()
        path.append(model.weight.item())
    return path


def test_lion_steps_as_in_its_paper() -> None:
    config = LionConfig(lr=0.1, beta1=0.5, beta2=0.75, weight_decay=0.5)
    expected, value, momentum = [], 2.0, 0.0
    for gradient in (1.0, -2.0, -0.1, 0.4):
        sign = math.copysign(1, 0.5 * momentum + 0.5 * gradient)
        value -= 0.1 * (sign + 0.5 * value)
        momentum = 0.75 * momentum + 0.25 * gradient
        expected.append(value)
    assert after(config, 1.0, -2.0, -0.1, 0.4) == pytest.approx(expected, abs=1e-6)


def test_first_steps_by_hand() -> None:
    assert after(AdamConfig(lr=0.1), 3.0) == pytest.approx([1.9], abs=1e-6)
    assert after(AdamaxConfig(lr=0.1), 3.0, 3.0) == pytest.approx([1.9, 1.8], abs=1e-6)
    assert after(AdagradConfig(lr=0.1), 3.0, 4.0) == pytest.approx([1.9, 1.9 - 0.1 * 0.8], abs=1e-6)
    rms = 3 * math.sqrt(0.1)
    assert after(RmspropConfig(lr=0.1, alpha=0.9), 3.0) == pytest.approx([2 - 0.3 / rms], abs=1e-5)
    step = math.sqrt(1e-6) / math.sqrt(0.1 * 9 + 1e-6) * 3
    assert after(AdadeltaConfig(), 3.0) == pytest.approx([2 - step], abs=1e-6)


def test_amsgrad_never_lets_its_steps_grow() -> None:
    plain, bounded = (
        after(AdamConfig(lr=0.1, beta1=0.0, beta2=0.5, amsgrad=flag), 10.0, 1.0, 1.0)
        for flag in (False, True)
    )
    assert abs(plain[2] - plain[1]) > abs(bounded[2] - bounded[1])


@functools.cache
def built(name: str) -> nn.Module:
    """The example of a family, for all who only look at it."""
    return build_model(get_family(name).example, 10)


@pytest.mark.parametrize(
    ("config", "name"),
    [
        pytest.param(config, name, id=f"{name_of(config)}-{name}")
        for config in EVERY
        for name in (FAMILIES if config in OWN else ["quick"])
    ],
)
def test_vectors_do_not_decay_and_every_parameter_is_in_one_group(
    config: OptimizerConfig, name: str
) -> None:
    model = built(name)
    optimizer = build_optimizer(model, config)
    sizes = {True: 0, False: 0}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            sizes[bool(group["weight_decay"])] += parameter.numel()
    matrices = sum(p.numel() for p in model.parameters() if p.ndim > 1)
    vectors = sum(p.numel() for p in model.parameters() if p.ndim <= 1)
    assert sizes == (
        {True: matrices, False: vectors}
        if config.weight_decay
        else {True: 0, False: matrices + vectors}
    )


class Small(nn.Module):
    """A stem, a hidden and a depthwise convolution, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3)
        self.hidden = nn.Conv2d(4, 6, 3)
        self.depthwise = nn.Conv2d(6, 6, 3, groups=6)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.depthwise(self.hidden(self.stem(x))).mean((2, 3)))
        return logits


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("other_grad", [False, True], ids=["", "grad in the other order"])
def test_muon_moves_hidden_weights_by_an_orthogonal_matrix(
    layout: torch.memory_format, other_grad: bool
) -> None:
    torch.manual_seed(0)
    model = Small().to(memory_format=layout)  # type: ignore[call-overload]
    optimizer = build_optimizer(model, MuonConfig(lr=0.1, weight_decay=0.5, momentum=0.5))
    assert isinstance(optimizer, Muon)
    assert [p is model.hidden.weight for p in optimizer.hidden] == [True]
    before = model.hidden.weight.detach().clone()
    for p in model.parameters():
        p.grad = torch.randn(p.shape)
        if p.ndim == 4 and (layout == torch.contiguous_format) == other_grad:
            p.grad = p.grad.to(memory_format=torch.channels_last)
    gradient = model.hidden.weight.grad
    assert gradient is not None
    optimizer.step()
    moved = (before * (1 - 0.1 * 0.5) - model.hidden.weight.detach()).flatten(1)
    # Five Newton-Schulz steps leave singular values between about 0.7 and 1.2, times 0.2 sqrt(36).
    values = torch.linalg.svdvals(moved) / (0.1 * 0.2 * 6)
    assert values.min() > 0.5
    assert values.max() < 1.4
    u, _, v = torch.linalg.svd(gradient.flatten(1), full_matrices=False)
    cosine = torch.cosine_similarity(moved.flatten(), (u @ v).flatten(), dim=0)
    assert cosine > 0.95


def test_muon_goes_without_hidden_weights_and_names_what_it_lacks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    build_optimizer(nn.Linear(2, 2), MuonConfig(lr=0.1)).step()
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(ConfigError, match=r"^optimizer muon needs torch 2\.9 or newer, .*pip"):
        build_optimizer(nn.Linear(2, 2), MuonConfig(lr=0.1))
