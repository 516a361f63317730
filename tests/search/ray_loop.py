"""A driver that runs a real SearchSession on real Ray, with workers that train nothing.

python -m tests.search.ray_loop URL TRIALS WORKER [EPOCHS [CONCURRENCY]]
where WORKER is a class of made_up_workers; prints the seconds from the first trial to the last, and
the seconds of CPU time that the driver had meanwhile.
Which trial took which fault is noted in a folder `faults` beside the SQLite file.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import optuna

from search.backend.ray_session import ray_alone
from search.backend.ray_watch import RayWatch
from search.planning.plan import Node, SearchPlan, make_plan, set_up_trials
from search.planning.trial_needs import TrialNeeds
from search.settings import make_settings
from search.signals import StopRequest
from search.time_budget import Budget
from search.trials.session import SearchSession
from search.trials.supervisor import Supervisor
from search.workers.checkpoints import CheckpointStore
from search.workers.messages import WorkerSettings
from spaces import get_space
from storage import Database, open_database
from tests.search.loop import EPOCHS, STUDY, Listener, open_session

TIMEOUT_SECONDS = 10.0
"""That an epoch may take."""
NODE = Node(name="here", cpus=2, gpus=0, memory_bytes=4_000_000_000)
WORKER_BYTES = 2_000_000_000
SETTINGS = WorkerSettings(
    data_dir="none", train_samples=None, device="cpu", precision="fp32", threads=1
)


def plan_of(trials: int, node: Node = NODE, epochs: int = EPOCHS) -> SearchPlan:
    """A trial at a time on each core of `node`."""
    settings = make_settings(space="quick", trials=trials, study=STUDY, epochs=epochs)
    setup = set_up_trials(settings, get_space("quick"), device="cpu", nodes=[node])
    return make_plan(settings, setup, nodes=[node], shares=(), budget=Budget())


def search_on_ray(
    database: Database,
    trials: int,
    worker: str,
    watch: RayWatch,
    *,
    epochs: int = EPOCHS,
    node: Node = NODE,
) -> None:
    """Run a search to its end on the Ray of `node`, which `watch` looks after."""
    with search_session(database, trials, epochs) as (_, run):
        began, cpu = time.monotonic(), time.process_time()
        run(plan_of(trials, node, epochs), watch, worker)
        print(time.monotonic() - began, time.process_time() - cpu)


@contextmanager
def search_session(
    database: Database, trials: int, epochs: int = EPOCHS, listener: Listener | None = None
) -> Iterator[tuple[SearchSession, Callable[[SearchPlan, RayWatch, str], None]]]:
    """Open a session, give it with what runs its trials on a Ray that is ready, and close it."""
    assert database.path is not None
    faults = database.path.parent / "faults"
    faults.mkdir()
    listener = listener or Listener()
    session = open_session(database, trials, "quota", "curves", epochs, observer=listener)
    settings = SETTINGS.model_copy(update={"data_dir": str(faults)})

    def run(plan: SearchPlan, watch: RayWatch, worker: str) -> None:
        from search.backend.ray_tune import kill_worker, run_trials
        from tests.search.made_up_workers import KINDS

        supervisor = Supervisor(
            session,
            observer=listener,
            stop=StopRequest(Budget()),
            needs=TrialNeeds(),
            checkpoints=CheckpointStore(faults.parent / "checkpoints"),
            epoch_timeout=lambda started: TIMEOUT_SECONDS,
            kill=kill_worker,
        )
        run_trials(supervisor, plan, settings, watch, KINDS[worker])

    try:
        yield session, run
    finally:
        session.close("done")


def main(url: str, trials: int, worker: str, epochs: int = EPOCHS, concurrency: int = 2) -> None:
    """Run a search to its end on a Ray of its own."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    node = NODE.model_copy(update={"cpus": concurrency, "memory_bytes": concurrency * WORKER_BYTES})
    with open_database(url) as database, ray_alone(node) as watch:
        search_on_ray(database, trials, worker, watch, epochs=epochs, node=node)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], *map(int, sys.argv[4:]))
