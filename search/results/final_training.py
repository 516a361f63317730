"""What trials of equal time come to in final training, which is longer than they were.

In the time of a trial a small network is often ahead that more time would not make better. What is
handed over is to be best after final training, so values are compared as they are expected there,
and a network is handed over wider than it was tried where that is expected to be better.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import harmonic_mean, median
from typing import Any, cast

from pydantic import JsonValue

from fmnist_models.training.size_law import NetworkSize, error_after
from search.planning.plan import ALLOTMENT, NETWORK, TRIAL_SECONDS
from search.results.larger_networks import TIMES_WIDER, wider_network
from search.settings import SEARCH_SHARE
from storage import Launch, StudyStore

SEVERAL_CORES = 1.4
"""How many times as fast as on one core a training is on several: measured on two (1.1 to 1.7,
results/engine.md), and no more is counted on."""

TRIALS_TIMED = 9
"""So many trials tell how fast trainings are here."""


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
    train_images: int
    image_seconds: Callable[[NetworkSize], float]
    exponent: float = 1.0

    def expected(self, tried: Tried) -> Expected:
        """The best that is expected of a trial's configuration, its network as tried or wider."""
        model = cast("Mapping[str, Any]", tried.config["model"])
        found = [Expected(self.accuracy(tried))]
        if tried.size:
            found += [
                Expected(self.accuracy(tried, times), times)
                for times in TIMES_WIDER
                if wider_network(model, times)
            ]
        return max(found, key=lambda one: (one.accuracy, -one.wider))

    def accuracy(self, tried: Tried, wider: float = 1.0) -> float:
        """What is expected of a trial's configuration, its network so many times `wider`."""
        epochs, images = int(str(tried.config["epochs"])), tried.config.get("epoch_images")
        passes = epochs * int(str(images or self.train_images)) / self.train_images
        size, longer = tried.size, max(1.0, self.times) * passes
        if size and wider != 1:
            longer *= self.image_seconds(size) / self.image_seconds(size.wider(wider))
        there = error_after(longer, size.wider(wider) if size else None)
        left: float = min(1.0, there / error_after(passes, size)) ** self.exponent
        return 1 - (1 - tried.accuracy) * left


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
        times=speed * _faster_than_measured(store, image_seconds) * seconds / trial,
        train_images=allotted["train_images"],
        image_seconds=image_seconds,
    )


def _faster_than_measured(
    store: StudyStore, image_seconds: Callable[[NetworkSize], float]
) -> float:
    """How many times as fast as was measured before the search its best trials trained; median."""
    ratios = []
    for number, _ in store.complete()[:TRIALS_TIMED]:
        size = NetworkSize.of(store.attribute(number, NETWORK))
        speeds = [row.images_per_second for row in store.epochs(number)]
        if size and min(speeds, default=0.0) > 0:
            ratios.append(image_seconds(size) * harmonic_mean(speeds))
    return median(ratios) if ratios else 1.0


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
