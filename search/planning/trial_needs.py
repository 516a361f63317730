"""What a trial needs of its device: memory, and of a card also time. By this trials share a card.

Processes use a card by turns. A trial leaves it idle between launches, the more so the smaller its
network is: that is the part of its time which does not grow with the network's work, and there
others find room. A network that keeps the card busy gets it alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from fmnist_models.config.trial import TrialConfig
from fmnist_models.training.cost import CostModel, model_cost
from fmnist_models.training.metrics import EpochMetrics
from search.planning.cost_estimate import PROBE_BATCH, candidates
from search.planning.plan import Node, SearchPlan, TrialSize
from search.workers.messages import StartedTrial
from spaces import Space

PROCESS_BYTES = 1_200_000_000
"""Resident set of a worker on a CPU with torch, Ray and the data, before it trains."""
BYTES_PER_ACTIVATION = 4.0
"""Of each value that a network writes for an image of the batch. This and the former put the peaks
of 32 trials of ten families (bf16) at 0.84 to 1.63 times what they were: benchmarks/LOG.md."""
CARD_BYTES = 800_000_000
"""Memory of a card that a process with torch takes before it trains, the data included."""
CARD_BYTES_PER_ACTIVATION = 10.0
"""Likewise on a card where nothing was measured: the value, its gradient and what the allocator
keeps in hand; an estimate, as `CARD_BYTES` is."""
BYTES_PER_PARAMETER = 32.0
"""Weights, gradients, an optimizer's two moments, the average, and copies of them on their way."""


def expected_memory(
    config: TrialConfig, device: str, micro_batches: int = 1, bytes_per_activation: float = 0.0
) -> float:
    """Bytes: of the host where `device` is the CPU, of the card otherwise.

    `bytes_per_activation` as measured on the card; 0 where it was not.
    """
    cost = model_cost(config.model)
    batch = -(-config.batch_size // micro_batches)
    base, each = PROCESS_BYTES, BYTES_PER_ACTIVATION
    if device != "cpu":
        base, each = CARD_BYTES, bytes_per_activation or CARD_BYTES_PER_ACTIVATION
    return base + each * cost.activations * batch + BYTES_PER_PARAMETER * cost.parameters


class TrialNeeds:
    """What trials need of their device, by measurement and by what trials before them took.

    `cost` and `device` are those of the search; memory is the host's on a CPU, else the card's.
    """

    def __init__(self, cost: CostModel | None = None, device: str = "cpu") -> None:
        self._cost, self._device = cost or CostModel(0.0, 0.0), device
        self._factors: dict[str, float] = {}

    def memory_bytes(self, config: TrialConfig, micro_batches: int = 1) -> float:
        """Bytes that a trial is expected to take."""
        each = self._cost.bytes_per_activation
        expected = expected_memory(config, self._device, micro_batches, each)
        return expected * self._factors.get(config.model.family, 1.0)

    def busy_share(self, config: TrialConfig) -> float:
        """The part of its time in which a trial keeps the card busy; 0 where it is not known."""
        if self._device == "cpu":
            return 0.0
        launches = self._cost.seconds_per_image * PROBE_BATCH / config.batch_size
        work = self._cost.image_seconds(config.model) - self._cost.seconds_per_image
        return work / (work + launches) if work + launches else 0.0

    def share(self, config: TrialConfig, card_memory_bytes: int) -> float:
        """The share of a card that a trial needs, of its time or of its memory; may exceed 1."""
        return max(self.busy_share(config), self.memory_bytes(config) / card_memory_bytes)

    def size(self, plan: SearchPlan, started: StartedTrial) -> TrialSize:
        """The place for a trial."""
        needed = self.memory_bytes(started.config, started.micro_batches)
        return plan.size_for(needed, self.busy_share(started.config))

    def learn(self, started: StartedTrial, metrics: EpochMetrics) -> None:
        """Take in what an epoch took: no trial of its family is expected to take less, in relation.

        On a card alone: on a CPU the peak is that of a process with a past.
        """
        if self._device == "cpu":
            return
        expected = self.memory_bytes(started.config, started.micro_batches)
        ratio = (CARD_BYTES + metrics.peak_memory_bytes) / expected
        family = started.config.model.family
        self._factors[family] = self._factors.get(family, 1.0) * max(1.0, ratio)


def needed_shares(space: Space, needs: TrialNeeds, nodes: Sequence[Node]) -> Sequence[float]:
    """Shares of the smallest card that configurations of `space` need; none where it is unknown."""
    card = min((node.card_memory_bytes for node in nodes if node.gpus), default=0)
    return [needs.share(config, card) for config in candidates(space)] if card else ()
