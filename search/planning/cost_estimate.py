"""What a search will cost here, said before it starts: measured on a few configurations."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import mean

import optuna

from fmnist_models.compute.precision import Precision, set_threads
from fmnist_models.config.base import ModelConfig
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.dataset import Dataset
from fmnist_models.training.cost import CostModel, fit_cost, model_cost
from search.errors import UsageError
from search.planning.measured import measured_here
from search.planning.plan import LEAST_TRIALS_IN_BUDGET, Node, SearchPlan, TrialSetup
from search.planning.trial_time import Allotment
from search.quantities import duration
from search.samplers.prior_sampler import PriorSampler
from search.time_budget import TRIALS_IN_BUDGET
from spaces import Space, SpaceContext

PROBES = 4
PROBE_RANGE, GPU_PROBE_RANGE = 12.0, 300.0
"""The largest network that is timed does about so many times the work of the smallest: on a GPU
more, where only large ones show what work costs and small ones what launching costs."""
CONVOLUTIONS = 15e6
"""Multiply-accumulates up to which networks are timed in any case: in `all`, those of up to twelve
times the smallest are perceptrons, from which convolutions looked three times as slow."""
PROBE_BATCH = 128
START_SECONDS = 12.0
"""From the start of Ray to the first trial's first batch: an allowance, not measured alone."""
BESIDE_OTHERS = 1.12
"""How much longer an epoch takes on a CPU beside other trials, as probes are timed alone: 1.08 to
1.17 on two cores with bf16 (benchmarks/LOG.md), not measured elsewhere. For the forecast alone."""
LEAST_TIMEOUT_SECONDS, TIMEOUT_FACTOR = 600.0, 10.0
"""An epoch that takes longer than the former and so many times its estimate has stalled."""
POINT_SHARE = 0.8
"""So much of a time budget a known-good point may take; the rest is for starting."""
SAMPLES = 24
"""Random configurations to choose probes from, and to average the duration over."""


@dataclass(frozen=True)
class Machine:
    """This machine as measured: the data set it holds, its number format and what epochs cost.

    `least_epoch_seconds` is what an epoch of the space's smallest network takes. `note` tells the
    user where the figures were kept, if they were (measured.py).
    """

    dataset: Dataset
    precision: Precision
    cost: CostModel
    least_epoch_seconds: float = 0.0
    note: str = ""

    def epoch_seconds(self, model: ModelConfig) -> float:
        """Predicted seconds of one epoch of `model` over all images, with validation."""
        train, validation = len(self.dataset.train), len(self.dataset.validation)
        return self.cost.epoch_seconds(model, train, validation)

    def trial_epoch_seconds(self, config: TrialConfig) -> float:
        """Likewise a mean epoch of a whole configuration: SAM takes two passes a step."""
        train, validation = len(self.dataset.train), len(self.dataset.validation)
        early = config.early_validation_images or validation
        mean_validation = round(((config.epochs - 1) * early + validation) / config.epochs)
        images = config.epoch_images or train
        passes = 2 if config.regularization.sam_rho else 1
        return passes * self.cost.epoch_seconds(config.model, images, mean_validation)


def measure_machine(space: Space, setup: TrialSetup, dataset: Dataset) -> Machine:
    """Time a few of the space's smaller networks on `dataset`, once a machine; some seconds.

    Raises UsageError when an epoch of even the smallest would take longer than `setup` allows.
    """
    set_threads(max(1, int(setup.cpus_per_trial)))
    probes = choose_probes(space, PROBE_RANGE if setup.device == "cpu" else GPU_PROBE_RANGE)
    measured = measured_here(probes, dataset, setup.device)
    cost = fit_cost(probes, measured.results)
    machine = Machine(dataset, measured.precision, cost, note=measured.note)
    least, limit = machine.epoch_seconds(probes[0].model), setup.max_epoch_seconds
    if limit is not None and least > limit:
        raise UsageError(
            f"--max-epoch-time {limit:g}s: an epoch of the smallest network of {space.name} takes "
            f"about {least:.0f} s here; allow more, or train on fewer images with --train-samples"
        )
    return replace(machine, least_epoch_seconds=least)


def candidates(space: Space) -> list[TrialConfig]:
    """The known-good points of a space and `SAMPLES` random configurations, always the same."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    context = SpaceContext(epochs=1)
    found = [space.configure(point, context) for point in space.points]
    return found + [space.suggest(study.ask(), context) for _ in range(SAMPLES)]


def choose_probes(space: Space, span: float = PROBE_RANGE) -> list[TrialConfig]:
    """Configurations to time: the space's smallest network and others up to `span` times its work.

    Up to the work of `CONVOLUTIONS` at least. Chosen among the known-good points and random
    samples, evenly by the logarithm of their work.
    """
    work = {config: math.log(model_cost(config.model).macs) for config in candidates(space)}
    least = min(work.values())
    most = max(least + math.log(span), math.log(CONVOLUTIONS))
    steps = [least + i / (PROBES - 1) * (most - least) for i in range(PROBES)]
    near = {_nearest(work, step) for step in steps}
    probes = sorted(near, key=lambda config: work[config])
    return [config.model_copy(update={"batch_size": PROBE_BATCH}) for config in probes]


def _nearest(work: dict[TrialConfig, float], step: float) -> TrialConfig:
    return min(work, key=lambda config: abs(work[config] - step))


def longest_epoch(machine: Machine, plan: SearchPlan, times: float = 1.0) -> float | None:
    """Seconds of the longest epoch that is started here; None where there is no limit.

    `times` what the plan allows for the time budget's sake.
    """
    limits = [plan.max_epoch_seconds] if plan.max_epoch_seconds else []
    if plan.budget_epoch_seconds:
        limits.append(max(times * plan.budget_epoch_seconds, machine.least_epoch_seconds))
    return min(limits, default=None)


def affordable_context(
    machine: Machine, plan: SearchPlan, seed: int = 0, allotment: Allotment | None = None
) -> SpaceContext:
    """What a space may sample here; of known-good points, what fits into the budget once."""
    if allotment is not None:
        return _context_by_time(machine, plan, seed, allotment)

    def with_epochs_up_to(limit: float | None) -> SpaceContext:
        def fits(passes: int) -> Callable[[ModelConfig], bool]:
            return lambda model: limit is None or passes * machine.epoch_seconds(model) <= limit

        return SpaceContext(plan.epochs, seed, fits(1), fits(2), len(machine.dataset.train))

    points = with_epochs_up_to(longest_epoch(machine, plan, POINT_SHARE * TRIALS_IN_BUDGET))
    return replace(with_epochs_up_to(longest_epoch(machine, plan)), queued=points)


def _context_by_time(
    machine: Machine, plan: SearchPlan, seed: int, allotment: Allotment
) -> SpaceContext:
    """Where all trials take equal time: networks that see the images often enough in it."""
    limit = longest_epoch(machine, plan)

    def fits(passes: int) -> Callable[[ModelConfig], bool]:
        return lambda model: (
            allotment.allows(model, passes)
            and (limit is None or passes * machine.epoch_seconds(model) <= limit)
        )

    return SpaceContext(
        plan.epochs,
        seed,
        affordable=fits(1),
        affordable_twice=fits(2),
        train_images=allotment.train_images,
        epoch_images=allotment.epoch_images,
        early_validation_images=allotment.early_validation_images,
    )


def refuse_short_trials(space: Space, machine: Machine, allotment: Allotment) -> None:
    """Raise UsageError where not even the space's smallest network could be trained in the time."""
    needed = allotment.least_seconds(machine.least_epoch_seconds)
    if needed > allotment.trial_seconds:
        budget = duration(LEAST_TRIALS_IN_BUDGET * needed)
        raise UsageError(
            f"a trial of {duration(allotment.trial_seconds)} is too short: the smallest network of "
            f"{space.name} needs about {duration(needed)} here to see all images twice; give that "
            f"much (--trial-time, or a --time-budget of {budget} for four trials), or train on "
            "fewer images with --train-samples"
        )


def expected_epochs(plan: SearchPlan, early_stopping: bool) -> float:
    """Mean epochs of a trial when each rung lets one in `reduction_factor` pass."""
    if not early_stopping:
        return float(plan.epochs)
    share, at, total = 1.0, 0, 0.0
    rung = plan.grace_period
    while rung < plan.epochs:
        total += share * (rung - at)
        share, at, rung = share / plan.reduction_factor, rung, rung * plan.reduction_factor
    return total + share * (plan.epochs - at)


@dataclass(frozen=True)
class Estimate:
    """Seconds: of an epoch of the first known-good point, of a mean epoch, of what is left."""

    reference: TrialConfig
    reference_seconds: float
    mean_epoch_seconds: float
    total_seconds: float


def estimate(
    space: Space,
    machine: Machine,
    plan: SearchPlan,
    context: SpaceContext,
    trials: int,
    *,
    points: int,
    early_stopping: bool,
) -> Estimate:
    """Expected duration of `trials` more trials, over configurations as they are believed good.

    `points` of them are known-good points, which run all their epochs.
    """
    study = optuna.create_study(sampler=PriorSampler(space.believed(context), seed=0))
    seconds = mean(
        machine.trial_epoch_seconds(context.allotted(space.suggest(study.ask(), context)))
        for _ in range(SAMPLES)
    )
    freely = SpaceContext(plan.epochs)
    affordable = list(space.affordable_points(context).values())
    reference = space.configured([*affordable, *space.points.values()][0], freely)
    first = affordable[: min(points, trials)]
    of_points = [
        machine.trial_epoch_seconds(context.allotted(space.configured(params, freely)))
        for params in first
    ]
    sampled = (trials - len(first)) * expected_epochs(plan, early_stopping) * seconds
    total = (plan.epochs * sum(of_points) + sampled) / plan.concurrency
    if plan.concurrency > 1:
        # At the end half of a trial, in the mean, runs while the other workers have nothing left.
        alone = (1 - 1 / plan.concurrency) * plan.epochs * seconds / 2
        total += alone if trials > len(first) else 0.0
        total *= BESIDE_OTHERS if plan.device == "cpu" else 1.0
    total = START_SECONDS + max(total, plan.epochs * max([seconds, *of_points]))
    return Estimate(reference, machine.epoch_seconds(reference.model), seconds, total)


def epoch_timeout(machine: Machine, config: TrialConfig) -> float:
    """Seconds after which an epoch of a trial has stalled, where --trial-timeout does not say."""
    return max(LEAST_TIMEOUT_SECONDS, TIMEOUT_FACTOR * machine.trial_epoch_seconds(config))


@dataclass(frozen=True)
class Findings:
    """What was measured where trials will run; `remarks` are for the user, a line each."""

    machine: Machine
    device_name: str
    nodes: tuple[Node, ...]
    remarks: tuple[str, ...] = ()
