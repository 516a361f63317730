"""The Ray side of a worker: a class that Ray keeps warm from trial to trial.

Of the files that import ray (`ray_*.py`) the one that runs in the workers.
"""

from __future__ import annotations

from typing import Any

from ray.tune import Trainable

from fmnist_models.data.dataset import Dataset
from search.workers.messages import MESSAGE
from search.workers.worker import Worker


class TrialWorker(Trainable):
    """Trains one epoch a step; `config` holds `settings` and `trial` as JSON text, and `number`.

    A result is the message of `Worker.step`, as JSON in one value: Ray would take a dictionary
    apart. An exception of `step` reaches Ray, which then replaces the process.
    """

    def setup(self, config: dict[str, Any], dataset: Dataset | None = None) -> None:
        """Called by Ray for the first trial of this process; `dataset` as for `Worker`."""
        self._worker = Worker(dataset)
        self._worker.start(config["settings"], config["trial"])

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Called by Ray for every further trial: the same process goes on."""
        self._worker.start(new_config["settings"], new_config["trial"])
        return True

    def step(self) -> dict[str, str]:
        """Train one epoch."""
        return {MESSAGE: self._worker.step().model_dump_json()}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Ray may ask at any time; the worker keeps checkpoints of its own."""

    def cleanup(self) -> None:
        """Called by Ray as the process ends."""
        self._worker.release()
