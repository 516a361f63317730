"""Every optimizer: it learns, steps as its paper writes, resumes exactly; SAM and Schedule-Free."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

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
from fmnist_models.training.sam import Sam
from fmnist_models.training.trainer import Trainer
from tests.models.unbroken import assert_a_break_changes_nothing, figures, new_run

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


@pytest.fixture(scope="module")
def fewer(few: Dataset) -> Dataset:
    """200 images to train, 100 to validate."""
    return replace(
        few,
        train=few.train.subset(torch.arange(200)),
        validation=few.validation.subset(torch.arange(100)),
    )


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
    model = build_model(get_family(name).example, 10)
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


def test_without_its_package_schedule_free_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, fewer: Dataset
) -> None:
    monkeypatch.setitem(sys.modules, "schedulefree", None)
    with pytest.raises(ConfigError, match=r"run: pip install schedulefree$") as caught:
        new_run(trial(ScheduleFreeConfig(lr=0.1)), fewer)
    assert "\n" not in str(caught.value)


def test_schedule_free_is_scored_at_its_average_and_trains_on_where_it_was(few: Dataset) -> None:
    run = new_run(trial(ScheduleFreeConfig(lr=5e-3), batch_size=128), few)
    run.run_epoch()
    assert all(group["train_mode"] for group in run.optimizer.param_groups)
    kept = [p.detach().clone() for p in run.model.parameters()]
    run.average.end_epoch(1)
    assert all(torch.equal(a, b) for a, b in zip(kept, run.model.parameters(), strict=True))
    optimizer: Any = run.optimizer
    for y, x in zip(run.model.parameters(), run.averaged_model.parameters(), strict=True):
        # y = (1 - beta1) z + beta1 x (arXiv:2405.15682, equation 3)
        torch.testing.assert_close(0.1 * optimizer.state[y]["z"] + 0.9 * x, y)
    assert_statistics_are_those_of_the_images(run, few)


def assert_statistics_are_those_of_the_images(run: Trainer, few: Dataset) -> None:
    """The first norm of `averaged_model` has the mean over the training images, all one batch."""
    first = next(m for m in run.averaged_model.modules() if isinstance(m, nn.BatchNorm2d))
    seen: list[Tensor] = []
    hook = first.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        run.averaged_model.eval()(few.normalization(few.train.images))
    hook.remove()
    assert first.running_mean is not None
    torch.testing.assert_close(first.running_mean, seen[0].mean((0, 2, 3)), rtol=2e-3, atol=2e-4)


def test_schedule_free_refuses_a_falling_rate_and_a_second_average() -> None:
    with pytest.raises(ValueError, match=r"needs lr_schedule\.kind \"constant\""):
        trial(ScheduleFreeConfig(lr=0.1), lr_schedule=LrScheduleConfig())
    with pytest.raises(ValueError, match="set ema_decay and swa_fraction to 0"):
        trial(ScheduleFreeConfig(lr=0.1), regularization=RegularizationConfig(ema_decay=0.9))


def test_sam_takes_its_gradient_at_the_worst_point_near_by(few: Dataset) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    images = few.normalization(few.train.images[:50])
    labels = few.train.labels[:50]
    start = [p.detach().clone() for p in model.parameters()]
    cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]
    gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    length = math.sqrt(sum(g.square().sum().item() for g in gradients))
    with Sam(model, 0.3).perturbed():
        for p, s, g in zip(model.parameters(), start, gradients, strict=True):
            assert p.grad is None
            torch.testing.assert_close(p.detach(), s + 0.3 * g / length)
        worse = cross_entropy(model(images), labels)
    assert worse > cross_entropy(model(images), labels)
    assert all(torch.equal(p, s) for p, s in zip(model.parameters(), start, strict=True))


def test_sam_leaves_the_statistics_of_the_first_pass_even_when_it_fails(fewer: Dataset) -> None:
    config = trial(EVERY[0], model=QuickConfig(width=8, depth=1))
    plain = new_run(config, fewer)
    rho = RegularizationConfig(sam_rho=0.1)
    sam = new_run(config.model_copy(update={"regularization": rho}), fewer)
    images = fewer.normalization(fewer.train.images[:50])
    for run in (plain, sam):
        run.step(images, fewer.train.labels[:50])
    both = zip(plain.model.named_buffers(), sam.model.named_buffers(), strict=True)
    assert all(torch.equal(a, b) for (_, a), (_, b) in both)
    states = zip(plain.model.parameters(), sam.model.parameters(), strict=True)
    assert not all(torch.equal(a, b) for a, b in states)
    with pytest.raises(RuntimeError, match="broken"), Sam(sam.model, 0.1).perturbed():
        raise RuntimeError("broken")
    norms = [m for m in sam.model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(norm.track_running_stats for norm in norms)


def test_sam_of_radius_nothing_is_the_plain_step(fewer: Dataset) -> None:
    model = QuickConfig(width=8, depth=1)
    tiny = RegularizationConfig(sam_rho=1e-30)
    curves = [
        [figures(m) for m in new_run(trial(EVERY[0], model=model, **changes), fewer).epochs()]
        for changes in ({}, {"regularization": tiny})
    ]
    assert curves[0] == curves[1]
