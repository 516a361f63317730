"""How much memory a trial is expected to take, to choose its size before it runs."""

from __future__ import annotations

from fmnist_models.config import TrialConfig
from fmnist_models.cost import model_cost

PROCESS_BYTES = 900_000_000
"""Resident set of a worker on a CPU with torch, Ray and the data, before it trains."""
CARD_BYTES = 800_000_000
"""Memory of a card that a process with torch takes before it trains, the data included."""
BYTES_PER_ACTIVATION = 10.0
"""Of each value that a network writes for an image of the batch, to the end of the backward pass:
the value, its gradient and what the allocator keeps in hand. Estimates, not measured yet."""
BYTES_PER_PARAMETER = 32.0
"""Weights, gradients, an optimizer's two moments, the average, and copies of them on their way."""


def expected_memory(config: TrialConfig, device: str, micro_batches: int = 1) -> float:
    """Bytes: of the host where `device` is the CPU, of the card otherwise."""
    cost = model_cost(config.model)
    batch = -(-config.batch_size // micro_batches)
    activations = BYTES_PER_ACTIVATION * cost.activations * batch
    base = PROCESS_BYTES if device == "cpu" else CARD_BYTES
    return base + activations + BYTES_PER_PARAMETER * cost.parameters
