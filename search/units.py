"""Durations and sizes as people write them on a command line."""

from __future__ import annotations

import re

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
