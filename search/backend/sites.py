"""Where the trials of a launch run: on this machine, or on the nodes of a cluster.

Either way a launch has one kind of device and one number format. On this machine workers read the
data themselves; on a cluster the driver's data set goes through Ray's object store, once to each
node, so that every trial sees the very same images and no node needs a copy or a network.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from fmnist_models.compute.precision import (
    card_memory_bytes,
    choose_precision,
    default_device,
    device_name,
    gpu_count,
)
from fmnist_models.data.dataset import Dataset
from search.backend.ray_session import ray_alone, ray_joined
from search.backend.ray_survey import cluster_nodes, cluster_worker, survey
from search.planning.cost_estimate import Findings, measure
from search.planning.plan import Node, SearchPlan, this_machine
from search.settings import SearchSettings
from spaces import Space


class Site(Protocol):
    """A place for trials, as a launch sees it."""

    nodes: Sequence[Node]
    device: str

    def measure(self, space: Space, plan: SearchPlan, dataset: Dataset) -> Findings:
        """Time some networks of the space here; see `estimate.measure`."""

    def workers(self, dataset: Dataset) -> AbstractContextManager[Any]:
        """Ray, ready to run trials for the block, which is given the class of the workers."""


@contextmanager
def site_of(settings: SearchSettings) -> Iterator[Site]:
    """The place that the settings name; a cluster is joined for the block.

    Raises UsageError or SurroundingsError when it cannot be joined.
    """
    on_cpu = settings.gpus_per_trial == 0
    if settings.address is None:
        yield Here("cpu" if on_cpu else default_device())
        return
    with ray_joined(settings.address):
        nodes = cluster_nodes()
        has_gpus = any(node.gpus for node in nodes.values())
        yield Cluster(nodes, "cuda" if has_gpus and not on_cpu else "cpu")


class Here:
    """This machine, with a Ray of our own that is started when trials are to run."""

    def __init__(self, device: str) -> None:
        self.device = device
        gpus = gpu_count() if device != "cpu" else 0
        self.nodes: Sequence[Node] = [this_machine(gpus, card_memory_bytes(device))]

    def measure(self, space: Space, plan: SearchPlan, dataset: Dataset) -> Findings:
        """As in `Site`."""
        precision = choose_precision(self.device)
        machine = measure(space, plan, dataset, precision)
        return Findings(machine, device_name(self.device), tuple(self.nodes))

    @contextmanager
    def workers(self, dataset: Dataset) -> Iterator[Any]:
        """As in `Site`; workers read the data themselves."""
        with ray_alone(self.nodes[0]):
            yield None


class Cluster:
    """The nodes of a cluster that has been joined."""

    def __init__(self, nodes: dict[str, Node], device: str) -> None:
        self._by_identifier, self.device = nodes, device
        self.nodes: Sequence[Node] = list(nodes.values())

    def measure(self, space: Space, plan: SearchPlan, dataset: Dataset) -> Findings:
        """As in `Site`, on every node at once; see `ray_nodes.survey`."""
        found = survey(self._by_identifier, space.name, plan, dataset)
        card = found.card_memory_bytes
        nodes = tuple(
            node.model_copy(update={"card_memory_bytes": card if node.gpus else 0})
            for node in self.nodes
        )
        return Findings(found.machine, found.device_name, nodes, found.remarks)

    @contextmanager
    def workers(self, dataset: Dataset) -> Iterator[Any]:
        """As in `Site`; the data goes to the workers through the object store."""
        yield cluster_worker(dataset)
