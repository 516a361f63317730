"""Workers that train nothing: they report made-up curves, and some go wrong in a real process."""

import json
import os
import signal
import time
from typing import Any

from ray.tune import Trainable

from search.messages import FAILURE, METRICS, Failure
from tests.search.loop import curve, metrics

Result = dict[str, Any]


class MadeUp(Trainable):
    """Reports a rising accuracy at once, epoch after epoch."""

    def setup(self, config: dict[str, Any]) -> None:
        self.number, self.epoch = config["number"], 0
        trial = json.loads(config["trial"])
        self.seed, self.is_retry = trial["config"]["seed"], bool(trial["resume_from"])

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True

    def step(self) -> Result:
        self.epoch += 1
        return {METRICS: metrics(self.epoch, curve(self.seed, self.epoch)).model_dump()}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        pass


class Faulty(MadeUp):
    """Some trials, by their number, go wrong at once; their retries do not."""

    def step(self) -> Result:
        if self.number in FAULTS and not self.is_retry:
            return FAULTS[self.number][0]()
        return super().step()


class SlowToLetGo(MadeUp):
    """Takes longer to let go of a trial than Ray waits for a teardown."""

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        time.sleep(2.5)
        return super().reset_config(new_config)

    def cleanup(self) -> None:
        time.sleep(30)


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
FAULTS = {
    2: (raises, "boom"),
    4: (breaks, "boom"),
    6: (dies, "worker died"),
    8: (leaves, "worker died"),
    10: (sleeps, HUNG),
    12: (computes, HUNG),
    14: (diverges, "impossible metrics"),
    16: (says_nothing, "impossible metrics"),
}
"""What the trial of that number does, and what the reason of its failure says."""

KINDS = {kind.__name__: kind for kind in (MadeUp, Faulty, SlowToLetGo)}
