"""Search for the best Fashion-MNIST classifier, e.g. `--space quick --trials 12`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from fmnist_models.output import run_command
from search.cli.search_options import search_program, settings_of


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a search as the command line asks; the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    return run_command(lambda: _main(given), is_work=True)


def _main(arguments: Sequence[str]) -> int:
    from search.errors import SearchError

    try:
        settings, as_json = settings_of(arguments)
    except SearchError as error:
        print(f"{search_program()}: {error}", file=sys.stderr)
        return error.status
    if sys.stderr.isatty():  # what comes next takes some seconds before it can say anything
        print("Starting: torch, the data, and what an epoch costs here ...", file=sys.stderr)
    try:
        from search.launch import run_search
    except KeyboardInterrupt:
        print(f"{search_program()}: interrupted before anything was begun", file=sys.stderr)
        return 130
    return run_search(settings, as_json=as_json)


if __name__ == "__main__":
    sys.exit(main())
