"""Everything that touches a tensor: families, data, augmentation, training engine, evaluation.

    from fmnist_models import load_model
    load_model("models/quick").predict(["shirt.jpg"])

Importing the package imports no torch, so that commands which only read stay fast; `load_model`
does, when it is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fmnist_models.predictor import load_model

__all__ = ["load_model"]


def __getattr__(name: str) -> Any:
    """`load_model`, imported when it is asked for (PEP 562)."""
    if name == "load_model":
        from fmnist_models.predictor import load_model

        return load_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
