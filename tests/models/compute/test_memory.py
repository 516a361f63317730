"""Running out of memory: known by its many names, seen coming, and over when it is over."""

from __future__ import annotations

import errno

import pytest
import torch
from torch import nn

from fmnist_models.compute.memory import (
    give_back_memory,
    is_out_of_memory,
    is_usable,
    keep_under,
    peak_memory_bytes,
    reset_peak_memory,
    resident_bytes,
)
from fmnist_models.errors import ConfigError, OutOfMemoryError

BLOCK = 200_000_000


def allocation_error() -> RuntimeError:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50)
    return caught.value


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (OutOfMemoryError("over the limit"), True),
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), True),
        (RuntimeError("std::bad_alloc"), True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (ConfigError("out of memory"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_it_is_known_by_its_names(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) == expected


def test_what_torch_and_numpy_really_raise_is_known() -> None:
    assert is_out_of_memory(allocation_error())
    with pytest.raises(MemoryError) as caught:
        bytearray(2**60)
    assert is_out_of_memory(caught.value)


class Greedy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(nn.Identity() for _ in range(200)))
        self.kept: list[torch.Tensor] = []
        for layer in self.layers:
            layer.register_forward_hook(lambda *_: self.kept.append(torch.ones(BLOCK // 40)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.layers(x)
        return out


def test_a_network_is_stopped_within_its_pass_and_the_memory_comes_back() -> None:
    give_back_memory("cpu")
    before = resident_bytes()
    model = Greedy()
    keep_under(before + BLOCK, [model], "cpu")
    with pytest.raises(OutOfMemoryError, match=r"GB in memory, over its limit of \d+\.\d\d GB"):
        model(torch.ones(1))
    assert BLOCK < resident_bytes() - before < 3 * BLOCK, "200 layers would take 20 times as much"
    assert len(model.kept) < 200
    del model
    give_back_memory("cpu")
    assert resident_bytes() - before < BLOCK // 2


def test_under_its_limit_a_network_is_left_alone() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    x = torch.ones(2, 4)
    expected = model(x)
    keep_under(resident_bytes() + BLOCK, [model], "cpu")
    assert torch.equal(model(x), expected)
    assert is_usable("cpu")


def test_the_peak_starts_anew() -> None:
    block = torch.ones(2 * BLOCK // 4)
    high = peak_memory_bytes("cpu")
    del block
    give_back_memory("cpu")
    reset_peak_memory("cpu")
    low = peak_memory_bytes("cpu")
    assert low <= high
    if low == high:
        pytest.skip("this system cannot reset the peak")
    assert low < high - BLOCK
    torch.ones(2 * BLOCK // 4)
    assert peak_memory_bytes("cpu") > low + BLOCK
