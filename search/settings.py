"""`SearchSettings`: all that a launch of a search was told, checked before anything happens."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field, ValidationError, ValidationInfo, field_validator

from fmnist_models.cli.arguments import duration, path, size
from fmnist_models.config.base import Config, explain
from fmnist_models.config.files import read_config
from fmnist_models.config.registry import check_name
from fmnist_models.config.trial import TrialConfig
from fmnist_models.errors import ConfigError
from search import options
from search.errors import UsageError
from search.options import option_of, spelt
from spaces import SPACES

SamplerName = Literal["curves", "tpe", "gp", "cmaes", "qmc", "random"]
Trust = Literal["weak", "normal", "strong"]
SchedulerName = Literal["asha", "quota", "hyperband", "median", "fifo"]
SAMPLERS: tuple[str, ...] = get_args(SamplerName)
SCHEDULERS: tuple[str, ...] = get_args(SchedulerName)
TRUSTS: tuple[str, ...] = get_args(Trust)
STORAGE_VARIABLE = "FMNIST_SEARCH_STORAGE"
DEFAULT_STORAGE = "sqlite:///fmnist_search.db"
CHOICES: dict[str, tuple[str, Iterable[str]]] = {
    "space": ("space", SPACES),
    "sampler": ("--sampler", SAMPLERS),
    "scheduler": ("--scheduler", SCHEDULERS),
    "trust": ("--trust", TRUSTS),
}
SEARCH_SHARE = 1 / 3
"""Of a total time, at most: at 13 passes over the images in all of it, final training of quick-2-32
makes 8 % more errors in two thirds and 16 % more in a half, at 50 passes 5 and 10 %, by
`size_law.error_after`. Whether that pays is seen to while it searches: results/outlook.py."""
STUDY_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
ADDRESS = r"auto|([A-Za-z0-9][A-Za-z0-9.-]{0,253}|\[[0-9A-Fa-f:]+\]):[1-9][0-9]{0,4}"


def matching(pattern: str, advice: str) -> AfterValidator:
    """The check that a text, if one is given, matches all of `pattern`."""

    def check(text: str | None) -> str | None:
        if text is not None and not re.fullmatch(pattern, text):
            raise ValueError(advice)
        return text

    return AfterValidator(check)


def _with_its_home(folder: str | None) -> str | None:
    try:
        return None if folder is None else str(path(folder))
    except argparse.ArgumentTypeError as error:
        raise ValueError(str(error)) from None


StudyName = Annotated[
    str, matching(STUDY_NAME, "use 1 to 100 letters, digits, dots, dashes and underscores")
]
Address = Annotated[
    str | None, matching(ADDRESS, "use auto or HOST:PORT, as `ray start --head` prints it")
]
Folder = Annotated[str | None, matching(r"[^\0]+", "name a folder"), AfterValidator(_with_its_home)]
Count = Annotated[int | None, Field(ge=1, le=10_000)]


def configuration(text: str) -> TrialConfig:
    """An argument type: the configuration in a file, JSON or YAML, bare or an export."""
    try:
        return read_config(path(text))
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


class SearchSettings(Config):
    """One launch of a search; None stands for what fits the machine or the space.

    `trials` is the study's total of finished trials over all launches. Times are in seconds, sizes
    in bytes. `max_epoch_seconds` of infinity is spelt 0: no limit.
    """

    space: Annotated[str, options.general("search space (see --list-spaces)")]
    trials: Annotated[
        int, Field(ge=1, le=1_000_000), options.general("finished trials of the study in total")
    ]
    study: Annotated[StudyName, options.study("name of the study", "the space's name")]
    storage: Annotated[
        str, options.study("database URL", f"${STORAGE_VARIABLE}, else {DEFAULT_STORAGE}")
    ] = DEFAULT_STORAGE
    trial_seconds: Annotated[
        float | None,
        Field(ge=1),
        options.search(
            "what all epochs of a trial take, e.g. 4m: each configuration trains on as many images "
            "as it gets through",
            "on a CPU 10m, 170s in quick, with --time-budget at most a fourth of it, at least a "
            "tenth; none on a GPU or with --epochs, where an epoch is all images once",
            "--trial-time",
            duration,
        ),
    ] = None
    epochs: Annotated[
        Count,
        options.search(
            "most epochs of a trial; alone it makes each all images once", "9, 27 on a GPU"
        ),
    ] = None
    grace_period: Annotated[
        Count,
        options.search(
            "epochs before a trial may be stopped; a warning says when they tell too little of "
            "later ones",
            "epochs / reduction factor squared",
        ),
    ] = None
    reduction_factor: Annotated[
        int, Field(ge=2, le=100), options.search("one in so many passes a rung")
    ] = 3
    sampler: Annotated[
        SamplerName,
        options.search(
            f"{', '.join(SAMPLERS)}; curves is a Gaussian process over the learning curves of all "
            "trials"
        ),
    ] = "curves"
    trust: Annotated[
        Trust,
        options.search(
            f"{', '.join(TRUSTS)}: how far curves and random rely on what is believed of the space "
            "before anything was tried"
        ),
    ] = "normal"
    around: Annotated[
        TrialConfig | None,
        options.search(
            "file of a configuration, an export say, that is tried with the known-good points and "
            "believed in instead of the space's own defaults",
            "none",
            parse=configuration,
        ),
    ] = None
    scheduler: Annotated[
        SchedulerName,
        options.search(
            f"{', '.join(SCHEDULERS)}; quota is asha that lets only so many trials pass a rung"
        ),
    ] = "quota"
    seed: Annotated[int, Field(ge=0, lt=2**31), options.search("of sampler and training")] = 0
    time_budget_seconds: Annotated[
        float | None,
        Field(gt=0),
        options.search("end after this long, e.g. 30m", "no limit", "--time-budget", duration),
    ] = None
    final_seconds: Annotated[
        float | None,
        Field(ge=1),
        options.search(
            "how long final training is to take, where trials take equal time",
            "as long as the search",
            "--final-time",
            duration,
        ),
    ] = None
    total_seconds: Annotated[
        float | None,
        Field(ge=3),
        options.search(
            "for the search and final training together, e.g. 15m, in place of --time-budget and "
            "--final-time: the search gets a third, or less where it has enough, and final "
            "training what is left",
            "none",
            "--total-time",
            duration,
        ),
    ] = None
    max_epoch_seconds: Annotated[
        float | None,
        Field(ge=0),
        options.search(
            "start no configuration whose epoch takes longer, e.g. 90s; 0: no limit",
            "none; where epochs are all images once on a CPU 2m, 40s in quick, and --time-budget "
            "lowers it so far that three whole trials fit into the budget",
            "--max-epoch-time",
            duration,
        ),
    ] = None
    concurrency: Annotated[Count, options.machine("trials at a time", "what fits")] = None
    cpus_per_trial: Annotated[
        float | None, Field(gt=0, le=1024), options.machine("CPU cores of a trial", "1")
    ] = None
    gpus_per_trial: Annotated[
        float | None,
        Field(ge=0, le=64),
        options.machine(
            "GPUs of a trial, may be a part", "1, 1/2 or 1/4, as was measured to suffice"
        ),
    ] = None
    address: Annotated[
        Address,
        options.machine(
            "Ray cluster to join: auto or HOST:PORT; needs its token, see README", "none"
        ),
    ] = None
    data_dir: Annotated[
        Folder, options.machine("folder of the four idx files", "found or fetched, see README")
    ] = None
    train_samples: Annotated[
        int | None,
        Field(ge=1000),
        options.machine("train on a stratified part, 1,000 at least", "all 50,000 images"),
    ] = None
    checkpoint_dir: Annotated[
        Folder,
        options.faults(
            "folder of the running trials' checkpoints",
            "FILE.checkpoints beside a SQLite FILE, else in the user's cache; on a cluster, "
            "name one that all nodes share",
        ),
    ] = None
    retries: Annotated[
        int,
        Field(ge=0, le=100),
        options.faults(
            "most times that a trial which raised, hung or lost its worker is tried again"
        ),
    ] = 2
    trial_timeout_seconds: Annotated[
        float | None,
        Field(gt=0),
        options.faults(
            "an epoch that takes longer counts as hung and is ended, e.g. 20m",
            "10 times what it is expected to take, at least 10m",
            "--trial-timeout",
            duration,
        ),
    ] = None
    database_outage_seconds: Annotated[
        float,
        Field(ge=0),
        options.faults(
            "wait this long for a database that is gone before giving up",
            name="--database-outage",
            parse=duration,
        ),
    ] = 300.0
    min_free_bytes: Annotated[
        int,
        Field(ge=0),
        options.faults(
            "start no trial with less free disk than this, e.g. 1GB", name="--min-free", parse=size
        ),
    ] = 100_000_000

    @field_validator("space", "sampler", "scheduler", "trust", mode="before")
    @classmethod
    def _known(cls, name: object, info: ValidationInfo) -> object:
        what, names = CHOICES[str(info.field_name)]
        return check_name(name, names, what) if isinstance(name, str) else name

    @field_validator("gpus_per_trial")
    @classmethod
    def _part_of_one_gpu_or_whole_ones(cls, gpus: float | None) -> float | None:
        if gpus is not None and gpus > 1 and gpus != int(gpus):
            raise ValueError("use a part of one GPU, or whole ones")
        return gpus

    @field_validator("total_seconds")
    @classmethod
    def _instead_of_its_parts(cls, total: float | None, info: ValidationInfo) -> float | None:
        for field in ("time_budget_seconds", "final_seconds"):
            if total is not None and info.data.get(field) is not None:
                raise ValueError(
                    "it is for the search and final training together: leave out "
                    f"{OPTIONS[field].name}, or give that and no --total-time"
                )
        return total

    @property
    def budget_seconds(self) -> float | None:
        """How long the search may take: its time budget, or its share of the total time."""
        if self.total_seconds is not None:
            return SEARCH_SHARE * self.total_seconds
        return self.time_budget_seconds

    @property
    def data_path(self) -> Path | None:
        """`data_dir` as a path."""
        return Path(self.data_dir) if self.data_dir else None


OPTIONS = {name: option_of(name, field) for name, field in SearchSettings.model_fields.items()}
"""The option of each setting, in the order of the help, with its default in the help text."""


def make_settings(**values: object) -> SearchSettings:
    """Checked settings; raises UsageError in one line that names the option and the value."""
    try:
        return SearchSettings.model_validate(values)
    except ConfigError as error:
        raise UsageError(str(error)) from None
    except ValidationError as error:
        field = str(error.errors()[0]["loc"][0])
        complaint = explain(error).partition(": ")[2]
        name = OPTIONS[field].name if field in OPTIONS else spelt(field)
        raise UsageError(f"{name}: {complaint}") from None


def storage_default(environment: Mapping[str, str]) -> str:
    """The database URL where none is given on the command line."""
    return environment.get(STORAGE_VARIABLE) or DEFAULT_STORAGE
