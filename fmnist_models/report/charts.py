"""The charts of a model's report: learning curves, confusion matrix, reliability. No torch here.

Each function gives a matplotlib figure back; `png` turns it into a file's contents, `svg` into a
part of a page.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup, escape
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter, StrMethodFormatter

from fmnist_models.files import MAKER
from fmnist_models.saved_model.scores import TestDetails
from fmnist_models.training.metrics import EpochMetrics

INK, SOFT, LINE, PAPER = "#1c2733", "#5d6b7a", "#dfe4ea", "#ffffff"
BLUE, PALE, ORANGE = "#2a6fb5", "#b9d0e8", "#d9662b"
PAGE_COLOURS = {
    **{INK: "ink", SOFT: "soft", LINE: "line", PAPER: "paper"},
    **{BLUE: "blue", PALE: "pale", ORANGE: "orange"},
}
"""The variables of the pages' style that hold these colours, or darker ones."""
RIGHT = LinearSegmentedColormap.from_list("right", ["#ffffff", "#d5e3f2", "#2a6fb5"])
WRONG = LinearSegmentedColormap.from_list("wrong", ["#ffffff", "#fbe0d0", "#d9662b"])
DPI = 160
WIDEST = 10.4
"""Width in inches of the figures that fill a page."""
FEW = 30
"""In bins of fewer images the gap is mostly chance, and drawn pale."""
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": SOFT,
    "axes.edgecolor": LINE,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titlecolor": INK,
    "axes.titlepad": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "grid.color": LINE,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "legend.frameon": False,
    "figure.constrained_layout.w_pad": 0.06,
    "figure.constrained_layout.h_pad": 0.06,
}


def png(figure: Figure) -> bytes:
    """The figure as the contents of a PNG file."""
    buffer = io.BytesIO()
    with rc_context(STYLE):
        figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": MAKER})
    return buffer.getvalue()


def svg(figure: Figure, name: str, label: str) -> Markup:
    """The figure as a part of a page, in the page's colours, light or dark.

    `name` keeps the identifiers in it apart from those of the page's other figures; `label` is what
    a screen reader says.
    """
    buffer = io.StringIO()
    with rc_context({**STYLE, "svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.S)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text)
    text = text.replace("'DejaVu Sans'", "system-ui, 'DejaVu Sans', sans-serif")
    for colour, variable in PAGE_COLOURS.items():
        text = text.replace(colour, f"var(--{variable})")
    _, height, text = re.split(r' (?:width|height)="[\d.]+pt"', text, maxsplit=2)
    return Markup(f'<svg role="img" aria-label="{escape(label)}"{height}{text}')


def learning_curves(
    trainings: Sequence[Sequence[EpochMetrics]], test: tuple[float, tuple[float, float]] | None
) -> Figure:
    """Loss and accuracy over the epochs of each of the `trainings`, a curve each in one colour.

    `test` is the test accuracy with its interval.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(9.6, 3.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        for number, epochs in enumerate(trainings):
            hidden = "_" if number else ""  # in front of a label it keeps it out of the legend
            x = [e.epoch for e in epochs]
            _curve(left, x, [e.train_loss for e in epochs], BLUE, f"{hidden}training")
            shown = f"{hidden}training, augmented images"
            _curve(right, x, [e.train_accuracy for e in epochs], BLUE, shown)
            validated = [(e.epoch, e.val_accuracy) for e in epochs if e.val_accuracy is not None]
            if validated:
                places, values = [e for e, _ in validated], [v for _, v in validated]
                _curve(right, places, values, SOFT, f"{hidden}validation")
        left.set(title="Training loss", xlabel="epoch")
        left.set_ylim(bottom=0)
        if test:
            accuracy, (low, high) = test
            right.axhspan(low, high, color=ORANGE, alpha=0.18, linewidth=0)
            right.axhline(accuracy, color=ORANGE, linewidth=1.6, label="test, once trained")
        right.set(title="Accuracy", xlabel="epoch")
        right.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
        right.legend(loc="lower right", fontsize=9)
        for axes in (left, right):
            axes.grid(True, axis="y")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    return figure


def _curve(axes: Axes, x: Sequence[float], y: Sequence[float], colour: str, label: str) -> None:
    marker = "o" if len(x) < 25 else ""
    axes.plot(x, y, color=colour, linewidth=2, marker=marker, markersize=4, label=label)


def confusion_matrix(details: TestDetails) -> Figure:
    """All classes against all: counts, hits in blue, confusions in orange, by share of the row."""
    with rc_context(STYLE):
        matrix = np.array(details.confusion)
        size = max(5.5, 1.9 + 0.62 * len(matrix))
        figure = Figure(figsize=(size + 0.35, size), layout="constrained")
        axes = figure.subplots()
        draw_matrix(axes, matrix, [score.name for score in details.classes])
        axes.set_title("Test images by true class (rows) and predicted class (columns)")
    return figure


def draw_matrix(axes: Axes, matrix: np.ndarray, names: Sequence[str]) -> None:
    """A confusion matrix (C, C) of counts into `axes`; too many classes go without numbers."""
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    hits = np.eye(len(matrix), dtype=bool)
    axes.imshow(np.ma.masked_where(~hits, shares), cmap=RIGHT, vmin=0, vmax=1)
    worst = max(0.05, float(shares[~hits].max(initial=0.0)))
    axes.imshow(np.ma.masked_where(hits, shares), cmap=WRONG, vmin=0, vmax=worst)
    places = np.arange(len(matrix))
    axes.set_xticks(places, names, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(places, names)
    axes.set(xlabel="predicted", ylabel="true")
    axes.tick_params(length=0, labelcolor=INK)
    axes.spines[:].set_visible(False)
    for edge in places[1:] - 0.5:
        axes.axhline(edge, color=PAPER, linewidth=1.5)
        axes.axvline(edge, color=PAPER, linewidth=1.5)
    if len(matrix) <= 20:
        for (i, j), count in np.ndenumerate(matrix):
            if count:
                colour = RIGHT(shares[i, j]) if i == j else WRONG(shares[i, j] / worst)
                axes.text(j, i, f"{count}", ha="center", va="center", fontsize=9, color=_on(colour))


def _on(colour: Sequence[float]) -> str:
    """A colour of writing that can be read on `colour`, by its luminance (ITU-R BT.709)."""
    red, green, blue = colour[:3]
    return PAPER if 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.6 else INK


def reliability(details: TestDetails) -> Figure:
    """Accuracy against confidence in bins, and how many images each bin has."""
    with rc_context(STYLE):
        figure = Figure(figsize=(5.6, 5.8), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3.2, 1])
        bins = [one for one in details.bins if one.images]
        middles = [(one.low + one.high) / 2 for one in bins]
        width = 0.9 / len(details.bins)
        accuracies, confidences = [one.accuracy for one in bins], [one.confidence for one in bins]
        above.bar(middles, accuracies, width, color=PALE, label="accuracy")
        above.plot([0, 1], [0, 1], color=SOFT, linewidth=1.2, linestyle=(0, (4, 3)))
        strengths = [1.0 if one.images >= FEW else 0.3 for one in bins]
        above.vlines(middles, accuracies, confidences, color=ORANGE, linewidth=3, alpha=strengths)
        above.plot([], [], color=ORANGE, linewidth=3, label="gap to confidence")
        places = [m + side * width / 2 for m in middles for side in (-1, 1)]
        above.hlines(accuracies, places[::2], places[1::2], color=BLUE, linewidth=2)
        error = 100 * details.calibration_error
        above.set(title=f"Calibration: expected error {error:.2f} points", ylabel="accuracy")
        above.set(xlim=(0, 1), ylim=(0, 1.02))
        above.legend(loc="upper left", fontsize=9)
        below.bar(middles, [one.images for one in bins], width, color=SOFT)
        below.set(xlabel="confidence: the highest probability", ylabel="images", yscale="log")
        below.set_ylim(bottom=0.8)
        below.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        below.minorticks_off()
        for axes in (above, below):
            axes.grid(True, axis="y")
            axes.set_axisbelow(True)
        above.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        below.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    return figure
