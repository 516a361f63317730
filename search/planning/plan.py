"""From what the user asked to what will run: every default resolved for the nodes and the space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from statistics import mean

from pydantic import JsonValue

from fmnist_models.config.base import Config
from search.errors import UsageError
from search.planning.container_limits import available_cpus, available_memory
from search.settings import SearchSettings
from search.time_budget import Budget
from spaces import Space

WORKER_MEMORY_BYTES = 1_500_000_000
"""An allowance for a worker: a search with two took 3.0 to 5.2 GB in all (results/README.md)."""
CARD_SHARES = {"small": 0.25, "medium": 0.5, "large": 1.0}
"""The shares of a card that trials get where it is not said how many."""
LEAST_TRIALS_IN_BUDGET, MOST_TRIALS_IN_BUDGET = 4, 10
"""So many whole trials, one after another, fit into a time budget at least. Longer budgets are for
more trials first: only beyond the latter does a trial get more time than is usual in its space."""
LEAST_PASSES = 2.0
"""A network that in a trial's time gets through the images less often is not tried; by hand."""
TRIAL_SECONDS = "trial_seconds"
"""Its name in the identity of a study whose trials take equal time."""
ALLOTMENT = "allotment"
"""The name of what such trials are allotted, in what is recorded of a launch's environment."""
NETWORK = "network"
"""The attribute of such a trial that says how large its network is."""


class Node(Config):
    """A machine that trials may run on: what it has for them; memory in bytes.

    `card_memory_bytes` is that of one of its GPUs, 0 where it is not known.
    """

    name: str
    cpus: float
    gpus: float
    memory_bytes: int
    card_memory_bytes: int = 0


class TrialSize(Config):
    """What a trial asks for; `memory_bytes` of the host on a CPU, of the card on a GPU, may be 0.

    It is for trials that keep the card busy for no more than `busy_share` of their time. Trials of
    one size share warm workers, so there are two or three sizes and not a continuum.
    """

    name: str
    cpus: float
    gpus: float
    memory_bytes: int
    busy_share: float = 1.0


class TrialSetup(Config):
    """What is settled for every trial before anything is measured.

    `trial_seconds`: what all epochs of a trial take together, so that each configuration trains on
    as many images as it gets through (trial_time.py); None where epochs are all images once.
    No epoch longer than `max_epoch_seconds` is started.
    """

    device: str
    epochs: int
    trial_seconds: float | None
    grace_period: int
    reduction_factor: int
    cpus_per_trial: float
    gpus_per_trial: float
    max_epoch_seconds: float | None


class SearchPlan(TrialSetup):
    """What a launch will do; `sizes`: the smallest first.

    But for the smallest networks, no epoch longer than `budget_epoch_seconds` is started: with a
    time budget, several trials shall be able to run all their epochs one after another.
    """

    concurrency: int
    sizes: tuple[TrialSize, ...]
    budget_epoch_seconds: float | None

    def size_for(self, expected_bytes: float, busy_share: float = 0.0) -> TrialSize:
        """The smallest size with room for a trial that is expected to take so much of a device."""
        fitting = (
            size
            for size in self.sizes
            if size.memory_bytes >= expected_bytes and size.busy_share >= busy_share
        )
        return next(fitting, self.sizes[-1])


def this_machine(gpus: int, card_memory_bytes: int) -> Node:
    """The machine that we run on, within the limits of its container."""
    return Node(
        name="here",
        cpus=available_cpus(),
        gpus=gpus,
        memory_bytes=available_memory(),
        card_memory_bytes=card_memory_bytes,
    )


def set_up_trials(
    settings: SearchSettings, space: Space, *, device: str, nodes: Sequence[Node]
) -> TrialSetup:
    """Resolve what needs no measurement; raises UsageError where what was asked for does not fit.

    All trials of a launch run on one kind of device: on a cluster with GPUs the other nodes serve a
    second driver of the study that is started with `--gpus-per-trial 0`. A trial gets a whole GPU
    unless `gpus_per_trial` is given; `make_plan` may find that a part suffices.
    """
    on_gpu = device != "cpu"
    epochs = settings.epochs or (space.epochs_gpu if on_gpu else space.epochs_cpu)
    grace = settings.grace_period or max(1, epochs // settings.reduction_factor**2)
    if grace > epochs:
        raise UsageError(f"--grace-period {grace} is longer than the {epochs} epochs; lower it")
    cpus, gpus = settings.cpus_per_trial or 1.0, settings.gpus_per_trial
    may_share = on_gpu and gpus is None
    if gpus is None:
        gpus = 1.0 if on_gpu else 0.0
    _refuse_too_many(settings, nodes, cpus, min(CARD_SHARES.values()) if may_share else gpus)
    _fitting(nodes, cpus, gpus)
    seconds = _trial_seconds(settings, space, on_gpu)
    _refuse_final_time(settings, seconds)
    return TrialSetup(
        device=device,
        epochs=epochs,
        trial_seconds=seconds,
        grace_period=grace,
        reduction_factor=settings.reduction_factor,
        cpus_per_trial=cpus,
        gpus_per_trial=gpus,
        max_epoch_seconds=_epoch_limit(settings, space, device, seconds),
    )


def of_study(
    setup: TrialSetup, known: Mapping[str, JsonValue] | None, settings: SearchSettings, space: Space
) -> TrialSetup:
    """`setup` with the trials' time of the study that is gone on with, unless it was asked for.

    `known` is the identity of that study, or None where there is none yet. Raises UsageError where
    a time of final training was asked for and its epochs are equal.
    """
    if known is None or settings.trial_seconds is not None or settings.epochs is not None:
        return setup
    said = known.get(TRIAL_SECONDS)
    seconds = float(said) if isinstance(said, int | float) else None
    _refuse_final_time(settings, seconds)
    limit = _epoch_limit(settings, space, setup.device, seconds)
    return setup.model_copy(update={"trial_seconds": seconds, "max_epoch_seconds": limit})


def _epoch_limit(
    settings: SearchSettings, space: Space, device: str, trial_seconds: float | None
) -> float | None:
    """As asked for, else on a CPU the space's where epochs are all images once."""
    limit = settings.max_epoch_seconds
    if limit is None and device == "cpu" and trial_seconds is None:
        limit = space.max_epoch_seconds_cpu
    return limit or None


def _trial_seconds(settings: SearchSettings, space: Space, on_gpu: bool) -> float | None:
    """As asked for, else on a CPU the space's or a share of the time budget."""
    if settings.trial_seconds is not None:
        return settings.trial_seconds
    if settings.epochs is not None or on_gpu:
        return None
    usual, budget = space.trial_seconds_cpu, settings.budget_seconds
    if budget is None:
        return usual
    return min(budget / LEAST_TRIALS_IN_BUDGET, max(usual, budget / MOST_TRIALS_IN_BUDGET))


def _refuse_final_time(settings: SearchSettings, trial_seconds: float | None) -> None:
    """Raise UsageError where the time of final training is said and would mean nothing."""
    total, final = settings.total_seconds, settings.final_seconds
    if final is None and total is None:
        return
    said = f"--final-time {final:g}s" if total is None else f"--total-time {total:g}s"
    if settings.budget_seconds is None:
        raise UsageError(f"{said} needs --time-budget, the time of the search; give both")
    if trial_seconds is None:
        raise UsageError(
            f"{said} is for trials of equal time, not of equal epochs; leave it out, or give a "
            "--trial-time"
        )


def make_plan(
    settings: SearchSettings,
    setup: TrialSetup,
    *,
    nodes: Sequence[Node],
    shares: Sequence[float],
    budget: Budget,
) -> SearchPlan:
    """What will run on `nodes`.

    `shares`: those of a card that configurations of the space need, where that was measured; by
    them trials share cards, unless `gpus_per_trial` is given.
    """
    parts = [_card_share(share) for share in shares] if settings.gpus_per_trial is None else []
    cpus, gpus = setup.cpus_per_trial, min(parts, default=setup.gpus_per_trial)
    default = _at_once(nodes, cpus, gpus, mean(parts) if parts else gpus)
    most = min(settings.concurrency or default, sum(_fitting(nodes, cpus, gpus)))
    # Whoever says how long an epoch may take is taken at his word.
    by_budget = settings.max_epoch_seconds is None and setup.trial_seconds is None
    return SearchPlan(
        **{**dict(setup), "gpus_per_trial": gpus},
        concurrency=min(most, settings.trials),
        sizes=_card_sizes(nodes, cpus, gpus) if parts else _sizes(nodes, cpus, gpus, most),
        budget_epoch_seconds=budget.seconds_per_epoch(setup.epochs) if by_budget else None,
    )


def _card_share(needed: float) -> float:
    """The smallest share that is given out and suffices, or else a whole card."""
    return min((share for share in CARD_SHARES.values() if share >= needed), default=1.0)


def _refuse_too_many(
    settings: SearchSettings, nodes: Sequence[Node], cpus: float, gpus: float
) -> None:
    """Raise UsageError where more trials at once are asked for than fit with so much each."""
    fit = sum(_fitting(nodes, cpus, gpus))
    if settings.concurrency and settings.concurrency > fit:
        raise UsageError(
            f"--concurrency {settings.concurrency}: {fit} trials fit here at {cpus:g} "
            f"CPU and {gpus:g} GPU each; lower it"
        )


def _at_once(nodes: Sequence[Node], cpus: float, gpus: float, mean_gpus: float) -> int:
    """How many trials run at once that take `gpus` at least and `mean_gpus` on the average."""
    fits = _fitting(nodes, cpus, gpus)
    by_memory = [node.memory_bytes // WORKER_MEMORY_BYTES for node in nodes]
    by_cards = [
        ceil(n.gpus / mean_gpus - 1e-9) if gpus else fit for n, fit in zip(nodes, fits, strict=True)
    ]
    return max(1, sum(map(min, fits, by_memory, by_cards)))


def _fitting(nodes: Sequence[Node], cpus: float, gpus: float) -> list[int]:
    """How many trials fit at once on each node by cores and cards; one in all, or UsageError."""
    most_cpus, most_gpus = max(n.cpus for n in nodes), max(n.gpus for n in nodes)
    if cpus > most_cpus:
        raise UsageError(f"--cpus-per-trial {cpus:g}: there are {most_cpus:g}; lower it")
    if gpus > most_gpus:
        raise UsageError(f"--gpus-per-trial {gpus:g}: there are {most_gpus:g}; lower it")
    fits = [int(min(n.cpus / cpus, n.gpus / gpus if gpus else 1e9) + 1e-9) for n in nodes]
    if not any(fits):
        raise UsageError(
            f"--cpus-per-trial {cpus:g} and --gpus-per-trial {gpus:g}: no node has both; lower one"
        )
    return fits


def _card_sizes(nodes: Sequence[Node], cpus: float, gpus: float) -> tuple[TrialSize, ...]:
    """The shares of a card from `gpus` up, by time and by the smallest card's memory."""
    card = min(node.card_memory_bytes for node in nodes if node.gpus)
    return tuple(
        TrialSize(
            name=name, cpus=cpus, gpus=share, memory_bytes=int(card * share), busy_share=share
        )
        for name, share in CARD_SHARES.items()
        if share >= gpus
    )


def _sizes(
    nodes: Sequence[Node], cpus: float, gpus: float, concurrency: int
) -> tuple[TrialSize, ...]:
    """An equal share of the node that has least, four such shares, and all that one node has.

    On a CPU that is host memory. A GPU's memory is not Ray's to give out: there the larger size
    asks for a whole card instead of a part.
    """
    fits = _fitting(nodes, cpus, gpus)
    used = [(node, fit) for node, fit in zip(nodes, fits, strict=True) if fit]
    if gpus:
        card = min(node.card_memory_bytes for node, _ in used)
        small = TrialSize(name="small", cpus=cpus, gpus=gpus, memory_bytes=int(card * min(gpus, 1)))
        large = TrialSize(name="large", cpus=cpus, gpus=1.0, memory_bytes=card)
        return (small, large) if gpus < 1 and card else (small,)
    share = min(node.memory_bytes // min(fit, concurrency) for node, fit in used)
    most = max(node.memory_bytes for node, _ in used)
    wanted = {"small": share, "medium": 4 * share, "large": most}
    return tuple(
        TrialSize(name=name, cpus=cpus, gpus=0.0, memory_bytes=memory)
        for name, memory in wanted.items()
        if name == "small" or share < memory < most or (name == "large" and memory > share)
    )
