"""Opening a study: a new one, or one to go on with, put right after whatever happened to it."""

from __future__ import annotations

import os
import socket
import warnings
from collections.abc import Sequence

import optuna
import psutil
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial, TrialState
from pydantic import JsonValue

from search.errors import UsageError
from search.samplers import make_sampler
from search.settings import SearchSettings
from spaces import Space, SpaceContext
from storage import Database, Launch, LaunchStart

HEARTBEAT_SECONDS = 10.0
LEASE_SECONDS = 120.0
"""A driver elsewhere that has not been heard of for this long is taken for dead."""
OBJECTIVE = "validation accuracy"
KNOWN_GOOD, RETRY_OF, INTERRUPTED = "known_good", "retry_of", "interrupted"
"""Attributes of a trial: which of the space's points it is; the number of the trial it repeats;
that it was given up through no fault of its own."""


def open_study(
    database: Database, settings: SearchSettings, identity: dict[str, JsonValue]
) -> optuna.Study:
    """The study of `settings`, made where there is none.

    Raises UsageError when it exists with another identity, or was not made by this program.
    """
    storage = database.optuna_storage
    with database.exclusive():  # of two drivers that start at once, one makes the study
        exists = settings.study in optuna.get_all_study_names(storage)
        _agree_on_identity(database, settings.study, identity, exists)
        study = optuna.create_study(
            storage=storage,
            study_name=settings.study,
            pruner=optuna.pruners.NopPruner(),
            direction="maximize",
            load_if_exists=True,
        )
    if not exists:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            study.set_metric_names([OBJECTIVE])
    # A sampler seeded as at the study's start would draw the first trials over again.
    study.sampler = make_sampler(settings.sampler, settings.seed + 1_000_003 * len(study.trials))
    return study


def _agree_on_identity(
    database: Database, name: str, identity: dict[str, JsonValue], exists: bool
) -> None:
    """Keep the identity of a new study, or check that of one that `exists` in Optuna's tables."""
    if not exists:
        database.forget_study(name)  # what is left of one that was deleted, on the dashboard say
        database.remember_study(name, identity)
        return
    known = database.study_identity(name)
    if known is None:
        raise UsageError(f"study {name!r} was not made by fmnist-search; choose another --study")
    check_identity(name, known, identity)


def check_identity(name: str, known: dict[str, JsonValue], wanted: dict[str, JsonValue]) -> None:
    """Raises UsageError that shows every difference between two identities of a study."""
    differences = [
        f"{key} is {known.get(key)!r} there and {wanted.get(key)!r} here"
        for key in {**known, **wanted}
        if known.get(key) != wanted.get(key)
    ]
    if differences:
        raise UsageError(
            f"study {name!r} exists with other settings: {'; '.join(differences)}; "
            "use those, or give another --study"
        )


def enqueue_points(study: optuna.Study, space: Space, context: SpaceContext) -> tuple[int, int]:
    """Queue the space's known-good points that are affordable here; how many, and how many not."""
    points = space.affordable_points(context)
    for name, point in points.items():
        study.enqueue_trial(dict(point), user_attrs={KNOWN_GOOD: name}, skip_if_exists=True)
    of_all = space.affordable_points(SpaceContext(context.epochs))
    return len(points), len(of_all) - len(points)


def start_launch(
    database: Database, settings: SearchSettings, environment: dict[str, JsonValue]
) -> int:
    """Record this driver; its identifier.

    Raises UsageError while another driver searches the study: each counts only its own trials.
    """
    start = LaunchStart(
        study_name=settings.study,
        settings=settings.model_dump(mode="json", exclude={"storage"}),
        environment=environment,
        host=socket.gethostname(),
        pid=os.getpid(),
        process_started=psutil.Process().create_time(),
    )
    with database.exclusive():
        for other in _living(database, settings.study):
            raise UsageError(
                f"study {settings.study!r} is being searched by process {other.pid} on "
                f"{other.host}; wait for it, or give another --study"
            )
        return database.start_launch(start)


def _living(database: Database, study_name: str) -> list[Launch]:
    """The launches of a study whose drivers still run."""
    now = database.now()
    return [
        launch
        for launch in database.launches(study_name)
        if _alive(launch, (now - launch.heartbeat_at).total_seconds())
    ]


def reap(database: Database, study: optuna.Study) -> list[int]:
    """Put right what dead drivers left behind: their running trials FAIL and are queued again.

    Gives back the numbers of those trials.
    """
    alive = {launch.id for launch in _living(database, study.study_name)}
    records = database.trial_records(study.study_name)
    dead = []
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        record = records.get(trial.number)
        launch_id = record.launch_id if record else None
        if not _may_be_running(launch_id, alive):
            give_up(database, study, trial, "the driver died while it ran; queued again")
            dead.append(trial.number)
    return dead


def _may_be_running(launch_id: int | None, alive: set[int]) -> bool:
    """Whether a trial of that launch may run, when the launches in `alive` do."""
    if launch_id is None:  # its driver died before it recorded the trial, or is just about to
        return bool(alive)
    return launch_id in alive


def _alive(launch: Launch, silence_seconds: float) -> bool:
    """Whether the driver of `launch` still runs: known on this host, by its heartbeat elsewhere."""
    if launch.ended_at is not None:
        return False
    if launch.host != socket.gethostname():
        return silence_seconds < LEASE_SECONDS
    try:
        process = psutil.Process(launch.pid)
        # A killed driver stays a zombie where nobody collects it, in a container say.
        dead = process.status() == psutil.STATUS_ZOMBIE
        return not dead and abs(process.create_time() - launch.process_started) < 1.0
    except psutil.NoSuchProcess:
        return False


def give_up(database: Database, study: optuna.Study, trial: FrozenTrial, reason: str) -> None:
    """End a running trial as FAIL through no fault of its own, and queue its parameters again."""
    if trial.state.is_finished():  # another driver was first
        return
    for name, value in (("reason", reason), (INTERRUPTED, True)):
        database.optuna_storage.set_trial_user_attr(trial._trial_id, name, value)
    database.set_reason(study.study_name, trial.number, reason)
    study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
    # Killed before it was asked for all its parameters, a queued trial has them only there.
    params = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
    if params:
        kept = {k: v for k, v in trial.user_attrs.items() if k == KNOWN_GOOD}
        study.enqueue_trial(params, user_attrs={**kept, RETRY_OF: trial.number})


def finished(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Those that count towards `--trials`: COMPLETE and PRUNED."""
    return [t for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
