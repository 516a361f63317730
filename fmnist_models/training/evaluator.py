"""Scoring a network between epochs: the validation images, statistics of batch norms, one number.

A pass over the data waits for the device once, when its sums become numbers in `to_host`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fmnist_models.compute.precision import Precision
from fmnist_models.config.training import ViewsConfig
from fmnist_models.data.dataset import Dataset
from fmnist_models.errors import DivergedError
from fmnist_models.training.ensemble import Ensemble
from fmnist_models.training.inference import forward_batches, predict
from fmnist_models.training.weight_averages import refresh_norms

REFRESH_IMAGES = 5000
"""So many training images, as they are scored, give an average's batch norms their statistics."""


@dataclass(frozen=True)
class Score:
    """How a model did on a set of images: `loss` the mean cross-entropy, `accuracy` a fraction."""

    loss: float
    accuracy: float


class Evaluator:
    """Scores networks on `dataset`, which is on the device, `batch` images at a time.

    `lr` is the learning rate that an error names when a loss is not finite.
    """

    def __init__(self, dataset: Dataset, precision: Precision, *, batch: int, lr: float) -> None:
        self.dataset, self.precision, self.batch, self.lr = dataset, precision, batch, lr

    def validate(self, model: nn.Module, most: int = 0, *, mirrored: bool = False) -> Score | None:
        """Score `model` on the validation images, or the first `most`; None without any.

        `mirrored`: by the mean of its probabilities of an image and of its mirror image.
        """
        images = self.dataset.validation
        if not len(images):
            return None
        if most:
            images = images.subset(torch.arange(min(most, len(images))))
        normalization = self.dataset.normalization
        if mirrored:
            model = Ensemble([model], ViewsConfig(flip=True), normalization.black)
        logits = predict(model, images, normalization, self.precision, self.batch)
        hits = logits.argmax(1) == images.labels
        return self.to_host(cross_entropy(logits, images.labels), hits.sum(), len(images))

    def refresh_norms(self, model: nn.Module) -> None:
        """Estimate the statistics of the batch norms of `model` at its weights."""
        train, normalization = self.dataset.train, self.dataset.normalization
        # The same images each time, so that a resumed run gets the same statistics.
        images = train.subset(torch.arange(min(REFRESH_IMAGES, len(train))))
        refresh_norms(
            model,
            lambda m: forward_batches(m, images, normalization, self.precision, self.batch),
        )

    def to_host(self, loss: Tensor, hits: Tensor, images: int) -> Score:
        """The mean loss and the share of hits among `images`, as numbers.

        Raises DivergedError when the loss is not finite.
        """
        score = Score(loss.item(), hits.item() / images)
        # Looked at once an epoch: at each step it would wait for the device.
        if not math.isfinite(score.loss):
            raise DivergedError(f"the loss became {score.loss} with lr {self.lr:g}; lower the lr")
        return score
