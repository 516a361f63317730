"""The value of an epoch as it is expected at the end of its trial.

Trials of equal time differ in how often they see the images in it. Halfway, a small network has
nearly come to its best and a large one has not, so a rung compares what they are expected to have
at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pydantic import JsonValue

from fmnist_models.training.size_law import NetworkSize, error_after
from search.planning.plan import NETWORK, TRIAL_SECONDS
from storage import StudyStore


class Foresight:
    """Foretells from the configurations in SQL, so that each driver foretells the same.

    `train_images`: those of the study. Values of a study of equal epochs stay as they are.
    """

    def __init__(self, store: StudyStore, train_images: int) -> None:
        self._store, self._train_images = store, train_images
        self._left: dict[int, Callable[[int], float]] = {}
        self._is_by_time = TRIAL_SECONDS in store.identity
        if self._is_by_time:  # all at once: to ask for each takes its time where there are many
            sizes = store.attributes(NETWORK)
            for number, config in store.configs().items():
                self._left[number] = self._by_epoch(config, sizes.get(number))

    def at_end(self, number: int, epoch: int, value: float) -> float:
        """The accuracy that trial `number`, with `value` after `epoch`, is expected to end at."""
        return 1 - (1 - value) * self.left(number, epoch) if self._is_by_time else value

    def left(self, number: int, epoch: int) -> float:
        """Of the error of trial `number` after `epoch`, what is expected to be left at its end."""
        if number not in self._left:
            record = self._store.trial_record(number)
            size = self._store.attribute(number, NETWORK)
            self._left[number] = self._by_epoch(record.config if record else {}, size)
        return self._left[number](epoch)

    def _by_epoch(self, config: Mapping[str, JsonValue], size: JsonValue) -> Callable[[int], float]:
        """By epoch, the error at the trial's end over that after it."""
        epochs, images = (int(str(config.get(key) or 0)) for key in ("epochs", "epoch_images"))
        if not images:
            return lambda epoch: 1.0
        passes, network = images / self._train_images, NetworkSize.of(size)
        end = error_after(epochs * passes, network)
        return lambda epoch: end / error_after(epoch * passes, network)
