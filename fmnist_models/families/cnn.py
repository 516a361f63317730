"""`cnn`: plain stacks of convolutions, pools and dropout, then a dense head.

    (N, 1, 28, 28) -layers-> c x h x w -flatten-> dense layers -linear-> classes

`CnnConfig.layers` lists them in the manner of the VGG paper (arXiv:1409.1556): a number is a
convolution with so many channels, "P" a 2x2 max pool, "D" dropout. The field's plain networks on
Fashion-MNIST can all be written so; tests/models/families/test_published_cnn.py has them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn

from fmnist_models.config.base import Activation, ModelConfig, Probability
from fmnist_models.config.registry import Family
from fmnist_models.families.layers import Head, activation, he_initialized, norm_and_activation

PIXELS = 28
"""Width and height of an image."""
MOST_CHANNELS = 1024


class CnnConfig(ModelConfig):
    """The layers of a plain convolutional network."""

    family: Literal["cnn"] = "cnn"
    # Not strict, as JSON has no tuples; the validator below is.
    layers: Annotated[tuple[int | str, ...], Field(strict=False, max_length=64)] = (
        32,
        32,
        "P",
        "D",
    )
    """Each a number of channels (a convolution), "P" (2x2 max pool) or "D" (dropout)."""
    kernel: Annotated[int, Field(ge=1, lt=PIXELS)] = 3
    """Side, in pixels, of the convolutions' kernels; odd."""
    padded: bool = True
    """Zeros around the image keep its size; without, a convolution takes kernel - 1 pixels."""
    pointwise_stem: bool = False
    """The first convolution is 1x1, with a border of one pixel: 28x28 become 30x30."""
    pad_pools: bool = False
    """Every pool but the first sees a border of one pixel, so that none at the edge is lost."""
    activate: Literal["convolution", "pool"] = "convolution"
    """What norm and activation follow: each convolution, or only each pool."""
    activation: Activation = "relu"
    bias: bool = True
    """Convolutions have a bias; in front of a batch norm it changes nothing."""
    batch_norm: bool = False
    """Of the convolutional part, in front of each activation."""
    bn_momentum: Annotated[float, Field(gt=0, le=1)] = 0.1
    dropout: Probability = 0.25
    """Probability at each "D"."""
    dense: Annotated[tuple[Annotated[int, Field(ge=1, le=4096)], ...], Field(strict=False)] = (128,)
    """Units of the hidden layers of the head."""
    dense_norm: Literal["none", "before", "after"] = "none"
    """Batch norm in the head: before the activation or after it."""
    dense_dropout: Probability = 0.5
    """Probability behind each hidden layer of the head."""

    @field_validator("layers", mode="before")
    @classmethod
    def _known_layers(cls, layers: Any) -> Any:
        """One message for a layer of any wrong kind."""
        for layer in layers if isinstance(layers, list | tuple) else ():
            number = isinstance(layer, int) and not isinstance(layer, bool)
            if layer not in ("P", "D") and not (number and 1 <= layer <= MOST_CHANNELS):
                allowed = f"a number of channels from 1 to {MOST_CHANNELS}, 'P' or 'D'"
                raise ValueError(f"{layer!r} is no layer: each is {allowed}")
        return layers

    @field_validator("kernel")
    @classmethod
    def _odd(cls, kernel: int) -> int:
        if kernel % 2 == 0:
            raise ValueError(f"kernel must be odd (1, 3, 5, ..., {PIXELS - 1})")
        return kernel

    @model_validator(mode="after")
    def _fits(self) -> CnnConfig:
        """Something is left of the image, and something is not linear."""
        kinds = [step.kind for step in layer_steps(self)]
        if "C" not in kinds:
            raise ValueError(f"layers {list(self.layers)} must have a convolution (a number)")
        last = max(i for i, kind in enumerate(kinds) if kind == "C")
        if self.activate == "pool" and "P" not in kinds[last:]:
            raise ValueError('with activate "pool" a "P" must follow the last convolution')
        return self


@dataclass(frozen=True)
class Step:
    """A layer with what it meets: channels in and out, kernel, padding, and pixels left."""

    kind: Literal["C", "P", "D"]
    inputs: int
    outputs: int
    kernel: int
    padding: int
    size: int


def layer_steps(config: CnnConfig) -> Iterator[Step]:
    """The layers of `config` one by one; raises ValueError where an image is too small for one."""
    size, channels, seen = PIXELS, 1, {"C": 0, "P": 0, "D": 0}
    for position, layer in enumerate(config.layers, 1):
        kind: Literal["C", "P", "D"] = "C" if isinstance(layer, int) else _mark(layer)
        kernel, padding = _geometry(config, kind, first=not seen[kind])
        if kernel > size + 2 * padding:
            what = f"layer {position} of {list(config.layers)} is {kernel}x{kernel}"
            remedy = "take a smaller kernel, padding or fewer layers"
            raise ValueError(f"{what}, but finds {size}x{size} pixels: {remedy}")
        stride = 2 if kind == "P" else 1
        size = (size + 2 * padding - kernel) // stride + 1
        outputs = layer if isinstance(layer, int) else channels
        yield Step(kind, channels, outputs, kernel, padding, size)
        channels = outputs
        seen[kind] += 1


def _mark(layer: str) -> Literal["P", "D"]:
    return "P" if layer == "P" else "D"


def _geometry(config: CnnConfig, kind: str, *, first: bool) -> tuple[int, int]:
    """Kernel and padding."""
    if kind == "D":
        return 1, 0
    if kind == "P":
        return 2, int(config.pad_pools and not first)
    if first and config.pointwise_stem:
        return 1, 1
    return config.kernel, config.kernel // 2 if config.padded else 0


class Cnn(nn.Module):
    """Images (N, 1, 28, 28) float -> logits (N, classes)."""

    def __init__(self, config: CnnConfig, classes: int) -> None:
        super().__init__()
        steps = list(layer_steps(config))
        self.features = nn.Sequential(*(m for step in steps for m in _modules(config, step)))
        sizes = [steps[-1].outputs * steps[-1].size ** 2, *config.dense]
        self.dense = nn.Sequential(*(m for i, o in pairwise(sizes) for m in _dense(config, i, o)))
        self.head = Head(sizes[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, 1, 28, 28) float -> (N, classes)."""
        logits: Tensor = self.head(self.dense(self.features(x).flatten(1)))
        return logits


def _modules(config: CnnConfig, step: Step) -> list[nn.Module]:
    if step.kind == "D":
        return [nn.Dropout(config.dropout)]
    behind = norm_and_activation(
        step.outputs, config.batch_norm, config.bn_momentum, config.activation
    )
    if step.kind == "P":
        pool = nn.MaxPool2d(2, padding=step.padding)
        return [pool, *(behind if config.activate == "pool" else [])]
    convolution = nn.Conv2d(
        step.inputs, step.outputs, step.kernel, padding=step.padding, bias=config.bias
    )
    return [he_initialized(convolution), *(behind if config.activate == "convolution" else [])]


def _dense(config: CnnConfig, inputs: int, outputs: int) -> list[nn.Module]:
    linear = he_initialized(nn.Linear(inputs, outputs))
    bends: list[nn.Module] = [activation(config.activation)]
    if config.dense_norm != "none":
        at = 0 if config.dense_norm == "before" else 1
        bends.insert(at, nn.BatchNorm1d(outputs, momentum=config.bn_momentum))
    return [linear, *bends, nn.Dropout(config.dense_dropout)]


FAMILY = Family(
    name="cnn",
    config=CnnConfig,
    build=Cnn,
    example=CnnConfig(
        layers=(4, "P", "D", 8, "P", "D"),
        bias=False,
        batch_norm=True,
        dropout=0.0,
        dense=(16,),
        dense_norm="after",
        dense_dropout=0.0,
    ),
)
