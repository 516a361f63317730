"""SAM: a second pass a step, at the worst point near by. Twice the cost of a plain step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Sam:
    """Sharpness-aware minimization (arXiv:2010.01412): gradients at the worst point near by.

    It keeps nothing from one step to the next, so there is nothing to resume.
    """

    def __init__(self, model: nn.Module, rho: float) -> None:
        self.model, self.rho = model, rho

    @contextmanager
    def perturbed(self) -> Iterator[None]:
        """Within: weights moved by rho along the gradient, which is cleared for the second pass.

        Batch norms normalise by the batch as ever, but their running statistics stand still: they
        are those of the first pass, at the weights that are kept.
        """
        parameters: list[Tensor] = [p for p in self.model.parameters() if p.grad is not None]
        kept = [p.detach().clone() for p in parameters]
        norms = [m for m in self.model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        with torch.no_grad():
            gradients = [p.grad for p in parameters if p.grad is not None]
            length = torch.stack(torch._foreach_norm(gradients)).norm()
            scale = self.rho / (length + 1e-12)  # a tensor: no synchronisation with a GPU
            torch._foreach_add_(parameters, list(torch._foreach_mul(gradients, scale)))
        for parameter in parameters:
            parameter.grad = None
        for norm in norms:
            norm.track_running_stats = False
        try:
            yield
        finally:
            for norm in norms:
                norm.track_running_stats = True
            with torch.no_grad():
                torch._foreach_copy_(parameters, kept)
