"""What passes between the driver and a worker, as JSON. No torch here.

A worker is handed `WorkerSettings` and a `StartedTrial`. Each of its steps answers with one of
    EpochDone     an epoch was trained
    Resumed       at most once and first: a checkpoint held these epochs
    Failed        it is over with the trial
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, TypeAdapter, field_validator

from fmnist_models.config.base import Config
from fmnist_models.config.trial import TrialConfig
from fmnist_models.training.metrics import EpochMetrics

MESSAGE = "message"
"""The key under which the answer to a step travels."""
LONGEST_LINE, LONGEST_REASON = 500, 20_000
"""Characters of a failure's first line and of the whole that are kept."""

FailureKind = Literal["raised", "diverged", "out_of_memory", "hung", "worker_died", "bad_report"]


class Failure(Config):
    """Why a trial failed: its first line short, a traceback after it where that is of use.

    The text comes from anywhere; what no database can hold is replaced, and overlong parts cut.
    """

    kind: FailureKind
    reason: str

    @field_validator("reason")
    @classmethod
    def _storable(cls, reason: str) -> str:
        text = _encodable(reason).replace("\0", "?").strip()
        first, _, rest = text.partition("\n")
        whole = _cut(first.strip() or "no reason given", LONGEST_LINE) + (rest and f"\n{rest}")
        return _cut(whole, LONGEST_REASON)


def _encodable(text: str) -> str:
    """`text` with a ? for whatever UTF-8 does not know, as in the name of a file, say."""
    return text.encode("utf-8", "replace").decode()


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 3]}..."


Note = Annotated[str, AfterValidator(_encodable)]
"""One line for the user, or nothing; at most one a kind and trial."""


class EpochDone(Config):
    """An epoch was trained."""

    type: Literal["epoch_done"] = "epoch_done"
    metrics: EpochMetrics
    note: Note = ""


class Resumed(Config):
    """The trial goes on from a checkpoint, which held these epochs, from the first."""

    type: Literal["resumed"] = "resumed"
    epochs: Annotated[list[EpochMetrics], Field(min_length=1)]
    note: Note = ""


class Failed(Config):
    """The trial is over."""

    type: Literal["failed"] = "failed"
    failure: Failure


WorkerMessage = EpochDone | Resumed | Failed
_MESSAGES: TypeAdapter[WorkerMessage] = TypeAdapter(
    Annotated[WorkerMessage, Field(discriminator="type")]
)


def parse_message(text: str) -> WorkerMessage:
    """The message in a worker's JSON; raises pydantic's ValidationError."""
    return _MESSAGES.validate_json(text)


class WorkerSettings(Config):
    """What a worker needs beside its trial.

    threads: torch's, on a CPU. checkpoint_dir: the folder of this study's checkpoints (see
    `checkpoints.CheckpointStore`); None keeps none. memory_limit_bytes: of the worker's resident
    set; a trial that passes it has run out of memory; None knows no limit but the system's.
    """

    data_dir: str
    train_samples: int | None
    device: str
    precision: Literal["bf16", "fp32"]
    threads: int
    checkpoint_dir: str | None = None
    memory_limit_bytes: Annotated[int, Field(gt=0)] | None = None


class StartedTrial(Config):
    """A trial to be trained: its number in the study and its configuration.

    resume_from: numbers of the trials, newest first, whose checkpoint it may go on from.
    micro_batches: into how many parts each step's batch is cut, to save memory; see
    `fmnist_models.training.trainer.Trainer`.
    """

    number: int
    config: TrialConfig
    resume_from: tuple[int, ...] = ()
    micro_batches: Annotated[int, Field(ge=1)] = 1
