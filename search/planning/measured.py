"""What was measured of this machine: kept in the user's cache, for the searches that follow.

A file for each key, which holds all that the figures depend on. Each node of a cluster keeps its
own. Figures of a machine that was busy mend themselves: with them stands what a step of fixed work
took at the time, and as soon as a start finds that clearly faster, all is measured anew and each
configuration keeps the fastest time that was seen.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated

from pydantic import Field, JsonValue, ValidationError

from fmnist_models.compute.precision import Precision, choose_precision
from fmnist_models.compute.speed_facts import sample_seconds, speed_facts
from fmnist_models.config.base import Config
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.dataset import Dataset
from fmnist_models.errors import OutputError
from fmnist_models.files import expand_home, make_private_folder, user_cache, write_atomically
from fmnist_models.output import quoted
from fmnist_models.training.cost import ProbeResult, probe_images, time_probes
from search.planning.container_limits import available_cpus

VERSION = 1
"""Of what is measured and how: to be raised when either changes."""
FOLDER_VARIABLE = "FMNIST_SEARCH_MEASURED"
"""Environment variable: another folder for what was measured than the one in the user's cache."""
KEPT_SECONDS = 30 * 86400.0
CLEARLY_FASTER = 1.3
"""A step of fixed work so many times faster than it was says that the machine was busy then."""

Seconds = Annotated[float, Field(gt=0)]
Key = Mapping[str, JsonValue]


class Probed(Config):
    """What a configuration took: seconds an image, and the most bytes on a GPU (on a CPU 0)."""

    image_seconds: Seconds
    peak_bytes: int = Field(ge=0)


class Figures(Config):
    """What was measured: the faster number format, and what each configuration took in it.

    `measured_at`: seconds since 1970. `step_seconds`: of a step of fixed work, before or after,
    whichever took longer. A configuration is None where memory did not suffice for it.
    """

    measured_at: Seconds
    step_seconds: Seconds
    precision: Precision
    probed: tuple[Probed | None, ...]

    def results(self) -> list[ProbeResult | None]:
        """As `time_probes` gives them."""
        return [ProbeResult(p.image_seconds, p.peak_bytes) if p else None for p in self.probed]


class _Content(Config):
    """A file of the cache."""

    key: dict[str, JsonValue]
    figures: Figures


@dataclass(frozen=True)
class KeptFile:
    """The file in `folder` for what depends on `key`; no file without a folder."""

    folder: Path | None
    key: Key

    @property
    def path(self) -> Path:
        """Named after the key, so that keys do not share a file; raises OutputError without one."""
        if self.folder is None:
            raise OutputError("no home is known")
        text = json.dumps(self.key, sort_keys=True)
        return self.folder / f"{sha256(text.encode()).hexdigest()[:16]}.json"

    def read(self, probes: int, now: float) -> Figures | None:
        """The figures of so many probes; None if they are not there, not whole or too old."""
        try:
            content = _Content.model_validate_json(self.path.read_bytes())
        except (OSError, OutputError, ValidationError):
            return None
        figures = content.figures
        is_young = 0 <= now - figures.measured_at <= KEPT_SECONDS
        is_whole = len(figures.probed) == probes and None not in figures.probed
        return figures if content.key == self.key and is_young and is_whole else None

    def write(self, figures: Figures) -> None:
        """Keep `figures`; where that can't be done all is measured again the next time."""
        if None in figures.probed:
            return  # others may have had that memory, who are gone the next time
        text = _Content(key=dict(self.key), figures=figures).model_dump_json(indent=1)
        with suppress(OutputError):
            make_private_folder(self.path.parent)
            write_atomically(self.path, text.encode())


@dataclass(frozen=True)
class Measured:
    """What is known of this machine; `note` tells the user where it was kept, if it was."""

    precision: Precision
    results: Sequence[ProbeResult | None]
    note: str = ""


def measured_folder() -> Path | None:
    """Where figures are kept: $FMNIST_SEARCH_MEASURED, else `measured` in the user's cache.

    None where no home is known. Raises ConfigError for a variable with an unknown home.
    """
    if named := os.environ.get(FOLDER_VARIABLE):
        return expand_home(named)
    cache = user_cache()
    return cache and cache / "measured"


def measured_here(probes: Sequence[TrialConfig], dataset: Dataset, device: str) -> Measured:
    """The faster number format on `device` and what `probes` take there, measured or kept.

    With as many threads as this process uses now.
    """
    file = KeptFile(measured_folder(), key_of(probes, dataset, device))
    figures, is_kept = kept_or_measured(
        file,
        len(probes),
        measure=lambda: measure(probes, dataset, device),
        step_seconds=lambda: sample_seconds(device),
    )
    if not is_kept:
        return Measured(figures.precision, figures.results())
    day = time.strftime("%Y-%m-%d", time.localtime(figures.measured_at))
    note = f"speed as measured on {day} (delete {quoted(file.path)} to measure anew)"
    return Measured(figures.precision, figures.results(), note)


def key_of(probes: Sequence[TrialConfig], dataset: Dataset, device: str) -> dict[str, JsonValue]:
    """All that the figures depend on: machine, versions, settings, and what is timed."""
    return {
        "version": VERSION,
        "cores": available_cpus(),
        **speed_facts(device),
        "classes": dataset.classes,
        "images": [probe_images(probe, dataset, device) for probe in probes],
        "probes": [probe.model_dump(mode="json") for probe in probes],
    }


def measure(probes: Sequence[TrialConfig], dataset: Dataset, device: str) -> Figures:
    """Measure here and now."""
    before = sample_seconds(device)
    precision = choose_precision(device)
    results = time_probes(probes, dataset, device=device, precision=precision)
    return Figures(
        measured_at=time.time(),
        step_seconds=max(before, sample_seconds(device)),
        precision=precision,
        probed=tuple(
            Probed(image_seconds=r.image_seconds, peak_bytes=r.peak_memory_bytes) if r else None
            for r in results
        ),
    )


def kept_or_measured(
    file: KeptFile,
    probes: int,
    *,
    measure: Callable[[], Figures],
    step_seconds: Callable[[], float],
) -> tuple[Figures, bool]:
    """The figures in `file` and True, or new ones, which are kept there, and False.

    `step_seconds` takes the time of the fixed work as of now.
    """
    kept = file.read(probes, time.time())
    if kept and CLEARLY_FASTER * step_seconds() >= kept.step_seconds:
        return kept, True
    figures = fastest(kept, measure())
    file.write(figures)
    return figures, False


def fastest(kept: Figures | None, new: Figures) -> Figures:
    """The `new` figures with the faster time of each configuration, as old as the oldest of them.

    Of another number format nothing is taken over.
    """
    if kept is None or kept.precision != new.precision:
        return new
    pairs = zip(kept.probed, new.probed, strict=True)
    return new.model_copy(
        update={
            "measured_at": kept.measured_at,
            "step_seconds": min(kept.step_seconds, new.step_seconds),
            "probed": tuple(_faster(before, now) for before, now in pairs),
        }
    )


def _faster(before: Probed | None, now: Probed | None) -> Probed | None:
    if before is None or now is None:
        return now
    seconds = min(before.image_seconds, now.image_seconds)
    return now.model_copy(update={"image_seconds": seconds})
