"""What all configurations are built from: the strict value, shared types, errors in one line."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

Activation = Literal["relu", "silu", "gelu", "mish"]
Probability = Annotated[float, Field(ge=0, le=1)]
Padding = Literal["zeros", "reflect", "replicate", "weighted"]
"""What convolutions see beyond the border; weighted is layers.PartialConv2d (arXiv:1811.11718)."""


class Config(BaseModel):
    """Frozen, strict value: unknown keys, wrong types, NaN and infinity are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class ModelConfig(Config):
    """Base of every family's configuration; `family` names the entry in the registry."""

    family: str


def six_n_plus(rest: int, shown: int) -> AfterValidator:
    """Holds a depth to 6n + `rest`, three stages of n blocks; an error names the first `shown`."""

    def check(depth: int) -> int:
        if (depth - rest) % 6:
            allowed = ", ".join(str(6 * n + rest) for n in range(1, shown + 1))
            raise ValueError(f"depth must be 6n+{rest} ({allowed}, ...)")
        return depth

    return AfterValidator(check)


def explain(error: ValidationError) -> str:
    """The first complaint of a pydantic error as one line: where, what, and the value given."""
    first = error.errors(include_url=False)[0]
    more = error.error_count() - 1
    given = "" if first["type"] == "missing" else f", got {shortened(first['input'])}"
    # repr, as a key that we don't know may hold a line break.
    where = repr(".".join(str(part) for part in first["loc"]))[1:-1] or "the whole"
    message = first["msg"].removeprefix("Value error, ")
    return f"{where}: {message}{given}" + (f" (and {more} more)" if more else "")


def shortened(value: object) -> str:
    """`value` as Python writes it, cut to 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
