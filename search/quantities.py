"""How numbers and configurations are written for people."""

from __future__ import annotations

import re
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


_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0}
_BYTES = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def parse_duration(text: str) -> float:
    """Seconds in a duration such as 90, 90s, 30m, 2h or 1h30m; raises ValueError otherwise."""
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    parts = re.findall(r"(\d+(?:\.\d+)?)([hms])", text)
    if not parts or "".join(n + u for n, u in parts) != text:
        raise ValueError(f"{text!r} is no duration; write for example 90s, 30m or 1h30m")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def parse_size(text: str) -> int:
    """Bytes in a size such as 5000000, 500KB, 100MB or 1.5GB; raises ValueError otherwise."""
    found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,9})?) ?([KMGT]B|)", text)
    if found is None:
        raise ValueError(f"{text!r} is no size; write for example 500MB or 2GB")
    return int(float(found[1]) * _BYTES[found[2]])
