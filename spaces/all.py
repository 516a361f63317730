"""Space `all`: a family is sampled, then its parameters under their own names.

The names carry the family's prefix, so that a sampler learns each family's parameters from its own
trials: univariate TPE, the default, does so as it is; the multivariate form needs `group=True`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fmnist_models.config.trial import TrialConfig
from spaces import SPACES, get_space
from spaces.belief import Belief
from spaces.space import Space, SpaceContext

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

NAMES = [name for name in SPACES if name != "all"]


def suggest(trial: BaseTrial, context: SpaceContext) -> TrialConfig:
    """Sample a family and then one of its configurations."""
    name = trial.suggest_categorical("all.space", NAMES)
    return get_space(name).suggest(trial, context)


SPACE = Space(
    name="all",
    version=1,
    suggest=suggest,
    points={
        f"{name}/{point}": {"all.space": name, **params}
        for name in NAMES
        for point, params in get_space(name).points.items()
    },
    belief=Belief(
        {name: axis for one in NAMES for name, axis in get_space(one).belief.axes.items()}
    ),
    one_point_per="all.space",
)
