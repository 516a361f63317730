"""All that training imports only when it is first needed, imported before."""

from __future__ import annotations

from fmnist_models.compute.optional_kernels import kernels


def preload() -> None:
    """Import what the first trainer would: a second or two of numba.

    Nothing here touches a GPU, which a worker of Ray is given only with its first trial.
    """
    kernels()
