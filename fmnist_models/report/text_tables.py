"""Readings and predictions as plain text for a terminal or a file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from fmnist_models.saved_model.folder import TestReading
from fmnist_models.saved_model.predictor import Prediction
from fmnist_models.saved_model.scores import CLASS_COLUMNS, TestDetails

RUNNERS_UP = 2


def columns(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of aligned cells: the first column to the left, the others to the right."""
    lines = [list(header), *map(list, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return [
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def score_line(folder: Path, accuracy: float, interval: tuple[float, float]) -> str:
    """The test accuracy with its interval."""
    low, high = (100 * bound for bound in interval)
    return (
        f"{folder}: test accuracy {100 * accuracy:.2f} % (95 % interval {low:.2f} to {high:.2f} %)"
    )


def reading_lines(folder: Path, reading: TestReading, readings: int) -> list[str]:
    """A reading of the test set in full."""
    lines = [score_line(folder, reading.accuracy, reading.interval)]
    if reading.details is not None:
        classes = (score.cells("") for score in reading.details.classes)
        lines += ["", *columns(CLASS_COLUMNS, classes), "", *_confusion_lines(reading.details), ""]
        lines.append(
            f"Expected calibration error {100 * reading.details.calibration_error:.2f} points "
            f"({len(reading.details.bins)} bins of equal width), cross-entropy "
            f"{reading.details.cross_entropy:.4f} nats, macro F1 {reading.details.macro_f1:.4f}."
        )
    times = "once" if readings == 1 else f"{readings} times"
    return [*lines, f"The test set has now been read {times} with this model."]


def _confusion_lines(details: TestDetails) -> list[str]:
    labels = [str(label) for label in range(len(details.classes))]
    rows = (
        (f"{label} {score.name}" if score.name != label else label, *map(str, row))
        for label, score, row in zip(labels, details.classes, details.confusion, strict=True)
    )
    return columns(("true \\ predicted", *labels), rows)


def prediction_lines(names: Sequence[str], predictions: Sequence[Prediction]) -> list[str]:
    """A line a picture: its class with probability, the runners-up, how it was read."""
    rows = []
    for name, one in zip(names, predictions, strict=True):
        ranked = sorted(one.probabilities.items(), key=lambda pair: -pair[1])[1 : RUNNERS_UP + 1]
        others = ", ".join(f"{other} {100 * share:.1f} %" for other, share in ranked)
        read = "dark on light" if one.inverted else "light on dark"
        rows.append((name, one.name, f"{100 * one.probability:.1f} %", others, read))
    return columns(("picture", "class", "probability", "next", "read as"), rows)
