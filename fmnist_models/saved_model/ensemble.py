"""Several trained networks as one: their probabilities averaged, over test-time views too.

DIR/config.json of an ensemble is an `EnsembleConfig`. It says, before the test set is read with
it, which members there are, how they were chosen, and which views of an image are looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import pad

from fmnist_models.config.base import Config
from fmnist_models.config.trial import TrialConfig

ENSEMBLE_FORMAT = "fmnist-ensemble-1"
Chosen = Literal["unread", "all seeds", "declared"]
CHOSEN: dict[Chosen, str] = {
    "unread": "no member had been scored on the test set when the ensemble was made",
    "all seeds": "the members are all seeds of one run of train --seeds, fixed before it began",
    "declared": "members had been scored on the test set; whoever made the ensemble declares "
    "that they were not chosen by it",
}


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


class EnsembleConfig(Config):
    """What config.json of an ensemble holds; `sources` are the folders it was made from."""

    format: Literal["fmnist-ensemble-1"] = "fmnist-ensemble-1"
    members: Annotated[tuple[TrialConfig, ...], Field(min_length=1, max_length=64)]
    views: ViewsConfig = ViewsConfig()
    chosen: Chosen
    sources: tuple[str, ...]


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
