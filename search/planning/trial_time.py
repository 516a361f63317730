"""How many images a trial trains on in its time, which is equal for all (plan.py has its default).

A search compares what configurations reach in the same time, so that a small network's many passes
over the images compete with a wide one's few. An epoch is then an equal share of that time, and
rungs, learning curves and patience, which count epochs, count time.
"""

from __future__ import annotations

from fmnist_models.config.base import Config, ModelConfig
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.dataset import Dataset
from fmnist_models.training.cost import VALIDATION_SHARE, CostModel
from search.planning.plan import LEAST_PASSES, SearchPlan

MOST_PASSES = 40.0
"""No network trains on the images more often; chosen by hand."""
MOST_WHERE_FEW = 400_000
"""Images that a trial may train on in any case: few images are to be seen oftener."""
EARLY_VALIDATION = 2_500
"""Validation images by which all epochs of a trial but its last are scored. With 10,000 each time
15 % of a trial of 170 s went there at 1,200 images/s, 44 % at 400. A rung's value has a standard
error of half a point for it, instead of a quarter."""


class Allotment(Config):
    """The time of a trial, and the speed by which it becomes a number of images.

    The first launch of a study measures the speed, and all others keep to it: a configuration
    trains on the same images whichever driver asks for it, on however fast or busy a machine.
    """

    trial_seconds: float
    epochs: int
    train_images: int
    validation_images: int
    early_validation_images: int = 0
    """By which all epochs but the last are scored; 0: all, as in studies of before."""
    seconds_per_mac: float
    seconds_per_pass: float
    seconds_per_image: float

    def epoch_images(self, config: TrialConfig) -> int:
        """Images of each epoch of `config`; a batch at least."""
        seconds = self._image_seconds(config.model) * (2 if config.regularization.sam_rho else 1)
        most = max(MOST_PASSES * self.train_images, MOST_WHERE_FEW) / self.epochs
        images = min(most, self._images_in(self.trial_seconds / self.epochs, seconds))
        return max(config.batch_size, int(images) // 100 * 100)

    def allows(self, model: ModelConfig, passes: int = 1) -> bool:
        """Whether `model` sees all images often enough, at so many passes a step."""
        return passes * self.seconds_needed(model) <= self.trial_seconds

    def seconds_needed(self, model: ModelConfig) -> float:
        """How long all epochs of `model` take together, if it sees all images often enough."""
        return self._least_work() * self._image_seconds(model)

    def least_seconds(self, epoch_seconds: float) -> float:
        """Likewise of a network that takes so long for all images and their validation once."""
        epoch = self.train_images + VALIDATION_SHARE * self.validation_images
        return self._least_work() / epoch * epoch_seconds

    def _least_work(self) -> float:
        """The fewest passes over the images and all validations, in training images."""
        return LEAST_PASSES * self.train_images + self._validations()

    def _validations(self) -> float:
        """The validations of all epochs, in training images."""
        early = self.early_validation_images or self.validation_images
        return VALIDATION_SHARE * ((self.epochs - 1) * early + self.validation_images)

    def _images_in(self, epoch_seconds: float, image_seconds: float) -> float:
        return epoch_seconds / image_seconds - self._validations() / self.epochs

    def _image_seconds(self, model: ModelConfig) -> float:
        cost = CostModel(self.seconds_per_mac, self.seconds_per_pass, self.seconds_per_image)
        return cost.image_seconds(model)


def measured_allotment(plan: SearchPlan, cost: CostModel, dataset: Dataset) -> Allotment | None:
    """What a trial is allotted where epochs cost as in `cost`; None where epochs are equal."""
    if plan.trial_seconds is None:
        return None
    return Allotment(
        trial_seconds=plan.trial_seconds,
        epochs=plan.epochs,
        train_images=len(dataset.train),
        validation_images=len(dataset.validation),
        early_validation_images=_early(len(dataset.validation)),
        seconds_per_mac=cost.seconds_per_mac,
        seconds_per_pass=cost.seconds_per_pass,
        seconds_per_image=cost.seconds_per_image,
    )


def _early(validation_images: int) -> int:
    return EARLY_VALIDATION if validation_images > EARLY_VALIDATION else 0
