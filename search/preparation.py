"""Before the first trial: what trials cost here, what is planned by it, and what is said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fmnist_models.data.dataset import Dataset
from fmnist_models.data.idx import DataFiles
from search.backend.sites import Site
from search.display.live_table import Clock, Display
from search.planning.cost_estimate import (
    Estimate,
    Findings,
    affordable_context,
    estimate,
    longest_epoch,
    refuse_short_trials,
)
from search.planning.plan import ALLOTMENT, SearchPlan, TrialSetup, make_plan
from search.planning.trial_needs import TrialNeeds, needed_shares
from search.planning.trial_time import measured_allotment
from search.quantities import describe, duration
from search.results.provenance import environment
from search.settings import SearchSettings
from search.signals import StopRequest
from search.trials.database_outage import Outage
from search.trials.study import enqueue_points, start_launch, study_allotment
from search.workers.checkpoints import CheckpointStore
from spaces import Space, SpaceContext
from storage import StudyStore


@dataclass(frozen=True)
class Launch:
    """What a launch stands on: what was asked for, where it runs and where it is kept."""

    settings: SearchSettings
    stop: StopRequest
    display: Display
    space: Space
    remarks: Sequence[str]
    source: DataFiles
    dataset: Dataset
    site: Site
    setup: TrialSetup
    checkpoints: CheckpointStore
    store: StudyStore
    outage: Outage


@dataclass(frozen=True)
class Preparation:
    """What was measured where trials will run, what is planned by it, and the launch's record."""

    launch_id: int
    found: Findings
    needs: TrialNeeds
    plan: SearchPlan
    context: SpaceContext
    clock: Clock


def prepare(launch: Launch, finished_before: int) -> Preparation:
    """Measure and plan, record the launch, queue the known-good points, and say what is to come.

    Ray begins to start when the plan is made. `finished_before` counts the study's finished trials.
    """
    settings, setup, budget = launch.settings, launch.setup, launch.stop.budget
    found = launch.site.measure(launch.space, setup, launch.dataset)
    needs = TrialNeeds(found.machine.cost, setup.device)
    shares = needed_shares(launch.space, needs, found.nodes)
    plan = make_plan(settings, setup, nodes=found.nodes, shares=shares, budget=budget)
    own = measured_allotment(plan, found.machine.cost, launch.dataset)
    if own is not None:
        refuse_short_trials(launch.space, found.machine, own)
    launch.site.begin(plan)
    about = environment(
        plan=plan,
        nodes=found.nodes,
        precision=found.machine.precision,
        device_name=found.device_name,
        validation_images=len(launch.dataset.validation),
    )
    if own is not None:
        about[ALLOTMENT] = own.model_dump(mode="json")
    _say_of_precision(launch, found.machine.precision)
    launch_id = launch.outage.repeat(lambda again: start_launch(launch.store, settings, about))
    try:
        allotment = study_allotment(launch.store) if own else None
        context = affordable_context(found.machine, plan, settings.seed, allotment)
        seconds = _forecast(launch, plan, found, context, finished_before)
    except BaseException:
        launch.store.launches.end(launch_id, "ended before its first trial")
        raise
    clock = Clock(
        budget=budget,
        expected_seconds=budget.elapsed + seconds,
        finished_before=finished_before,
        trials=settings.trials,
    )
    return Preparation(
        launch_id=launch_id, found=found, needs=needs, plan=plan, context=context, clock=clock
    )


def _say_of_precision(launch: Launch, here: str) -> None:
    """Say so when this launch trains in another number format than the study has seen.

    Each launch takes the faster one where it runs; the database and an export name it.
    """
    launches = launch.store.launches.all()
    there = {str(past.environment.get("precision")) for past in launches} - {here}
    if there:
        earlier = there.pop()
        launch.display.say(
            f"this launch trains in {here}, an earlier one of the study in {earlier}"
        )


def _forecast(
    launch: Launch, plan: SearchPlan, found: Findings, context: SpaceContext, finished: int
) -> float:
    """Queue the known-good points; say on what trials will run, how, and how long.

    Gives back the seconds that all but the `finished` ones will probably take.
    """
    settings, data = launch.settings, launch.dataset
    trials = settings.trials - finished
    points, left_out = launch.outage.repeat(
        lambda again: enqueue_points(launch.store, launch.space, context)
    )
    expected = estimate(
        launch.space,
        found.machine,
        plan,
        context,
        trials,
        points=0 if finished else points,
        early_stopping=settings.scheduler != "fifo",
    )
    launch.display.say(
        f"data: {data.name} ({launch.source.origin}), {len(data.train):,} images to train, "
        f"{len(data.validation):,} to validate"
    )
    for remark in [*launch.remarks, *found.remarks]:
        launch.display.say(remark)
    launch.display.say(_place(settings, plan, found, expected))
    limit = longest_epoch(found.machine, plan)
    if plan.trial_seconds is not None:
        launch.display.say(
            f"a trial trains for {duration(plan.trial_seconds)}, on as many images as it gets "
            "through; networks that would not see all of them twice are not sampled; "
            f"known-good points left out as too slow: {left_out}"
        )
    elif limit:
        why = "--max-epoch-time" if limit == plan.max_epoch_seconds else "--time-budget"
        launch.display.say(
            f"networks with epochs longer than {duration(limit)} are not sampled "
            f"({why}); known-good points left out as too slow: {left_out}"
        )
    budget = launch.stop.budget.seconds
    ends = f", ends after {duration(budget)} at the latest" if budget else ""
    shared = 0 < plan.gpus_per_trial < 1
    sharing = f" (up to {int(1 / plan.gpus_per_trial)} on a GPU)" if shared else ""
    epochs = "epochs" if plan.trial_seconds is None else "epochs of equal time"
    launch.display.say(
        f"plan: {trials} trials of up to {plan.epochs} {epochs}, "
        f"{plan.concurrency} at a time{sharing}, {settings.sampler} and {settings.scheduler}; "
        f"about {duration(expected.total_seconds)}{ends}"
    )
    return expected.total_seconds


def _place(settings: SearchSettings, plan: SearchPlan, found: Findings, expected: Estimate) -> str:
    nodes = len(found.nodes)
    where = f"cluster of {nodes} node{'s' if nodes > 1 else ''}" if settings.address else "here"
    return (
        f"{where}: {plan.device}, {found.machine.precision}; measured on some networks of the "
        f"space, an epoch of {describe(expected.reference.model_dump(mode='json'))} takes "
        f"{duration(expected.reference_seconds)}, "
        f"a mean one {duration(expected.mean_epoch_seconds)}"
    )
