"""Where the trials of a launch run: on this machine, or on the nodes of a cluster.

Either way a launch has one kind of device and one number format. On this machine workers read the
data themselves; on a cluster the driver's data set goes through Ray's object store, once to each
node, so that every trial sees the very same images and no node needs a copy or a network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from math import ceil
from typing import Any, Protocol

from fmnist_models.compute.precision import (
    card_memory_bytes,
    default_device,
    device_name,
    gpu_count,
)
from fmnist_models.data.dataset import Dataset
from search.backend.ray_begun import ray_begun
from search.backend.ray_session import ray_joined
from search.planning.cost_estimate import Findings, measure_machine
from search.planning.plan import Node, SearchPlan, TrialSetup, this_machine
from spaces import Space


class Site(Protocol):
    """A place for trials, as a launch sees it."""

    nodes: Sequence[Node]
    device: str

    def measure(self, space: Space, setup: TrialSetup, dataset: Dataset) -> Findings:
        """Time some networks of the space here; see `cost_estimate.measure_machine`."""

    def begin(self, plan: SearchPlan) -> None:
        """Begin to start Ray for `plan`; `workers` waits for it. Nothing is timed from here on."""

    def workers(self, dataset: Dataset) -> AbstractContextManager[Any]:
        """Ray, ready to run trials for the block, which is given the class of the workers."""


@contextmanager
def open_site(address: str | None, *, on_cpu: bool) -> Iterator[Site]:
    """This machine, or the cluster at `address`, which is joined for the block.

    `on_cpu`: GPUs are left alone. Raises UsageError or SurroundingsError when it cannot be joined.
    """
    if address is None:
        with ExitStack() as begun:
            yield LocalSite("cpu" if on_cpu else default_device(), begun)
        return
    with ray_joined(address):
        from search.backend.ray_cluster import ClusterSite

        yield ClusterSite(on_cpu=on_cpu)


class LocalSite:
    """This machine, with a Ray of our own that `begin` starts in the background.

    `begun` ends it where the launch does not come to its workers.
    """

    def __init__(self, device: str, begun: ExitStack) -> None:
        self.device, self._begun = device, begun
        self._wait_for_ray: Callable[[], None] | None = None
        gpus = gpu_count() if device != "cpu" else 0
        self.nodes: Sequence[Node] = [this_machine(gpus, card_memory_bytes(device))]

    def measure(self, space: Space, setup: TrialSetup, dataset: Dataset) -> Findings:
        """As in `Site`."""
        machine = measure_machine(space, setup, dataset)
        remarks = (machine.note,) if machine.note else ()
        return Findings(machine, device_name(self.device), tuple(self.nodes), remarks)

    def begin(self, plan: SearchPlan) -> None:
        """As in `Site`. Ray starts a worker for each core that it is told of: as many as will do.

        Each holds torch, and where trials share a GPU they may be far fewer than cores.
        """
        cores = ceil(plan.concurrency * plan.cpus_per_trial)
        node = self.nodes[0].model_copy(update={"cpus": float(cores)})
        self._wait_for_ray = self._begun.enter_context(ray_begun(node))

    @contextmanager
    def workers(self, dataset: Dataset) -> Iterator[Any]:
        """As in `Site`; workers read the data themselves."""
        assert self._wait_for_ray, "begin comes first"
        with self._begun.pop_all():
            self._wait_for_ray()
            yield None
