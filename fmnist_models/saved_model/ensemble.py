"""What config.json of an ensemble says, before the test set is read with it.

Which members there are, how they were chosen, and which views of an image are looked at.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fmnist_models.config.base import Config
from fmnist_models.config.training import ViewsConfig
from fmnist_models.config.trial import TrialConfig

ENSEMBLE_FORMAT = "fmnist-ensemble-1"
Chosen = Literal["unread", "all seeds", "declared"]
CHOSEN: dict[Chosen, str] = {
    "unread": "no member had been scored on the test set when the ensemble was made",
    "all seeds": "the members are all seeds of one run of train --seeds, fixed before it began",
    "declared": "members had been scored on the test set; whoever made the ensemble declares "
    "that they were not chosen by it",
}


class EnsembleConfig(Config):
    """What config.json of an ensemble holds; `sources` are the folders it was made from."""

    format: Literal["fmnist-ensemble-1"] = "fmnist-ensemble-1"
    members: Annotated[tuple[TrialConfig, ...], Field(min_length=1, max_length=64)]
    views: ViewsConfig = ViewsConfig()
    chosen: Chosen
    sources: tuple[str, ...]
