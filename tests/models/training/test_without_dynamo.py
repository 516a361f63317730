"""Optimizers made without torch._dynamo: none imports it, all step as torch's own do."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
import torch

from fmnist_models.training.optimizers import _OPTIMIZERS
from fmnist_models.training.without_dynamo import without_dynamo
from tests.models.training.test_optimizers import EVERY

STEPS = """
import json, sys
import torch
from pydantic import TypeAdapter
from fmnist_models.config.optimizers import OptimizerConfig
from fmnist_models.training.optimizers import build_optimizer

found = []
for line in json.loads(sys.argv[1]):
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4), torch.nn.Linear(4, 2))
    optimizer = build_optimizer(model, TypeAdapter(OptimizerConfig).validate_python(line))
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.ones(3, 4)).square().sum().backward()
        optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())
    if "torch._dynamo" in sys.modules:
        found.append(line)
        del sys.modules["torch._dynamo"]
print(json.dumps(found))
"""


def test_none_imports_it() -> None:
    configs = json.dumps([config.model_dump() for config in EVERY])
    run = subprocess.run(
        [sys.executable, "-c", STEPS, configs], capture_output=True, text=True, check=True
    )
    assert json.loads(run.stdout) == []


@pytest.mark.parametrize("kind", [kind for kind in _OPTIMIZERS if kind != "lion"])
def test_steps_and_states_are_those_of_torch(kind: str) -> None:
    def trained(plain: bool) -> tuple[torch.Tensor, dict[str, Any]]:
        torch.manual_seed(0)
        weight = torch.nn.Parameter(torch.randn(8, 8))
        settings: dict[str, Any] = {"lr": 0.01, "weight_decay": 0.1}
        make = _OPTIMIZERS[kind]
        optimizer = (
            make([weight], **settings)
            if plain
            else without_dynamo(lambda: make([weight], **settings))
        )
        for _ in range(5):
            optimizer.zero_grad()
            (weight @ torch.randn(8, 3)).square().sum().backward()
            optimizer.step()
        return weight.detach(), optimizer.state_dict()

    (ours, states), (theirs, expected) = trained(False), trained(True)
    assert torch.equal(ours, theirs)
    assert str(states) == str(expected)
