"""Which number format to train in on the device at hand: measured once, then kept."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

Precision = Literal["bf16", "fp32"]
TURNS, CLEAR_LEAD = 8, 3.0
"""Most turns of the race, and how many times faster one must be after two to end it."""
SAMPLE_IMAGES = 32


def default_device() -> str:
    """`cuda` where a GPU can be used, else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


@cache
def choose_precision(device: str) -> Precision:
    """bf16 autocast where it is the faster one for a pair of convolutions, else fp32.

    Seconds at most on a CPU, once a process. A choice by measurement, because processors exist that
    compute bf16 correctly but by emulation, several times slower. The formats take turns on a
    single thread and the fastest of each counts: with several threads, other work on the machine
    turned the result around (benchmarks/LOG.md).
    """
    if device != "cpu":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _faster()
    finally:
        torch.set_num_threads(threads)


def _faster() -> Precision:
    net, images = _sample_work()
    best: dict[Precision, float] = {"bf16": float("inf"), "fp32": float("inf")}
    for turn in range(TURNS):
        for precision in best:
            best[precision] = min(best[precision], _step_seconds(net, images, precision))
        if turn > 0 and max(best.values()) > CLEAR_LEAD * min(best.values()):
            break
    return min(best, key=lambda precision: best[precision])


def autocast(device: str, precision: Precision) -> torch.autocast:
    """The context in which forward passes run."""
    return torch.autocast(device, torch.bfloat16, enabled=precision == "bf16")


def _sample_work() -> tuple[nn.Module, Tensor]:
    """A small network of the kind that is trained here, and images (64, 16, 28, 28) for it."""
    net = nn.Sequential(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1))
    images = torch.ones(64, 16, 28, 28).to(memory_format=torch.channels_last)
    return net.to(memory_format=torch.channels_last), images


def _step_seconds(net: nn.Module, images: Tensor, precision: Precision) -> float:
    """Seconds of one forward and backward pass."""
    start = time.perf_counter()
    with autocast("cpu", precision):
        loss = net(images).sum()
    loss.backward()
    return time.perf_counter() - start


def sample_step(device: str) -> Callable[[], None]:
    """A forward and a backward pass of fixed work in fp32 on `device`, waited for."""
    net, images = _sample_work()
    net, images = net.to(device), images[:SAMPLE_IMAGES].to(device)

    def step() -> None:
        net(images).sum().backward()
        if device != "cpu":
            torch.cuda.synchronize()

    return step


def device_name(device: str) -> str:
    """The model of the GPU or of the processor, as its maker calls it."""
    if device != "cpu":
        return torch.cuda.get_device_name()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def gpu_count() -> int:
    """How many GPUs this process can use."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def set_threads(count: int) -> None:
    """Let torch use `count` CPU threads in this process."""
    torch.set_num_threads(count)


def card_memory_bytes(device: str) -> int:
    """Memory of the first GPU that this process can use, 0 on a CPU."""
    return 0 if device == "cpu" else torch.cuda.get_device_properties(0).total_memory
