"""A trial's network made wider than a trial had time for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import JsonValue

TIMES_WIDER = (1.5, 2.0, 3.0, 4.0)
MOST_CHANNELS = {"quick": 128, "cnn": 1024}
"""The widest layer of each family whose networks are made wider: the one that the law was fitted
to, and one of the same kind."""


def wider_network(model: Mapping[str, Any], times: float) -> dict[str, JsonValue] | None:
    """A network's configuration with convolutions `times` as wide; None where there is none such.

    Widths of more than eight channels stay multiples of four, by which a processor is fast.
    """
    most = MOST_CHANNELS.get(model["family"])
    if most is None or times == 1:
        return None
    if "width" in model:
        wide = {**model, "width": _channels(model["width"], times)}
        return wide if wide["width"] <= most else None
    layers: list[JsonValue] = [
        layer if isinstance(layer, str) else _channels(layer, times) for layer in model["layers"]
    ]
    numbers = [layer for layer in layers if isinstance(layer, int)]
    return {**model, "layers": layers} if max(numbers, default=0) <= most else None


def _channels(width: int, times: float) -> int:
    wide = width * times
    return round(wide / 4) * 4 if wide > 8 else round(wide)
