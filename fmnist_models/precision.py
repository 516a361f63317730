"""Which number format to train in on the device at hand: measured once, then kept."""

from __future__ import annotations

import time
from typing import Literal

import torch
from torch import nn

Precision = Literal["bf16", "fp32"]


def default_device() -> str:
    """`cuda` where a GPU can be used, else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def choose_precision(device: str) -> Precision:
    """bf16 autocast where it makes a small convolution faster by a tenth at least, else fp32.

    About a third of a second on a CPU. A choice by measurement, because processors exist that
    compute bf16 correctly but by emulation, several times slower.
    """
    if device != "cpu":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if _step_seconds("bf16") < 0.9 * _step_seconds("fp32") else "fp32"


def autocast(device: str, precision: Precision) -> torch.autocast:
    """The context in which forward passes run."""
    return torch.autocast(device, torch.bfloat16, enabled=precision == "bf16")


def _step_seconds(precision: Precision, repeats: int = 4) -> float:
    """Fastest of a few forward and backward passes of two convolutions, in seconds."""
    net = nn.Sequential(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1))
    net = net.to(memory_format=torch.channels_last)
    images = torch.ones(64, 16, 14, 14).to(memory_format=torch.channels_last)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        with autocast("cpu", precision):
            loss = net(images).sum()
        loss.backward()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def gpu_count() -> int:
    """How many GPUs this process can use."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def set_threads(count: int) -> None:
    """Let torch use `count` CPU threads in this process."""
    torch.set_num_threads(count)
