"""Scoring a model folder on the test set: the only place where the test set is read.

Every reading is recorded in the folder, because a test score is worth the less the oftener it was
looked at.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from fmnist_models.data import load_test_data
from fmnist_models.errors import DataError
from fmnist_models.fetch import find_data
from fmnist_models.folder import TestReading, load_metrics, load_model, save_metrics
from fmnist_models.inference import predict
from fmnist_models.metrics import wilson_interval


def evaluate(folder: Path, data_dir: Path | None, device: str) -> TestReading:
    """Read the test set once with the model in `folder`, and record that in its metrics.json.

    Raises ConfigError when the folder holds no model, DataError when the data set is another one
    than the model was trained on.
    """
    metrics = load_metrics(folder)
    model, header = load_model(folder, device)
    source = find_data(data_dir)
    if source.digest != header.digest:
        raise DataError(
            f"the model in {folder} was trained on another data set than {source.directory} "
            f"holds (digest {header.digest[:12]} against {source.digest[:12]}); give its --data-dir"
        )
    images = load_test_data(source.directory).to(device)
    # In float32 whatever it was trained in: a score must not depend on the machine's speed.
    logits = predict(model, images, header.mean, header.std, "fp32")
    correct = int((logits.argmax(1) == images.labels).sum())
    reading = TestReading(
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        correct=correct,
        images=len(images),
        accuracy=correct / len(images),
        interval=wilson_interval(correct, len(images)),
    )
    save_metrics(folder, metrics.with_reading(reading))
    return reading
