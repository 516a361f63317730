"""A worker: trains one trial after another in one process, and keeps torch and the data for all.

Free of Ray. Whatever a trial does short of killing the process is handed back as a result, with its
memory released: the worker takes the next trial at once, where a new process needs ten seconds.
"""

from __future__ import annotations

import json
import traceback
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fmnist_models.allocator import keep_memory
from fmnist_models.config import TrialConfig, explain
from fmnist_models.data import Dataset, load_search_data
from fmnist_models.engine import Trainer
from fmnist_models.errors import DivergedError, FmnistError, OutputError, message_of
from fmnist_models.memory import (
    give_back_memory,
    is_out_of_memory,
    is_usable,
    keep_under,
    resident_bytes,
)
from fmnist_models.metrics import EpochMetrics
from fmnist_models.precision import Precision, set_threads
from search.checkpoints import CheckpointStore, State
from search.messages import FAILURE, METRICS, NOTE, RESUMED, Failure, StartedTrial, WorkerSettings

Result = dict[str, Any]
"""What a step gives back; see `search.messages`."""


class UnfitError(Exception):
    """This process can train nothing more: its GPU is lost or its memory does not come back."""


class Worker:
    """Trials one after another: `start` each, then `step` it to its end; see the file's top.

    `dataset` is trained on where there is one, else what `data_dir` of the settings holds.
    """

    def __init__(self, dataset: Dataset | None = None) -> None:
        self._dataset = dataset
        self._assigned: tuple[WorkerSettings, StartedTrial] | None = None
        self._run: TrialRun | None = None
        self._failure: Failure | None = None
        self._unfit = ""

    def start(self, settings: str, trial: str) -> None:
        """Take in a trial (JSON, see `search.messages`), the last one let go; built by `step`."""
        if self._run:
            self.release()
        self._failure = self._assigned = None
        try:
            self._assigned = (
                WorkerSettings.model_validate_json(settings),
                StartedTrial.model_validate_json(trial),
            )
        except Exception as error:
            self._failure = failure_of(error)

    def step(self) -> Result:
        """Train an epoch, or report those of a checkpoint; a failed trial repeats its failure.

        Raises UnfitError when an earlier trial has left the process useless: replace it.
        """
        if self._unfit:
            raise UnfitError(self._unfit)
        if self._failure is None:
            try:
                return self._advance()
            except (Exception, SystemExit) as error:
                self._failure = failure_of(error)
            # Out here nothing refers to the error any more, and so to what its functions held.
            self.release()
            self._unfit = self._damage()
        return {FAILURE: self._failure.model_dump()}

    def _advance(self) -> Result:
        if self._assigned is None:
            raise RuntimeError("no trial was started")
        if self._run is None:
            self._run = TrialRun(*self._assigned, self._dataset)
        return self._run.step()

    def release(self) -> None:
        """Let go of the trial and of all memory that it took."""
        self._run = None
        if self._assigned:
            give_back_memory(self._assigned[0].device)

    def _damage(self) -> str:
        """Why no further trial can be trained here; empty when all is well."""
        if self._assigned is None:
            return ""
        settings = self._assigned[0]
        if not is_usable(settings.device):
            return f"the trial before has left {settings.device} unusable in this process"
        limit, used = settings.memory_limit_bytes, resident_bytes()
        if limit is not None and used > limit:
            return (
                f"the trial before has left {used / 1e9:.2f} GB in memory, over the limit of "
                f"{limit / 1e9:.2f} GB"
            )
        return ""


class TrialRun:
    """One trial in this process: its trainer, its epochs so far and its checkpoints."""

    def __init__(
        self, settings: WorkerSettings, trial: StartedTrial, dataset: Dataset | None = None
    ) -> None:
        self._settings, self._trial = settings, trial
        keep_memory(settings.device)
        set_threads(settings.threads)
        self._dataset = dataset or _load(settings.data_dir, settings.train_samples)
        folder = settings.checkpoint_dir
        self._store = CheckpointStore(Path(folder)) if folder else None
        self._mark = mark_of(trial.config, self._dataset)
        self._notes: dict[str, str] = {}
        self._epochs: list[EpochMetrics] = []
        state = self._store.load(trial.resume_from, self._mark) if self._store else None
        self._to_report = state is not None and self._resume(state)
        if not self._to_report:
            self._trainer = self._build(settings.precision)

    def _build(self, precision: Precision) -> Trainer:
        settings, trial = self._settings, self._trial
        trainer = Trainer(
            trial.config,
            self._dataset,
            device=settings.device,
            precision=precision,
            micro_batches=trial.micro_batches,
        )
        if settings.memory_limit_bytes is not None:
            networks = {trainer.model, trainer.averaged_model}
            keep_under(settings.memory_limit_bytes, networks, settings.device)
        return trainer

    def _resume(self, state: State) -> bool:
        """Go on from a checkpoint, in its number format; False when it does not fit in here."""
        try:
            epochs = [EpochMetrics.model_validate(metrics) for metrics in state["epochs"]]
            self._trainer = self._build(state["precision"])
            self._trainer.load_state_dict(state["trainer"])
        except Exception as error:  # written by another version
            if is_out_of_memory(error):
                raise
            self._note("resume", f"its checkpoint does not fit ({_line(error)}): started anew")
            return False
        self._epochs = epochs
        return bool(epochs)

    def step(self) -> Result:
        """Report the epochs of the checkpoint if there was one, else train one and save it."""
        if self._to_report:
            self._to_report = False
            return self._noted({RESUMED: {"epochs": [m.model_dump() for m in self._epochs]}})
        metrics = self._trainer.run_epoch()
        self._epochs.append(metrics)
        graphs = self._trainer.graphs
        if graphs and graphs.failure:
            self._note("graphs", f"it trains without CUDA graphs: {graphs.failure}")
        self._save()
        return self._noted({METRICS: metrics.model_dump()})

    def _save(self) -> None:
        """Save a checkpoint; a trial that cannot (a full disk) goes on without, and says so."""
        if self._store is None:
            return
        state = {
            "precision": self._trainer.precision,
            "epochs": [metrics.model_dump() for metrics in self._epochs],
            "trainer": self._trainer.state_dict(),
        }
        try:
            self._store.save(self._trial.number, state, self._mark)
        except OutputError as error:
            self._note("save", f"it goes on without a checkpoint: {error}")

    def _note(self, kind: str, text: str) -> None:
        """Have `text` told with the next result, the first time that there is one of its kind."""
        self._notes.setdefault(kind, text)

    def _noted(self, result: Result) -> Result:
        untold = [text for text in self._notes.values() if text]
        self._notes = dict.fromkeys(self._notes, "")
        return {**result, NOTE: "; ".join(untold)} if untold else result


@lru_cache(maxsize=1)
def _load(data_dir: str, train_samples: int | None) -> Dataset:
    """The data set, once a process."""
    return load_search_data(Path(data_dir), train_samples)


def mark_of(config: TrialConfig, dataset: Dataset) -> str:
    """What a checkpoint must have been made of to be gone on from: configuration and images."""
    about = {
        "config": config.model_dump(mode="json"),
        "data": dataset.digest,
        "images": len(dataset.train),
    }
    return json.dumps(about, sort_keys=True)


def failure_of(error: BaseException) -> Failure:
    """What went wrong, by kind; with a traceback where the program may be at fault."""
    if is_out_of_memory(error):
        return Failure(kind="out_of_memory", reason=f"out of memory: {_line(error)}")
    if isinstance(error, DivergedError):
        return Failure(kind="diverged", reason=f"diverged: {_line(error)}")
    if isinstance(error, ValidationError) and error.title == EpochMetrics.__name__:
        return Failure(kind="bad_report", reason=f"impossible metrics: {explain(error)}")
    reason = f"{type(error).__name__}: {_line(error)}"
    if not isinstance(error, FmnistError):
        reason += f"\n{''.join(traceback.format_exception(error))}"
    return Failure(kind="raised", reason=reason)


def _line(error: BaseException) -> str:
    """The first line of an error's message."""
    return (message_of(error).strip().splitlines() or ["no message"])[0]
