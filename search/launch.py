"""One launch of a search, from its settings to its exit status."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import optuna

from fmnist_models.data.dataset import load_search_data
from fmnist_models.data.download import find_data
from fmnist_models.output import error_console
from search.backend.ray_watch import RayWatch
from search.backend.sites import open_site
from search.cli.search_options import search_program
from search.display.live_table import Display
from search.errors import Interrupted, NoResultError, SurroundingsError, as_search_error
from search.planning.chosen_space import chosen_space
from search.planning.cost_estimate import epoch_timeout
from search.planning.plan import of_study, set_up_trials
from search.preparation import Launch, Preparation, prepare
from search.results.conclusion import conclude
from search.results.export import traces_of
from search.results.outlook import why_enough
from search.schedulers.rules import make_scheduler
from search.settings import SearchSettings
from search.signals import StopRequest
from search.time_budget import Budget
from search.trials.database_outage import Outage
from search.trials.driver_leases import reap
from search.trials.live_trial import FaultLimits
from search.trials.session import SearchSession
from search.trials.study import finished_trials, known_identity, open_study, study_identity
from search.trials.supervisor import Supervisor
from search.workers.checkpoints import CheckpointStore
from search.workers.messages import StartedTrial, WorkerSettings
from search.workspace import checkpoint_folder, longest_outage, places_written, space_check
from storage import hide_password, mask_url, open_database


def run_search(settings: SearchSettings, *, as_json: bool = False) -> int:
    """Run a search to its end; the exit status that `run_search.py --help` explains.

    Progress and errors (one line) go to stderr, the summary to stdout. Defects raise.
    """
    hide_password()  # before there are any workers
    stop = StopRequest(Budget(settings.budget_seconds))
    with stop.installed():
        try:
            _search(settings, stop, as_json)
        except BaseException as error:
            known = as_search_error(error, settings.storage)
            if known is None:
                raise
            print(f"{search_program()}: {known}", file=sys.stderr)
            return known.status
    return 0


def _search(settings: SearchSettings, stop: StopRequest, as_json: bool) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    display = Display(error_console(), stop.budget)
    outage = Outage(
        settings.storage,
        longest_outage(settings.storage, settings.database_outage_seconds),
        should_end=stop.is_interrupted,
        say=display.say,
    )
    folder = checkpoint_folder(settings.storage, settings.study, settings.checkpoint_dir)
    source = find_data(settings.data_path)
    dataset = load_search_data(source, settings.train_samples)
    space, remarks = chosen_space(settings)
    with open_site(settings.address, on_cpu=settings.gpus_per_trial == 0) as site:
        setup = set_up_trials(settings, space, device=site.device, nodes=site.nodes)
        with outage.repeat(
            lambda again: open_database(settings.storage, least_free_bytes=settings.min_free_bytes)
        ) as database:
            known = outage.repeat(lambda again: known_identity(database, settings.study))
            if known is None:
                _say_what_is_missing(settings, folder, display)
            setup = of_study(setup, known, settings, space)
            identity = study_identity(settings, space, setup, source.digest)
            launch = Launch(
                settings=settings,
                stop=stop,
                display=display,
                outage=outage,
                space=space,
                remarks=remarks,
                source=source,
                dataset=dataset,
                site=site,
                setup=setup,
                checkpoints=CheckpointStore(folder),
                store=outage.repeat(lambda again: open_study(database, settings, identity)),
            )
            session = _bring_to_total(launch)
            best = conclude(
                launch.store,
                storage=settings.storage,
                seconds=stop.budget.elapsed,
                as_json=as_json,
            ).best
    if stop.signal:
        raise Interrupted(stop.signal)
    if session is not None and session.is_hopeless:
        reason = (session.first_failure or "").splitlines()[0]
        kind = SurroundingsError if best else NoResultError
        raise kind(f"the last trials have all failed, so the search ended; the first: {reason}")
    if best is None:
        raise NoResultError("no trial has run all its epochs; give it more time and start again")


def _say_what_is_missing(settings: SearchSettings, checkpoints: Path, display: Display) -> None:
    """Say so where this folder knows of a study that its database does not hold (any more)."""
    traces = traces_of(settings.study, checkpoints)
    if traces:
        display.say(
            f"warning: study {settings.study!r} is not in {mask_url(settings.storage)}, though "
            f"{' and '.join(map(str, traces))} tell of it: a new one begins, and its export "
            "replaces that of before; if its database was moved or deleted, put it back first"
        )


def _bring_to_total(launch: Launch) -> SearchSession | None:
    """Bring the study to its total, as far as time and signals let; None if it was there before."""
    for number in launch.outage.repeat(lambda again: reap(launch.store)):
        launch.display.say(f"trial {number} was left running by a driver that died: queued again")
    before = finished_trials(launch.outage.repeat(lambda again: launch.store.counts()))
    if before >= launch.settings.trials:
        name = launch.store.name
        launch.display.say(f"study {name} has {before} finished trials: nothing to do")
        return None
    return _run_session(launch, prepare(launch, before))


def _run_session(launch: Launch, prepared: Preparation) -> SearchSession:
    """Run trials on Ray until the total, the deadline or a signal; none is left RUNNING."""
    session = _open_session(launch, prepared)
    outcome = "failed"
    with launch.stop.deferred():  # also while the session closes, which must not stop half-way
        try:
            with launch.display.shown(session, prepared.clock):
                launch.site.run(
                    partial(_run_trials, launch, prepared, session),
                    launch.dataset,
                    meanwhile=session.heartbeat,
                    say=launch.display.say,
                )
            outcome = _outcome(session, launch.stop)
        finally:
            session.close(outcome)
    if session.is_done and not session.enough.verdict and not launch.store.launches.open():
        launch.checkpoints.tidy()
    return session


def _open_session(launch: Launch, prepared: Preparation) -> SearchSession:
    settings, plan = launch.settings, prepared.plan
    scheduler = make_scheduler(
        settings.scheduler,
        grace_period=plan.grace_period,
        reduction_factor=plan.reduction_factor,
        epochs=plan.epochs,
        trials=settings.trials,
    )
    places = places_written(settings.storage, launch.checkpoints.folder)
    return SearchSession(
        store=launch.store,
        launch_id=prepared.launch_id,
        space=launch.space,
        context=prepared.context,
        scheduler=scheduler,
        trials=settings.trials,
        limits=FaultLimits(
            retries=settings.retries, outage_seconds=settings.database_outage_seconds
        ),
        observer=launch.display,
        stop=launch.stop,
        check_space=space_check(places, settings.min_free_bytes),
        enough=lambda: why_enough(launch.store, launch.stop.budget.remaining),
    )


def _run_trials(
    launch: Launch,
    prepared: Preparation,
    session: SearchSession,
    watch: RayWatch,
    worker: type | None,
) -> None:
    from search.backend import ray_tune  # only now that Ray runs, see there

    settings, plan, machine = launch.settings, prepared.plan, prepared.found.machine

    def timeout(started: StartedTrial) -> float:
        return settings.trial_timeout_seconds or epoch_timeout(machine, started.config)

    supervisor = Supervisor(
        session,
        observer=launch.display,
        stop=launch.stop,
        needs=prepared.needs,
        checkpoints=launch.checkpoints,
        epoch_timeout=timeout,
        kill=ray_tune.kill_worker,
    )
    worker_settings = WorkerSettings(
        data_dir=str(launch.source.directory),
        train_samples=settings.train_samples,
        device=plan.device,
        precision=machine.precision,
        threads=max(1, int(plan.cpus_per_trial)),
        checkpoint_dir=str(launch.checkpoints.folder),
    )
    with launch.stop.installed():  # again, as each Ray puts a handler of its own on SIGTERM
        ray_tune.run_trials(supervisor, plan, worker_settings, watch, worker)


def _outcome(session: SearchSession, stop: StopRequest) -> str:
    if stop.is_interrupted():
        return "interrupted"
    if session.is_hopeless:
        return "ended by failures"
    verdict = session.enough.verdict
    if verdict:
        return "time budget spent" if verdict.all_end else "enough tried"
    return "done" if session.is_done else "time budget spent"
