"""What a reading of the test set leaves for people: the model card, pictures, report.html.

DIR/README.md     the card, in the form of the Hugging Face Hub
DIR/report.html   one file with everything in it, which opens without a network
DIR/pictures/     each picture of the report as PNG
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from fmnist_models.data.class_names import LOOKALIKES, class_names, is_fashion_mnist
from fmnist_models.data.dataset import Images
from fmnist_models.files import make_folder, write_atomically
from fmnist_models.report import charts, image_charts
from fmnist_models.report.charts import DPI, WIDEST, png
from fmnist_models.report.html import render
from fmnist_models.report.image_charts import SaliencyMaps, ScoredImages
from fmnist_models.report.model_card import card_text, facts_of
from fmnist_models.report.saliency import attributions
from fmnist_models.saved_model.folder import (
    CARD,
    PICTURES,
    REPORT,
    Header,
    ModelMetrics,
    load_config,
)
from fmnist_models.saved_model.scores import Floats

MOST_ATTRIBUTED, MISTAKES_ATTRIBUTED = 10, 4


@dataclass(frozen=True, eq=False)
class TestOutcome:
    """A reading of the test set: `probabilities` (N, C) that `model` gave for `images`."""

    model: nn.Module
    header: Header
    images: Images
    probabilities: Floats


@dataclass(frozen=True)
class Picture:
    """A picture of the report; `name` is its file's, without the ending.

    A chart is shown in reversed shades on a dark page, which would spoil pictures of images.
    """

    name: str
    title: str
    caption: str
    content: bytes
    is_chart: bool = False

    @property
    def width_percent(self) -> float:
        """How wide it is shown, so that the writing in all pictures has one size."""
        pixels = int.from_bytes(self.content[16:20], "big")  # of the PNG's header
        return min(100.0, 100 * pixels / (DPI * WIDEST))

    @property
    def inlined(self) -> str:
        """The picture as a URL that holds it."""
        return "data:image/png;base64," + base64.b64encode(self.content).decode()


def write_report(folder: Path, metrics: ModelMetrics, tested: TestOutcome) -> None:
    """Write the card, the pictures and the page into the model folder; raises OutputError."""
    facts = facts_of(folder.resolve().name, load_config(folder), tested.header, metrics)
    pictures = list(_pictures(metrics, tested))
    make_folder(folder / PICTURES)
    for picture in pictures:
        write_atomically(folder / PICTURES / f"{picture.name}.png", picture.content)
    write_atomically(folder / CARD, card_text(facts).encode())
    write_atomically(
        folder / REPORT, render("report.html", facts=facts, pictures=pictures).encode()
    )


def write_card(folder: Path, metrics: ModelMetrics, header: Header) -> None:
    """Write the card alone, of a model that has not been scored; raises OutputError."""
    facts = facts_of(folder.resolve().name, load_config(folder), header, metrics)
    write_atomically(folder / CARD, card_text(facts).encode())


def _pictures(metrics: ModelMetrics, tested: TestOutcome) -> Iterator[Picture]:
    """All pictures that there is something to show in, in the report's order."""
    reading = metrics.test_readings[-1]
    details = reading.details
    assert details is not None
    header = tested.header
    names = class_names(header.digest, header.classes)
    images, labels = tested.images.images[:, 0].numpy(), tested.images.labels.numpy()
    seen = ScoredImages(images, labels, tested.probabilities, names)
    matrix = np.array(details.confusion)
    yield Picture(
        "confusion-matrix",
        "Which classes are taken for which",
        "Each row is a true class. Blue on the diagonal is right; the deeper the orange, the "
        "larger the share of the row that went astray.",
        png(charts.confusion_matrix(details)),
        is_chart=True,
    )
    if is_fashion_mnist(header.digest):
        yield Picture(
            "lookalikes",
            "T-shirt, pullover, coat and shirt",
            "These four are where most errors are made. Right: for each pair the image that the "
            "model was surest of; in orange frames it was wrong.",
            png(image_charts.lookalikes(seen, matrix, LOOKALIKES)),
        )
    yield Picture(
        "worst-mistakes",
        "The worst mistakes",
        "The wrong predictions that the model was surest of, surest first.",
        png(image_charts.worst_mistakes(seen)),
    )
    yield Picture(
        "reliability",
        "How far its confidence can be trusted",
        "Where bars end below the dashed line the model is too sure of itself, above it not sure "
        f"enough. {len(details.bins)} bins of equal width (arXiv:1706.04599).",
        png(charts.reliability(details)),
        is_chart=True,
    )
    yield Picture(
        "saliency",
        "What the network goes by",
        "Integrated gradients from a black image (arXiv:1703.01365), computed by captum, for the "
        "surest image of each class and for the surest mistakes (named in orange). With a black "
        "image to start from, black pixels cannot count.",
        png(image_charts.saliency(seen, _attributed(tested, seen))),
    )
    trainings = [epochs for epochs in (metrics.epochs, *metrics.member_epochs) if epochs]
    if trainings:
        yield Picture(
            "learning-curves",
            "How it was trained",
            "Training accuracy is of augmented images, which are harder than plain ones. The test "
            "set was read after the last epoch only.",
            png(charts.learning_curves(trainings, (reading.accuracy, reading.interval))),
            is_chart=True,
        )


def _attributed(tested: TestOutcome, seen: ScoredImages) -> SaliencyMaps:
    """Saliency of the surest image of the first classes, and of the surest mistakes."""
    surest = (seen.most_confident(c, c) for c in range(min(len(seen.names), MOST_ATTRIBUTED)))
    indices = [index for index in surest if index is not None]
    indices += [int(index) for index in seen.mistakes()[:MISTAKES_ATTRIBUTED]]
    device = str(next(tested.model.parameters()).device)
    targets = [int(seen.predicted[index]) for index in indices]
    chosen = tested.images.images[indices]
    maps = attributions(tested.model, tested.header, chosen, targets, device)
    return SaliencyMaps(indices, maps)
