"""Where the trials of a launch run: on this machine, or on the nodes of a cluster.

Either way a launch has one kind of device and one number format. On this machine workers read the
data themselves; on a cluster the driver's data set goes through Ray's object store, once to each
node, so that every trial sees the very same images and no node needs a copy or a network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from math import ceil
from typing import Protocol

from fmnist_models.compute.precision import (
    card_memory_bytes,
    default_device,
    device_name,
    gpu_count,
)
from fmnist_models.data.dataset import Dataset
from search.backend.ray_begun import ray_begun
from search.backend.ray_session import ray_joined
from search.backend.ray_watch import RayDied, Trials
from search.planning.cost_estimate import Findings, measure_machine
from search.planning.plan import Node, SearchPlan, TrialSetup, this_machine
from spaces import Space

MOST_RESTARTS = 2
"""So often Ray is started again in a launch."""


class Site(Protocol):
    """A place for trials, as a launch sees it."""

    nodes: Sequence[Node]
    device: str

    def measure(self, space: Space, setup: TrialSetup, dataset: Dataset) -> Findings:
        """Time some networks of the space here; see `cost_estimate.measure_machine`."""

    def begin(self, plan: SearchPlan) -> None:
        """Begin to start Ray for `plan`; `run` waits for it. Nothing is timed from here on."""

    def run(
        self,
        trials: Trials,
        dataset: Dataset,
        *,
        meanwhile: Callable[[], None],
        say: Callable[[str], None],
    ) -> None:
        """Run `trials` on Ray; where one of our own dies, again on another one.

        `meanwhile` is called every second while Ray is waited for; `say` is told a line when it
        has died. Raises RayDied where that does not help.
        """


@contextmanager
def open_site(address: str | None, *, on_cpu: bool) -> Iterator[Site]:
    """This machine, or the cluster at `address`, which is joined for the block.

    `on_cpu`: GPUs are left alone. Raises UsageError or SurroundingsError when it cannot be joined.
    """
    if address is None:
        with ExitStack() as begun:
            yield LocalSite("cpu" if on_cpu else default_device(), begun)
        return
    with ray_joined(address) as watch:
        from search.backend.ray_cluster import ClusterSite

        yield ClusterSite(watch, on_cpu=on_cpu)


class LocalSite:
    """This machine, with a Ray of our own that `begin` starts in the background.

    `begun` ends it where the launch does not come to its workers.
    """

    def __init__(self, device: str, begun: ExitStack) -> None:
        self.device, self._begun = device, begun
        self._node: Node | None = None
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
        self._node = self.nodes[0].model_copy(update={"cpus": float(cores)})
        self._wait_for_ray = self._begun.enter_context(ray_begun(self._node))

    def run(
        self,
        trials: Trials,
        dataset: Dataset,
        *,
        meanwhile: Callable[[], None],
        say: Callable[[str], None],
    ) -> None:
        """As in `Site`; workers read the data themselves."""
        assert self._node, "begin comes first"
        for remaining in reversed(range(1 + MOST_RESTARTS)):
            with self._begun.pop_all():
                watch = self._wait_for_ray(meanwhile)
                try:
                    trials(watch, None)
                    break
                except RayDied as death:
                    if not remaining:
                        raise RayDied(f"{death}, again and again; start again to go on") from death
                    say(f"{death}; starting another one")
            self._wait_for_ray = self._begun.enter_context(ray_begun(self._node))
