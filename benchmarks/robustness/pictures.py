r"""Whether pictures that are dressed up get the class that their bare pixels get, kind by kind.

    python -m fmnist_models train quick.best.json --out models/quick --no-test
    python -m benchmarks.robustness.pictures models/quick --out results     # a few minutes
    python -m benchmarks.robustness.pictures models/quick --validation      # to try something with

200 test images are dressed in each of the ways of tests/dressed_pictures.py and read from files;
only the agreement of one model with itself is counted, labels are not read. What was measured is
kept in results/pictures.json after each kind and not measured again. All limits in
fmnist_models/saved_model were chosen on training and validation images.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from benchmarks.report import machine, table
from fmnist_models import load_model
from fmnist_models.data.dataset import load_search_data, load_test_data
from fmnist_models.data.download import find_data
from fmnist_models.errors import ConfigError
from fmnist_models.files import write_atomically
from fmnist_models.saved_model.predictor import Model
from tests.dressed_pictures import KINDS, write_dressed

PICTURES = 200
WANTED = 0.95


def measure(model: Model, images: Tensor, kind: str) -> dict[str, Any]:
    """images: (N, 1, 28, 28) uint8 -> how many get the class that they get as they are."""
    bare = model.predict(images)
    same, refused = 0, 0
    with tempfile.TemporaryDirectory() as folder:
        for number, pixels in enumerate(images[:, 0].numpy()):
            path = write_dressed(kind, pixels, number, Path(folder))
            try:
                same += model.predict(path)[0].label == bare[number].label
            except ConfigError:
                refused += 1
            path.unlink()
    return {"pictures": len(images), "same_class": same, "refused": refused}


def markdown(found: dict[str, Any]) -> str:
    """The table of all kinds."""
    rows = [
        (kind.replace("_", " "), one["pictures"], f"{one['same_class'] / one['pictures']:.1%}")
        for kind, one in found["kinds"].items()
    ]
    return (
        "# Pictures dressed up\n\n"
        f"Of {PICTURES} test images in each way, the share that gets the class its bare pixels get "
        f"by the same model; labels were not read. {found['machine']['processor']}; the ways: "
        "`tests/dressed_pictures.py`; measured by `benchmarks/robustness/pictures.py`.\n\n"
        f"{table(('way', 'pictures', 'same class'), rows)}\n"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where every kind agrees as often as is wanted."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="folder of the model")
    parser.add_argument("--out", type=Path, default=Path("results"))
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--validation", action="store_true", help="write nothing")
    options = parser.parse_args(arguments)
    model, files = load_model(options.folder), find_data(options.data_dir)
    path = options.out / "pictures.json"
    if options.validation:
        images, found = load_search_data(files).validation.images, {}
    else:
        images = load_test_data(files).images
        found = json.loads(path.read_text()) if path.exists() else {}
    found = {"machine": machine(("torch", "pillow", "scipy")), "kinds": {}, **found}
    for kind in KINDS:
        if kind in found["kinds"]:
            continue
        found["kinds"][kind] = measure(model, images[:PICTURES], kind)
        print(kind, found["kinds"][kind], flush=True)
        if not options.validation:
            write_atomically(path, (json.dumps(found, indent=1) + "\n").encode())
            write_atomically(options.out / "pictures.md", markdown(found).encode())
    return int(any(one["same_class"] < WANTED * one["pictures"] for one in found["kinds"].values()))


if __name__ == "__main__":
    raise SystemExit(main())
