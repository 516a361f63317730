"""What goes into our tables and comes out of them, of one study: frozen, and no other keys.

Times are UTC and aware; accuracies are fractions in [0, 1]; a diverged trial's figures may be NaN.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal, NamedTuple, TypeAlias

from pydantic import BaseModel, ConfigDict, JsonValue

JsonObject: TypeAlias = dict[str, JsonValue]


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LaunchStart(_Row):
    """One start of a driver, as the driver knows it.

    `process_started` is when the operating system started process `pid` (ticks since the machine):
    with it, and the machine's start in `host`, a reused process id is told from the driver's own.
    """

    settings: JsonObject
    environment: JsonObject
    host: str
    pid: int
    process_started: float


class Launch(LaunchStart):
    """One start of a driver, as the database knows it; times are by the database's clock."""

    id: int
    started_at: datetime
    heartbeat_at: datetime
    ended_at: datetime | None
    outcome: str | None


class TrialRecord(_Row):
    """What we keep of a trial beside Optuna's own record.

    `config` is empty when the driver died between asking Optuna for the trial and configuring it,
    and `launch_id` None when only a reason was ever written.
    """

    number: int
    launch_id: int | None
    config: JsonObject
    retry_of: int | None
    reason: str | None


class EpochRow(_Row):
    """The figures of one epoch of a trial; `peak_memory_bytes` is the device's or the process's."""

    number: int
    launch_id: int
    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    lr: float
    seconds: float
    images_per_second: float
    peak_memory_bytes: int


class DecisionRow(_Row):
    """The trial scheduler's word on a trial after an epoch.

    `value` is what was compared, or would have been: the epoch's validation accuracy, or, where
    trials have equal time, that expected of it after the trial's last. `rung` and `cutoff` are None
    where the scheduler compared nothing. `created_at` is set by the database; what a caller gives
    is not used.
    """

    number: int
    launch_id: int
    epoch: int
    action: Literal["continue", "stop"]
    rung: int | None
    value: float
    cutoff: float | None
    reason: str
    created_at: datetime | None = None


class RunningTrial(NamedTuple):
    """A RUNNING trial; `launch_id` is None where no driver of ours has begun it."""

    number: int
    trial_id: int
    launch_id: int | None


class ReportedValue(NamedTuple):
    """A finite intermediate value of a trial, in Optuna's tables; `id` rises with time."""

    id: int
    number: int
    epoch: int
    value: float
    retry_of: int | None
