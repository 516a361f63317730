"""Ray in the background: what goes wrong there is told to whoever waits, and nothing is left."""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import ExitStack

import pytest

from search.backend.ray_begun import ray_begun
from search.backend.sites import LocalSite
from search.errors import SurroundingsError
from tests.conftest import ROOT
from tests.search.ray_loop import NODE

IMPOSSIBLE = NODE.model_copy(update={"cpus": -1.0})


def test_what_starting_raised_is_raised_by_waiting() -> None:
    with ray_begun(IMPOSSIBLE) as wait:
        for _ in range(2):
            with pytest.raises(SurroundingsError, match=r"Ray did not start \(here\): "):
                wait(lambda: None)
    assert "ray" not in {thread.name for thread in threading.enumerate()}


def test_a_launch_that_fails_before_it_waits_says_what_failed_first() -> None:
    with pytest.raises(ZeroDivisionError), ray_begun(IMPOSSIBLE):
        raise ZeroDivisionError
    assert "ray" not in {thread.name for thread in threading.enumerate()}


def test_a_site_that_was_not_begun_ends_quietly() -> None:
    with ExitStack() as begun:
        assert LocalSite("cpu", begun).device == "cpu"


SPEAKING = """
import os, sys
from search.backend.ray_session import _stderr_closed
with _stderr_closed():
    print("said meanwhile", file=sys.stderr)
    os.write(2, b"noise of a library")
    kept = sys.stderr
print("said after", file=sys.stderr)
print("said late", file=kept)
"""


def test_only_libraries_are_silenced_while_ray_starts() -> None:
    command = [sys.executable, "-c", SPEAKING]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines() == ["said meanwhile", "said after", "said late"]
