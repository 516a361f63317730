"""The space that a launch searches: a registered one, around a configuration where one is given."""

from __future__ import annotations

from fmnist_models.errors import ConfigError
from search.errors import UsageError
from search.settings import SearchSettings
from spaces import Space, get_space
from spaces.around import centred, likeness


def chosen_space(settings: SearchSettings) -> tuple[Space, list[str]]:
    """The space, and what is to be said of `--around`; raises UsageError."""
    space = get_space(settings.space)
    if settings.around is None:
        return space, []
    try:
        found = likeness(space, settings.around)
    except ConfigError as error:
        raise UsageError(f"--around: {error}") from None
    others = [f"{name} {had} for {wanted}" for name, (wanted, had) in found.differences.items()]
    with_others = f", as near as the space has it: {', '.join(others)}" if others else ""
    return centred(space, found.params), [f"around the given configuration{with_others}"]
