"""Augmentation of whole batches on the device, one random draw an image.

Shapes: all: (N, 1, H, W) uint8 is the resident data set, index: (B,) int64 picks a batch from it,
out: (B, 1, 28, 28) float32, normalised to mean 0 and deviation 1 over the training images.

Flip and shift are one gather from the resident images, cutout and random erasing one mask: on two
cores the whole takes a few per cent of a training step (benchmarks/). The order: flip and shift,
policy (policies.py), normalisation, cutout, random erasing; then mixing (mixing.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from fmnist_models.augmentation.policies import Policy
from fmnist_models.compute.optional_kernels import kernels
from fmnist_models.config.training import AugmentationConfig
from fmnist_models.data.dataset import Normalization

SIDE = 28
ERASED_AREA = (0.02, 0.4)
"""Smallest and largest share of the image that random erasing blanks (arXiv:1708.04896)."""
ERASED_ASPECT = (0.3, 1 / 0.3)


@dataclass(frozen=True)
class _Part:
    """The images at `where` of a batch of so many.

    Draws are made for the whole batch, so that processes which share it draw alike.
    """

    batch: int
    where: slice


class BatchLoader:
    """Cuts batches out of resident training images, augmented by a seeded generator.

    `images`: (N, 1, 28, 28) uint8 on the device where training runs.
    """

    def __init__(
        self,
        images: Tensor,
        normalization: Normalization,
        config: AugmentationConfig,
        generator: torch.Generator,
    ) -> None:
        self.config, self.generator, self.device = config, generator, images.device
        self.normalization = normalization
        self._policy = Policy(config, generator) if config.policy != "none" else None
        pad = config.shift
        self.stride = SIDE + 2 * pad
        # A padded copy of the images, so that a shift is only another place to read from.
        self.pixels = torch.nn.functional.pad(images, (pad, pad, pad, pad)).flatten()
        self.steps = torch.arange(SIDE, device=self.device)
        self._loops = kernels() if self.device.type == "cpu" else None

    def __call__(self, index: Tensor, part: slice = slice(None)) -> Tensor:
        """index: (B,) int64 -> augmented images (B, 1, 28, 28) float32, or those of a part of it.

        The images of a part are what they are in the whole batch.
        """
        if self._policy and part != slice(None):
            return self(index)[part]
        of = _Part(len(index), part)
        pixels = self._gather(index[part], of)
        if self._policy:
            pixels = self._policy(pixels.float())
        batch = self.normalization(pixels)
        if self.config.cutout:
            batch = self._blank(batch, *self._cutout(of))
        if self.config.random_erasing:
            batch = self._blank(batch, *self._random_erasing(of))
        return batch

    def _gather(self, index: Tensor, of: _Part) -> Tensor:
        """Images (P, 1, 28, 28) uint8, each flipped and shifted by a draw of its own."""
        top, left = self._shift(of), self._shift(of)
        rows = index * self.stride + top
        mirrored = torch.zeros(len(index), dtype=torch.bool, device=self.device)
        if self.config.flip:
            mirrored = self._uniform(of) < 0.5
        if self._loops:
            found = torch.empty(len(index), 1, SIDE, SIDE, dtype=torch.uint8)
            starts = (rows * self.stride + left).numpy()
            self._loops.crops(
                self.pixels.numpy(), starts, mirrored.numpy(), self.stride, found[:, 0].numpy()
            )
            return found
        columns = left[:, None] + self.steps
        columns = torch.where(mirrored[:, None], columns.flip(1), columns)
        places = ((rows[:, None] + self.steps) * self.stride)[:, :, None] + columns[:, None, :]
        return self.pixels[places][:, None]

    def _shift(self, of: _Part) -> Tensor:
        """Offsets (P,) int64 in 0 .. 2 * shift."""
        bound = 2 * self.config.shift + 1
        draw = torch.randint(bound, (of.batch,), generator=self.generator, device=self.device)
        return draw[of.where]

    def _uniform(self, of: _Part, low: float = 0.0, high: float = 1.0) -> Tensor:
        draw = torch.rand(of.batch, generator=self.generator, device=self.device)
        return low + (high - low) * draw[of.where]

    def _cutout(self, of: _Part) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """A square centred anywhere in the image, cut at its border as the paper does."""
        side = self.config.cutout
        top = torch.floor(self._uniform(of, 0, SIDE)) - side // 2
        left = torch.floor(self._uniform(of, 0, SIDE)) - side // 2
        return top, left, top + side, left + side

    def _random_erasing(self, of: _Part) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """A rectangle of random area and aspect inside the image, empty for the untouched.

        Unlike the paper, which draws again, a side that is too long is cut to the image's, and the
        aspect is uniform in its logarithm, so that lying and standing ones are equally likely.
        """
        area = self._uniform(of, *ERASED_AREA) * SIDE * SIDE
        aspect = torch.exp(self._uniform(of, *(math.log(a) for a in ERASED_ASPECT)))
        height = (area * aspect).sqrt().round().clamp(1, SIDE)
        width = (area / aspect).sqrt().round().clamp(1, SIDE)
        top = torch.floor(self._uniform(of) * (SIDE - height + 1))
        left = torch.floor(self._uniform(of) * (SIDE - width + 1))
        hit = self._uniform(of) < self.config.random_erasing
        return top, left, top + height * hit, left + width * hit

    def _blank(
        self, batch: Tensor, top: Tensor, left: Tensor, bottom: Tensor, right: Tensor
    ) -> Tensor:
        """Set rows top..bottom-1 and columns left..right-1 of each image to the mean, 0."""
        rows = (self.steps >= top[:, None]) & (self.steps < bottom[:, None])
        columns = (self.steps >= left[:, None]) & (self.steps < right[:, None])
        hidden = rows[:, None, :, None] & columns[:, None, None, :]
        return batch.masked_fill(hidden, 0.0)
