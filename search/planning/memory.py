"""How much memory a trial is expected to take, to choose its size before it runs."""

from __future__ import annotations

from fmnist_models.config.trial import TrialConfig
from fmnist_models.training.cost import model_cost

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
