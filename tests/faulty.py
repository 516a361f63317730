"""A family whose networks misbehave on request: real faults, for whoever must survive them.

In the process where it is to be built, register it: `monkeypatch.setitem(FAMILIES, *ENTRY)`, or by
`register()` in a process of its own. It is not registered by being imported.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from fmnist_models.config.base import ModelConfig
from fmnist_models.config.optimizers import SgdConfig
from fmnist_models.config.registry import FAMILIES, Family
from fmnist_models.config.trial import TrialConfig
from fmnist_models.families.layers import Head

ENTRY = ("faulty", "tests.faulty")
Fault = Literal[
    "none",
    "raise",  # an exception with a strange message
    "mute",  # an exception whose message cannot be made
    "exit",  # sys.exit()
    "leave",  # os._exit(0): the process is gone, without a word
    "kill",  # SIGKILL
    "sleep",  # for `amount` seconds
    "busy",  # in C, without ever letting Python's lock go
    "nan",  # logits that are no numbers
    "hoard",  # `amount` bytes more at each pass, kept
    "cuda",  # what torch raises when a GPU's memory is full
    "crowd",  # out of memory with over `amount` images at a time
    "linger",  # takes `amount` seconds to be torn down
]


class FaultyConfig(ModelConfig):
    """A small dense net that does `fault` in its training pass number `at`, counted from 1."""

    family: Literal["faulty"] = "faulty"
    fault: Fault = "none"
    at: int = Field(default=1, ge=1)
    amount: float = 0.0
    once: str = ""
    """A file that is made as the fault strikes; while it is there, the fault does not strike."""


class Mute(RuntimeError):
    def __str__(self) -> str:
        raise ValueError("no words")


class FaultyNet(nn.Module):
    """Images (N, 1, 28, 28) float -> logits (N, classes)."""

    def __init__(self, config: FaultyConfig, classes: int) -> None:
        super().__init__()
        self.config = config
        self.passes = 0
        self.hoard: list[Tensor] = []
        self.hidden = nn.Linear(784, 16)
        self.dropout = nn.Dropout(0.2)
        self.head = Head(16, classes)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, 1, 28, 28) float -> (N, classes)."""
        if self.training:
            self.passes += 1
            if self.is_due():
                self.strike(len(x))
        hidden = torch.relu(self.hidden(x.flatten(1)))
        logits: Tensor = self.head(self.dropout(hidden))
        return logits * float("nan") if self.config.fault == "nan" and self.is_due() else logits

    def is_due(self) -> bool:
        """Whether the fault strikes in this pass; hoarding and crowds go on for ever."""
        config = self.config
        if config.fault in ("hoard", "nan", "crowd"):
            return self.passes >= config.at
        if self.passes != config.at or (config.once and Path(config.once).exists()):
            return False
        if config.once:
            Path(config.once).touch()
        return True

    def strike(self, images: int) -> None:
        """Do what the configuration says."""
        amount = self.config.amount
        match self.config.fault:
            case "raise":
                raise RuntimeError("a bad \0 trial \ud800, and\nmore lines of it")
            case "mute":
                raise Mute
            case "exit":
                sys.exit(3)
            case "leave":
                os._exit(0)
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "sleep":
                time.sleep(amount)
            case "busy":
                re.match(r"(a+)+$", "a" * 60 + "b")
            case "hoard":
                self.hoard.append(torch.ones(int(amount) // 4))
            case "cuda":
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
            case "crowd" if images > amount:
                torch.empty(2**50)  # a petabyte and more: torch's own error

    def __del__(self) -> None:
        if self.passes and self.config.fault == "linger":
            time.sleep(self.config.amount)


def register() -> None:
    """Make the family known to this process."""
    FAMILIES.setdefault(*ENTRY)


def faulty(
    fault: Fault = "none", *, epochs: int = 3, seed: int = 0, batch_size: int = 100, **model: object
) -> TrialConfig:
    """Give a short run with this fault."""
    return TrialConfig(
        model=FaultyConfig.model_validate({"fault": fault, **model}),
        optimizer=SgdConfig(lr=0.05),
        batch_size=batch_size,
        epochs=epochs,
        seed=seed,
    )


FAMILY = Family(name="faulty", config=FaultyConfig, build=FaultyNet, example=FaultyConfig())
