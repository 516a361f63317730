"""The nodes of a cluster that was joined: what they have, and what training costs on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fmnist_models.cost import CostModel
from fmnist_models.data import Dataset
from fmnist_models.precision import Precision
from search.errors import SurroundingsError
from search.estimate import Machine, measure
from search.plan import Node, SearchPlan
from spaces import get_space

SURVEY_SECONDS = 180.0
"""A node that has not measured its speed after this long is busy or broken, and left out of it."""


@dataclass(frozen=True)
class Measured:
    """What one node found out about itself: `card_memory_bytes` of one of its GPUs, else 0."""

    precision: Precision
    cost: CostModel
    device_name: str
    card_memory_bytes: int


@dataclass(frozen=True)
class Survey:
    """What all nodes found, as one: the slowest one's cost, a number format that suits them all."""

    machine: Machine
    device_name: str
    card_memory_bytes: int
    silent: tuple[str, ...]


def cluster_nodes() -> dict[str, Node]:
    """The living nodes of the cluster that trials can run on, by Ray's identifier."""
    import ray

    nodes = {}
    for found in ray.nodes():  # type: ignore[no-untyped-call]
        has = found["Resources"]
        if found["Alive"] and has.get("CPU"):
            nodes[found["NodeID"]] = Node(
                name=f"{found['NodeManagerHostname']}/{found['NodeID'][:6]}",
                cpus=has["CPU"],
                gpus=has.get("GPU", 0.0),
                memory_bytes=int(has.get("memory", 0)),
            )
    if not nodes:
        raise SurroundingsError("the cluster has no node with CPUs; see `ray status`")
    return nodes


def survey(nodes: dict[str, Node], space: str, plan: SearchPlan, dataset: Dataset) -> Survey:
    """Let each node that has room for a trial measure what training costs there, all at once.

    Raises UsageError when the networks of the space are too slow for the plan on every node, and
    SurroundingsError when no node answers.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    shared = ray.put(dataset)
    remote = ray.remote(num_cpus=plan.cpus_per_trial, num_gpus=plan.gpus_per_trial)(_measure)
    asked: dict[Any, str] = {}
    for identifier, node in nodes.items():
        if node.cpus >= plan.cpus_per_trial and node.gpus >= plan.gpus_per_trial:
            where = NodeAffinitySchedulingStrategy(identifier, soft=False)
            asked[remote.options(scheduling_strategy=where).remote(space, plan, shared)] = node.name
    answered, silent = ray.wait(list(asked), num_returns=len(asked), timeout=SURVEY_SECONDS)
    for task in silent:
        ray.cancel(task, force=True)
    found, failures = [], [f"{asked[task]} is busy" for task in silent]
    for task in answered:
        try:
            found.append(ray.get(task))
        except ray.exceptions.RayTaskError as error:
            failures.append(f"{asked[task]}: {error.cause}")
        except ray.exceptions.RayError as error:
            failures.append(f"{asked[task]}: {str(error).splitlines()[0]}")
    if not found:
        raise SurroundingsError(f"no node of the cluster could measure: {'; '.join(failures)}")
    return _combined(found, dataset, failures, space)


def _measure(space: str, plan: SearchPlan, dataset: Dataset) -> Measured:
    """Runs on a node, in the place of a trial."""
    from fmnist_models.precision import card_memory_bytes, choose_precision, device_name

    precision = choose_precision(plan.device)
    machine = measure(get_space(space), plan, dataset, precision)
    return Measured(
        precision, machine.cost, device_name(plan.device), card_memory_bytes(plan.device)
    )


def _combined(
    found: Sequence[Measured], dataset: Dataset, silent: Sequence[str], space: str
) -> Survey:
    """One picture of several nodes, on the safe side."""
    reference = get_space(space).points
    precision: Precision = "bf16" if all(m.precision == "bf16" for m in found) else "fp32"
    slowest = max(found, key=lambda m: m.cost.seconds_per_mac)
    return Survey(
        machine=Machine(dataset, precision, slowest.cost),
        device_name=", ".join(sorted({m.device_name for m in found})),
        card_memory_bytes=min(m.card_memory_bytes for m in found),
        silent=tuple(silent),
    )
