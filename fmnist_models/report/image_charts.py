"""The pictures of a model's report that show images: mistakes, lookalikes, saliency. No torch here.

Shapes: images (N, 28, 28) uint8; probabilities (N, C) float; labels (N,) int.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fmnist_models.report.charts import INK, LINE, ORANGE, SOFT, STYLE, WIDEST, draw_matrix
from fmnist_models.saved_model.scores import Floats, Labels

WORST_ROWS, WORST_COLUMNS = 4, 8
_TWO = ListedColormap(["#2a6fb5", "#e0631f"])


@dataclass(frozen=True)
class ClassifiedImages:
    """Test images with what a model made of them; `names` of the classes."""

    images: NDArray[np.uint8]
    labels: Labels
    probabilities: Floats
    names: Sequence[str]

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The most probable class of each image: (N,)."""
        predicted: NDArray[np.int64] = self.probabilities.argmax(1)
        return predicted

    def mistakes(self) -> NDArray[np.int64]:
        """Indices of the wrongly classified, the most confident first."""
        confidence = self.probabilities.max(1)
        wrong = np.flatnonzero(self.predicted != self.labels)
        return wrong[np.argsort(-confidence[wrong], kind="stable")]

    def most_confident(self, true: int, taken_for: int) -> int | None:
        """The index of the image of class `true` most confidently taken for `taken_for`, if any."""
        found = np.flatnonzero((self.labels == true) & (self.predicted == taken_for))
        if not len(found):
            return None
        return int(found[self.probabilities[found, taken_for].argmax()])


def worst_mistakes(seen: ClassifiedImages) -> Figure:
    """The most confident of the wrong predictions, as images with true and predicted class."""
    worst = seen.mistakes()[: WORST_ROWS * WORST_COLUMNS]
    rows = max(1, -(-len(worst) // WORST_COLUMNS))
    with rc_context(STYLE):
        figure = Figure(figsize=(WIDEST, 0.45 + 1.66 * rows), layout="constrained")
        grid = figure.subplots(rows, WORST_COLUMNS, squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
        for axes, index in zip(grid.flat, worst, strict=False):
            _tile(axes, seen, int(index), ORANGE)
        if not len(worst):
            figure.text(0.5, 0.5, "no mistakes", ha="center", color=SOFT)
        figure.suptitle(
            "Above each image its true class, below what it was taken for, and how surely",
            x=0.01, ha="left", fontsize=11,
        )  # fmt: skip
    return figure


def _tile(axes: Axes, seen: ClassifiedImages, index: int, colour: str) -> None:
    predicted = int(seen.predicted[index])
    share = 100 * seen.probabilities[index, predicted]
    _picture(axes, seen.images[index], colour)
    axes.set_title(seen.names[int(seen.labels[index])], fontsize=8.5, loc="center", pad=3)
    axes.text(
        0.5, -0.05, f"{seen.names[predicted]} {share:.0f} %", transform=axes.transAxes,
        ha="center", va="top", fontsize=8.5, color=colour,
    )  # fmt: skip


def _picture(axes: Axes, image: NDArray[np.uint8], frame: str = LINE) -> None:
    """An image, black on white as it prints best, in a thin frame."""
    axes.set_axis_on()
    axes.imshow(image, cmap="gray_r", vmin=0, vmax=255, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(visible=True, color=frame, linewidth=1)


def lookalikes(seen: ClassifiedImages, matrix: NDArray[np.int64], labels: Sequence[int]) -> Figure:
    """The classes `labels` among themselves: counts, and the most confident image of each cell.

    `matrix` (C, C) is the confusion matrix of all classes.
    """
    names = [seen.names[label] for label in labels]
    with rc_context(STYLE):
        figure = Figure(figsize=(WIDEST, 5.0), layout="constrained")
        halves: Any = figure.subfigures(1, 2, width_ratios=[1, 1.05], wspace=0.03)
        left, right = halves
        axes = left.subplots()
        draw_matrix(axes, matrix[np.ix_(labels, labels)], names)
        within = matrix[np.ix_(labels, labels)]
        among, errors = within.sum() - np.trace(within), matrix.sum() - np.trace(matrix)
        axes.set_title(f"{among:,} of all {errors:,} mistakes are among these")
        grid = right.subplots(len(labels), len(labels), squeeze=False)
        for i, true in enumerate(labels):
            for j, taken in enumerate(labels):
                _cell(grid[i, j], seen, true, taken)
        for j, name in enumerate(names):
            grid[0, j].set_title(name, fontsize=9, loc="center", color=SOFT, pad=4)
            grid[j, 0].set_ylabel(name, fontsize=9, color=SOFT)
        right.suptitle("The surest of each cell: row true, column predicted", fontsize=11)
    return figure


def _cell(axes: Axes, seen: ClassifiedImages, true: int, taken: int) -> None:
    index = seen.most_confident(true, taken)
    if index is None:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set(visible=True, color=LINE)
        axes.set_box_aspect(1)
        axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center", va="center", color=SOFT)
    else:
        _picture(axes, seen.images[index], LINE if true == taken else ORANGE)


@dataclass(frozen=True)
class Attributed:
    """Images with how much each pixel counted for the predicted class: maps (N, 28, 28) float."""

    indices: Sequence[int]
    maps: NDArray[np.floating]


def saliency(seen: ClassifiedImages, attributed: Attributed) -> Figure:
    """Images above, below what of each the network goes by: orange for, blue against."""
    count = len(attributed.indices)
    half = -(-count // 2)
    with rc_context(STYLE):
        figure = Figure(figsize=(WIDEST, 0.4 + 2 * 3.2), layout="constrained")
        parts: Any = figure.subfigures(2, 1)
        for part, start in zip(parts, (0, half), strict=True):
            grid = part.subplots(2, half, squeeze=False)
            for axes in grid.flat:
                axes.set_axis_off()
            for column, place in enumerate(range(start, min(start + half, count))):
                _attributed(grid[:, column], seen, attributed, place)
        figure.suptitle(
            "What the network goes by: orange speaks for the class it named, blue against",
            x=0.01, ha="left", fontsize=11,
        )  # fmt: skip
    return figure


def _attributed(
    pair: NDArray[np.object_], seen: ClassifiedImages, attributed: Attributed, place: int
) -> None:
    index, values = attributed.indices[place], attributed.maps[place]
    true, named = int(seen.labels[index]), int(seen.predicted[index])
    _picture(pair[0], seen.images[index])
    pair[0].set_title(seen.names[named], fontsize=9, loc="center", pad=3,
                      color=INK if true == named else ORANGE)  # fmt: skip
    _picture(pair[1], (seen.images[index] * 0.22).astype(np.uint8))
    top = max(1e-9, float(np.quantile(np.abs(values), 0.995)))
    strength = np.clip(np.abs(values) / top, 0, 1) * 0.9
    pair[1].imshow(
        np.where(values >= 0, 1.0, 0.0), cmap=_TWO, vmin=0, vmax=1, alpha=strength,
        interpolation="nearest",
    )  # fmt: skip
