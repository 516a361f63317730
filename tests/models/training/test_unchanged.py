"""With every newer ingredient left at its default, training is bit by bit what it was before.

`reference` is the engine's loop and the augmentation of commit c9c2fd2, written out plainly. How
the last epoch is scored is newer: with mirror images, as the trained model is used.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad

from fmnist_models.config.base import ModelConfig
from fmnist_models.config.optimizers import AdamWConfig, SgdConfig
from fmnist_models.config.registry import build_model
from fmnist_models.config.training import AugmentationConfig, LrScheduleConfig, RegularizationConfig
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.dataset import Dataset
from fmnist_models.families.quick import QuickConfig
from fmnist_models.families.wrn import WrnConfig
from fmnist_models.training.trainer import Trainer

SHIFT, CUTOUT, ERASING, DECAY, SMOOTHING, WARMUP = 2, 8, 0.5, 0.9, 0.1, 0.2


def config_of(optimizer: SgdConfig | AdamWConfig, model: ModelConfig, kind: str) -> TrialConfig:
    return TrialConfig(
        model=model,
        optimizer=optimizer,
        lr_schedule=LrScheduleConfig.model_validate({"kind": kind, "warmup": WARMUP}),
        augmentation=AugmentationConfig(
            flip=True, shift=SHIFT, cutout=CUTOUT, random_erasing=ERASING
        ),
        regularization=RegularizationConfig(label_smoothing=SMOOTHING, ema_decay=DECAY),
        batch_size=100,
        epochs=2,
        seed=7,
    )


def blank(batch: Tensor, top: Tensor, left: Tensor, bottom: Tensor, right: Tensor) -> Tensor:
    steps = torch.arange(28)
    rows = (steps >= top[:, None]) & (steps < bottom[:, None])
    columns = (steps >= left[:, None]) & (steps < right[:, None])
    return batch.masked_fill(rows[:, None, :, None] & columns[:, None, None, :], 0.0)


def augmented(images: Tensor, dataset: Dataset, generator: torch.Generator) -> Tensor:
    """The draws in their old order: shift down, shift right, flip, cutout, random erasing."""
    count = len(images)

    def uniform(low: float = 0.0, high: float = 1.0) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=generator)

    top = torch.randint(2 * SHIFT + 1, (count,), generator=generator).tolist()
    left = torch.randint(2 * SHIFT + 1, (count,), generator=generator).tolist()
    flip = (uniform() < 0.5).tolist()
    padded = pad(images, (SHIFT,) * 4)
    crops = [padded[i, :, top[i] : top[i] + 28, left[i] : left[i] + 28] for i in range(count)]
    moved = torch.stack([c.flip(2) if f else c for c, f in zip(crops, flip, strict=True)])
    batch = dataset.normalization(moved)
    row, column = (torch.floor(uniform(0, 28)) - CUTOUT // 2 for _ in range(2))
    batch = blank(batch, row, column, row + CUTOUT, column + CUTOUT)
    area = uniform(0.02, 0.4) * 28 * 28
    aspect = torch.exp(uniform(math.log(0.3), math.log(1 / 0.3)))
    height = (area * aspect).sqrt().round().clamp(1, 28)
    width = (area / aspect).sqrt().round().clamp(1, 28)
    row = torch.floor(uniform() * (28 - height + 1))
    column = torch.floor(uniform() * (28 - width + 1))
    hit = uniform() < ERASING
    return blank(batch, row, column, row + height * hit, column + width * hit)


def lr_of(config: TrialConfig, progress: float) -> float:
    if progress < WARMUP:
        return config.optimizer.lr * (progress / WARMUP)
    rest = (progress - WARMUP) / (1 - WARMUP)
    if config.lr_schedule.kind == "linear":
        return config.optimizer.lr * (1.0 - rest)
    return config.optimizer.lr * (0.5 * (1 + math.cos(math.pi * rest)))


def optimizer_of(config: TrialConfig, model: nn.Module) -> torch.optim.Optimizer:
    wanted = config.optimizer
    groups: list[dict[str, Any]] = [
        {"params": [p for p in model.parameters() if p.ndim > 1]},
        {"params": [p for p in model.parameters() if p.ndim <= 1]},
    ]
    groups[0]["weight_decay"], groups[1]["weight_decay"] = wanted.weight_decay, 0.0
    if isinstance(wanted, SgdConfig):
        return torch.optim.SGD(groups, lr=wanted.lr, momentum=0.9, nesterov=True, fused=True)
    return torch.optim.AdamW(groups, lr=wanted.lr, fused=True)


def fresh(config: TrialConfig) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = build_model(config.model, 10)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def floats(model: nn.Module) -> list[Tensor]:
    return [t for t in model.state_dict().values() if t.is_floating_point()]


def score(model: nn.Module, dataset: Dataset, mirrored: bool) -> tuple[float, float]:
    model.eval()
    pixels = dataset.normalization(dataset.validation.images)
    with torch.inference_mode():
        logits = model(pixels.to(memory_format=torch.channels_last)).float()
        if mirrored:
            other = model(pixels.flip(3).to(memory_format=torch.channels_last)).float()
            logits = ((logits.softmax(1) + other.softmax(1)) / 2).log()
    hits = logits.argmax(1) == dataset.validation.labels
    loss = cross_entropy(logits, dataset.validation.labels)
    return loss.item(), hits.sum().item() / len(hits)


def reference(config: TrialConfig, dataset: Dataset) -> Iterator[list[float]]:
    model, average = fresh(config), fresh(config)
    optimizer, generator = optimizer_of(config, model), torch.Generator()
    steps = len(dataset.train) // config.batch_size
    for epoch in range(config.epochs):
        seed = config.seed * 1_000_003 + epoch
        torch.manual_seed(seed + 2**62)
        generator.manual_seed(seed)
        model.train()
        order = torch.randperm(len(dataset.train), generator=generator)
        total, hits = torch.zeros(()), torch.zeros(())
        for i in range(steps):
            index, step = order[i * 100 : (i + 1) * 100], epoch * steps + i
            lr = lr_of(config, (step + 0.5) / (config.epochs * steps))
            for group in optimizer.param_groups:
                group["lr"] = lr
            images = augmented(dataset.train.images[index], dataset, generator)
            labels = dataset.train.labels[index]
            logits = model(images.to(memory_format=torch.channels_last))
            loss = cross_entropy(logits, labels, label_smoothing=SMOOTHING)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            with torch.no_grad():
                decay = min(DECAY, (1 + step) / (10 + step))
                torch._foreach_lerp_(floats(average), floats(model), 1 - decay)
            total += loss.detach()
            hits += (logits.detach().argmax(1) == labels).sum()
        train = [(total / steps).item(), hits.item() / (steps * config.batch_size)]
        yield [*train, *score(average, dataset, epoch == config.epochs - 1), lr]


QUICK, WRN = QuickConfig(width=8, depth=1, dropout=0.3), WrnConfig(depth=10, dropout=0.1)


@pytest.mark.parametrize(
    ("model", "optimizer", "kind"),
    [
        (QUICK, SgdConfig(lr=0.05), "cosine"),
        (QUICK, SgdConfig(lr=0.05), "linear"),
        (QUICK, AdamWConfig(lr=1e-3), "cosine"),
        (WRN, SgdConfig(lr=0.05), "cosine"),
    ],
)
def test_the_curve_of_an_older_configuration_is_bit_equal(
    few: Dataset, model: ModelConfig, optimizer: SgdConfig | AdamWConfig, kind: str
) -> None:
    config = config_of(optimizer, model, kind)
    with torch.random.fork_rng(devices=[]):
        expected = list(reference(config, few))
    run = Trainer(config, few, device="cpu", precision="fp32")
    found = [
        [m.train_loss, m.train_accuracy, m.val_loss, m.val_accuracy, m.lr] for m in run.epochs()
    ]
    assert found == expected
