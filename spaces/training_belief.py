"""What is believed of how to train a network, in every space alike.

Chosen by hand after results/ablations.md, the recordings in results/curves/ and the papers of the
ranges; on real images only thirteen samples of `quick` have tried it (benchmarks/LOG.md). The
defaults are for the short trainings of a search; what pays only in long ones (mixing, a policy,
SAM, strong blanking) is improbable here and not impossible.
"""

from __future__ import annotations

from collections.abc import Mapping

from spaces.belief import Axis, Belief

SURE, LIKELY, OPEN = 0.96, 0.85, 0.65
"""How far to trust a default: a departure hurts nearly always, often, or as often as it helps."""

TRAINING: Mapping[str, Axis] = {
    "optimizer": Axis("sgd", 0.7),
    "sgd.lr": Axis(0.2, LIKELY),
    "sgd.momentum": Axis(0.9, LIKELY),
    "sgd.nesterov": Axis(True, LIKELY),
    "sgd.weight_decay": Axis(5e-4, LIKELY),
    "adam.lr": Axis(2e-3, LIKELY),
    "adam.amsgrad": Axis(False, OPEN),
    "adamw.lr": Axis(4e-3, LIKELY),
    "adamw.weight_decay": Axis(0.05, OPEN),
    "nadam.lr": Axis(3e-3, LIKELY),
    "nadam.weight_decay": Axis(0.01, OPEN),
    "adamax.lr": Axis(5e-3, LIKELY),
    "rmsprop.lr": Axis(1e-3, LIKELY),
    "adagrad.lr": Axis(0.03, LIKELY),
    "adadelta.lr": Axis(1.0, LIKELY),
    "lion.lr": Axis(6e-4, LIKELY),
    "lion.weight_decay": Axis(0.05, OPEN),
    "muon.lr": Axis(0.01, LIKELY),
    "muon.weight_decay": Axis(0.01, OPEN),
    "schedulefree.lr": Axis(0.01, LIKELY),
    "schedulefree.weight_decay": Axis(0.01, OPEN),
    "lr_schedule": Axis("linear", LIKELY),
    "warmup": Axis(0.15, LIKELY),
    "step.drops": Axis(2, OPEN),
    "step.gamma": Axis(0.1, OPEN),
    "flip": Axis(True, OPEN),
    "shift": Axis(1, LIKELY),
    "blank": Axis("none", LIKELY),
    "cutout": Axis(6, LIKELY),
    "random_erasing": Axis(0.2, LIKELY),
    "policy": Axis("none", SURE),
    "randaugment.ops": Axis(1, LIKELY),
    "randaugment.magnitude": Axis(5, LIKELY),
    "mixing": Axis("none", SURE),
    "mixup.alpha": Axis(0.2, LIKELY),
    "mixup.probability": Axis(0.3, LIKELY),
    "cutmix.alpha": Axis(0.2, LIKELY),
    "cutmix.probability": Axis(0.3, LIKELY),
    "ricap.alpha": Axis(0.2, LIKELY),
    "ricap.probability": Axis(0.3, LIKELY),
    "label_smoothing": Axis(0.05, LIKELY),
    "clip_norm": Axis(0.0, LIKELY),
    "decay_vectors": Axis(False, OPEN),
    "ema_decay": Axis(0.99, LIKELY),
    "swa_fraction": Axis(0.0, LIKELY),
    "sam": Axis(False, SURE),
    "sam.rho": Axis(0.05, LIKELY),
    "loss": Axis("cross_entropy", SURE),
    "arcface.scale": Axis(16.0, LIKELY),
    "arcface.margin": Axis(0.05, LIKELY),
    "sphereface.scale": Axis(16.0, LIKELY),
    "sphereface.margin": Axis(1.05, LIKELY),
    "batch_size": Axis(128, LIKELY),
    "patience": Axis(0, LIKELY),
}


def believed(prefix: str, model: Mapping[str, Axis]) -> Belief:
    """The belief of a space: of training, and of its networks' parameters, named without prefix."""
    return Belief({f"{prefix}.{name}": axis for name, axis in {**TRAINING, **model}.items()})
