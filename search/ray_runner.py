"""Ray Tune runs the trials of a session: three thin adapters, which only hand on.

Beside search/ray_worker.py the only file that imports ray. Decisions, records and totals are the
session's; Ray starts warm workers, moves configurations and results, and stops what it is told to.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fmnist_models.config import explain
from fmnist_models.metrics import EpochMetrics
from search.errors import SurroundingsError
from search.messages import FAILURE, METRICS, WorkerSettings
from search.plan import SearchPlan
from search.session import SearchSession
from search.signals import handlers_kept

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    # Without this ray.init() listens on every interface, even when told 127.0.0.1.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # Ray's monitor ends the whole run when one trial takes too much memory.
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # Ray's snapshots of an experiment are never restored from: SQL is the only truth.
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    # A result may be a failure, without metrics.
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
}
OBJECT_STORE_BYTES = 200_000_000
RAY_OUTPUT = "FMNIST_SEARCH_RAY_OUTPUT"
"""Environment variable: when set, Ray's own output is shown."""


@dataclass
class Control:
    """What the outside may tell a running search, and what it tells back.

    `should_stop` is asked several times a second; `on_step` is called as often.
    """

    should_stop: Callable[[], bool]
    on_step: Callable[[], None]


@contextmanager
def ray_started(address: str | None, cpus: int, gpus: int) -> Iterator[None]:
    """A Ray of our own on this machine's loopback, or the cluster at `address`, for the block."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    python_path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    os.environ["PYTHONPATH"] = python_path
    with handlers_kept():
        import ray

        loud = bool(os.environ.get(RAY_OUTPUT))
        level = logging.INFO if loud else logging.CRITICAL
        logging.getLogger("ray").setLevel(level)
        where: dict[str, Any] = {
            "num_cpus": cpus,
            "num_gpus": gpus,
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
        }
        if address:
            env = {"env_vars": {"PYTHONPATH": python_path}}
            where = {"address": address, "runtime_env": env}
        try:
            ray.init(log_to_driver=loud, logging_level=level, **where)
        except (ConnectionError, RuntimeError, ValueError, OSError, TimeoutError) as error:
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise SurroundingsError(f"Ray did not start ({address or 'here'}): {first}") from error
    try:
        yield
    finally:
        ray.shutdown()


def run_trials(
    session: SearchSession, plan: SearchPlan, settings: WorkerSettings, control: Control
) -> None:
    """Run trials until the session is done or `control` says stop; Ray must have been started.

    An exception in the session (a lost database,
    say) stops the trials and is raised when they have stopped.
    """
    from ray import tune

    from search.ray_worker import TrialWorker

    link = _Link(session, control)
    resources = {"cpu": plan.cpus_per_trial, "gpu": plan.gpus_per_trial}
    with tempfile.TemporaryDirectory(prefix="fmnist-search-") as scratch:
        tuner = tune.Tuner(
            tune.with_resources(TrialWorker, resources),
            param_space={"settings": settings.model_dump_json()},
            tune_config=tune.TuneConfig(
                num_samples=-1,
                search_alg=_searcher(link),
                scheduler=_scheduler(link),
                max_concurrent_trials=plan.concurrency,
                reuse_actors=True,
                trial_name_creator=lambda trial: f"trial_{trial.config['number']}",
                trial_dirname_creator=lambda trial: f"trial_{trial.config['number']}",
            ),
            run_config=tune.RunConfig(
                name="trials", storage_path=scratch, stop=_stopper(link), verbose=0
            ),
        )
        tuner.fit()
    if link.error:
        raise link.error


class _Link:
    """Between Ray's loop and the session; keeps an exception from breaking Ray in mid-step."""

    def __init__(self, session: SearchSession, control: Control) -> None:
        self.session, self.control = session, control
        self.error: Exception | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Ray pickles its experiments to disk; of a search nothing is kept there, SQL has it."""
        return {}

    def call(self, function: Callable[[], Any], otherwise: Any) -> Any:
        """`function()`, or `otherwise` once anything has gone wrong."""
        if self.error is None:
            try:
                return function()
            except Exception as error:
                self.error = error
        return otherwise

    def should_stop(self) -> bool:
        """Asked by Ray in every turn of its loop."""
        self.call(self.session.heartbeat, None)
        self.call(self.control.on_step, None)
        return self.error is not None or self.session.is_done or self.control.should_stop()

    def result(self, number: int, result: dict[str, Any]) -> bool:
        """Take in a worker's result; whether the trial goes on."""
        if FAILURE in result:
            self.session.fail(number, result[FAILURE])
            return False
        prefix = f"{METRICS}/"
        values = {k.removeprefix(prefix): v for k, v in result.items() if k.startswith(prefix)}
        try:
            metrics = EpochMetrics.model_validate(values)
        except ValidationError as error:
            self.session.fail(number, f"it reported impossible metrics: {explain(error)}")
            return False
        decision = self.session.report(number, metrics)
        return decision is not None and decision.action == "continue"


def _searcher(link: _Link) -> Any:
    """Ray's view of where configurations come from."""
    from ray.tune.search import Searcher

    class SessionSearcher(Searcher):
        def suggest(self, trial_id: str) -> Any:
            if link.error or link.session.is_done:
                return Searcher.FINISHED
            started = link.call(link.session.next_trial, None)
            if started is None:
                return None
            return {"number": started.number, "trial": started.config.model_dump_json()}

        def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
            pass  # the scheduler's adapter has heard it first, and knows who ended the trial

        def save(self, checkpoint_path: str) -> None:
            pass

        def restore(self, checkpoint_path: str) -> None:
            pass

    return SessionSearcher()


def _scheduler(link: _Link) -> Any:
    """Ray's view of who decides: sees every result before anyone else does."""
    from ray.tune.schedulers import FIFOScheduler, TrialScheduler

    class SessionScheduler(FIFOScheduler):
        def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
            goes_on = link.call(lambda: link.result(trial.config["number"], result), False)
            return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)

        def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
            words = str(trial.get_error() or "").strip() or "no word from it"
            reason = f"worker died: {words.splitlines()[0]}"
            link.call(lambda: link.session.fail(trial.config["number"], reason), None)

    return SessionScheduler()  # type: ignore[no-untyped-call]


def _stopper(link: _Link) -> Any:
    """Ray's view of when all is over."""
    from ray.tune.stopper import Stopper

    class SessionStopper(Stopper):
        def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
            return False

        def stop_all(self) -> bool:
            return link.should_stop()

    return SessionStopper()
