"""Configurations as files: reading JSON or YAML, and the export with its evidence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    Field,
    JsonValue,
    ValidationError,
)

from fmnist_models.config.base import Config, Probability, explain, shortened
from fmnist_models.config.trial import TrialConfig
from fmnist_models.errors import ConfigError

EXPORT_FORMAT: Literal["fmnist-search-export-1"] = "fmnist-search-export-1"


class ExportedConfig(Config):
    """What `python -m search export` writes: a configuration with where it came from.

    `final_seconds`: how long final training is to take, where trials had equal time and not equal
    epochs; it then has as many as fit. `wider`: the network of `config` is so many times as wide as
    the trial's.
    """

    format: Literal["fmnist-search-export-1"] = "fmnist-search-export-1"
    config: TrialConfig
    study: str
    trial: int
    validation_accuracy: Probability
    evidence: dict[str, JsonValue] = Field(default_factory=dict)
    final_seconds: Annotated[
        float | None, Field(gt=0, exclude_if=lambda seconds: seconds is None)
    ] = None
    wider: Annotated[float, Field(ge=1, exclude_if=lambda times: times == 1)] = 1.0


class Origin(Config):
    """Where a configuration was found: in which study, by which trial, and what that reached.

    The network of the configuration may be so many times `wider` than the trial's.
    """

    study: str
    trial: int
    validation_accuracy: Probability
    wider: Annotated[float, Field(ge=1, exclude_if=lambda times: times == 1)] = 1.0

    def __str__(self) -> str:
        study = " ".join(self.study.split())
        reached = f"{100 * self.validation_accuracy:.2f} % validation accuracy"
        narrower = f" with a network {self.wider:g} times narrower" if self.wider > 1 else ""
        return f"search {study}, trial {self.trial}, {reached}{narrower}"


def parse_config(text: str, source: str = "configuration") -> TrialConfig:
    """The configuration in `text`: a bare `TrialConfig` or an export, as JSON.

    Raises ConfigError, in one line, when it is not JSON or not a valid configuration.
    """
    content = _parse(text, source)
    return content.config if isinstance(content, ExportedConfig) else content


def _parse(text: str, source: str) -> TrialConfig | ExportedConfig:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{source} is not JSON ({error}); export it again") from None
    exported = isinstance(content, dict) and "config" in content
    try:
        if exported:
            return ExportedConfig.model_validate_json(text)
        return TrialConfig.model_validate_json(text)
    except ValidationError as error:
        _check_version(content, source)
        raise ConfigError(f"{source}: {explain(error)}; correct it or export it again") from None


def _check_version(content: object, source: str) -> None:
    """Raises ConfigError when a file that was refused calls itself another version's."""
    named = content.get("format") if isinstance(content, dict) else None
    if isinstance(named, str) and named != EXPORT_FORMAT:
        raise ConfigError(
            f"{source} is of format {shortened(named)}, and this version reads {EXPORT_FORMAT!r}; "
            "export it again"
        ) from None


def read_config_text(path: Path) -> str:
    """The text of the file at `path`; raises ConfigError when it cannot be had."""
    try:
        if path.stat().st_size > 1_000_000:
            raise ConfigError(f"{path} has over 1 MB: that is no configuration; export it again")
        return path.read_text(encoding="utf-8-sig")  # a byte-order mark is passed over
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f"cannot read configuration {path}: {reason}; check the path") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text; export it again") from None


def read_config(path: Path) -> TrialConfig:
    """The configuration in the file at `path`, JSON or (by its ending) YAML.

    Raises ConfigError when it cannot be had.
    """
    return read_export(path)[0]


def read_export(path: Path) -> tuple[TrialConfig, float | None, Origin | None]:
    """Likewise, with the seconds of its final training, and its origin, where the file has them."""
    content = _parse(_json_text(path), str(path))
    if not isinstance(content, ExportedConfig):
        return content, None, None
    origin = Origin(
        study=content.study,
        trial=content.trial,
        validation_accuracy=content.validation_accuracy,
        wider=content.wider,
    )
    return content.config, content.final_seconds, origin


def _json_text(path: Path) -> str:
    text = read_config_text(path)
    if path.suffix.lower() in (".yaml", ".yml"):
        from fmnist_models.config.yaml_text import yaml_to_json

        return yaml_to_json(text, str(path))
    if path.suffix.lower() == ".py":
        raise ConfigError(f"{path} is a program, which is not run here; export it as JSON or YAML")
    return text
