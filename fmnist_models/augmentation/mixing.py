"""Images of a batch mixed with each other, and their labels alike; one draw an image.

Shapes: images (B, 1, H, W) float32, labels (B,) int64 -> mixed images of the same shape, targets
(B, classes) float32: the share of each class, adding to one.

mixup (arXiv:1710.09412) blends with one other image, CutMix (arXiv:1905.04899) pastes a rectangle
of one other, RICAP (arXiv:1811.09030) puts four crops together.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from fmnist_models.config.training import AugmentationConfig


def make_mixer(
    config: AugmentationConfig, classes: int, generator: torch.Generator
) -> Mixer | None:
    """What mixes batches as `config` says; None where it does not."""
    return None if config.mixing == "none" else Mixer(config, classes, generator)


class Mixer:
    """Mixes batches as `config` says, by a seeded generator; the labels have `classes` values."""

    def __init__(
        self, config: AugmentationConfig, classes: int, generator: torch.Generator
    ) -> None:
        self.config, self.classes, self.generator = config, classes, generator
        methods = {"mixup": self._mixup, "cutmix": self._cutmix, "ricap": self._ricap}
        self._method = methods[config.mixing]

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Mixed images and targets; the input is kept."""
        return self._method(images, one_hot(labels, self.classes).float())

    def _uniform(self, images: Tensor) -> Tensor:
        return torch.rand(len(images), generator=self.generator, device=images.device)

    def _partners(self, images: Tensor) -> Tensor:
        return torch.randperm(len(images), generator=self.generator, device=images.device)

    def _beta(self, images: Tensor) -> Tensor:
        """A draw (B,) from Beta(alpha, alpha): a gamma variate over the sum of two."""
        shape = torch.full((2, len(images)), self.config.mixing_alpha, device=images.device)
        # torch.distributions takes no generator; this is what it calls.
        gammas = torch._standard_gamma(shape, generator=self.generator)
        gammas = gammas.clamp_min(torch.finfo(gammas.dtype).tiny)
        return gammas[0] / gammas.sum(0)

    def _chosen(self, images: Tensor) -> Tensor:
        """Which images are mixed at all: (B,) bool."""
        return self._uniform(images) < self.config.mixing_probability

    def _mixup(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        partners = self._partners(images)
        own = torch.where(self._chosen(images), self._beta(images), 1.0)
        mixed = torch.lerp(images[partners], images, own[:, None, None, None])
        return mixed, torch.lerp(targets[partners], targets, own[:, None])

    def _cutmix(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The rectangle has the image's aspect, is centred anywhere and cut at the border."""
        height, width = images.shape[-2:]
        partners = self._partners(images)
        side = torch.where(self._chosen(images), (1 - self._beta(images)).sqrt(), 0.0)
        rows = _span(self._uniform(images), side, height)
        columns = _span(self._uniform(images), side, width)
        pasted = rows[:, None, :, None] & columns[:, None, None, :]
        own = 1 - pasted.float().mean((1, 2, 3))
        mixed = torch.where(pasted, images[partners], images)
        return mixed, torch.lerp(targets[partners], targets, own[:, None])

    def _ricap(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Cut each image's frame in four; an image left alone is all upper left, and its own."""
        size, chosen = images.shape[-1], self._chosen(images)
        own = torch.arange(len(images), device=images.device)
        # One cut across and one down: (B,) int64, the height and width of the upper left part.
        cuts = [(self._beta(images) * size).round().long() for _ in range(2)]
        high, wide = (torch.where(chosen, cut, size) for cut in cuts)
        mixed, shares = torch.zeros_like(images), torch.zeros_like(targets)
        steps = torch.arange(size, device=images.device)
        for part in range(4):
            rows, top, tall = _part(part // 2, high, steps)
            columns, left, broad = _part(part % 2, wide, steps)
            partners = torch.where(chosen, self._partners(images), own)
            down = steps + (self._offset(images, size - tall) - top)[:, None]
            right = steps + (self._offset(images, size - broad) - left)[:, None]
            places = down.clamp(0, size - 1)[:, :, None], right.clamp(0, size - 1)[:, None, :]
            crop = images[partners[:, None, None], 0, *places][:, None]
            mixed = torch.where(rows[:, None, :, None] & columns[:, None, None, :], crop, mixed)
            shares = shares + targets[partners] * (tall * broad / size**2)[:, None]
        return mixed, shares

    def _offset(self, images: Tensor, room: Tensor) -> Tensor:
        """Where a crop starts: (B,) int64, uniform in 0 .. room."""
        return (self._uniform(images) * (room + 1)).long().clamp_max(room)


def _part(second: int, cut: Tensor, steps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """One side of a cut: which places (B, size) bool, where it starts and how long it is (B,)."""
    before = steps < cut[:, None]
    if second:
        return ~before, cut, len(steps) - cut
    return before, torch.zeros_like(cut), cut


def _span(centre: Tensor, side: Tensor, size: int) -> Tensor:
    """Places (B, size) bool of spans: centre and side (B,) in [0, 1] of `size`."""
    middle, length = torch.floor(centre * size), torch.floor(side * size)
    first = middle - torch.floor(length / 2)
    steps = torch.arange(size, device=centre.device)
    return (steps >= first[:, None]) & (steps < (first + length)[:, None])
