"""One configuration trained again on the search's own split, with what it got right kept."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fmnist_models.compute.precision import Precision
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.dataset import Dataset
from fmnist_models.training.inference import predict
from fmnist_models.training.trainer import Trainer


@dataclass(frozen=True, eq=False)
class Rerun:
    """How a fresh run ended. correct: (N,) bool, of the validation images in their order."""

    correct: NDArray[np.bool_]
    seconds: float

    @property
    def accuracy(self) -> float:
        """The validation accuracy."""
        return float(self.correct.mean())


def rerun(config: TrialConfig, dataset: Dataset, *, device: str, precision: Precision) -> Rerun:
    """Train `config` on `dataset.train` to its end, as a trial would be, and validate it.

    Raises DivergedError when its loss stops being finite, ConfigError as `Trainer` does.
    """
    start = time.perf_counter()
    trainer = Trainer(config, dataset, device=device, precision=precision)
    for _ in trainer.epochs():
        pass
    images = trainer.dataset.validation
    logits = predict(trainer.averaged_model, images, dataset.normalization, precision)
    correct = (logits.argmax(1) == images.labels).cpu().numpy()
    return Rerun(correct, time.perf_counter() - start)
