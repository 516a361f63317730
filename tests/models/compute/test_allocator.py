"""Memory that a step frees is there for the next, and comes back when it is given back."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch

from fmnist_models.compute.allocator import HUGE_PAGES

MEGABYTES_64 = 2**24
"""Of float32."""
IMPORTS = """
import os
from fmnist_models.compute.allocator import HUGE_PAGES, keep_memory
from fmnist_models.compute.memory import give_back_memory, resident_bytes
from tests.models.compute.test_allocator import faults, work
"""


def work() -> None:
    """Allocate, touch and free 64 MB, above any threshold that glibc comes to by itself."""
    torch.ones(MEGABYTES_64)


def faults(work: Callable[[], object]) -> int:
    """Pages that the system had to add for `work`."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    work()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


PLAIN = """
work(); work()
print(faults(work))
os.environ[HUGE_PAGES] = '0'
keep_memory('cpu')
print(os.environ[HUGE_PAGES])
"""
KEPT = """
keep_memory('cpu')
work(); work()
print(faults(work))
kept = resident_bytes()
give_back_memory('cpu')
print(kept - resident_bytes())
"""


def in_a_new_process(code: str) -> list[str]:
    """The lines it prints; of what `keep_memory` did in this process nothing is handed on."""
    command = [sys.executable, "-c", IMPORTS + code]
    clean = {name: value for name, value in os.environ.items() if name != HUGE_PAGES}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=clean)
    return done.stdout.splitlines()


@pytest.mark.skipif(sys.platform != "linux", reason="counts pages as Linux does")
def test_freed_memory_is_kept_and_given_back_and_a_setting_of_the_user_stays() -> None:
    plain, setting = in_a_new_process(PLAIN)
    kept, given_back = in_a_new_process(KEPT)
    assert 4 * int(kept) < int(plain)
    assert int(given_back) > 3 * MEGABYTES_64
    assert setting == "0"
