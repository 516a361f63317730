"""What trials of equal time come to in final training, which is longer than they were.

In the time of a trial a small network is often ahead that more time would not make better. What is
handed over is to be best after final training, so values are compared as they are expected there,
and a network is handed over wider than it was tried where that is expected to be better.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from pydantic import JsonValue

from search.planning.plan import ALLOTMENT, LEAST_PASSES, TRIAL_SECONDS
from search.planning.size_law import NetworkSize, error_after
from search.results.larger_networks import TIMES_WIDER, wider_network
from search.settings import SEARCH_SHARE
from storage import Launch, StudyStore

SEVERAL_CORES = 1.4
"""How many times as fast as on one core a training is on several: measured on two (1.1 to 1.7,
results/engine.md), and no more is counted on."""


@dataclass(frozen=True)
class Tried:
    """A COMPLETE trial: what it reached with which configuration.

    `size` is None where it was not kept, as in studies of before.
    """

    accuracy: float
    config: Mapping[str, JsonValue]
    size: NetworkSize | None = None


@dataclass(frozen=True)
class Expected:
    """What is expected of a trial's configuration in final training, its network `wider`."""

    accuracy: float
    wider: float = 1.0


@dataclass(frozen=True)
class FinalTraining:
    """How long final training is to take, and on how many times a trial's images it trains.

    `image_seconds` tells how long a network of a size takes for an image in a trial. `exponent` is
    the power, 0 to 1, of what the law says is left of an error: see `law_check`.
    """

    seconds: float
    times: float
    trial_seconds: float
    train_images: int
    image_seconds: Callable[[NetworkSize], float]
    exponent: float = 1.0

    def expected(self, tried: Tried) -> Expected:
        """The best that is expected of a trial's configuration, its network as tried or wider.

        Wider are only those that a trial's time did not allow: of others the search has tried
        what it would.
        """
        epochs, images = int(str(tried.config["epochs"])), tried.config.get("epoch_images")
        passes = epochs * int(str(images or self.train_images)) / self.train_images
        size, model = tried.size, cast("Mapping[str, Any]", tried.config["model"])
        here, longer = error_after(passes, size), max(1.0, self.times) * passes
        ratios = {1.0: error_after(longer, size) / here}
        for times in TIMES_WIDER:
            if size and wider_network(model, times) and self._is_too_large(size.wider(times)):
                wide = size.wider(times)
                slower = self.image_seconds(wide) / self.image_seconds(size)
                ratios[times] = error_after(longer / slower, wide) / here
        best = min(ratios, key=lambda times: (ratios[times], times))
        left = min(1.0, ratios[best]) ** self.exponent
        return Expected(1 - (1 - tried.accuracy) * left, best)

    def _is_too_large(self, size: NetworkSize) -> bool:
        """Whether a network does not see all images often enough in the time of a trial."""
        return LEAST_PASSES * self.train_images * self.image_seconds(size) > self.trial_seconds


def final_training(store: StudyStore) -> FinalTraining | None:
    """As the last launch says, else as long as the search took by the clock, all launches together.

    What a search leaves of its total time is for final training.

    None for a study of equal epochs, whose configurations say how many they are to have.
    """
    launches = store.launches.all()
    recorded = [launch.environment.get(ALLOTMENT) for launch in launches]
    allotted: Any = next((one for one in recorded if isinstance(one, dict)), None)
    trial = store.identity.get(TRIAL_SECONDS)
    if not isinstance(trial, int | float) or allotted is None:
        return None

    def image_seconds(size: NetworkSize) -> float:
        by_work = (
            allotted["seconds_per_mac"] * size.macs + allotted["seconds_per_pass"] * size.passes
        )
        return float(by_work + allotted["seconds_per_image"])

    last = launches[-1]
    seconds = _seconds(last.settings, max(1.0, search_seconds(launches)))
    cpus = last.environment.get("cpus")
    on_several = last.environment.get("device") == "cpu" and isinstance(cpus, int | float)
    speed = SEVERAL_CORES if on_several and float(str(cpus)) >= 2 else 1.0
    return FinalTraining(
        seconds=seconds,
        times=speed * seconds / trial,
        trial_seconds=trial,
        train_images=allotted["train_images"],
        image_seconds=image_seconds,
    )


def _seconds(settings: Mapping[str, JsonValue], searched: float) -> float:
    final, total = settings.get("final_seconds"), settings.get("total_seconds")
    if isinstance(final, int | float):
        return float(final)
    if isinstance(total, int | float):
        return max(total - searched, (1 - SEARCH_SHARE) * total)
    return searched


def search_seconds(launches: Sequence[Launch], time: datetime | None = None) -> float:
    """How long any of `launches`, the oldest first, was at work, until `time` if that is given.

    Launches side by side count once, pauses between them not at all.
    """
    total, until = 0.0, launches[0].started_at
    for launch in launches:
        ended = launch.ended_at or launch.heartbeat_at
        if time is not None:
            ended = min(ended, time)
        total += max(0.0, (ended - max(until, launch.started_at)).total_seconds())
        until = max(until, ended)
    return round(total, 1)
