"""What processes that train for another find imported when they start: all that takes seconds.

The server that they are forked from imports this module before its first one.
"""

from __future__ import annotations

from fmnist_models.final.train import train
from fmnist_models.training.preloading import preload

__all__ = ["train"]

preload()
