"""RandAugment and TrivialAugment on whole batches, without what only colour images can show.

Shapes: images (B, 1, H, W) float32 of 0 to 255; a draw of operations (B, n).

Each image draws its own operations. Operations of shape are affine maps, so that all n of an image
are one map and the batch takes one sampling; those of grey levels are one blend for the batch,
    base + factor * (pixel - base),
with base and factor by operation. Nothing depends on the draws but values: shapes are fixed and
nothing waits for a GPU.

Differences from the papers: posterize, brightness, contrast and sharpness alone are kept of the
grey-level operations, scale is added, both papers' policies have RandAugment's strengths (the wide
ones of TrivialAugment would push a 28-pixel image out of its frame), and grey levels change after
the shape, whatever the order drawn. The background that comes in is black, as the data's is.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, avg_pool2d, grid_sample

from fmnist_models.config.training import AugmentationConfig

OPERATIONS = (
    "identity",
    "rotate",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
    "scale",
    "brightness",
    "contrast",
    "posterize",
    "sharpness",
)
STRENGTHS = 30
"""Strengths are whole numbers from 0 to this."""
MOST_DEGREES = 30.0
MOST_SHEAR = 0.3
MOST_TRANSLATION = 0.3
"""In widths of the image."""
MOST_SCALE = 1.4
MOST_BLEND = 0.9
MOST_BITS_LOST = 4


class Policy:
    """Draws operations and their strengths for each image, and applies them."""

    def __init__(self, config: AugmentationConfig, generator: torch.Generator) -> None:
        self.config, self.generator = config, generator

    def __call__(self, images: Tensor) -> Tensor:
        """images: (B, 1, H, W) float32 of 0 to 255 -> the same, changed; the input is kept."""
        draws, device = self._draws(len(images)), images.device
        operations = torch.randint(len(OPERATIONS), draws, generator=self.generator, device=device)
        signs = 2 * torch.randint(2, draws, generator=self.generator, device=device) - 1
        return apply_operations(images, operations, self._strengths(draws, device) * signs)

    def _draws(self, count: int) -> tuple[int, int]:
        random = self.config.policy == "randaugment"
        return count, self.config.randaugment_ops if random else 1

    def _strengths(self, draws: tuple[int, int], device: torch.device) -> Tensor:
        """As shares of the most, (B, n) in [0, 1]: RandAugment's one, TrivialAugment's any."""
        if self.config.policy == "randaugment":
            return torch.full(draws, self.config.randaugment_magnitude / STRENGTHS, device=device)
        steps = torch.randint(STRENGTHS + 1, draws, generator=self.generator, device=device)
        return steps / STRENGTHS


def apply_operations(images: Tensor, operations: Tensor, strengths: Tensor) -> Tensor:
    """Apply to each image its operations (B, n) int64, by place in OPERATIONS.

    `strengths` (B, n) in [-1, 1] are shares of the most; posterize knows no sign.
    """
    images = _warp(images, _affine(operations, strengths))
    for i in range(operations.shape[1]):
        images = _change_levels(images, operations[:, i], strengths[:, i])
    return images


def _share(operations: Tensor, strengths: Tensor, name: str) -> Tensor:
    """The strengths where the operation is `name`, else 0."""
    return strengths * (operations == OPERATIONS.index(name))


def _affine(operations: Tensor, strengths: Tensor) -> Tensor:
    """(B, 2, 3): where to read each pixel from, in coordinates from -1 to 1."""
    angle = _share(operations, strengths, "rotate") * math.radians(MOST_DEGREES)
    shrink = MOST_SCALE ** -_share(operations, strengths, "scale")
    sine, cosine = torch.sin(angle), torch.cos(angle) * shrink
    right = _share(operations, strengths, "shear_x") * MOST_SHEAR - sine
    down = _share(operations, strengths, "shear_y") * MOST_SHEAR + sine
    x = _share(operations, strengths, "translate_x") * (2 * MOST_TRANSLATION)
    y = _share(operations, strengths, "translate_y") * (2 * MOST_TRANSLATION)
    zero = torch.zeros_like(x)
    maps = torch.stack([cosine, right, x, down, cosine, y, zero, zero, zero + 1], dim=-1)
    maps = maps.view(*maps.shape[:2], 3, 3)  # (B, n, 3, 3)
    whole: Tensor = maps[:, 0]
    for i in range(1, maps.shape[1]):
        whole = whole @ maps[:, i]
    return whole[:, :2]


def _warp(images: Tensor, maps: Tensor) -> Tensor:
    grid = affine_grid(maps, list(images.shape), align_corners=False)
    return grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _change_levels(images: Tensor, operation: Tensor, strength: Tensor) -> Tensor:
    """Brightness, contrast or sharpness of each image by a blend, or its lowest bits cut off."""
    names = ("brightness", "contrast", "sharpness")
    shares = torch.stack([_share(operation, strength, name) for name in names])
    factor = 1 + MOST_BLEND * shares.sum(0)
    contrast, sharpness = (
        (operation == OPERATIONS.index(name)).float().view(-1, 1, 1, 1) for name in names[1:]
    )
    base = contrast * images.mean((1, 2, 3), keepdim=True) + sharpness * _smooth(images)
    blended = torch.lerp(base, images, _columns(factor)).clamp_(0, 255)
    bits = (MOST_BITS_LOST * _share(operation, strength, "posterize").abs()).round()
    step = _columns(torch.exp2(bits))
    whole = blended.round()  # sampling leaves 15.999 of a 16
    return torch.where(step > 1, (whole / step).floor_().mul_(step), blended)


def _columns(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)


def _smooth(images: Tensor) -> Tensor:
    """Pillow's SMOOTH filter: a 3x3 mean whose middle counts five times."""
    mean = avg_pool2d(images, 3, stride=1, padding=1, count_include_pad=False)
    return (9 * mean + 4 * images) / 13
