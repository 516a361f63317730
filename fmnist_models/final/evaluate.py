"""Scoring a model folder on the test set: the only place where the test set is read.

Every reading is recorded in the folder, because a test score is worth the less the oftener it was
looked at. What a reading tells is written down with it: metrics.json, the model card, the report.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from fmnist_models.data.class_names import class_names
from fmnist_models.data.dataset import load_test_data
from fmnist_models.data.idx import DataFiles
from fmnist_models.errors import DataError
from fmnist_models.saved_model.folder import (
    CARD,
    PICTURES,
    REPORT,
    TestReading,
    load_metrics,
    load_network,
    save_metrics,
)
from fmnist_models.saved_model.ownership import check_ours
from fmnist_models.saved_model.scores import score_in_full
from fmnist_models.training.inference import predict
from fmnist_models.training.metrics import wilson_interval


def evaluate(folder: Path, files: DataFiles, device: str, *, report: bool = False) -> TestReading:
    """Read the test set once with the model in `folder`, and record that in its metrics.json.

    With `report` the model card, the pictures and report.html are written anew, too. Raises
    ConfigError when the folder holds no model, OutputError when a file under one of those names is
    somebody else's, DataError when the data set is another one than the
    model was trained on.
    """
    if report:
        check_ours(folder, CARD, REPORT, PICTURES)
    metrics = load_metrics(folder)
    model, header = load_network(folder, device)
    if files.digest != header.digest:
        raise DataError(
            f"the model in {folder} was trained on another data set than {files.directory} "
            f"holds (digest {header.digest[:12]} against {files.digest[:12]}); give its --data-dir"
        )
    images = load_test_data(files).to(device)
    # In float32 whatever it was trained in: a score must not depend on the machine's speed.
    probabilities = predict(model, images, header.normalization, "fp32").softmax(1).cpu().numpy()
    labels = images.labels.cpu().numpy()
    correct = int((probabilities.argmax(1) == labels).sum())
    reading = TestReading(
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        correct=correct,
        images=len(images),
        accuracy=correct / len(images),
        interval=wilson_interval(correct, len(images)),
        details=score_in_full(probabilities, labels, class_names(header.digest, header.classes)),
    )
    metrics = metrics.with_reading(reading)
    save_metrics(folder, metrics)
    if report:
        from fmnist_models.report.page import TestOutcome, write_report

        write_report(folder, metrics, TestOutcome(model, header, images.to("cpu"), probabilities))
    return reading
