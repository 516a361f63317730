"""Running out of memory: knowing it when it comes, seeing it come, and giving memory back."""

from __future__ import annotations

import ctypes
import errno
import gc
import resource
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import nn

from fmnist_models.errors import OutOfMemoryError, message_of

SIGNS = (
    "out of memory",  # CUDA, also where it is no torch.OutOfMemoryError
    "can't allocate memory",  # torch's allocator on a CPU
    "cannot allocate memory",
    "not enough memory",
    "_alloc_failed",  # cuBLAS, cuDNN
    "bad_alloc",
)
"""What a RuntimeError says, in small letters, when it means that an allocation failed."""
CHECK_SECONDS = 0.02
"""How often the resident set is looked at: a network can take some 50 MB meanwhile."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory ran out, be it the GPU's, the host's, or our limit."""
    if isinstance(error, MemoryError | OutOfMemoryError | torch.OutOfMemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    words = message_of(error).lower() if isinstance(error, RuntimeError) else ""
    return any(sign in words for sign in SIGNS)


def keep_under(limit_bytes: int, networks: Iterable[nn.Module], device: str) -> None:
    """Make `networks` raise OutOfMemoryError when this process's resident set passes the limit.

    Looked at as each layer begins its forward pass, on a GPU as the network does: that is where a
    training step takes memory, layer by layer, so that it ends before the system is in need and
    kills whom it likes. A pass that is replayed as a CUDA graph is not looked at.
    """
    process, next_check = psutil.Process(), 0.0

    def check(module: nn.Module, inputs: Any) -> None:
        nonlocal next_check
        now = time.monotonic()
        if now < next_check:
            return
        next_check = now + CHECK_SECONDS
        used = process.memory_info().rss
        if used > limit_bytes:
            raise OutOfMemoryError(
                f"the process has {used / 1e9:.2f} GB in memory, over its limit of "
                f"{limit_bytes / 1e9:.2f} GB; lower the batch size or run fewer trials at a time"
            )

    for network in networks:
        for module in network.modules() if device == "cpu" else [network]:
            module.register_forward_pre_hook(check)


def give_back_memory(device: str) -> None:
    """Hand what is no longer in use back to the GPU and to the system.

    Only what nothing refers to any more: a caught exception keeps all that its functions held.
    """
    gc.collect()
    if device != "cpu":
        with suppress(RuntimeError):  # the GPU is lost to this process; `is_usable` tells
            torch.cuda.empty_cache()
    # glibc keeps freed memory for itself, which would count against the next trial's limit.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        trim(0)


def is_usable(device: str) -> bool:
    """Whether this process can still compute on `device`; some errors lose it its GPU for good."""
    if device == "cpu":
        return True
    try:
        torch.zeros(1, device=device).add_(1).item()
    except RuntimeError as error:
        return is_out_of_memory(error)  # it is only full
    return True


def resident_bytes() -> int:
    """What this process has in memory now, shared libraries included."""
    resident: int = psutil.Process().memory_info().rss
    return resident


def allocated_bytes(device: str) -> int:
    """What this process's tensors take of the GPU now; 0 on a CPU."""
    return 0 if device == "cpu" else torch.cuda.memory_allocated()


def reset_peak_memory(device: str) -> None:
    """Let `peak_memory_bytes` start anew, as far as the system can."""
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        return
    with suppress(OSError):  # else it is the peak of the process's whole life
        Path("/proc/self/clear_refs").write_text("5")  # man 5 proc_pid_clear_refs


def peak_memory_bytes(device: str) -> int:
    """The most memory in use so far: allocated on the GPU, or this process's resident set."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
