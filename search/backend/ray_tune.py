"""Ray Tune runs the trials of a session: three thin adapters, which only hand on.

Decisions, records and totals are the session's, stalled workers the supervisor's; Ray starts warm
workers where there is room, moves configurations and results, and stops what it is told to.
Imported only once Ray runs: Ray reads its environment when it is imported.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import ray
from ray import tune
from ray.tune import PlacementGroupFactory
from ray.tune.execution import class_cache
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from search.backend.ray_actor import TrialWorker
from search.backend.ray_watch import RayDied, RayWatch
from search.backend.session_folder import session_folder
from search.backend.tune_run import LEAVE_SECONDS, StopTune, TuneRun, run_watched
from search.errors import SurroundingsError
from search.planning.plan import SearchPlan, TrialSize
from search.planning.trial_needs import TrialNeeds
from search.trials.supervisor import Supervisor
from search.workers.messages import MESSAGE, StartedTrial, WorkerSettings

# Tune asks for workers with these in an environment of their own, and so passes by those that Ray
# has started beforehand and that have torch by now. No trial of ours needs any of them. What is
# unknown to another version of Ray stays as it is, and then workers start with their first trial.
for _name in ("DEFAULT_ENV_VARS", "ENV_VARS_TO_PROPAGATE"):
    getattr(class_cache, _name, set()).clear()

COLOURS = re.compile(r"\x1b\[[0-9;]*m")
MOST_RESTARTS = 5
"""So often Ray Tune is started again in a launch when it has broken down itself."""


def kill_worker(worker: Any) -> None:
    """End a worker's process, whatever it is doing; of a Ray that is dead nothing is waited for."""
    thread = Thread(target=ray.kill, args=(worker,), daemon=True)
    thread.start()
    thread.join(LEAVE_SECONDS)


def run_trials(
    supervisor: Supervisor,
    plan: SearchPlan,
    settings: WorkerSettings,
    watch: RayWatch,
    worker: type[tune.Trainable] | None = None,
) -> None:
    """Run trials until the supervisor says stop, on the Ray that `watch` looks after.

    `worker` is the class of the workers, TrialWorker by default. An exception in the session (a
    lost database, say) stops the trials and is raised when they have been told to stop. What still
    ran is left RUNNING for the session to give up: each is at most one epoch past its checkpoint.
    Raises RayDied, with what ran queued again.
    """
    for _ in range(1 + MOST_RESTARTS):
        try:
            with session_folder() as scratch:
                run = TuneRun(supervisor, plan, settings, watch)
                run_watched(run, partial(_run_tune, run, worker or TrialWorker, scratch))
            break
        except RayDied as death:
            if supervisor.is_to_stop:
                break
            supervisor.interrupt_all(str(death))
            raise
        except Exception as error:  # Tune's own; the session's are in supervisor.error
            first = (str(error).strip() or type(error).__name__).splitlines()[-1]
            supervisor.lose_all(f"Ray Tune broke down: {first}")
            failure = error
    else:
        raise SurroundingsError(f"Ray Tune broke down again and again: {failure}") from failure
    if supervisor.error:
        raise supervisor.error


def _run_tune(run: TuneRun, worker: type[tune.Trainable], scratch: Path) -> None:
    tuner = tune.Tuner(
        tune.with_resources(worker, _resources(run.plan)),
        tune_config=tune.TuneConfig(
            num_samples=-1,
            search_alg=_SessionSearcher(run),
            scheduler=_SessionScheduler(run),
            max_concurrent_trials=run.plan.concurrency,
            reuse_actors=True,
            trial_name_creator=lambda trial: f"trial_{trial.config['number']}",
            trial_dirname_creator=lambda trial: f"trial_{trial.config['number']}",
        ),
        run_config=tune.RunConfig(
            name="trials",
            storage_path=str(scratch),
            stop=_SessionStopper(run),
            # Ray would keep them on the driver's disk, where another node cannot write.
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            verbose=0,
        ),
    )
    try:
        tuner.fit()
    except StopTune:
        if run.is_left:
            raise  # with all that Tune has, which `run_watched` keeps
        run.supervisor.kill_all()


def _resources(plan: SearchPlan) -> Any:
    """What Ray is asked for, by the size that the searcher chose for a trial."""

    def ask(size: TrialSize) -> dict[str, float]:
        wanted = {"CPU": size.cpus, "GPU": size.gpus, "memory": float(size.memory_bytes)}
        counted = len(plan.sizes) > 1 and not size.gpus  # else cores and cards are the limit
        kept = {name: amount for name, amount in wanted.items() if amount}
        return kept if counted else {name: kept[name] for name in kept if name != "memory"}

    by_name = {size.name: ask(size) for size in plan.sizes}
    return lambda config: PlacementGroupFactory([by_name[config.get("size", plan.sizes[0].name)]])


def config_of(
    started: StartedTrial, plan: SearchPlan, settings: WorkerSettings, needs: TrialNeeds
) -> dict[str, Any]:
    """What a worker is given for a trial, and the size of the place that it needs."""
    size = needs.size(plan, started)
    limit = size.memory_bytes if plan.device == "cpu" else None
    return {
        "number": started.number,
        "trial": started.model_dump_json(),
        "settings": settings.model_copy(update={"memory_limit_bytes": limit}).model_dump_json(),
        "size": size.name,
    }


class _SessionSearcher(Searcher):
    """Ray's view of where configurations come from."""

    def __init__(self, run: TuneRun) -> None:
        super().__init__()
        self._run = run

    def suggest(self, trial_id: str) -> Any:
        with self._run.session() as supervisor:
            if supervisor.is_over:
                return Searcher.FINISHED
            started = supervisor.next_trial()
        if started is None:
            self._run.turn()  # while Tune waits here, nothing else takes one
            return None
        return config_of(started, self._run.plan, self._run.settings, self._run.supervisor.needs)

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        pass  # the scheduler's adapter has heard it first, and knows who ended the trial

    def save(self, checkpoint_path: str) -> None:
        pass

    def restore(self, checkpoint_path: str) -> None:
        pass


class _SessionScheduler(FIFOScheduler):
    """Ray's view of who decides: sees every result before anyone else does."""

    def __init__(self, run: TuneRun) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._run = run

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        self._run.trials[trial.config["number"]] = trial

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        with self._run.session() as supervisor:
            goes_on = supervisor.result(trial.config["number"], result.get(MESSAGE, ""))
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        if self._run.watch.death():
            return  # no fault of the trial's: `run_watched` sees it too
        with self._run.session() as supervisor:
            supervisor.lost(trial.config["number"], _lost_reason(trial.error_file))


def _lost_reason(error_file: str | None) -> str:
    """Ray's words on a lost worker, which it keeps in a file: what it raised, or the first line."""
    try:
        text = Path(error_file).read_text(errors="replace") if error_file else ""
    except OSError:
        text = ""
    lines = [line for line in COLOURS.sub("", text).splitlines()[1:] if line.strip()]
    raised = lines and lines[0].startswith("ray::")
    words = (lines[-1] if raised else lines[0]) if lines else "no word from it"
    return "\n".join([f"worker died: {words.strip()[:200]}", *lines[1:]])


class _SessionStopper(Stopper):
    """Ray's view of when all is over."""

    def __init__(self, run: TuneRun) -> None:
        self._run = run

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        self._run.turn()
        return False
