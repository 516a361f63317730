r"""Half an hour on real images: ours, search and final training, beside what a person would do.

    python -m benchmarks.accuracy.half_hour ours point kaggle optuna ray boosting
        --out results/half_hour [--minutes 30]

Each has all cores for so many minutes, from the start to a trained model, one after the other, and
its model is scored once on the test set, which it has not seen. What each rival is stands in
`rivals.py`; boosting is scikit-learn's on the pixels with its defaults, however long it takes
(`pip install -e ".[benchmarks]"`). Ours are a search in `quick` that is told the minutes as its
--total-time, and final training for what it leaves. What OUT.json has is not run again; delete its
entry for that.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.accuracy.commands import MOST_EPOCHS, SPARE_MINUTES, keep, run, trained
from benchmarks.accuracy.rivals import NETWORKS, Task
from benchmarks.report import table
from benchmarks.speed import usual
from fmnist_models.data.download import find_data
from fmnist_models.training.metrics import wilson_interval

POINT = "quick-2-32"


def rival(name: str, minutes: float, source: Path) -> dict[str, Any]:
    """Run a rival to its end; what it did, and how many test images its model gets right."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        usual.unpacked(source, folder)
        start = time.monotonic()
        task = Task(folder, start + 60 * minutes)
        model = NETWORKS[name](task)
        seconds = time.monotonic() - start
        right = usual.hits(model, usual.images(folder, train=False))
    return {"seconds": seconds, "right": right, **task.facts}


def boosting(source: Path) -> dict[str, Any]:
    """Gradient boosting of trees on pixels, the data as torchvision has them, like the rivals'."""
    try:
        from sklearn.ensemble import HistGradientBoostingClassifier  # type: ignore[import-not-found]
    except ImportError:
        raise SystemExit('boosting needs scikit-learn: pip install -e ".[benchmarks]"') from None

    with tempfile.TemporaryDirectory() as place:
        usual.unpacked(source, Path(place))
        train, test = (usual.images(Path(place), train=of_train) for of_train in (True, False))
    start = time.monotonic()
    model = HistGradientBoostingClassifier(random_state=0)
    model.fit(train.data.flatten(1).numpy(), train.targets.numpy())
    seconds = time.monotonic() - start
    found = model.predict(test.data.flatten(1).numpy())
    return {"seconds": seconds, "right": int((found == test.targets.numpy()).sum())}


def ours(minutes: float) -> dict[str, Any]:
    """The commands a user types: a search with a total time, then final training for the rest."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        search = ["run_search.py", "--space", "quick", "--trials", "1000"]
        search += ["--total-time", f"{round(60 * minutes)}s", "--json"]
        found = json.loads(run(search, place).splitlines()[-1])
        left = round(minutes - (time.monotonic() - start) / 60 - SPARE_MINUTES, 2)
        train = ["-m", "fmnist_models", "train", "quick.best.json", "--out", "model"]
        train += ["--max-minutes", str(left), "--no-report"]
        run(train, place)
        return {
            **trained(Path(place) / "model"),
            "seconds": time.monotonic() - start,
            "commands": [" ".join(["python", *command]) for command in (search, train)],
            "trials": sum(found["trials"].values()),
            "search_accuracy": found["best"]["validation_accuracy"],
            "recommended": found["recommended"],
        }


def point(minutes: float) -> dict[str, Any]:
    """Doing without a search: a known-good point trained for all of the time."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        take = ["-m", "spaces", "point", "quick", POINT, "--out", "point.json"]
        take += ["--epochs", str(MOST_EPOCHS)]
        run(take, place)
        train = ["-m", "fmnist_models", "train", "point.json", "--out", "model", "--no-report"]
        train += ["--max-minutes", str(minutes - SPARE_MINUTES)]
        run(train, place)
        return {
            **trained(Path(place) / "model"),
            "seconds": time.monotonic() - start,
            "commands": [" ".join(["python", *command]) for command in (take, train)],
        }


def report(runs: dict[str, dict[str, Any]]) -> str:
    """A row a method, best first."""
    rows = []
    for name, one in sorted(runs.items(), key=lambda item: -item[1]["right"]):
        low, high = wilson_interval(one["right"], 10_000)
        searched = f"{100 * one['search_accuracy']:.2f}" if "search_accuracy" in one else ""
        rows.append(
            [
                name,
                f"{one['right'] / 100:.2f}",
                f"{100 * low:.2f} to {100 * high:.2f}",
                f"{one['seconds'] / 60:.1f}",
                one.get("trials", ""),
                searched,
                str(one.get("final_epochs", "")).strip("[]"),
            ]
        )
    header = ["", "test %", "95 %", "minutes", "trials", "search's best %", "final epochs"]
    return table(header, rows) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("methods", nargs="+", choices=["ours", "point", *NETWORKS, "boosting"])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=30)
    options = parser.parse_args()
    kept, source = options.out.with_suffix(".json"), find_data().directory
    content = json.loads(kept.read_text()) if kept.exists() else {"runs": {}}
    for name in options.methods:
        if name in content["runs"]:
            continue
        if name == "ours":
            one = ours(options.minutes)
        elif name == "point":
            one = point(options.minutes)
        elif name == "boosting":
            one = boosting(source)
        else:
            one = rival(name, options.minutes, source)
        keep(options.out, content, name, one, report)


if __name__ == "__main__":
    main()
