"""The registry of architecture families: one line each, imported when first asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, Any

from fmnist_models.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

    from fmnist_models.config.base import ModelConfig


@dataclass(frozen=True)
class Family:
    """What a family's file exports as `FAMILY`.

    `build(config, classes)` gives a network: images (N, 1, 28, 28) float -> logits (N, classes).
    `example` is a small configuration of it that any test can build and train.
    """

    name: str
    config: type[ModelConfig]
    build: Callable[[Any, int], nn.Module]
    example: ModelConfig


def make_registry(entries: Iterable[tuple[str, str]]) -> dict[str, str]:
    """A registry of what goes with each name; raises ValueError on a name that is there already."""
    registry: dict[str, str] = {}
    for name, value in entries:
        if name in registry:
            raise ValueError(f"{name!r} is registered twice: {registry[name]} and {value}")
        registry[name] = value
    return registry


FAMILIES = make_registry(
    (name, f"fmnist_models.families.{name}")
    for name in [
        "quick",
        "mlp",
        "cnn",
        "vgg",
        "mobilenet",
        "wrn",
        "preact",
        "shake",
        "densenet",
        "convnext",
    ]
)
"""The module of each family."""


def check_name(name: str, names: Iterable[str], what: str) -> str:
    """`name` if it is among `names`; else raises ConfigError with the known and the nearest."""
    choices = sorted(names)
    if name in choices:
        return name
    near = get_close_matches(name, choices, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ConfigError(f"unknown {what} {name!r}: known are {', '.join(choices)}{hint}")


def get_family(name: str) -> Family:
    """The family registered as `name`; raises ConfigError with the known names."""
    module = import_module(FAMILIES[check_name(name, FAMILIES, "family")])
    family: Family = module.FAMILY
    return family


def build_model(config: ModelConfig, classes: int) -> nn.Module:
    """A freshly initialised network: images (N, 1, 28, 28) float -> logits (N, classes)."""
    return get_family(config.family).build(config, classes)
