"""What every space samples and what its networks cost: worked out once, kept in catalog.json.

    python -m spaces catalog     write catalog.json anew; needed after any change of a space

So `--list-spaces` need not import optuna and torch, and a change of a space's distributions shows
in the file's diff. Writing refuses to change the distributions of a version that it holds already:
a study that has begun under that version would go on with others.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fmnist_models.config.base import Config
from fmnist_models.errors import ConfigError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

    Distributions = dict[str, BaseDistribution]


PATH = Path(__file__).with_name("catalog.json")
SAMPLES, COSTED = 500, 100
"""Random configurations of a space from which its entry is made; of so many the cost is counted."""


class CatalogEntry(Config):
    """One space: `parameters` maps each name to its range in words, `points` are the known-good.

    `weights` and `mflops` are the least and the most of any sampled network: its parameters, and
    millions of floating-point operations (two a multiply-accumulate) of an image's forward pass.
    """

    version: int
    digest: str
    points: list[str]
    parameters: dict[str, str]
    weights: tuple[int, int]
    mflops: tuple[float, float]


def read_catalog() -> dict[str, CatalogEntry]:
    """The kept entries by name of space."""
    content = json.loads(PATH.read_text(encoding="utf-8"))
    return {name: CatalogEntry.model_validate_json(json.dumps(content[name])) for name in content}


def make_entry(name: str) -> CatalogEntry:
    """The entry of a space as it is now, from seeded random samples without any limit."""
    import optuna

    from fmnist_models.training.cost import model_cost
    from spaces import SpaceContext, get_space

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space = get_space(name)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    trials = [study.ask() for _ in range(SAMPLES)]
    models = [space.suggest(trial, SpaceContext(epochs=9)).model for trial in trials]
    costs = [model_cost(model) for model in models[:COSTED]]
    distributions = [trial.distributions for trial in trials]
    return CatalogEntry(
        version=space.version,
        digest=digest(distributions),
        points=list(space.points),
        parameters=_ranges(name, distributions),
        weights=(min(c.parameters for c in costs), max(c.parameters for c in costs)),
        mflops=(
            round(2e-6 * min(c.macs for c in costs), 2),
            round(2e-6 * max(c.macs for c in costs), 1),
        ),
    )


def digest(trials: Iterable[Distributions]) -> str:
    """SHA-256 (hex) of all distributions that occur, whatever their order and number."""
    from optuna.distributions import distribution_to_json

    union = {(name, distribution_to_json(d)) for trial in trials for name, d in trial.items()}
    return hashlib.sha256(json.dumps(sorted(union)).encode()).hexdigest()


def _ranges(space: str, trials: Iterable[Distributions]) -> dict[str, str]:
    """The space's own parameters in words; where bounds depend on others, the widest."""
    widest: Distributions = {}
    for trial in trials:
        for name, distribution in trial.items():
            known = widest.setdefault(name, distribution)
            if getattr(distribution, "high", 0) > getattr(known, "high", 0):
                widest[name] = distribution
    own = {name: d for name, d in sorted(widest.items()) if name.startswith(f"{space}.")}
    return {name: _range(distribution) for name, distribution in own.items()}


def _range(distribution: Any) -> str:
    """A distribution in words."""
    if hasattr(distribution, "choices"):
        return ", ".join(str(choice) for choice in distribution.choices)
    step = f" by {distribution.step}" if distribution.step not in (None, 1) else ""
    log = ", log" if distribution.log else ""
    return f"{distribution.low:g} to {distribution.high:g}{step}{log}"


def write_catalog() -> None:
    """Write every space's entry; raises ConfigError where a version must be raised first."""
    from spaces import SPACES

    kept = read_catalog() if PATH.exists() else {}
    entries = {name: make_entry(name) for name in SPACES}
    for name, entry in entries.items():
        before = kept.get(name)
        if before and before.version == entry.version and before.digest != entry.digest:
            raise ConfigError(
                f"space {name!r} has changed since version {entry.version}: raise its version"
            )
    content = {name: entry.model_dump(mode="json") for name, entry in sorted(entries.items())}
    PATH.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
