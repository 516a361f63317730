"""What is said before a search starts: on what it runs, how, and how long it will take."""

from __future__ import annotations

from dataclasses import dataclass

from search.planning.cost_estimate import Estimate, Findings, estimate, longest_epoch
from search.planning.plan import SearchPlan
from search.quantities import describe, duration
from search.settings import SearchSettings
from spaces import Space, SpaceContext


@dataclass(frozen=True)
class Forecast:
    """`seconds` that the trials will take, and the lines that say it."""

    seconds: float
    lines: tuple[str, ...]


def make_forecast(
    settings: SearchSettings,
    plan: SearchPlan,
    space: Space,
    found: Findings,
    context: SpaceContext,
    *,
    finished: int,
    points: int,
    points_left_out: int,
) -> Forecast:
    """What is to come with `finished` trials done and `points` known-good ones queued."""
    expected = estimate(
        space,
        found.machine,
        plan,
        context,
        settings.trials - finished,
        points=0 if finished else points,
        early_stopping=settings.scheduler != "fifo",
    )
    lines = [_here(settings, plan, found, expected)]
    limit = longest_epoch(found.machine, plan)
    if limit:
        why = "--max-epoch-time" if limit == plan.max_epoch_seconds else "--time-budget"
        lines.append(
            f"networks with epochs longer than {duration(limit)} are not sampled "
            f"({why}); known-good points left out as too slow: {points_left_out}"
        )
    budget = settings.time_budget_seconds
    ends = f", ends after {duration(budget)} at the latest" if budget else ""
    at_once = f"{plan.concurrency} at a time{_sharing(plan)}"
    lines.append(
        f"plan: {settings.trials - finished} trials of up to {plan.epochs} epochs, "
        f"{at_once}, {settings.sampler} and {settings.scheduler}; "
        f"about {duration(expected.total_seconds)}{ends}"
    )
    return Forecast(expected.total_seconds, tuple(lines))


def _sharing(plan: SearchPlan) -> str:
    return (
        f" (up to {int(1 / plan.gpus_per_trial)} on a GPU)" if 0 < plan.gpus_per_trial < 1 else ""
    )


def _here(settings: SearchSettings, plan: SearchPlan, found: Findings, expected: Estimate) -> str:
    nodes = len(found.nodes)
    where = f"cluster of {nodes} node{'s' if nodes > 1 else ''}" if settings.address else "here"
    return (
        f"{where}: {plan.device}, {found.machine.precision}; measured on some networks of the "
        f"space, an epoch of {describe(expected.reference.model_dump(mode='json'))} takes "
        f"{duration(expected.reference_seconds)}, "
        f"a mean one {duration(expected.mean_epoch_seconds)}"
    )
