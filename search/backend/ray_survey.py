"""The nodes of a cluster that was joined: what they have, and what training costs on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fmnist_models.compute.precision import Precision
from fmnist_models.data.dataset import Dataset
from fmnist_models.training.cost import CostModel
from search.errors import SurroundingsError
from search.planning.cost_estimate import Machine, choose_probes, measure
from search.planning.plan import Node, SearchPlan
from spaces import get_space

SURVEY_SECONDS = 180.0
"""A node that has not measured its speed after so long is busy or broken: trials may still run
there, but nothing is known of it."""


@dataclass(frozen=True)
class Measured:
    """What one node found out about itself; `card_memory_bytes` of one of its GPUs, else 0."""

    precision: Precision
    cost: CostModel
    device_name: str
    card_memory_bytes: int


@dataclass(frozen=True)
class Survey:
    """What all nodes found, as one, on the safe side: the slowest one's cost, the smallest card,
    and bf16 only where it is the faster one everywhere. `remarks` are lines for the user."""

    machine: Machine
    device_name: str
    card_memory_bytes: int
    remarks: tuple[str, ...]


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


def cluster_worker(dataset: Dataset) -> Any:
    """The class of workers that get `dataset` from Ray's object store, once a node."""
    from ray import tune

    from search.backend.ray_actor import TrialWorker

    return tune.with_parameters(TrialWorker, dataset=dataset)


def survey(nodes: Mapping[str, Node], space: str, plan: SearchPlan, dataset: Dataset) -> Survey:
    """Let each node that has room for a trial measure what training costs there, all at once.

    Raises SurroundingsError when no node can tell, because all are busy or too slow for the plan.
    """
    asked = _ask(nodes, space, plan, dataset)
    found, failures = _answers(asked)
    if not found:
        raise SurroundingsError(f"no node of the cluster can train: {'; '.join(failures)}")
    formats = {measured.precision for measured in found}
    remarks = [f"not measured: {failure}" for failure in failures]
    if len(formats) > 1:
        remarks.append("bf16 is not the faster one on every node, so all trials train in fp32")
    slowest = max(found, key=lambda measured: _reference_seconds(measured, space))
    precision: Precision = "bf16" if formats == {"bf16"} else "fp32"
    return Survey(
        machine=Machine(dataset, precision, slowest.cost),
        device_name=", ".join(sorted({measured.device_name for measured in found})),
        card_memory_bytes=min(measured.card_memory_bytes for measured in found),
        remarks=tuple(remarks),
    )


def _ask(
    nodes: Mapping[str, Node], space: str, plan: SearchPlan, dataset: Dataset
) -> dict[Any, str]:
    """Start the measurement on each node; the names of the nodes by Ray's reference."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    shared = ray.put(dataset)
    task = ray.remote(num_cpus=plan.cpus_per_trial, num_gpus=plan.gpus_per_trial)(_measure)
    asked = {}
    for identifier, node in nodes.items():
        if node.cpus >= plan.cpus_per_trial and node.gpus >= plan.gpus_per_trial:
            there = NodeAffinitySchedulingStrategy(identifier, soft=False)
            placed = task.options(scheduling_strategy=there)
            asked[placed.remote(space, plan, shared)] = node.name
    return asked


def _answers(asked: Mapping[Any, str]) -> tuple[list[Measured], list[str]]:
    """What the nodes measured, and why some did not."""
    import ray

    answered, silent = ray.wait(list(asked), num_returns=len(asked), timeout=SURVEY_SECONDS)
    found, failures = [], []
    for task in silent:
        ray.cancel(task, force=True)
        failures.append(f"{asked[task]} is busy")
    for task in answered:
        try:
            found.append(ray.get(task))
        except ray.exceptions.RayError as error:
            reason = getattr(error, "cause", None) or error
            failures.append(f"{asked[task]}: {str(reason).strip().splitlines()[0]}")
    return found, failures


def _measure(space: str, plan: SearchPlan, dataset: Dataset) -> Measured:
    """Runs on a node, in the place of a trial."""
    from fmnist_models.compute.precision import card_memory_bytes, choose_precision, device_name

    precision = choose_precision(plan.device)
    cost = measure(get_space(space), plan, dataset, precision).cost
    device = plan.device
    return Measured(precision, cost, device_name(device), card_memory_bytes(device))


def _reference_seconds(measured: Measured, space: str) -> float:
    """By which nodes are compared: seconds an image of the largest network that was timed."""
    probes: Sequence[Any] = choose_probes(get_space(space))
    return measured.cost.image_seconds(probes[-1].model)
