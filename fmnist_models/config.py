"""`TrialConfig` and its parts: frozen values that say everything a training run needs.

No torch here: a configuration can be read, checked and written without the tensor library, except
that the part `model` belongs to a family, whose file is imported when its configuration is checked.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    JsonValue,
    SerializeAsAny,
    ValidationError,
    field_validator,
    model_validator,
)

from fmnist_models.errors import ConfigError
from fmnist_models.families import get_family
from fmnist_models.ingredients import (
    ArcFaceConfig,
    AugmentationConfig,
    Config,
    CrossEntropyConfig,
    LossConfig,
    LrScheduleConfig,
    Padding,
    Probability,
    RegularizationConfig,
    SphereFaceConfig,
)
from fmnist_models.optimizer_configs import (
    AdadeltaConfig,
    AdagradConfig,
    AdamaxConfig,
    AdamConfig,
    AdamWConfig,
    LionConfig,
    MuonConfig,
    NAdamConfig,
    OptimizerConfig,
    RmspropConfig,
    ScheduleFreeConfig,
    SgdConfig,
)

__all__ = [
    "Activation",
    "AdadeltaConfig",
    "AdagradConfig",
    "AdamConfig",
    "AdamWConfig",
    "AdamaxConfig",
    "ArcFaceConfig",
    "AugmentationConfig",
    "Config",
    "CrossEntropyConfig",
    "ExportedConfig",
    "LionConfig",
    "LossConfig",
    "LrScheduleConfig",
    "ModelConfig",
    "MuonConfig",
    "NAdamConfig",
    "OptimizerConfig",
    "Padding",
    "Probability",
    "RegularizationConfig",
    "RmspropConfig",
    "ScheduleFreeConfig",
    "SgdConfig",
    "SphereFaceConfig",
    "TrialConfig",
    "explain",
    "parse_config",
    "read_config",
    "read_config_text",
]

Activation = Literal["relu", "silu", "gelu", "mish"]


class ModelConfig(Config):
    """Base of every family's configuration; `family` names the entry in the registry."""

    family: str


class TrialConfig(Config):
    """All that training needs: spaces make it, the engine trains it, SQL keeps it as JSON."""

    model: SerializeAsAny[ModelConfig]
    optimizer: OptimizerConfig
    lr_schedule: LrScheduleConfig = LrScheduleConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    regularization: RegularizationConfig = RegularizationConfig()
    loss: LossConfig = CrossEntropyConfig()
    batch_size: Annotated[int, Field(ge=1, le=8192)] = 256
    epochs: Annotated[int, Field(ge=1, le=10_000)]
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    patience: Annotated[int, Field(ge=0, le=10_000)] = 0
    """Epochs in a row without a better validation accuracy that end a run; 0 never ends it."""

    @field_validator("model", mode="before")
    @classmethod
    def _resolve_family(cls, value: Any) -> ModelConfig:
        """Check `model` against the configuration class of the family it names."""
        if isinstance(value, ModelConfig):
            return value
        if not isinstance(value, dict) or not isinstance(value.get("family"), str):
            raise ValueError('must be an object with a "family"')
        return get_family(value["family"]).config.model_validate(value)

    @model_validator(mode="after")
    def _fits_together(self) -> TrialConfig:
        """Schedule-Free brings its own averaging and needs a learning rate that stays."""
        if isinstance(self.optimizer, ScheduleFreeConfig):
            if self.lr_schedule.kind != "constant":
                raise ValueError('schedulefree needs lr_schedule.kind "constant" (warmup is fine)')
            if self.regularization.ema_decay or self.regularization.swa_fraction:
                raise ValueError(
                    "schedulefree averages the weights itself: set ema_decay and swa_fraction to 0"
                )
        if self.regularization.ema_decay and self.regularization.swa_fraction:
            raise ValueError("there is one average: set ema_decay or swa_fraction to 0")
        return self


EXPORT_FORMAT: Literal["fmnist-search-export-1"] = "fmnist-search-export-1"


class ExportedConfig(Config):
    """What `python -m search export` writes: a configuration with where it came from."""

    format: Literal["fmnist-search-export-1"] = "fmnist-search-export-1"
    config: TrialConfig
    study: str
    trial: int
    validation_accuracy: Probability
    evidence: dict[str, JsonValue] = Field(default_factory=dict)


def explain(error: ValidationError) -> str:
    """The first complaint of a pydantic error as one line: where, what, and the value given."""
    first = error.errors(include_url=False)[0]
    more = error.error_count() - 1
    given = "" if first["type"] == "missing" else f", got {_short(first['input'])}"
    # repr, as a key that we don't know may hold a line break.
    where = repr(".".join(str(part) for part in first["loc"]))[1:-1] or "the whole"
    message = first["msg"].removeprefix("Value error, ")
    return f"{where}: {message}{given}" + (f" (and {more} more)" if more else "")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def parse_config(text: str, source: str = "configuration") -> TrialConfig:
    """The configuration in `text`: a bare `TrialConfig` or an export, as JSON.

    Raises ConfigError, in one line, when it is not JSON or not a valid configuration.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{source} is not JSON ({error}); export it again") from None
    exported = isinstance(content, dict) and "config" in content
    try:
        if exported:
            return ExportedConfig.model_validate_json(text).config
        return TrialConfig.model_validate_json(text)
    except ValidationError as error:
        _check_version(content, source)
        raise ConfigError(f"{source}: {explain(error)}; correct it or export it again") from None


def _check_version(content: object, source: str) -> None:
    """Raises ConfigError when a file that was refused calls itself another version's."""
    named = content.get("format") if isinstance(content, dict) else None
    if isinstance(named, str) and named != EXPORT_FORMAT:
        raise ConfigError(
            f"{source} is of format {_short(named)}, and this version reads {EXPORT_FORMAT!r}; "
            "export it again"
        ) from None


def read_config_text(path: Path) -> str:
    """The text of the file at `path`; raises ConfigError when it cannot be had."""
    try:
        if path.stat().st_size > 1_000_000:
            raise ConfigError(f"{path} has over 1 MB: that is no configuration; export it again")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f"cannot read configuration {path}: {reason}; check the path") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text; export it again") from None


def read_config(path: Path) -> TrialConfig:
    """The configuration in the file at `path`, JSON or (by its ending) YAML.

    Raises ConfigError when it cannot be had.
    """
    text = read_config_text(path)
    if path.suffix.lower() in (".yaml", ".yml"):
        from fmnist_models.yaml_text import yaml_to_json

        text = yaml_to_json(text, str(path))
    elif path.suffix.lower() == ".py":
        raise ConfigError(f"{path} is a program, which is not run here; export it as JSON or YAML")
    return parse_config(text, str(path))
