"""What goes wrong in the workers of made_up_workers, each fault in one trial of a search.

Ray is not imported here: who asserts what became of them may still want to start it.
"""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from search.workers.messages import FAILURE, METRICS, Failure
from tests.search.loop import metrics

Result = dict[str, Any]
FOLDER = "FMNIST_SEARCH_TEST_FAULTS"
"""Environment variable: the folder in which trials take their faults, a file each."""


def raises() -> Result:
    """As the real worker hands over what a trial raises."""
    return {FAILURE: Failure(kind="raised", reason="RuntimeError: boom").model_dump()}


def breaks() -> Result:
    """As the real worker never does."""
    raise RuntimeError("boom")


def dies() -> Result:
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def leaves() -> Result:
    os._exit(0)


def sleeps() -> Result:
    time.sleep(3600)
    return {}


def computes() -> Result:
    """In C, without ever giving Python's lock away."""
    return {METRICS: sum(range(10**14))}


def diverges() -> Result:
    return {METRICS: {**metrics(2, 0.9).model_dump(), "val_accuracy": float("nan")}}


def says_nothing() -> Result:
    return {}


HUNG = "an epoch took longer than 10 s (--trial-timeout)"


HUNG = "an epoch took longer than 10 s (--trial-timeout)"
FAULTS: dict[str, tuple[Callable[[], Result], str]] = {
    "raises": (raises, "boom"),
    "breaks": (breaks, "boom"),
    "dies": (dies, "worker died"),
    "leaves": (leaves, "worker died"),
    "sleeps": (sleeps, f"{HUNG}, so it was ended"),
    "computes": (computes, f"{HUNG}, so it was ended"),
    "diverges": (diverges, "impossible metrics"),
    "says nothing": (says_nothing, "impossible metrics"),
}
"""What a trial does, and what the reason of its failure says."""


def next_fault(number: int) -> Callable[[], Result] | None:
    """The first fault that no trial has taken yet, taken by trial `number`."""
    for name, (fault, _) in FAULTS.items():
        try:
            with (Path(os.environ[FOLDER]) / name).open("x") as file:
                file.write(str(number))
        except FileExistsError:
            continue
        return fault
    return None


def faults_taken(folder: Path) -> dict[int, str]:
    """The reason that the failure of each trial which took a fault must give, by its number."""
    return {int((folder / name).read_text()): reason for name, (_, reason) in FAULTS.items()}
