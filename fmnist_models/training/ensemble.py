"""Several trained networks, or several views of an image by one of them, taken together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from fmnist_models.config.training import ViewsConfig


class Ensemble(nn.Module):
    """Normalised images (N, 1, 28, 28) float -> log of the mean probabilities (N, classes).

    A softmax of that is the mean again, so that an ensemble goes wherever a network does.
    `black` is the normalised value of a black pixel: it fills in where an image was shifted.
    """

    def __init__(self, members: Sequence[nn.Module], views: ViewsConfig, black: float) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.views, self.black = views, black

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, 1, 28, 28) -> (N, classes) float32, log-probabilities."""
        looks = [member(view).float() for view in self._looks(x) for member in self.members]
        mean = torch.stack(looks).softmax(2).mean(0)
        return mean.clamp_min(1e-30).log()

    def _looks(self, x: Tensor) -> list[Tensor]:
        shift = self.views.shift
        moves = [(0, 0), (shift, 0), (-shift, 0), (0, shift), (0, -shift)] if shift else [(0, 0)]
        looks = [_moved(x, down, right, self.black) for down, right in moves]
        return [*looks, *(look.flip(3) for look in looks)] if self.views.flip else looks


def _moved(x: Tensor, down: int, right: int, fill: float) -> Tensor:
    """x: (N, C, H, W) moved by whole pixels, `fill` where nothing comes in."""
    if not (down or right):
        return x
    # Negative widths of pad cut off.
    return pad(x, (right, -right, down, -down), value=fill)
