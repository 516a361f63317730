"""What is said before a search starts: on what it runs, how, and how long it will take."""

from __future__ import annotations

from dataclasses import dataclass

import optuna

from search.estimate import Estimate, estimate, longest_epoch
from search.plan import SearchPlan
from search.settings import SearchSettings
from search.site import Findings
from search.study import enqueue_points
from search.text import describe, duration
from spaces import Space, SpaceContext
from storage import Database


@dataclass(frozen=True)
class Forecast:
    """`seconds` that the trials will take, and the lines that say it."""

    seconds: float
    lines: tuple[str, ...]


def foretell(
    settings: SearchSettings,
    plan: SearchPlan,
    space: Space,
    found: Findings,
    context: SpaceContext,
    database: Database,
    study: optuna.Study,
    before: int,
) -> Forecast:
    """Queue the known-good points, and say what is to come with `before` trials finished."""
    points, left_out = enqueue_points(database, study, space, context)
    expected = estimate(
        space,
        found.machine,
        plan,
        context,
        settings.trials - before,
        points=0 if before else points,
        early_stopping=settings.scheduler != "fifo",
    )
    lines = [_here(settings, plan, found, expected)]
    limit = longest_epoch(found.machine, plan)
    if limit:
        why = "--max-epoch-time" if limit == plan.max_epoch_seconds else "--time-budget"
        lines.append(
            f"networks with epochs longer than {duration(limit)} are not sampled "
            f"({why}); known-good points left out as too slow: {left_out}"
        )
    budget = settings.time_budget_seconds
    ends = f", ends after {duration(budget)} at the latest" if budget else ""
    at_once = f"{plan.concurrency} at a time{_sharing(plan)}"
    lines.append(
        f"plan: {settings.trials - before} trials of up to {plan.epochs} epochs, "
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
