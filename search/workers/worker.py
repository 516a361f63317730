"""A worker: trains one trial after another in one process, and keeps torch and the data for all.

Free of Ray. Whatever a trial does short of killing the process is answered by a message, with its
memory released: the worker takes the next trial at once, where a new process needs ten seconds.
"""

from __future__ import annotations

import traceback

from pydantic import ValidationError

from fmnist_models.compute.memory import (
    give_back_memory,
    is_out_of_memory,
    is_usable,
    resident_bytes,
)
from fmnist_models.config.base import explain
from fmnist_models.data.dataset import Dataset
from fmnist_models.errors import DivergedError, FmnistError
from fmnist_models.training.metrics import EpochMetrics
from search.workers.messages import (
    EpochDone,
    Failed,
    Failure,
    Resumed,
    StartedTrial,
    WorkerMessage,
    WorkerSettings,
)
from search.workers.trial_run import TrialRun, first_line


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
        """Take in a trial (JSON, see `workers.messages`), the last one let go; built by `step`."""
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

    def step(self) -> WorkerMessage:
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
        return Failed(failure=self._failure)

    def _advance(self) -> EpochDone | Resumed:
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


def failure_of(error: BaseException) -> Failure:
    """What went wrong, by kind; with a traceback where the program may be at fault."""
    if is_out_of_memory(error):
        return Failure(kind="out_of_memory", reason=f"out of memory: {first_line(error)}")
    if isinstance(error, DivergedError):
        return Failure(kind="diverged", reason=f"diverged: {first_line(error)}")
    if isinstance(error, ValidationError) and error.title == EpochMetrics.__name__:
        return Failure(kind="bad_report", reason=f"impossible metrics: {explain(error)}")
    reason = f"{type(error).__name__}: {first_line(error)}"
    if not isinstance(error, FmnistError):
        reason += f"\n{''.join(traceback.format_exception(error))}"
    return Failure(kind="raised", reason=reason)
