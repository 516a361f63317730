"""Options of the command line that are checked alike in several commands."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from fmnist_models.config.base import Config, explain
from fmnist_models.errors import ConfigError

Kind = TypeVar("Kind", bound=Config)


def checked(kind: type[Kind], **values: object) -> Kind:
    """A configuration of command-line options; raises ConfigError that names the option."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"--{explain(error)}") from None


def check_apart(config: Path, folder: Path, force: bool) -> None:
    """Raises ConfigError when a training would first remove the configuration that it is of."""
    if force and config.resolve().is_relative_to(folder.resolve()):
        raise ConfigError(
            f"{config} is in --out {folder}, which --force empties; copy it elsewhere"
        )


def device_named(wanted: str | None) -> str:
    """The device called `wanted`, else the best; raises ConfigError where it is not there."""
    from fmnist_models.compute.precision import default_device

    best = default_device()
    if wanted not in (None, "cpu", best):
        raise ConfigError(f"--device {wanted}: this machine has {best}; leave --device out")
    return wanted or best
