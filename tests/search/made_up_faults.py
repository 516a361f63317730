"""What goes wrong in the workers of made_up_workers, each fault in one trial of a search.

Ray is not imported here: who asserts what became of them may still want to start it.
"""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from search.workers.messages import EpochDone, Failed, Failure
from tests.search.made_up_curves import metrics


def raises() -> str:
    """As the real worker hands over what a trial raises."""
    failure = Failure(kind="raised", reason="RuntimeError: boom")
    return Failed(failure=failure).model_dump_json()


def breaks() -> str:
    """As the real worker never does."""
    raise RuntimeError("boom")


def dies() -> str:
    os.kill(os.getpid(), signal.SIGKILL)
    return ""


def leaves() -> str:
    os._exit(0)


def sleeps() -> str:
    time.sleep(3600)
    return ""


def computes() -> str:
    """In C, without ever giving Python's lock away."""
    return str(sum(range(10**14)))


def diverges() -> str:
    return EpochDone(metrics=metrics(2, 0.9)).model_dump_json().replace("0.9", "NaN")


def says_nothing() -> str:
    return ""


HUNG = "an epoch took longer than 10 s (--trial-timeout)"
FAULTS: dict[str, tuple[Callable[[], str], str]] = {
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


def next_fault(number: int, folder: Path) -> Callable[[], str] | None:
    """The first fault that no trial has taken yet, taken by trial `number`: a file in `folder`."""
    for name, (fault, _) in FAULTS.items():
        try:
            with (folder / name).open("x") as file:
                file.write(str(number))
        except FileExistsError:
            continue
        return fault
    return None


def faults_taken(folder: Path) -> dict[int, str]:
    """The reason that the failure of each trial which took a fault must give, by its number."""
    return {int((folder / name).read_text()): reason for name, (_, reason) in FAULTS.items()}
