"""The Ray side of a trial: a warm worker that keeps its process, torch and the data between trials.

Whatever goes wrong in a trial is handed back as a result, not raised: an exception would cost the
worker its life and the next trial ten seconds.
"""

from __future__ import annotations

import traceback
from functools import lru_cache
from pathlib import Path
from typing import Any

from ray.tune import Trainable

from fmnist_models.data import Dataset, load_search_data
from fmnist_models.engine import Trainer
from fmnist_models.errors import DivergedError
from fmnist_models.precision import set_threads
from search.messages import FAILURE, METRICS, Failure, WorkerSettings
from search.session import StartedTrial


@lru_cache(maxsize=1)
def _load(data_dir: str, train_samples: int | None) -> Dataset:
    """The data set, once a process."""
    return load_search_data(Path(data_dir), train_samples)


class TrialWorker(Trainable):
    """Trains one epoch a step; `config` holds `settings` and `trial` as JSON text, and `number`.

    A result carries METRICS (`EpochMetrics` as a dictionary) or FAILURE (a reason, first line
    short).
    """

    def setup(self, config: dict[str, Any], dataset: Dataset | None = None) -> None:
        """Called by Ray for the first trial of this worker; `dataset` where it came through Ray."""
        self._failure = Failure(kind="raised", reason="not set up")
        self._trainer: Trainer | None = None  # let go of the last one before the next is built
        try:
            settings = WorkerSettings.model_validate_json(config["settings"])
            set_threads(settings.threads)
            self._trainer = Trainer(
                StartedTrial.model_validate_json(config["trial"]).config,
                dataset or _load(settings.data_dir, settings.train_samples),
                device=settings.device,
                precision=settings.precision,
            )
        except Exception as error:  # a broken trial must not break its worker
            self._failure = _failure_of(error)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Called by Ray for every further trial: the same process goes on."""
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train one epoch."""
        if self._trainer is None:
            return {FAILURE: self._failure.model_dump()}
        try:
            return {METRICS: self._trainer.run_epoch().model_dump()}
        except Exception as error:
            return {FAILURE: _failure_of(error).model_dump()}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Ray may ask at any time; a trial that is interrupted starts anew, so nothing is kept."""


def _failure_of(error: Exception) -> Failure:
    """Why a trial failed: one line, and the traceback where it is not the configuration's fault."""
    if isinstance(error, DivergedError):
        return Failure(kind="diverged", reason=f"diverged: {error}")
    name = type(error).__name__
    text = f"{name}: {error}\n{''.join(traceback.format_exception(error))}"
    return Failure(kind="raised", reason=text)
