"""Losses, and the head that an angular margin needs; families need not know of either.

Shapes: logits (B, classes) float32; targets (B,) int64, or shares of the classes (B, classes).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear, normalize, one_hot

from fmnist_models.config.registry import build_model
from fmnist_models.config.training import ArcFaceConfig, CrossEntropyConfig, SphereFaceConfig
from fmnist_models.config.trial import TrialConfig
from fmnist_models.errors import ConfigError

Angular = ArcFaceConfig | SphereFaceConfig
NEAREST = 1e-5
"""Cosines are kept this far from 1 and -1, where the angle has no derivative."""


class CosineHead(nn.Linear):
    """Logits that are `scale` times cosines between features and classes, in float32.

    x: (N, inputs) -> (N, outputs) float32 in [-scale, scale].
    """

    def __init__(self, inputs: int, outputs: int, scale: float) -> None:
        super().__init__(inputs, outputs, bias=False)
        self.scale = scale

    def forward(self, input: Tensor) -> Tensor:
        """input: (N, inputs) of any float type -> (N, outputs) float32."""
        if input.is_meta:  # where shapes are counted; autocast does not know that device
            return super().forward(input)
        with torch.autocast(input.device.type, enabled=False):
            cosines = linear(normalize(input.float()), normalize(self.weight))
            return self.scale * cosines


def build_network(config: TrialConfig, classes: int) -> nn.Module:
    """The network of `config.model`, with the head that its loss needs.

    Raises ConfigError when the family has no linear head to be replaced.
    """
    model = build_model(config.model, classes)
    if isinstance(config.loss, CrossEntropyConfig):
        return model
    heads = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module.out_features == classes
    ]
    if not heads:
        raise ConfigError(
            f"loss {config.loss.kind} replaces a linear head, and family {config.model.family} "
            "has none; use cross_entropy"
        )
    parent, _, name = heads[-1].rpartition(".")
    inputs = model.get_submodule(heads[-1]).in_features
    assert isinstance(inputs, int)
    setattr(model.get_submodule(parent), name, CosineHead(inputs, classes, config.loss.scale))
    return model


def training_loss(config: TrialConfig, logits: Tensor, targets: Tensor) -> Tensor:
    """The mean loss of a batch as `config` says: a scalar."""
    if not isinstance(config.loss, CrossEntropyConfig):
        logits = with_margin(config.loss, logits, targets)
    smoothing = config.regularization.label_smoothing
    return cross_entropy(logits, targets, label_smoothing=smoothing)


def with_margin(config: Angular, logits: Tensor, targets: Tensor) -> Tensor:
    """Logits of a cosine head, lowered at the true class; at mixed targets by their shares."""
    shares = targets if targets.ndim == 2 else one_hot(targets, logits.shape[1])
    cosines = (logits / config.scale).clamp(NEAREST - 1, 1 - NEAREST)
    angles = torch.acos(cosines)
    if isinstance(config, ArcFaceConfig):
        lowered = _additive(angles, cosines, config.margin)
    else:
        lowered = _multiplicative(angles, config.margin)
    return logits + config.scale * shares * (lowered - cosines)


def _additive(angles: Tensor, cosines: Tensor, margin: float) -> Tensor:
    """cos(angle + margin); beyond pi, where it would rise again, a line, as in InsightFace."""
    line = cosines - margin * math.sin(margin)
    return torch.where(angles + margin <= math.pi, torch.cos(angles + margin), line)


def _multiplicative(angles: Tensor, margin: float) -> Tensor:
    """(-1)^k cos(margin * angle) - 2k: falls from 0 to pi (arXiv:1704.08063, equation 7)."""
    turns = torch.floor(angles * margin / math.pi)
    return (1 - 2 * (turns % 2)) * torch.cos(margin * angles) - 2 * turns
