"""How numbers and configurations are written for people."""

from __future__ import annotations

from fmnist_models.config import TrialConfig


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


def describe(config: TrialConfig) -> str:
    """A configuration in a few words: the network and how it is trained."""
    model = config.model.model_dump()
    size = "-".join(str(model[key]) for key in ("depth", "width") if key in model)
    optimizer = config.optimizer
    parts = [f"{config.model.family}-{size}", f"{optimizer.kind} lr {optimizer.lr:.3g}"]
    parts.append(f"batch {config.batch_size}")
    augmentation = config.augmentation
    parts += [name for name, on in augmentation.model_dump().items() if on]
    return ", ".join(parts)
