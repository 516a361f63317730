"""The parts of a `TrialConfig` that every family shares, each ingredient switchable alone.

No torch here. New fields have defaults that leave older configurations as they were.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fmnist_models.config.base import Config, Probability


class LrScheduleConfig(Config):
    """Learning rate over the run, as a factor on the optimizer's `lr`.

    A linear warm-up over the fraction `warmup` of all steps, then `kind`: down to zero at the end
    (linear, cosine), unchanged (constant), or times `step_gamma` every `step_epochs` epochs (step).
    The kind one_cycle (arXiv:1708.07120, as torch's OneCycleLR) rises from 1 / `one_cycle_start`
    of `lr` in its warm-up, and falls to 1 / `one_cycle_end` of that start, both along a cosine;
    the momentum is left as it is.
    """

    kind: Literal["constant", "linear", "cosine", "step", "one_cycle"] = "cosine"
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.0
    step_epochs: Annotated[int, Field(ge=1, le=10_000)] = 50
    step_gamma: Annotated[float, Field(gt=0, le=1)] = 0.1
    one_cycle_start: Annotated[float, Field(ge=1, le=1e6)] = 25.0
    one_cycle_end: Annotated[float, Field(ge=1, le=1e9)] = 1e4


class AugmentationConfig(Config):
    """One independent random draw an image and epoch; zero or False switches an ingredient off."""

    flip: bool = False
    """Mirror left to right with probability one half; the trained model looks at both."""
    shift: Annotated[int, Field(ge=0, le=8)] = 0
    """Move by up to this many pixels in x and in y (pad, then crop)."""
    cutout: Annotated[int, Field(ge=0, le=28)] = 0
    """Side, in pixels, of the square that is blanked (arXiv:1708.04552)."""
    random_erasing: Probability = 0.0
    """Probability that a random rectangle is blanked (arXiv:1708.04896)."""
    policy: Literal["none", "randaugment", "trivialaugment"] = "none"
    """Random shape and grey-level operations, see policies.py (arXiv:1909.13719, 2103.10158)."""
    randaugment_ops: Annotated[int, Field(ge=1, le=4)] = 2
    randaugment_magnitude: Annotated[int, Field(ge=0, le=30)] = 9
    mixing: Literal["none", "mixup", "cutmix", "ricap"] = "none"
    """Images of a batch mixed with each other, labels alike, see mixing.py."""
    mixing_alpha: Annotated[float, Field(gt=0, le=10)] = 1.0
    """Both parameters of the Beta distribution that the shares are drawn from."""
    mixing_probability: Probability = 1.0
    """Probability that an image is mixed at all."""


class ViewsConfig(Config):
    """Test-time augmentation: the views of an image whose probabilities are averaged."""

    flip: bool = False
    """Also mirrored left to right."""
    shift: Annotated[int, Field(ge=0, le=4)] = 0
    """Also moved by so many pixels up, down, left and right; 0 is off."""

    @property
    def count(self) -> int:
        """How many views of each image there are, the plain one included."""
        return (5 if self.shift else 1) * (2 if self.flip else 1)


class RegularizationConfig(Config):
    """What else holds the network back, apart from the family's own dropout."""

    label_smoothing: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay a step of the exponential moving average of the weights; 0 evaluates the raw ones."""
    swa_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Last fraction of the epochs whose weights are averaged (SWA, arXiv:1803.05407); 0 is off."""
    clip_norm: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    """Longest gradient (2-norm over all parameters); longer ones are shortened to it; 0 is off."""
    decay_vectors: bool = False
    """Let biases and norm parameters decay as the weights do."""
    sam_rho: Annotated[float, Field(ge=0, le=2)] = 0.0
    """Radius of sharpness-aware minimization (SAM, arXiv:2010.01412); 0 is off.

    Each step then takes two passes, so that an epoch takes twice as long."""


class CrossEntropyConfig(Config):
    """Cross-entropy of the logits; smoothed by `regularization.label_smoothing`."""

    kind: Literal["cross_entropy"] = "cross_entropy"


class ArcFaceConfig(Config):
    """Additive angular margin (ArcFace, arXiv:1801.07698) on a cosine head.

    Logits are `scale` times the cosine of the angle between feature and class; in training
    `margin` radians are added to the angle of the true class.
    """

    kind: Literal["arcface"] = "arcface"
    scale: Annotated[float, Field(gt=0, le=128)] = 16.0
    margin: Annotated[float, Field(ge=0, le=1.5)] = 0.2


class SphereFaceConfig(Config):
    """Multiplicative angular margin (SphereFace, arXiv:1704.08063) on a cosine head.

    As ArcFace, but the angle of the true class is multiplied by `margin`. Features are scaled to
    one length, unlike the paper's.
    """

    kind: Literal["sphereface"] = "sphereface"
    scale: Annotated[float, Field(gt=0, le=128)] = 16.0
    margin: Annotated[float, Field(ge=1, le=4)] = 1.35


LossConfig = Annotated[
    CrossEntropyConfig | ArcFaceConfig | SphereFaceConfig, Field(discriminator="kind")
]
