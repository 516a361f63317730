"""SAM: the gradient at the worst point near by, and nothing else of that point."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from fmnist_models.config.optimizers import SgdConfig
from fmnist_models.config.training import RegularizationConfig
from fmnist_models.data.dataset import Dataset
from fmnist_models.families.quick import QuickConfig
from fmnist_models.training.sam import Sam
from tests.models.training.test_optimizers import trial
from tests.models.unbroken import figures, new_run

SGD = SgdConfig(lr=0.05)


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
    config = trial(SGD, model=QuickConfig(width=8, depth=1))
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
        [figures(m) for m in new_run(trial(SGD, model=model, **changes), fewer).epochs()]
        for changes in ({}, {"regularization": tiny})
    ]
    assert curves[0] == curves[1]
