r"""From a configuration to models in use, as a user does it: seeds, a kill, ensembles, pictures.

    python -m spaces point quick quick-2-32 --epochs 12 --out quick12.json
    python -m benchmarks.accuracy.final quick12.json --work work --out results/final.json

Trains --seeds models on all training images, kills that with SIGKILL in the middle of an epoch of
the first and starts it again; trains the first seed once more without a break, and compares the
weights bit for bit; makes ensembles, scores them once each, and predicts picture files made from
test images. What is finished in --work is not done again, so that this can be stopped at any time.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.numpy import load_file

from benchmarks.report import machine
from fmnist_models import load_model
from fmnist_models.data.dataset import load_test_data
from fmnist_models.data.download import find_data
from fmnist_models.files import load_checkpoint
from fmnist_models.final.seeds import read_seeds
from fmnist_models.saved_model.folder import CHECKPOINT, METRICS, WEIGHTS, load_metrics

MODELS = [sys.executable, "-m", "fmnist_models"]
ENSEMBLES: dict[str, list[str]] = {"ensemble": [], "ensemble-flip": ["--flip"]}
"""Fixed before any of them is scored; all are reported."""
PICTURES = 100


def train_with_a_kill(config: Path, work: Path, seeds: int, epoch: int) -> int:
    """Train all seeds; the first is killed within the epoch after `epoch`, which is given back."""
    command = [*MODELS, "train", str(config), "--out", str(work / "seeds"), "--seeds", str(seeds)]
    record = work / "killed.json"
    if not record.exists():
        process = subprocess.Popen(command)
        seconds = wait_for(work, epoch)
        time.sleep(0.4 * seconds)
        process.kill()
        process.wait()
        record.write_text(json.dumps({"after_epoch": epoch}))
    subprocess.run(command, check=True)
    killed: int = json.loads(record.read_text())["after_epoch"]
    return killed


def wait_for(work: Path, epoch: int) -> float:
    """Wait for a checkpoint of the first seed after `epoch`; the seconds of that epoch."""
    while True:
        time.sleep(1)
        for path in (work / "seeds").glob(f"seed-*/{CHECKPOINT}"):
            state = load_checkpoint(path)
            if state and len(state["epochs"]) >= epoch:
                return float(state["epochs"][-1]["seconds"])


def train_unbroken(config: Path, work: Path) -> Path:
    """Train the first seed once more, into a folder of its own; its test set stays unread."""
    folder = work / "unbroken"
    options = ["--no-test", "--no-report"]
    subprocess.run([*MODELS, "train", str(config), "--out", str(folder), *options], check=True)
    return folder


def sha256(folder: Path) -> str:
    """Of the weights themselves, in the order of their names."""
    digest = hashlib.sha256()
    for name, values in sorted(load_file(folder / WEIGHTS).items()):
        digest.update(name.encode() + values.tobytes())
    return digest.hexdigest()


def combine_and_score(work: Path, members: list[Path]) -> dict[str, Any]:
    """Make the ensembles, read the test set once with each."""
    for name, options in ENSEMBLES.items():
        out = work / name
        if not (out / METRICS).exists():
            paths = [*map(str, members), "--out", str(out), *options]
            subprocess.run([*MODELS, "ensemble", *paths], check=True)
        if not load_metrics(out).test_readings:
            subprocess.run([*MODELS, "evaluate", str(out)], check=True)
    return {name: figures(work / name) for name in ENSEMBLES}


def figures(folder: Path) -> dict[str, Any]:
    """What metrics.json of a model folder says, without the details of each epoch."""
    metrics = load_metrics(folder)
    reading = metrics.test_readings[-1] if metrics.test_readings else None
    details = reading.details if reading else None
    return {
        "test_accuracy": metrics.test_accuracy,
        "test_interval": metrics.test_interval,
        "test_readings": len(metrics.test_readings),
        "macro_f1": details and details.macro_f1,
        "calibration_error": details and details.calibration_error,
        "f1": details and {one.name: one.f1 for one in details.classes},
        "train_seconds": metrics.train_seconds,
        "epoch_seconds": [round(epoch.seconds, 1) for epoch in metrics.epochs],
    }


def predict_pictures(work: Path, folder: Path) -> dict[str, Any]:
    """Share of picture files that are taken for the same as the pixels they were made of."""
    images = load_test_data(find_data()).images[:PICTURES, 0].numpy()
    place = work / "pictures"
    place.mkdir(exist_ok=True)
    wanted = [one.label for one in load_model(folder).predict(images)]
    agreed = {}
    for kind in ("png", "jpg"):
        paths = [str(save_large(pixels, place / f"{i}.{kind}")) for i, pixels in enumerate(images)]
        command = [*MODELS, "predict", str(folder), *paths, "--json"]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
        found = [one["label"] for one in json.loads(done.stdout)]
        agreed[kind] = float(np.mean([a == b for a, b in zip(found, wanted, strict=True)]))
    return {"pictures": PICTURES, "as": "280x280, dark on light", "same_class_as_pixels": agreed}


def save_large(pixels: np.ndarray, path: Path) -> Path:
    """A 28x28 image as a large picture, dark on light."""
    Image.fromarray(255 - pixels).resize((280, 280), Image.Resampling.BICUBIC).save(path)
    return path


def main() -> None:
    """Do all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--kill-after-epoch", type=int, default=4)
    options = parser.parse_args()
    work: Path = options.work
    work.mkdir(parents=True, exist_ok=True)
    killed = train_with_a_kill(options.config, work, options.seeds, options.kill_after_epoch)
    report = read_seeds(work / "seeds")
    assert report is not None
    members = [work / "seeds" / f"seed-{seed}" for seed in report.seeds]
    unbroken = train_unbroken(options.config, work)
    result = {
        "command": ["python", "-m", "benchmarks.accuracy.final", *sys.argv[1:]],
        "machine": {**machine(), **load_metrics(unbroken).environment},
        "config": report.config.model_dump(mode="json"),
        "seeds": {str(seed): figures(one) for seed, one in zip(report.seeds, members, strict=True)},
        "mean": report.mean,
        "deviation": report.deviation,
        "killed_after_epoch": killed,
        "unbroken_train_seconds": load_metrics(unbroken).train_seconds,
        "weights_sha256": {"killed": sha256(members[0]), "unbroken": sha256(unbroken)},
        "weights_equal": sha256(members[0]) == sha256(unbroken),
        **combine_and_score(work, members),
        "prediction": predict_pictures(work, members[0]),
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
