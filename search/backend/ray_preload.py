"""What Ray's workers import before they are given a trial: by `RAY_preload_python_modules`.

Ray starts them while the driver is still planning, so that their seconds of imports run beside it.
"""

from __future__ import annotations

from fmnist_models.training.preloading import preload
from search.backend.ray_actor import TrialWorker

__all__ = ["TrialWorker"]

preload()
