"""`python -m spaces`: write spaces/catalog.json anew, after a change of a space."""

from __future__ import annotations

import sys

from fmnist_models.errors import ConfigError
from spaces.catalog import PATH, write_catalog

if __name__ == "__main__":
    try:
        write_catalog()
    except ConfigError as error:
        sys.exit(f"python -m spaces: {error}")
    print(f"wrote {PATH.name}")
