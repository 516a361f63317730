"""Pieces of known-good points that several spaces share; names get the space's prefix."""

from __future__ import annotations

from collections.abc import Mapping

Params = Mapping[str, str | int | float | bool]

SGD: Params = {
    "optimizer": "sgd",
    "sgd.lr": 0.1,
    "sgd.momentum": 0.9,
    "sgd.weight_decay": 5e-4,
    "lr_schedule": "cosine",
    "warmup": 0.1,
    "flip": True,
    "shift": 2,
    "blank": "none",
    "label_smoothing": 0.0,
    "ema_decay": 0.99,
    "batch_size": 128,
}
"""The training part of a point, in the manner of the papers on residual networks."""

HYSTS: Params = {
    **SGD,
    "sgd.lr": 0.2,
    "sgd.weight_decay": 1e-4,
    "warmup": 0.0,
    "shift": 4,
    "blank": "cutout",
    "cutout": 14,
    "ema_decay": 0.998,
}
"""The same as github.com/hysts/pytorch_image_classification trains on Fashion-MNIST."""


def make_point(prefix: str, *parts: Params) -> Params:
    """A point of the space `prefix`: its parts in one, where later ones have the last word."""
    return {f"{prefix}.{name}": value for part in parts for name, value in part.items()}


OFF: Params = {
    "policy": "none",
    "mixing": "none",
    "clip_norm": 0.0,
    "decay_vectors": False,
    "patience": 0,
    "sam": False,
    "loss": "cross_entropy",
}
"""How a point leaves the ingredients off that every space samples."""


def fill_in_defaults(point: Params) -> Params:
    """`point` with every ingredient of training that it does not name switched off.

    Training has been sampled under each prefix for which there is a PREFIX.optimizer.
    """
    whole = dict(point)
    for key, kind in point.items():
        prefix, _, last = key.rpartition(".")
        if last != "optimizer":
            continue
        off = dict(OFF)
        if kind == "sgd":
            off["sgd.nesterov"] = True
        if kind == "adam":
            off["adam.amsgrad"] = False
        if point.get(f"{prefix}.ema_decay") == 0:
            off["swa_fraction"] = 0.0
        for name, value in off.items():
            whole.setdefault(f"{prefix}.{name}", value)
    return whole


class WithinBounds:
    """Suggests `params` as a trial does, whole numbers brought between the bounds they have here.

    Sizes of networks are whole numbers, whose upper bound is what is affordable.
    """

    def __init__(self, params: Params) -> None:
        self.params = dict(params)

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        """As given, or the nearest that can be suggested."""
        within = min(max(int(self.params[name]), low), high)
        self.params[name] = found = low + (within - low) // step * step
        return found

    def suggest_float(self, name: str, low: float, high: float, **how: object) -> object:
        """As given."""
        return self.params[name]

    def suggest_categorical(self, name: str, choices: object) -> object:
        """As given."""
        return self.params[name]
