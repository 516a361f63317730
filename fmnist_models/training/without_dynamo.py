"""Optimizers of torch without torch._dynamo, whose import takes seconds of each process's start.

They import it to say which of their methods are not to be compiled, and here nothing is compiled.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial

import torch


def without_dynamo(make: Callable[[], torch.optim.Optimizer]) -> torch.optim.Optimizer:
    """The optimizer that `make` gives, whose step is that of its class without torch's wrappers.

    These are the import, hooks and a mark for profilers, none of which is used here. With another
    version of torch, that does it in another way, the import is all that happens.
    """
    for method in vars(torch.optim.Optimizer).values():
        plain = getattr(method, "__wrapped__", None)
        if plain is not None:  # which torch asks for this before it imports (torch/_compile.py)
            plain.__dict__.setdefault("__dynamo_disable", plain)
    optimizer = make()
    step = partial(inspect.unwrap(type(optimizer).step), optimizer)
    optimizer.step = torch.no_grad()(step)  # type: ignore[method-assign]
    return optimizer
