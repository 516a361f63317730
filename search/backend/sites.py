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
    default_device,
    device_name,
    gpu_count,
)
from fmnist_models.data.dataset import Dataset
from search.backend.ray_session import ray_alone, ray_joined
from search.planning.cost_estimate import Findings, measure_machine
from search.planning.plan import Node, TrialSetup, this_machine
from spaces import Space


class Site(Protocol):
    """A place for trials, as a launch sees it."""

    nodes: Sequence[Node]
    device: str

    def measure(self, space: Space, setup: TrialSetup, dataset: Dataset) -> Findings:
        """Time some networks of the space here; see `cost_estimate.measure_machine`."""

    def workers(self, dataset: Dataset) -> AbstractContextManager[Any]:
        """Ray, ready to run trials for the block, which is given the class of the workers."""


@contextmanager
def open_site(address: str | None, *, on_cpu: bool) -> Iterator[Site]:
    """This machine, or the cluster at `address`, which is joined for the block.

    `on_cpu`: GPUs are left alone. Raises UsageError or SurroundingsError when it cannot be joined.
    """
    if address is None:
        yield LocalSite("cpu" if on_cpu else default_device())
        return
    with ray_joined(address):
        from search.backend.ray_cluster import ClusterSite

        yield ClusterSite(on_cpu=on_cpu)


class LocalSite:
    """This machine, with a Ray of our own that is started when trials are to run."""

    def __init__(self, device: str) -> None:
        self.device = device
        gpus = gpu_count() if device != "cpu" else 0
        self.nodes: Sequence[Node] = [this_machine(gpus, card_memory_bytes(device))]

    def measure(self, space: Space, setup: TrialSetup, dataset: Dataset) -> Findings:
        """As in `Site`."""
        machine = measure_machine(space, setup, dataset)
        remarks = (machine.note,) if machine.note else ()
        return Findings(machine, device_name(self.device), tuple(self.nodes), remarks)

    @contextmanager
    def workers(self, dataset: Dataset) -> Iterator[Any]:
        """As in `Site`; workers read the data themselves."""
        with ray_alone(self.nodes[0]):
            yield None
