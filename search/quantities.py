"""How numbers and configurations are written for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

AUGMENTATIONS = ("flip", "shift", "cutout", "random_erasing", "policy", "mixing")
OFF = (None, False, 0, 0.0, "none")


def percent(share: float | None) -> str:
    """A fraction as per cent with two decimals, or a dash."""
    return "-" if share is None else f"{100 * share:.2f} %"


def duration(seconds: float) -> str:
    """Seconds as 45 s, 12 min 5 s or 3 h 20 min."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 100:
        return f"{minutes} min {rest} s" if minutes < 20 else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def describe(config: Mapping[str, Any]) -> str:
    """A `TrialConfig`, as JSON values, in a few words: the network and how it is trained."""
    model, optimizer = config["model"], config["optimizer"]
    size = "-".join(str(model[key]) for key in ("depth", "width") if key in model)
    parts = [f"{model['family']}-{size}" if size else str(model["family"])]
    parts += [f"{optimizer['kind']} lr {optimizer['lr']:.3g}", f"batch {config['batch_size']}"]
    parts += [name for name in AUGMENTATIONS if config["augmentation"].get(name) not in OFF]
    return ", ".join(parts)
