"""What trials of equal time come to in final training, which is longer than they were.

In the time of a trial a small network is often ahead that more time would not make better. What is
handed over is to be best after final training, so values are compared as they are expected there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import JsonValue

from search.planning.plan import ALLOTMENT, TRIAL_SECONDS
from search.settings import SEARCH_SHARE
from storage import Launch, StudyStore

TOO_FEW_PASSES = 2.3
"""After p passes over the images the error is (1 + TOO_FEW_PASSES / p) times what it comes down to;
fitted to two known-good points of `quick`, 2.2 to 3.0 each (benchmarks/LOG.md)."""
SEVERAL_CORES = 1.4
"""How many times as fast as on one core a training is on several: measured on two (1.1 to 1.7,
results/engine.md), and no more is counted on."""


@dataclass(frozen=True)
class FinalTraining:
    """How long final training is to take, and on how many times a trial's images it trains."""

    seconds: float
    times: float
    train_images: int

    def expected_accuracy(self, accuracy: float, epochs: int, images: int | None) -> float:
        """What a trial that had `accuracy` after `epochs` is expected to reach.

        Each of the epochs was of so many `images`, None for all training images.
        """
        passes = epochs * (images or self.train_images) / self.train_images
        longer = max(1.0, self.times) * passes
        error = (1 - accuracy) * (1 + TOO_FEW_PASSES / longer) / (1 + TOO_FEW_PASSES / passes)
        return 1 - error


def final_training(store: StudyStore) -> FinalTraining | None:
    """As the last launch says, else as long as the search took by the clock, all launches together.

    What a search leaves of its total time is for final training.

    None for a study of equal epochs, whose configurations say how many they are to have.
    """
    launches = store.launches.all()
    recorded = [launch.environment.get(ALLOTMENT) for launch in launches]
    images = next((r["train_images"] for r in recorded if isinstance(r, dict)), None)
    trial = store.identity.get(TRIAL_SECONDS)
    if not isinstance(trial, int | float) or not isinstance(images, int):
        return None
    last = launches[-1]
    seconds = _seconds(last.settings, max(1.0, search_seconds(launches)))
    cpus = last.environment.get("cpus")
    on_several = last.environment.get("device") == "cpu" and isinstance(cpus, int | float)
    speed = SEVERAL_CORES if on_several and float(str(cpus)) >= 2 else 1.0
    return FinalTraining(seconds, speed * seconds / trial, images)


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
