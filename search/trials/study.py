"""Opening a study, a new one or one to go on with, and starting a launch on it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from contextlib import suppress

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler
from pydantic import JsonValue, ValidationError

from search.errors import SurroundingsError, UsageError
from search.planning.chosen_space import chosen_space
from search.planning.plan import ALLOTMENT, TRIAL_SECONDS, TrialSetup
from search.planning.trial_time import Allotment
from search.samplers.registry import make_sampler
from search.settings import SearchSettings
from search.trials.driver_leases import host_name, process_started
from search.trials.retry_chain import KNOWN_GOOD
from spaces import Space, SpaceContext
from storage import Database, Launches, LaunchStart, StudyStore

OBJECTIVE = "validation accuracy"
BACKUP = "put back a backup of the database, or choose another --study"


def open_study(
    database: Database, settings: SearchSettings, identity: dict[str, JsonValue]
) -> StudyStore:
    """The study of `settings`, made where there is none.

    Raises UsageError when it exists with another identity, or was not made by this program, and
    SurroundingsError when somebody has deleted parts of it.
    """
    storage, name = database.optuna_storage, settings.study
    with database.exclusive():  # of two drivers that start at once, one makes the study
        if name in optuna.get_all_study_names(storage):
            known = database.study_identity(name)
            if known is None and Launches(database.connections, name).all():
                raise SurroundingsError(
                    f"{database.url}: somebody deleted study {name!r} from search_study; {BACKUP}"
                )
            if known is None:
                raise UsageError(
                    f"study {name!r} was not made by fmnist-search; choose another --study"
                )
            check_identity(name, known, identity)
            if gone := database.open_study(name).deleted_trials():
                raise SurroundingsError(
                    f"{database.url}: somebody deleted trials of study {name!r}, {gone} at least, "
                    f"whose numbers new ones would take; {BACKUP}"
                )
        else:
            database.forget_study(name)  # what is left of one that was deleted, on a dashboard say
            database.remember_study(name, identity)
            study = optuna.create_study(storage=storage, study_name=name, direction="maximize")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                study.set_metric_names([OBJECTIVE])
    return database.open_study(name)


def known_identity(database: Database, name: str) -> dict[str, JsonValue] | None:
    """The identity of the study that a launch will go on with; None where it will make one."""
    if name in optuna.get_all_study_names(database.optuna_storage):
        return database.study_identity(name)
    return None


def optuna_study(store: StudyStore, sampler: BaseSampler | None = None) -> optuna.Study:
    """The study as Optuna sees it, for its samplers; trials are ended by our own schedulers."""
    return optuna.load_study(
        study_name=store.name,
        storage=store.optuna_storage,
        sampler=sampler,
        pruner=optuna.pruners.NopPruner(),
    )


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


def enqueue_points(store: StudyStore, space: Space, context: SpaceContext) -> tuple[int, int]:
    """Queue the space's known-good points that are affordable here; how many, and how many not."""
    points, study = space.affordable_points(context), optuna_study(store)
    with store.transaction():  # of drivers that start at once, one queues them
        for name, point in points.items():
            study.enqueue_trial(dict(point), user_attrs={KNOWN_GOOD: name}, skip_if_exists=True)
    of_all = space.affordable_points(SpaceContext(context.epochs))
    return len(points), sum(name not in points for name in of_all)


def start_launch(
    store: StudyStore, settings: SearchSettings, environment: dict[str, JsonValue]
) -> int:
    """Record this driver, one of any number that search the study; its identifier."""
    start = LaunchStart(
        settings=settings.model_dump(mode="json", exclude={"storage"}),
        environment=environment,
        host=host_name(),
        pid=os.getpid(),
        process_started=process_started(os.getpid()) or 0.0,
    )
    return store.launches.start(start)


def launch_sampler(store: StudyStore, launch_id: int, context: SpaceContext) -> BaseSampler:
    """The sampler that a launch was told to use, with a seed that no other of the study has.

    It is told what is believed of the space in trainings as long as `context` has them, as far as
    the launch trusts that.
    Seeded alike, drivers side by side would draw equal parameters, and one that is started again
    would draw those of the start over again.
    """
    launches = store.launches.all()
    place = [launch.id for launch in launches].index(launch_id)
    settings = SearchSettings.model_validate(launches[place].settings)
    belief = chosen_space(settings)[0].believed(context).trusted(settings.trust)
    return make_sampler(settings.sampler, settings.seed + 1_000_003 * place, prior=belief)


def finished_trials(counts: Mapping[str, int]) -> int:
    """How many of a study's trials count towards `--trials`: those COMPLETE and PRUNED."""
    return counts.get("COMPLETE", 0) + counts.get("PRUNED", 0)


def study_allotment(store: StudyStore) -> Allotment | None:
    """What the first launch of a study recorded, to which all keep; None where epochs are equal."""
    for launch in store.launches.all():
        with suppress(ValidationError):  # one of another version
            if ALLOTMENT in launch.environment:
                return Allotment.model_validate(launch.environment[ALLOTMENT])
    return None


def study_identity(
    settings: SearchSettings, space: Space, setup: TrialSetup, data_digest: str
) -> dict[str, JsonValue]:
    """What all trials of a study must have in common to be comparable."""
    by_time = {} if setup.trial_seconds is None else {TRIAL_SECONDS: setup.trial_seconds}
    return {
        "space": space.name,
        "space_version": space.version,
        "epochs": setup.epochs,
        **by_time,
        "data_digest": data_digest,
        "train_samples": settings.train_samples,
    }


def ended_from_outside(trials: int) -> str:
    """What is said of so many trials."""
    return (
        f"{trials} of the study's trials {'was' if trials == 1 else 'were'} ended from outside "
        "(by Optuna's API or a dashboard): shown there as failed, and not counted"
    )
