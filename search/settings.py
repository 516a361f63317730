"""`SearchSettings`: all that a launch of a search was told, checked before anything happens."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field, ValidationError, field_validator

from fmnist_models.config.base import Config, explain
from fmnist_models.config.registry import check_name
from fmnist_models.errors import ConfigError
from search.errors import UsageError
from spaces import SPACES

SamplerName = Literal["curves", "tpe", "gp", "cmaes", "qmc", "random"]
SchedulerName = Literal["asha", "quota", "hyperband", "median", "fifo"]
SAMPLERS: tuple[str, ...] = get_args(SamplerName)
SCHEDULERS: tuple[str, ...] = get_args(SchedulerName)
DEFAULT_STORAGE = "sqlite:///fmnist_search.db"
STUDY_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
ADDRESS = r"auto|([A-Za-z0-9][A-Za-z0-9.-]{0,253}|\[[0-9A-Fa-f:]+\]):[1-9][0-9]{0,4}"


class SearchSettings(Config):
    """One launch of a search; None stands for what fits the machine or the space.

    `trials` is the study's total of finished trials over all launches. Times are in seconds, sizes
    in bytes. `max_epoch_seconds` of infinity is spelt 0: no limit.
    """

    space: str
    trials: Annotated[int, Field(ge=1, le=1_000_000)]
    study: str
    storage: str = DEFAULT_STORAGE
    epochs: Annotated[int, Field(ge=1, le=10_000)] | None = None
    grace_period: Annotated[int, Field(ge=1, le=10_000)] | None = None
    reduction_factor: Annotated[int, Field(ge=2, le=100)] = 3
    sampler: SamplerName = "curves"
    scheduler: SchedulerName = "quota"
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    time_budget_seconds: Annotated[float, Field(gt=0)] | None = None
    max_epoch_seconds: Annotated[float, Field(ge=0)] | None = None
    concurrency: Annotated[int, Field(ge=1, le=10_000)] | None = None
    cpus_per_trial: Annotated[float, Field(gt=0, le=1024)] | None = None
    gpus_per_trial: Annotated[float, Field(ge=0, le=64)] | None = None
    address: str | None = None
    data_dir: str | None = None
    train_samples: Annotated[int, Field(ge=1000)] | None = None
    checkpoint_dir: str | None = None
    retries: Annotated[int, Field(ge=0, le=100)] = 2
    trial_timeout_seconds: Annotated[float, Field(gt=0)] | None = None
    database_outage_seconds: Annotated[float, Field(ge=0)] = 300.0
    min_free_bytes: Annotated[int, Field(ge=0)] = 100_000_000

    @field_validator("space")
    @classmethod
    def _known_space(cls, space: str) -> str:
        return check_name(space, SPACES, "space")

    @field_validator("sampler", mode="before")
    @classmethod
    def _known_sampler(cls, sampler: str) -> str:
        return check_name(sampler, SAMPLERS, "--sampler")

    @field_validator("scheduler", mode="before")
    @classmethod
    def _known_scheduler(cls, scheduler: str) -> str:
        return check_name(scheduler, SCHEDULERS, "--scheduler")

    @field_validator("study")
    @classmethod
    def _plain_study_name(cls, study: str) -> str:
        if not re.fullmatch(STUDY_NAME, study):
            raise ValueError("use 1 to 100 letters, digits, dots, dashes and underscores")
        return study

    @field_validator("address")
    @classmethod
    def _plain_address(cls, address: str | None) -> str | None:
        if address is not None and not re.fullmatch(ADDRESS, address):
            raise ValueError("use auto or HOST:PORT, as `ray start --head` prints it")
        return address

    @field_validator("data_dir", "checkpoint_dir")
    @classmethod
    def _plain_path(cls, path: str | None) -> str | None:
        if path is not None and (not path or "\0" in path):
            raise ValueError("name a folder")
        return path

    @field_validator("gpus_per_trial")
    @classmethod
    def _part_of_one_gpu_or_whole_ones(cls, gpus: float | None) -> float | None:
        if gpus is not None and gpus > 1 and gpus != int(gpus):
            raise ValueError("use a part of one GPU, or whole ones")
        return gpus

    @property
    def data_path(self) -> Path | None:
        """`data_dir` as a path."""
        return Path(self.data_dir) if self.data_dir else None


def make_settings(**values: object) -> SearchSettings:
    """Checked settings; raises UsageError in one line that names the option and the value."""
    try:
        return SearchSettings.model_validate(values)
    except ConfigError as error:
        raise UsageError(str(error)) from None
    except ValidationError as error:
        option = str(error.errors()[0]["loc"][0]) if error.errors()[0]["loc"] else ""
        name = f"--{_option(option)}" if option else ""
        raise UsageError(explain(error).replace(f"{option}:", f"{name}:", 1)) from None


def _option(field: str) -> str:
    """The command line's word for a field."""
    if field == "max_epoch_seconds":
        return "max-epoch-time"
    return field.removesuffix("_seconds").removesuffix("_bytes").replace("_", "-")


STORAGE_VARIABLE = "FMNIST_SEARCH_STORAGE"


def storage_default(environment: Mapping[str, str]) -> str:
    """The database URL where none is given on the command line."""
    return environment.get(STORAGE_VARIABLE) or DEFAULT_STORAGE
