"""One launch of a search, from its settings to its exit status."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import optuna
from rich.console import Console

from fmnist_models.data import Dataset, load_search_data
from fmnist_models.fetch import DataSource, find_data
from fmnist_models.precision import choose_precision, default_device, gpu_count
from search.arguments import storage_default
from search.display import Clock, Display
from search.errors import Interrupted, NoResultError, SurroundingsError, as_search_error
from search.estimate import Machine, affordable, estimate, measure
from search.export import export_beside
from search.messages import WorkerSettings
from search.plan import SearchPlan, available_cpus, environment, make_plan, study_identity
from search.ray_runner import Control, ray_started, run_trials
from search.schedulers import make_scheduler
from search.session import SearchSession
from search.settings import SearchSettings
from search.signals import Signals
from search.study import enqueue_points, finished, open_study, reap, start_launch
from search.summary import Summary, summarize, summary_lines
from search.text import describe, duration
from spaces import Space, SpaceContext, get_space
from storage import Database, mask_url, open_database


@dataclass(frozen=True)
class Launch:
    """What a launch stands on: what was asked for, what that means here, and where it is kept."""

    settings: SearchSettings
    plan: SearchPlan
    space: Space
    source: DataSource
    dataset: Dataset
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
    source = find_data(settings.data_path)
    dataset = load_search_data(source.directory, settings.train_samples)
    space = get_space(settings.space)
    plan = make_plan(
        settings, space, device=default_device(), cpus=available_cpus(), gpus=gpu_count()
    )
    with open_database(settings.storage) as database:
        study = open_study(database, settings, study_identity(settings, space, plan, source.digest))
        console = Console(stderr=True)
        launch = Launch(settings, plan, space, source, dataset, database, study, console, started)
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
    precision = choose_precision(launch.plan.device)
    about = environment(launch.plan, precision, len(launch.dataset.validation))
    launch_id = start_launch(launch.database, launch.settings, about)
    try:
        machine = measure(launch.space, launch.plan, launch.dataset, precision)
        context = SpaceContext(
            launch.plan.epochs,
            launch.settings.seed,
            affordable(machine, launch.plan),
            affordable(machine, launch.plan, passes=2),
        )
        clock = _announce(launch, machine, context, before)
    except BaseException:
        launch.database.end_launch(launch_id, "ended before its first trial")
        raise
    return _run_session(launch, launch_id, signals, machine, context, clock)


def _announce(launch: Launch, machine: Machine, context: SpaceContext, before: int) -> Clock:
    """Queue the known-good points; say on what the search will run, how, and how long."""
    plan, settings, data = launch.plan, launch.settings, machine.dataset
    left_out = enqueue_points(launch.database, launch.study, launch.space, context)
    expected = estimate(
        launch.space,
        machine,
        plan,
        context,
        settings.trials - before,
        points=0 if before else len(launch.space.points) - left_out,
        early_stopping=settings.scheduler != "fifo",
    )
    launch.say(
        f"data: {data.name} ({launch.source.origin}), {len(data.train):,} images to train, "
        f"{len(data.validation):,} to validate"
    )
    launch.say(
        f"here: {plan.device}, {machine.precision}; measured on some networks of the space, an "
        f"epoch of {describe(expected.reference.model_dump(mode='json'))} takes "
        f"{duration(expected.reference_seconds)}, "
        f"a mean one {duration(expected.mean_epoch_seconds)}"
    )
    if plan.max_epoch_seconds:
        launch.say(
            f"epochs longer than {duration(plan.max_epoch_seconds)} are not started "
            f"(--max-epoch-time); known-good points left out for that: {left_out}"
        )
    budget = settings.time_budget_seconds
    ends = f", ends after {duration(budget)} at the latest" if budget else ""
    launch.say(
        f"plan: {settings.trials - before} trials of up to {plan.epochs} epochs, "
        f"{plan.concurrency} at a time, {settings.sampler} and {settings.scheduler}; "
        f"about {duration(expected.total_seconds)}{ends}"
    )
    elapsed = time.monotonic() - launch.started
    return Clock(
        launch.started, elapsed + expected.total_seconds, before, settings.trials, launch.deadline
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
    )
    session = SearchSession(
        launch.study, launch.database, launch_id, launch.space, context, scheduler, settings.trials
    )
    display = Display(session, clock, launch.console)
    control = Control(
        should_stop=lambda: bool(signals.received) or launch.past_deadline, on_step=display.tick
    )
    outcome = "failed"
    with signals.deferred():  # also while the session closes, which must not stop half-way
        try:
            with (
                display.shown(),
                ray_started(settings.address, available_cpus(), gpu_count()),
                signals.installed(),  # again, as Ray puts a handler of its own on SIGTERM
            ):
                run_trials(session, plan, _worker_settings(launch, machine), control)
            outcome = _outcome(session, signals)
        finally:
            session.close(outcome)
    return session


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
