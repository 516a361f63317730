"""What trials of equal time come to in final training, which is longer than they were.

In the time of a trial a small network is often ahead that more time would not make better. What is
handed over is to be best after final training, so values are compared as they are expected there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from search.planning.plan import ALLOTMENT, TRIAL_SECONDS
from storage import StudyStore

TOO_FEW_PASSES = 2.3
"""After p passes over the images the error is (1 + TOO_FEW_PASSES / p) times what it comes down to;
fitted to two known-good points of `quick`, 2.2 to 3.0 each (benchmarks/LOG.md)."""
OF_ALL_CORES = 0.7
"""What a training with all cores does of what trials of a core each do on them together
(results/engine.md: 0.55 to 0.83)."""


@dataclass(frozen=True)
class FinalTraining:
    """How long final training is to take, and on how many times a trial's images it trains."""

    seconds: float
    times: float
    train_images: int

    def expected_accuracy(self, accuracy: float, config: Mapping[str, JsonValue]) -> float:
        """What a `TrialConfig`, as JSON values, that had `accuracy` is expected to reach."""
        epochs, images = float(str(config["epochs"])), float(str(config.get("epoch_images") or 0))
        passes = epochs * (images / self.train_images or 1.0)
        longer = max(1.0, self.times) * passes
        error = (1 - accuracy) * (1 + TOO_FEW_PASSES / longer) / (1 + TOO_FEW_PASSES / passes)
        return 1 - error


def final_training(store: StudyStore) -> FinalTraining | None:
    """As the last launch says, else as long as the search took.

    None for a study of equal epochs, whose configurations say how many they are to have.
    """
    launches = store.launches.all()
    recorded = [launch.environment.get(ALLOTMENT) for launch in launches]
    images = next((r["train_images"] for r in recorded if isinstance(r, dict)), None)
    trial = store.identity.get(TRIAL_SECONDS)
    if not isinstance(trial, int | float) or not isinstance(images, int):
        return None
    said, cpus = launches[-1].settings.get("final_seconds"), launches[-1].environment.get("cpus")
    took = sum(
        ((launch.ended_at or launch.heartbeat_at) - launch.started_at).total_seconds()
        for launch in launches
    )
    seconds = float(said) if isinstance(said, int | float) else max(1.0, round(took, 1))
    at_once = max(1.0, OF_ALL_CORES * float(cpus)) if isinstance(cpus, int | float) else 1.0
    return FinalTraining(seconds, at_once * seconds / trial, images)
