"""One launch of a search, from its settings to its exit status."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import optuna
from rich.console import Console

from fmnist_models.data.dataset import Dataset, load_search_data
from fmnist_models.data.download import find_data
from fmnist_models.data.idx import DataFiles
from search.backend.ray_tune import run_trials
from search.backend.sites import Site, site_of
from search.display.live_table import Clock, Display
from search.errors import Interrupted, NoResultError, SurroundingsError, as_search_error
from search.planning.cost_estimate import Findings, Machine, allowed, epoch_limit
from search.planning.forecast import make_forecast
from search.planning.gpu_sharing import Needs, needed_shares
from search.planning.plan import SearchPlan, make_plan
from search.quantities import duration
from search.results.export import export_beside
from search.results.provenance import environment
from search.results.summary import Summary, summarize, summary_lines
from search.schedulers.rules import make_scheduler
from search.settings import SearchSettings, storage_default
from search.signals import Signals
from search.trials.driver_leases import reap
from search.trials.live_trial import Tolerance
from search.trials.session import SearchSession
from search.trials.study import enqueue_points, finished, open_study, start_launch, study_identity
from search.trials.supervisor import Control
from search.workers.checkpoints import CheckpointStore
from search.workers.messages import WorkerSettings
from search.workspace import checkpoint_folder, places_written, space_check
from spaces import Space, SpaceContext, get_space
from storage import Database, mask_url, open_database


@dataclass(frozen=True)
class Launch:
    """What a launch stands on: what was asked for, what that means here, and where it is kept."""

    settings: SearchSettings
    plan: SearchPlan
    space: Space
    source: DataFiles
    dataset: Dataset
    site: Site
    checkpoints: Path
    database: Database
    study: optuna.Study
    console: Console
    started: float

    def say(self, text: str) -> None:
        """One line on stderr."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    @property
    def deadline(self) -> float | None:
        """When the time budget ends, on the monotonic clock."""
        budget = self.settings.time_budget_seconds
        return None if budget is None else self.started + budget

    @property
    def past_deadline(self) -> bool:
        """Whether the time budget is spent."""
        return self.deadline is not None and time.monotonic() >= self.deadline


def run_search(settings: SearchSettings, *, as_json: bool = False) -> int:
    """Run a search to its end; the exit status of design.md.

    Progress and errors (one line) go to stderr, the summary to stdout. Defects raise.
    """
    signals = Signals()
    with signals.installed():
        try:
            _search(settings, signals, as_json)
        except BaseException as error:
            known = as_search_error(error, settings.storage)
            if known is None:
                raise
            print(f"run_search.py: {known}", file=sys.stderr)
            return known.status
    return 0


def _search(settings: SearchSettings, signals: Signals, as_json: bool) -> None:
    started = time.monotonic()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    checkpoints = checkpoint_folder(settings)
    source = find_data(settings.data_path)
    dataset = load_search_data(source, settings.train_samples)
    space = get_space(settings.space)
    console = Console(stderr=True)
    with site_of(settings) as site:
        plan = make_plan(settings, space, device=site.device, nodes=site.nodes)
        with open_database(settings.storage, least_free_bytes=settings.min_free_bytes) as database:
            identity = study_identity(settings, space, plan, source.digest)
            study = open_study(database, settings, identity)
            launch = Launch(
                *(settings, plan, space, source, dataset, site, checkpoints),
                *(database, study, console, started),
            )
            session = _run(launch, signals)
            summary = _conclude(launch, as_json)
    if signals.received:
        raise Interrupted(signals.received)
    if session is not None and session.is_hopeless:
        reason = (session.first_failure or "").splitlines()[0]
        kind = SurroundingsError if summary.best else NoResultError
        raise kind(f"the last trials have all failed, so the search ended; the first: {reason}")
    if summary.best is None:
        raise NoResultError("no trial has run all its epochs; give it more time and start again")


def _run(launch: Launch, signals: Signals) -> SearchSession | None:
    """Bring the study to its total, as far as time and signals let; None if it was there before."""
    for number in reap(launch.database, launch.study):
        launch.say(f"trial {number} was left running by a driver that died: queued again")
    before = len(finished(launch.study.get_trials(deepcopy=False)))
    if before >= launch.settings.trials:
        launch.say(f"study {launch.study.study_name} has {before} finished trials: nothing to do")
        return None
    found = launch.site.measure(launch.space, launch.plan, launch.dataset)
    plan = _plan_again(launch, found)
    launch = replace(launch, plan=plan)
    about = environment(
        *(plan, found.nodes, found.machine.precision, found.device_name),
        len(launch.dataset.validation),
    )
    _say_of_precision(launch, found)
    launch_id = start_launch(launch.database, launch.settings, about)
    try:
        context = allowed(found.machine, plan, launch.settings.seed)
        clock = _announce(launch, found, context, before)
    except BaseException:
        launch.database.end_launch(launch_id, "ended before its first trial")
        raise
    return _run_session(launch, launch_id, signals, found.machine, context, clock)


def _plan_again(launch: Launch, found: Findings) -> SearchPlan:
    """The plan, now that the memory of a cluster's GPUs and what trials need of them are known."""
    device = launch.plan.device
    card = min((node.card_memory_bytes for node in found.nodes if node.gpus), default=0)
    needs = Needs(found.machine.cost, device)
    shares = needed_shares(launch.space, needs, card) if device != "cpu" else ()
    return make_plan(launch.settings, launch.space, device=device, nodes=found.nodes, shares=shares)


def _say_of_precision(launch: Launch, found: Findings) -> None:
    """Say so when this launch trains in another number format than the study has seen.

    Each launch takes the faster one where it runs; the database and an export name it.
    """
    here = found.machine.precision
    launches = launch.database.launches(launch.study.study_name)
    there = {str(past.environment.get("precision")) for past in launches} - {here}
    if there:
        launch.say(f"this launch trains in {here}, an earlier one of the study in {there.pop()}")


def _announce(launch: Launch, found: Findings, context: SpaceContext, before: int) -> Clock:
    """Queue the known-good points; say on what the search will run, how, and how long."""
    points, left_out = enqueue_points(launch.database, launch.study, launch.space, context)
    forecast = make_forecast(
        launch.settings,
        launch.plan,
        launch.space,
        found,
        context,
        finished=before,
        points=points,
        points_left_out=left_out,
    )
    data = launch.dataset
    launch.say(
        f"data: {data.name} ({launch.source.origin}), {len(data.train):,} images to train, "
        f"{len(data.validation):,} to validate"
    )
    for line in (*found.remarks, *forecast.lines):
        launch.say(line)
    elapsed = time.monotonic() - launch.started
    return Clock(
        launch.started, elapsed + forecast.seconds, before, launch.settings.trials, launch.deadline
    )


def _run_session(
    launch: Launch,
    launch_id: int,
    signals: Signals,
    machine: Machine,
    context: SpaceContext,
    clock: Clock,
) -> SearchSession:
    """Run trials on Ray until the total, the deadline or a signal; none is left RUNNING."""
    settings, plan = launch.settings, launch.plan
    scheduler = make_scheduler(
        settings.scheduler,
        grace_period=plan.grace_period,
        reduction_factor=plan.reduction_factor,
        epochs=plan.epochs,
        trials=settings.trials,
    )
    session = SearchSession(
        *(launch.study, launch.database, launch_id, launch.space, context, scheduler),
        *(settings.trials, _tolerance(launch, signals)),
    )
    display = Display(session, clock, launch.console)
    control = _control(launch, signals, machine, display)
    outcome = "failed"
    with signals.deferred():  # also while the session closes, which must not stop half-way
        try:
            with (
                display.shown(),
                launch.site.workers(launch.dataset) as worker,
                signals.installed(),  # again, as Ray puts a handler of its own on SIGTERM
            ):
                run_trials(session, plan, _worker_settings(launch, machine), control, worker)
            outcome = _outcome(session, signals)
        finally:
            session.close(outcome)
    if session.is_done and not launch.database.open_launches(settings.study):
        CheckpointStore(launch.checkpoints).tidy()
    return session


def _tolerance(launch: Launch, signals: Signals) -> Tolerance:
    """What the session puts up with."""
    settings = launch.settings
    places = places_written(settings, launch.checkpoints)
    return Tolerance(
        retries=settings.retries,
        outage_seconds=settings.database_outage_seconds,
        check_space=space_check(places, settings.min_free_bytes),
        should_end=lambda: bool(signals.received),
        say=launch.say,
    )


def _control(launch: Launch, signals: Signals, machine: Machine, display: Display) -> Control:
    """What the running search asks of its surroundings."""
    asked_for = launch.settings.trial_timeout_seconds
    store = CheckpointStore(launch.checkpoints)
    return Control(
        should_stop=lambda: bool(signals.received) or launch.past_deadline,
        on_step=display.tick,
        epoch_limit=lambda started: epoch_limit(machine, started, asked_for),
        note=display.note,
        ended=store.discard,
        needs=Needs(machine.cost, launch.plan.device),
    )


def _outcome(session: SearchSession, signals: Signals) -> str:
    if signals.received:
        return "interrupted"
    if session.is_hopeless:
        return "ended by failures"
    return "done" if session.is_done else "time budget spent"


def _worker_settings(launch: Launch, machine: Machine) -> WorkerSettings:
    return WorkerSettings(
        data_dir=str(launch.source.directory),
        train_samples=launch.settings.train_samples,
        device=launch.plan.device,
        precision=machine.precision,
        threads=max(1, int(launch.plan.cpus_per_trial)),
        checkpoint_dir=str(launch.checkpoints),
    )


def _conclude(launch: Launch, as_json: bool) -> Summary:
    """Export the best configuration; print the summary and what to type next."""
    summary = summarize(launch.database, launch.study)
    seconds = time.monotonic() - launch.started
    path, lines = None, [*summary_lines(summary), f"Took {duration(seconds)}."]
    if summary.best:
        path, refused = export_beside(launch.database, launch.study, summary)
        lines.append(f"Exported: {path}" if path else f"Not exported: {refused}")
    print("\n".join([*lines, *_next_commands(launch.settings, path)]))
    if as_json:
        exported = {"exported": str(path) if path else None, "seconds": seconds}
        print(json.dumps({**summary.model_dump(mode="json"), **exported}))
    sys.stdout.flush()
    return summary


def _next_commands(settings: SearchSettings, exported: Path | None) -> list[str]:
    """What to type next, as it can be pasted."""
    python = Path(sys.executable)
    if python.is_relative_to(Path.cwd()):
        python = python.relative_to(Path.cwd())
    usual = storage_default(os.environ)
    option = "" if settings.storage == usual else f" --storage '{mask_url(settings.storage)}'"
    lines = [f"Look: {python} -m search dashboard{option}"]
    if exported:
        out = f"--out models/{settings.study}"
        lines.insert(0, f"Next: {python} -m fmnist_models train {exported} {out}")
    return lines
