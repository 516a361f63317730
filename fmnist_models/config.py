"""`TrialConfig` and its parts: frozen values that say everything a training run needs.

No torch here: a configuration can be read, checked and written without the tensor library, except
that the part `model` belongs to a family, whose file is imported when its configuration is checked.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    SerializeAsAny,
    ValidationError,
    field_validator,
)

from fmnist_models.errors import ConfigError
from fmnist_models.families import get_family

Activation = Literal["relu", "silu", "gelu", "mish"]
Probability = Annotated[float, Field(ge=0, le=1)]


class Config(BaseModel):
    """Frozen, strict value: unknown keys, wrong types, NaN and infinity are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class ModelConfig(Config):
    """Base of every family's configuration; `family` names the entry in the registry."""

    family: str


class SgdConfig(Config):
    """Stochastic gradient descent with momentum; weight decay is coupled (an L2 penalty)."""

    kind: Literal["sgd"] = "sgd"
    lr: Annotated[float, Field(gt=0, le=10)]
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = True
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 5e-4


class AdamWConfig(Config):
    """AdamW (arXiv:1711.05101): adaptive steps, weight decay decoupled from the gradient."""

    kind: Literal["adamw"] = "adamw"
    lr: Annotated[float, Field(gt=0, le=1)]
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 1e-2


OptimizerConfig = Annotated[SgdConfig | AdamWConfig, Field(discriminator="kind")]


class LrScheduleConfig(Config):
    """Learning rate over the run, as a factor on the optimizer's `lr`.

    A linear warm-up over the fraction `warmup` of all steps, then `kind`, down to zero at the end.
    """

    kind: Literal["constant", "linear", "cosine"] = "cosine"
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.0


class AugmentationConfig(Config):
    """One independent random draw an image and epoch; zero or False switches an ingredient off."""

    flip: bool = False
    """Mirror left to right with probability one half."""
    shift: Annotated[int, Field(ge=0, le=8)] = 0
    """Move by up to this many pixels in x and in y (pad, then crop)."""
    cutout: Annotated[int, Field(ge=0, le=28)] = 0
    """Side, in pixels, of the square that is blanked (arXiv:1708.04552)."""
    random_erasing: Probability = 0.0
    """Probability that a random rectangle is blanked (arXiv:1708.04896)."""


class RegularizationConfig(Config):
    """What else holds the network back, apart from the family's own dropout."""

    label_smoothing: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay a step of the exponential moving average of the weights; 0 evaluates the raw ones."""


class TrialConfig(Config):
    """All that training needs: spaces make it, the engine trains it, SQL keeps it as JSON."""

    model: SerializeAsAny[ModelConfig]
    optimizer: OptimizerConfig
    lr_schedule: LrScheduleConfig = LrScheduleConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    regularization: RegularizationConfig = RegularizationConfig()
    batch_size: Annotated[int, Field(ge=1, le=8192)] = 256
    epochs: Annotated[int, Field(ge=1, le=10_000)]
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0

    @field_validator("model", mode="before")
    @classmethod
    def _resolve_family(cls, value: Any) -> ModelConfig:
        """Check `model` against the configuration class of the family it names."""
        if isinstance(value, ModelConfig):
            return value
        if not isinstance(value, dict) or not isinstance(value.get("family"), str):
            raise ValueError('must be an object with a "family"')
        return get_family(value["family"]).config.model_validate(value)


EXPORT_FORMAT: Literal["fmnist-search-export-1"] = "fmnist-search-export-1"


class ExportedConfig(Config):
    """What `python -m search export` writes: a configuration with where it came from."""

    format: Literal["fmnist-search-export-1"] = "fmnist-search-export-1"
    config: TrialConfig
    study: str
    trial: int
    validation_accuracy: Probability
    evidence: dict[str, JsonValue] = {}


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
        raise ConfigError(f"{source}: {explain(error)}; correct it or export it again") from None


def read_config(path: Path) -> TrialConfig:
    """The configuration in the file at `path`; raises ConfigError when it cannot be had."""
    try:
        if path.stat().st_size > 1_000_000:
            raise ConfigError(f"{path} has over 1 MB: that is no configuration; export it again")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f"cannot read configuration {path}: {reason}; check the path") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text; export it again") from None
    return parse_config(text, str(path))
