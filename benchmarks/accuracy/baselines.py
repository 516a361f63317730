r"""Every known-good point of every space, trained on real data here, beside what its source claims.

    python -m benchmarks.accuracy.baselines --out results/baselines
        [--minutes 1.5] [--only cnn/six ...]

Each point is trained on one core for about so many minutes: on as many of the 50,000 training
images, and for as many epochs, as that allows, and never on fewer than two epochs of 1,024. What
was run stands beside what came of it: a network that takes hours is shown to run, not to be good.
The test set is not touched. Writes OUT.json after every point and goes on from it; OUT.md at the
end.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.report import last_epoch, machine, table
from fmnist_models.compute.precision import Precision, choose_precision, set_threads
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.dataset import Dataset, load_search_data
from fmnist_models.data.download import find_data
from fmnist_models.data.idx import DataFiles
from fmnist_models.files import write_atomically
from fmnist_models.training.cost import measure_probe, model_cost
from fmnist_models.training.metrics import wilson_interval
from spaces import SPACES, SpaceContext, get_space

LEAST_IMAGES, LEAST_EPOCHS, MOST_EPOCHS = 1024, 2, 27
FEW_EPOCHS = 6
"""Rather fewer images than fewer epochs than this, down to LEAST_IMAGES."""
PROBE_BATCH = 32

CLAIMS: dict[str, tuple[str, str]] = {
    "quick/quick-2-16": ("none", "this project's own"),
    "quick/quick-2-32": ("none", "this project's own"),
    "mlp/gradient-descent": ("none", "the plain baseline"),
    "cnn/two": ("none given for this one", "SixConv2dNet's author"),
    "cnn/four": ("none given for this one", "SixConv2dNet's author"),
    "cnn/six": ("94 (validation)", "SixConv2dNet"),
    "cnn/eight": ("none given for this one", "SixConv2dNet's author"),
    "cnn/vgg-like": ("93.04", "the VGG-like net of 7.0 M parameters"),
    "cnn/kaggle": ("94.15 (best epoch on test)", 'Kaggle\'s "94 % CNN"'),
    "vgg/vgg-11-bn-w16": ("none", "a quarter of VGG-11's width, this project's own"),
    "vgg/vgg-11": ("91", "VGG-11"),
    "mobilenet/v1-56": ("93.22", "MobileNet, 56x56, flip"),
    "wrn/wrn-10-1": ("none", "this project's own"),
    "wrn/wrn-16-1": ("none", "this project's own"),
    "wrn/wrn-16-4-cutout": ("none", "this project's own"),
    "wrn/wrn-28-10-erasing": ("95.70 (300 epochs)", "Random-Erasing, issue 9, current data"),
    "wrn/wrn-40-4-playground": ("96.60 (1,000 epochs)", "Liang-yc/fn_playground"),
    "preact/preact-20-w1": ("none", "the narrow one of the next"),
    "preact/preact-20-w4-cutout": (
        "95.89 (200 epochs)",
        "hysts/pytorch_image_classification",
    ),
    "shake/shake-8-2x16d": ("none", "this project's own"),
    "shake/shake-26-2x32d": ("none in reach", "as the next, narrower"),
    "shake/shake-26-2x96d-cutout": (
        "96.40 (800 epochs)",
        "hysts/pytorch_image_classification",
    ),
    "shake/shake-26-2x96d-cutout-sam": ("96.41 +- 0.01", "arXiv:2010.01412, table 5"),
    "densenet/bc-28-12": ("none", "this project's own"),
    "densenet/bc-100-12": ("95.4", "DenseNet-BC 768 K, Fashion-MNIST's list of benchmarks"),
    "convnext/w32": ("none", "this project's own"),
    "convnext/w64": ("none", "this project's own"),
}
"""Test accuracy in per cent that the source claims, and the source, by space and point."""


def points() -> Iterator[tuple[str, TrialConfig]]:
    """The configurations of all points under `space/point`, for one epoch."""
    for name in SPACES:
        if name == "all":
            continue
        space = get_space(name)
        for point in space.points:
            yield f"{name}/{point}", space.configure(point, SpaceContext(epochs=1))


def scale(seconds: float, passes: float, batch: int, images: int) -> tuple[int, int]:
    """Epochs, and images of `images`, that fit into `seconds` at `passes` images a second."""
    total = seconds * passes
    epochs = math.floor(total / images)
    if epochs >= FEW_EPOCHS:
        return min(epochs, MOST_EPOCHS), images
    least = max(LEAST_IMAGES, 2 * batch)
    fitting = min(images, math.floor(total / FEW_EPOCHS))
    if fitting >= least:
        return FEW_EPOCHS, fitting
    return max(LEAST_EPOCHS, min(FEW_EPOCHS, math.floor(total / least))), least


def train_point(
    config: TrialConfig, minutes: float, files: DataFiles, precision: Precision
) -> dict[str, Any]:
    """Train one point at the scale that fits; what was run and what came of it."""
    probe = load_search_data(files, LEAST_IMAGES)
    short = config.model_copy(update={"batch_size": PROBE_BATCH})
    second = measure_probe(short, probe, device="cpu", precision=precision).image_seconds
    second *= 2 if config.regularization.sam_rho else 1
    whole = len(load_search_data(files).train)
    epochs, images = scale(60 * minutes, 1 / second, config.batch_size, whole)
    data = with_validation(load_search_data(files, images))
    # Where the run is shorter than its source's, the schedule is as short: same shape.
    step = max(1, epochs // 2)
    schedule = config.lr_schedule.model_copy(update={"step_epochs": step})
    result = last_epoch(
        config.model_copy(update={"epochs": epochs, "lr_schedule": schedule}), data, precision
    )
    return {
        "parameters": model_cost(config.model).parameters,
        "epochs": epochs,
        "images": images,
        "validation_images": len(data.validation),
        "asked_minutes": minutes,
        "minutes": round(result["seconds"] / 60, 2),
        "val_accuracy": round(result["val_accuracy"], 4),
        "train_accuracy": round(result["train_accuracy"], 4),
        "config": config.model_dump(mode="json"),
    }


def with_validation(data: Dataset) -> Dataset:
    """`data` with no more validation images than training images, and 1,000 at least."""
    wanted = max(1000, min(len(data.validation), 1000 * (len(data.train) // 1000)))
    return replace(data, validation=data.validation.subset(torch.arange(wanted)))


def report(done: dict[str, Any], out: Path) -> str:
    """The table, as Markdown."""
    rows = []
    for name, record in done.items():
        correct = round(record["val_accuracy"] * record["validation_images"])
        low, high = wilson_interval(correct, record["validation_images"])
        claim, source = CLAIMS[name]
        rows.append(
            [
                f"`{name}`",
                f"{record['parameters']:,}",
                f"{record['epochs']} x {record['images']:,}",
                f"{record['minutes']:.1f}",
                f"{100 * record['val_accuracy']:.2f} ({100 * low:.1f} to {100 * high:.1f})",
                claim,
                source,
            ]
        )
    header = ["point", "parameters", "epochs x images", "minutes", "ours", "claim", "source"]
    facts = machine(["torch"])
    return f"""# Every known-good point, trained here

`python -m benchmarks.accuracy.baselines --out {out}`: one thread of {facts["processor"]},
torch {facts["torch"]}, one run each with seed 0, on a machine with other work.
{asked_for(done)}

*Ours* is validation accuracy in per cent after the last epoch with its 95 % interval; the claim is
the source's own, on the test set unless said otherwise, after the epochs that its authors give. The
two can only be compared where *epochs x images* comes near to many times 50,000 images; for the
large networks, of which this machine trains a few images a second, the row shows that they run, no
more.

{table(header, rows)}
"""


def asked_for(done: dict[str, Any]) -> str:
    """How many minutes each point was given."""
    by_minutes: dict[float, list[str]] = {}
    for name, record in done.items():
        by_minutes.setdefault(record["asked_minutes"], []).append(name)
    usual, *others = sorted(by_minutes, key=lambda m: len(by_minutes[m]), reverse=True)
    lines = [f"`--minutes {usual:g}`" + (", but for:" if others else ".")]
    lines += [f"- `--minutes {m:g} --only {' '.join(by_minutes[m])}`" for m in others]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=1.5, help="for each point, about")
    parser.add_argument("--only", nargs="*", default=[], help="these points, such as cnn/six")
    options = parser.parse_args()
    set_threads(1)
    files, precision = find_data(), choose_precision("cpu")
    kept = options.out.with_suffix(".json")
    done = json.loads(kept.read_text())["points"] if kept.exists() else {}
    for name, config in points():
        if name in done or (options.only and name not in options.only):
            continue
        done[name] = train_point(config, options.minutes, files, precision)
        content = {
            "command": f"python -m benchmarks.accuracy.baselines --out {options.out}",
            "machine": machine(["torch"]),
            "precision": precision,
            "points": done,
        }
        write_atomically(kept, (json.dumps(content, indent=1) + "\n").encode())
        print(f"{name}: {done[name]['val_accuracy']}, {done[name]['minutes']} min", flush=True)
    in_order = {name: done[name] for name, _ in points() if name in done}
    text = report(in_order, options.out)
    write_atomically(options.out.with_suffix(".md"), text.encode())


if __name__ == "__main__":
    main()
