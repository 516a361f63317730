"""The nodes of a cluster that was joined: what they have, and what training costs on them.

Imported only once a cluster has been joined: Ray reads its environment when it is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray import tune
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from fmnist_models.compute.precision import (
    Precision,
    card_memory_bytes,
    device_name,
)
from fmnist_models.data.dataset import Dataset
from fmnist_models.training.cost import CostModel
from search.backend.ray_actor import TrialWorker
from search.backend.ray_watch import RayDied, RayWatch, Trials
from search.errors import SurroundingsError
from search.planning.cost_estimate import Findings, Machine, choose_probes, measure_machine
from search.planning.plan import Node, SearchPlan, TrialSetup
from spaces import Space, get_space

SURVEY_SECONDS = 180.0
"""A node that has not measured its speed after so long is busy or broken: trials may still run
there, but nothing is known of it."""


@dataclass(frozen=True)
class NodeMeasurement:
    """What one node found out about itself; `card_memory_bytes` of one of its GPUs, else 0.

    `note` says where on the node that was kept, if it was.
    """

    precision: Precision
    cost: CostModel
    note: str
    device_name: str
    card_memory_bytes: int


class ClusterSite:
    """The nodes of the cluster that has been joined; see `sites.Site`."""

    def __init__(self, watch: RayWatch, *, on_cpu: bool) -> None:
        self._watch = watch
        self._by_identifier = _living_nodes()
        self.nodes: Sequence[Node] = list(self._by_identifier.values())
        has_gpus = any(node.gpus for node in self.nodes)
        self.device = "cuda" if has_gpus and not on_cpu else "cpu"

    def measure(self, space: Space, setup: TrialSetup, dataset: Dataset) -> Findings:
        """Let each node that has room for a trial measure what training costs there, all at once.

        What they find counts as one, on the safe side: the slowest one's cost, the smallest card,
        and bf16 only where it is the faster one everywhere. Raises SurroundingsError when no node
        can tell, because all are busy or too slow for `setup`.
        """
        found, failures = _answers(_ask(self._by_identifier, space.name, setup, dataset))
        if not found:
            raise SurroundingsError(f"no node of the cluster can train: {'; '.join(failures)}")
        formats = {measured.precision for measured in found}
        remarks = [f"not measured: {failure}" for failure in failures]
        notes = [measured.note for measured in found if measured.note]
        if notes:
            remarks.append(f"{len(notes)} of {len(found)} nodes: {notes[0]}")
        if len(formats) > 1:
            remarks.append("bf16 is not the faster one on every node, so all trials train in fp32")
        largest = choose_probes(space)[-1].model  # of the networks that were timed
        card = min(measured.card_memory_bytes for measured in found)
        return Findings(
            machine=Machine(
                dataset=dataset,
                precision="bf16" if formats == {"bf16"} else "fp32",
                cost=max((m.cost for m in found), key=lambda cost: cost.image_seconds(largest)),
            ),
            device_name=", ".join(sorted({measured.device_name for measured in found})),
            nodes=tuple(
                node.model_copy(update={"card_memory_bytes": card if node.gpus else 0})
                for node in self.nodes
            ),
            remarks=tuple(remarks),
        )

    def begin(self, plan: SearchPlan) -> None:
        """Nothing to do: the cluster's Ray runs."""

    def run(
        self,
        trials: Trials,
        dataset: Dataset,
        *,
        meanwhile: Callable[[], None],
        say: Callable[[str], None],
    ) -> None:
        """As in `Site`; the workers get `dataset` from Ray's object store, once a node.

        To start a cluster that is not ours anew is up to others.
        """
        try:
            trials(self._watch, tune.with_parameters(TrialWorker, dataset=dataset))
        except RayDied as death:
            raise RayDied(f"{death}; once the cluster runs, start again to go on") from death


def _living_nodes() -> dict[str, Node]:
    """The nodes that trials can run on, by Ray's identifier."""
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


def _ask(
    nodes: Mapping[str, Node], space: str, setup: TrialSetup, dataset: Dataset
) -> dict[Any, str]:
    """Start the measurement on each node; the names of the nodes by Ray's reference."""
    shared = ray.put(dataset)
    task = ray.remote(num_cpus=setup.cpus_per_trial, num_gpus=setup.gpus_per_trial)(_measure)
    asked = {}
    for identifier, node in nodes.items():
        if node.cpus >= setup.cpus_per_trial and node.gpus >= setup.gpus_per_trial:
            there = NodeAffinitySchedulingStrategy(identifier, soft=False)
            placed = task.options(scheduling_strategy=there)
            asked[placed.remote(space, setup, shared)] = node.name
    return asked


def _answers(asked: Mapping[Any, str]) -> tuple[list[NodeMeasurement], list[str]]:
    """What the nodes measured, and why some did not."""
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


def _measure(space: str, setup: TrialSetup, dataset: Dataset) -> NodeMeasurement:
    """Runs on a node, in the place of a trial."""
    machine = measure_machine(get_space(space), setup, dataset)
    return NodeMeasurement(
        precision=machine.precision,
        cost=machine.cost,
        note=machine.note,
        device_name=device_name(setup.device),
        card_memory_bytes=card_memory_bytes(setup.device),
    )
