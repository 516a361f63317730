"""What is believed of how to train a network, in every space alike.

Chosen by hand after results/ablations.md, the recordings in results/curves/ and the papers of the
ranges, then corrected by what random samples did (benchmarks/LOG.md) and measured on others
(results/beliefs.md). The defaults are for the short trainings of a search, some 5 to 15 epochs of
50,000 images; what pays only in long ones (mixing, a policy, SAM, strong blanking) is improbable
here and not impossible. Trust is such that a sample departs from three defaults or so, and from one
of them where both sides are as good: with five there nearly always is a handicap among them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from spaces.belief import Axis, Belief

SURE, LIKELY, OPEN = 0.97, 0.92, 0.7
"""How far to trust a default: a departure hurts nearly always, often, or as often as it helps."""
IDLE = 0.95
"""Of what has never helped anybody at any budget: a departure is a chance spent on nothing."""

TRAINING: Mapping[str, Axis] = {
    # In the ablations the other five were 0.4 to 3.8 points behind.
    "optimizer": Axis("sgd", 0.65, ("lion", "rmsprop", "adagrad", "adadelta", "adamax")),
    "sgd.lr": Axis(0.2, LIKELY),
    "sgd.momentum": Axis(0.9, LIKELY),
    "sgd.nesterov": Axis(True, IDLE),
    "sgd.weight_decay": Axis(5e-4, LIKELY),
    # Rates: in the ablations (625 steps) the largest tried was the best of each, two to five times
    # these; searches take more steps, which want less.
    "adam.lr": Axis(4e-3, LIKELY),
    "adam.amsgrad": Axis(False, IDLE),
    "adamw.lr": Axis(6e-3, LIKELY),
    "adamw.weight_decay": Axis(0.05, OPEN),
    "nadam.lr": Axis(5e-3, LIKELY),
    "nadam.weight_decay": Axis(0.01, OPEN),
    "adamax.lr": Axis(1e-2, LIKELY),
    "rmsprop.lr": Axis(1.5e-3, LIKELY),
    "adagrad.lr": Axis(0.05, LIKELY),
    "adadelta.lr": Axis(1.5, LIKELY),
    "lion.lr": Axis(1e-3, LIKELY),
    "lion.weight_decay": Axis(0.05, OPEN),
    "muon.lr": Axis(0.015, LIKELY),
    "muon.weight_decay": Axis(0.01, OPEN),
    "schedulefree.lr": Axis(0.015, LIKELY),
    "schedulefree.weight_decay": Axis(0.01, OPEN),
    # Cosine is as good as linear.
    "lr_schedule": Axis("linear", 0.75, ("constant", "step", "one_cycle")),
    "warmup": Axis(0.15, LIKELY),
    "step.drops": Axis(2, OPEN),
    "step.gamma": Axis(0.2, OPEN),
    # Even: in short trainings it hurts (the ablations: 0.6 points), the long ones of the papers
    # all have it.
    "flip": Axis(True, 0.5),
    "shift": Axis(1, LIKELY),
    "blank": Axis("none", LIKELY),
    "cutout": Axis(6, LIKELY),
    "random_erasing": Axis(0.2, LIKELY),
    "policy": Axis("none", SURE),
    "randaugment.ops": Axis(1, LIKELY),
    "randaugment.magnitude": Axis(5, LIKELY),
    "mixing": Axis("none", SURE, ("cutmix", "ricap")),
    "mixup.alpha": Axis(0.2, LIKELY),
    "mixup.probability": Axis(0.3, LIKELY),
    "cutmix.alpha": Axis(0.2, LIKELY),
    "cutmix.probability": Axis(0.3, LIKELY),
    "ricap.alpha": Axis(0.2, LIKELY),
    "ricap.probability": Axis(0.3, LIKELY),
    "label_smoothing": Axis(0.05, LIKELY),
    "clip_norm": Axis(0.0, IDLE),
    "decay_vectors": Axis(False, IDLE),
    "ema_decay": Axis(0.99, LIKELY),
    "swa_fraction": Axis(0.0, IDLE),
    "sam": Axis(False, SURE),
    "sam.rho": Axis(0.05, LIKELY),
    "loss": Axis("cross_entropy", SURE, ("sphereface",)),
    "arcface.scale": Axis(16.0, LIKELY),
    "arcface.margin": Axis(0.05, LIKELY),
    "sphereface.scale": Axis(16.0, LIKELY),
    "sphereface.margin": Axis(1.05, LIKELY),
    "batch_size": Axis(128, LIKELY),  # in long trainings: see `for_images`
    "patience": Axis(0, IDLE),
}

SMALLEST_BATCH, FEWEST_STEPS = 64, 500
"""Batches of 128 are believed in where they leave so many steps."""


def make_belief(prefix: str, axes: Mapping[str, Axis]) -> Belief:
    """The belief of a space: that of training and `axes`, which has the last word.

    Axes are named without the prefix of the space's parameters.
    """
    return Belief({f"{prefix}.{name}": axis for name, axis in {**TRAINING, **axes}.items()})


def for_images(belief: Belief, images: int) -> Belief:
    """The same for trainings that see so many images, epochs times images an epoch.

    A batch size is believed in by the steps that it leaves: with few images the smallest is, and
    larger ones, each half as likely as the one before, are a handicap.
    """
    axes = dict(belief.axes)
    for name, axis in axes.items():
        if name.endswith(".batch_size") and images < FEWEST_STEPS * axis.default:
            axes[name] = replace(axis, default=SMALLEST_BATCH)
    return Belief(axes)
