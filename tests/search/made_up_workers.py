"""Workers that train nothing: they report made-up curves, and some go wrong in a real process."""

import json
import time
from pathlib import Path
from typing import Any

from ray.tune import Trainable

from search.workers.messages import MESSAGE, EpochDone
from tests.search.made_up_curves import curve, metrics
from tests.search.made_up_faults import next_fault


class MadeUp(Trainable):
    """Reports a rising accuracy at once, epoch after epoch."""

    def setup(self, config: dict[str, Any]) -> None:
        self.number, self.epoch = config["number"], 0
        trial = json.loads(config["trial"])
        self.faults = Path(json.loads(config["settings"])["data_dir"])
        self.seed, self.is_retry = trial["config"]["seed"], bool(trial["resume_from"])

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True

    def step(self) -> dict[str, str]:
        self.epoch += 1
        done = EpochDone(metrics=metrics(self.epoch, curve(self.seed, self.epoch)))
        return {MESSAGE: done.model_dump_json()}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        pass


class Faulty(MadeUp):
    """Every other trial goes wrong at once, as long as there are faults; retries do not."""

    def step(self) -> dict[str, str]:
        fault = None
        if self.number >= 2 and self.number % 2 == 0 and self.epoch == 0 and not self.is_retry:
            fault = next_fault(self.number, self.faults)
        return {MESSAGE: fault()} if fault else super().step()


class Patient(MadeUp):
    """Takes some seconds for an epoch, as small networks do, and no CPU time."""

    def step(self) -> dict[str, str]:
        time.sleep(3.0)
        return super().step()


class Steady(MadeUp):
    """Takes its time for an epoch, so that it is still at it when something else dies."""

    def step(self) -> dict[str, str]:
        time.sleep(0.5)
        return super().step()


class SlowToLetGo(MadeUp):
    """Takes longer to let go of a trial than Ray waits for a teardown."""

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        time.sleep(2.5)
        return super().reset_config(new_config)

    def cleanup(self) -> None:
        time.sleep(30)


KINDS = {kind.__name__: kind for kind in (MadeUp, Faulty, Patient, Steady, SlowToLetGo)}
