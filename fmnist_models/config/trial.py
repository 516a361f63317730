"""`TrialConfig` and its parts: frozen values that say everything a training run needs.

No torch here: a configuration can be read, checked and written without the tensor library, except
that the part `model` belongs to a family, whose file is imported when its configuration is checked.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import (
    Field,
    SerializeAsAny,
    field_validator,
    model_validator,
)

from fmnist_models.config.base import Config, ModelConfig
from fmnist_models.config.optimizers import (
    OptimizerConfig,
    ScheduleFreeConfig,
)
from fmnist_models.config.registry import get_family
from fmnist_models.config.training import (
    AugmentationConfig,
    CrossEntropyConfig,
    LossConfig,
    LrScheduleConfig,
    RegularizationConfig,
)


class TrialConfig(Config):
    """All that training needs: spaces make it, the engine trains it, SQL keeps it as JSON."""

    model: SerializeAsAny[ModelConfig]
    optimizer: OptimizerConfig
    lr_schedule: LrScheduleConfig = LrScheduleConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    regularization: RegularizationConfig = RegularizationConfig()
    loss: LossConfig = CrossEntropyConfig()
    batch_size: Annotated[int, Field(ge=1, le=8192)] = 256
    epochs: Annotated[int, Field(ge=1, le=10_000)]
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    patience: Annotated[int, Field(ge=0, le=10_000)] = 0
    """Epochs in a row without a better validation accuracy that end a run; 0 never ends it."""
    epoch_images: Annotated[int, Field(ge=0, exclude_if=lambda images: images == 0)] = 0
    """Images that an epoch trains on, in passes that go on from epoch to epoch; 0: all once.

    By it epochs of small and of wide networks can be made to take equal time.
    """
    early_validation_images: Annotated[int, Field(ge=0, exclude_if=lambda images: images == 0)] = 0
    """Validation images, the first, by which all epochs but the last are scored; 0: by all.

    The last epoch is always scored by all of them, with their mirror images where it was trained
    on such, as the model will be used.
    """

    def steps_per_epoch(self, images: int) -> int:
        """Whole batches of an epoch, 1 at least, where there are `images` training images."""
        return max(1, (self.epoch_images or images) // self.batch_size)

    @field_validator("model", mode="before")
    @classmethod
    def _resolve_family(cls, value: Any) -> ModelConfig:
        """Check `model` against the configuration class of the family it names."""
        if isinstance(value, ModelConfig):
            return value
        if not isinstance(value, dict) or not isinstance(value.get("family"), str):
            raise ValueError('must be an object with a "family"')
        return get_family(value["family"]).config.model_validate(value)

    @model_validator(mode="after")
    def _fits_together(self) -> TrialConfig:
        """Schedule-Free brings its own averaging and needs a learning rate that stays."""
        if isinstance(self.optimizer, ScheduleFreeConfig):
            if self.lr_schedule.kind != "constant":
                raise ValueError('schedulefree needs lr_schedule.kind "constant" (warmup is fine)')
            if self.regularization.ema_decay or self.regularization.swa_fraction:
                raise ValueError(
                    "schedulefree averages the weights itself: set ema_decay and swa_fraction to 0"
                )
        if self.regularization.ema_decay and self.regularization.swa_fraction:
            raise ValueError("there is one average: set ema_decay or swa_fraction to 0")
        return self
