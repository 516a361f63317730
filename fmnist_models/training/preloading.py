"""All that training imports only when it is first needed, imported before."""

from __future__ import annotations

import torch

from fmnist_models.compute.optional_kernels import kernels


def preload() -> None:
    """Import what the first trainer would: some three seconds of torch._dynamo and numba.

    No optimizer of torch can be made without torch._dynamo, however little is compiled. Nothing
    here touches a GPU, which a worker of Ray is given only with its first trial.
    """
    torch.optim.SGD([torch.zeros(1, requires_grad=True)])
    kernels()
