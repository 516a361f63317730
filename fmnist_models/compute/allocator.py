"""How this process gets memory from the system while it trains on a CPU.

Each training step allocates and frees the same activations. As glibc comes, it gives tensors above
some megabytes back to the system at once, whose new pages are filled with zeros in the next step;
and in pages of 4 KiB every few values cost a look-up. Kept, and in pages of 2 MiB, WRN-16-1 trains
a quarter faster on one core, WRN-10-1 a tenth (benchmarks/LOG.md).
"""

from __future__ import annotations

import ctypes
import os
from functools import cache

HUGE_PAGES = "THP_MEM_ALLOC_ENABLE"
"""Environment variable of torch, which looks at it when it first allocates 2 MiB."""
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
"""As in glibc's malloc.h."""
MOST_KEPT, LARGEST_KEPT, ADDED = 2**31 - 1, 2**30, 2**26
"""Bytes: free memory that is kept, the largest tensor of it, and what is asked for at a time."""


@cache
def keep_memory(device: str) -> None:
    """Let this process, if it trains on the CPU, keep what it frees, in huge pages.

    Best called before it makes its first tensor. `memory.give_back_memory` gives all back. Without
    glibc nothing changes.
    """
    if device != "cpu":
        return
    os.environ.setdefault(HUGE_PAGES, "1")
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)
        mallopt(M_TRIM_THRESHOLD, MOST_KEPT)
        mallopt(M_TOP_PAD, ADDED)
