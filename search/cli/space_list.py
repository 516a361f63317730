"""The text of `--list-spaces`."""

from __future__ import annotations

import textwrap

from spaces import SPACES
from spaces.catalog import CatalogEntry, read_catalog


def list_spaces() -> str:
    """The registered spaces: what each holds, what its networks cost, and all its parameters."""
    catalog = read_catalog()
    return "\n\n".join(_space_lines(name, catalog[name]) for name in SPACES)


def _space_lines(name: str, entry: CatalogEntry) -> str:
    weights = " to ".join(f"{bound:,}" for bound in entry.weights)
    mflops = " to ".join(f"{bound:,g}" for bound in entry.mflops)
    lines = [f"{name} (version {entry.version}): {SPACES[name]}"]
    lines.append(f"    networks of {weights} parameters, {mflops} MFLOP an image")
    lines.append(wrapped("    known-good: ", ", ".join(entry.points)))
    width = max(map(len, entry.parameters))
    lines += [f"    {name:<{width}}  {words}" for name, words in entry.parameters.items()]
    return "\n".join(lines)


def wrapped(start: str, text: str) -> str:
    """`text` after `start`, broken into lines of 100 characters."""
    return textwrap.fill(
        text,
        100,
        initial_indent=start,
        subsequent_indent=" " * len(start),
        break_on_hyphens=False,
        break_long_words=False,
    )
