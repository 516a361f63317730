"""What a search space is, and the pieces that all spaces sample alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from fmnist_models.config.base import ModelConfig
from fmnist_models.config.registry import check_name
from fmnist_models.config.trial import TrialConfig
from spaces.belief import Belief
from spaces.points import Params, WithinBounds, fill_in_defaults
from spaces.training_belief import for_images

if TYPE_CHECKING:
    from optuna.trial import BaseTrial


@dataclass(frozen=True)
class SpaceContext:
    """What a search allows its configurations.

    `affordable(model)` says whether an epoch of that network is short enough on this machine: a
    space bounds width and depth by it, so that what can't be afforded is not even sampled.
    """

    epochs: int
    seed: int = 0
    affordable: Callable[[ModelConfig], bool] = lambda model: True
    affordable_twice: Callable[[ModelConfig], bool] = lambda model: True
    """Likewise at two passes a step, as SAM takes: where it is not, SAM is not even sampled."""
    train_images: int = 50_000
    """How many images an epoch trains on: with the epochs, what is believed of batch sizes."""
    queued: SpaceContext | None = None
    """What is allowed of queued configurations (known-good points), where that is more."""
    epoch_images: Callable[[TrialConfig], int] = lambda config: 0
    """Images that each epoch of a configuration trains on; 0: all once."""
    early_validation_images: int = 0
    """Validation images by which all epochs but the last are scored; 0: all."""

    @property
    def of_queued(self) -> SpaceContext:
        """What is allowed of queued configurations."""
        return self.queued or self

    def affords(self, config: TrialConfig) -> bool:
        """Whether a whole configuration is affordable: SAM takes two passes a step."""
        twice = config.regularization.sam_rho == 0 or self.affordable_twice(config.model)
        return self.affordable(config.model) and twice

    def allotted(self, config: TrialConfig) -> TrialConfig:
        """`config` with epochs of so many images as it gets here, to train on and to be scored."""
        images, early = self.epoch_images(config), self.early_validation_images
        return config.model_copy(update={"epoch_images": images, "early_validation_images": early})


@dataclass(frozen=True)
class Space:
    """A registered search space.

    `version` changes with any change of the distributions: a study keeps to one version.
    `points` are known-good parameters by name, tried first, which need not name the ingredients of
    training that they leave off: see `fill_in_defaults`. `one_point_per` names a parameter of which
    each value has several points: only the last that is affordable is tried. `most_points`: of all
    points only so many, the last that are affordable; None: any number. `epochs_cpu` and
    `epochs_gpu` are the default number of epochs of a trial. `trial_seconds_cpu`: on a CPU all
    epochs of a trial take so long unless the user says otherwise; where he wants epochs that are
    all images once, `max_epoch_seconds_cpu` is how long one may be expected to take. `belief` is
    what samplers are told of the parameters, by way of `believed`.
    """

    name: str
    version: int
    suggest: Callable[[BaseTrial, SpaceContext], TrialConfig]
    points: Mapping[str, Params]
    epochs_cpu: int = 9
    epochs_gpu: int = 27
    one_point_per: str | None = None
    most_points: int | None = None
    trial_seconds_cpu: float = 600.0
    max_epoch_seconds_cpu: float = 120.0
    belief: Belief = field(default_factory=Belief)

    def __post_init__(self) -> None:
        points = {name: fill_in_defaults(point) for name, point in self.points.items()}
        object.__setattr__(self, "points", points)

    def configure(self, point: str, context: SpaceContext) -> TrialConfig:
        """The configuration of a known-good point; raises ConfigError on an unknown name."""
        params = self.points[check_name(point, self.points, f"{self.name} point")]
        return self.configured(params, context)

    def configured(self, params: Params, context: SpaceContext) -> TrialConfig:
        """The configuration that parameters of this space stand for."""
        from optuna.trial import FixedTrial

        return self.suggest(FixedTrial(dict(params)), context)

    def believed(self, context: SpaceContext) -> Belief:
        """What is believed good in trainings as long as they are here."""
        return for_images(self.belief, context.epochs * context.train_images)

    def affordable_points(self, context: SpaceContext) -> dict[str, Params]:
        """The known-good points to try first where only so much is affordable, by name.

        Where none of them is, one of them with sizes that are.
        """
        found: dict[object, str] = {}
        context = context.of_queued
        for name, point in self.points.items():
            if context.affords(self.configure(name, SpaceContext(context.epochs))):
                found[point[self.one_point_per] if self.one_point_per else name] = name
        last = list(found.values())[-self.most_points if self.most_points else 0 :]
        return {name: self.points[name] for name in last} or self._smaller(context)

    def _smaller(self, context: SpaceContext) -> dict[str, Params]:
        """The first known-good point that is affordable with smaller sizes, if there is one."""
        for name, point in self.points.items():
            trial = WithinBounds(point)
            if context.affords(self.suggest(cast("BaseTrial", trial), context)):
                return {f"{name}, smaller": trial.params}
        return {}
