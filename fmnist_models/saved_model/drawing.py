"""What is drawn on a grey picture: frames cut off, the paper taken away, specks dropped.

A frame, or the bars of a screenshot, are outer rows of one shade, behind which most of the edge has
another one. The paper is the commonest shade of the edge that is left, as a plane, since light
falls off to one side. A speck hangs together, differs from the paper, and is tiny.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8]
Levels = NDArray[np.float64]

NEARLY_PAPER = 0.05 * 255
"""What differs from the paper by no more belongs to it (arXiv:1708.07747, section 2)."""
MOST_FRAMES = 8
"""So many are cut off, one within the other: a window's border, a frame, a mount, a line."""
WHOLE, MOSTLY = 0.97, 0.5
"""Shares of a row that have one shade: in a frame, and where a clock or buttons are in it."""
BLUR = 0.01
"""This share of the picture beside a frame is neither frame nor paper."""
LEAST_PANEL, BLANK = 0.2, 0.5
"""What lies in a frame is this share of it at least, with something on it, and blank."""
LEAST_SIDE = 8
"""What is smaller, in pixels, has no frame."""
EDGE = 1 / 28
"""The outermost pixels that tell the paper, as a share of the picture's shorter side."""
SAME_SHADE = 9
"""Levels of grey that count as one where the commonest is looked for."""
ROUNDS = 5
"""How often the paper's plane is fitted again to what lies near it."""
NOISE = 5.0
"""Deviations of the paper from its plane that belong to it."""
SPECK = 0.01
"""Share of the largest piece's pixels under which another is a speck."""
LEAST_PIECE = 0.03
"""Share of the picture's longer side under which the largest piece is a speck too."""


def without_frames(grey: Grey) -> Grey:
    """`grey` (H, W) without the frames and bars around it."""
    framed = grey
    for _ in range(MOST_FRAMES):
        panels = (_behind_frame(grey, blur) for blur in (0.0, BLUR))
        panel = next((panel for panel in panels if panel is not None), None)
        if panel is None:
            break
        grey = panel
    rim = 0 if grey is framed else math.ceil(BLUR * min(grey.shape))
    return grey[rim : len(grey) - rim, rim : grey.shape[1] - rim]


def drawing(grey: Grey) -> Levels:
    """(H, W): how much lighter than its paper `grey` is at each pixel, negative where darker.

    Paper and specks are 0, and so is all of it where nothing is drawn.
    """
    from scipy.ndimage import find_objects, label  # takes long to import

    levels, tolerance = _above_paper(grey)
    pieces, count = label(np.abs(levels) > tolerance, np.ones((3, 3)))
    if not count:
        return np.zeros_like(levels)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    kept = sizes >= SPECK * sizes.max()
    rows, columns = find_objects(pieces)[sizes.argmax() - 1]
    if max(rows.stop - rows.start, columns.stop - columns.start) < LEAST_PIECE * max(grey.shape):
        kept[:] = False
    return np.where(kept[pieces], levels, 0.0)


def paper_of(grey: Grey) -> float:
    """The commonest level of grey (0 to 255) at the edge of `grey` (H, W)."""
    return _commonest(grey[_is_edge(grey.shape)])


def _behind_frame(grey: Grey, blur: float) -> Grey | None:
    """What lies behind a frame; beside it, `blur` of the picture belongs to neither."""
    panel, shades = grey, []
    for _ in range(4):  # above; then, the picture turned, at each of its other sides
        thickness = _thickness(panel)
        if thickness:
            shades.append(float(np.median(panel[0])))
            panel = panel[thickness + math.ceil(blur * min(panel.shape)) :]
        if min(panel.shape) < LEAST_SIDE:
            return None
        panel = np.rot90(panel)
    edge = panel[_is_edge(panel.shape, 1)]
    paper = _commonest(edge)
    another = any(abs(shade - paper) > NEARLY_PAPER for shade in shades)
    # A rectangle of one shade is a thing on its paper where small, else blank paper in a frame.
    drawn = panel.size >= grey.size * (BLANK if _near(panel, paper).all() else LEAST_PANEL)
    bare = _near(edge, paper).mean() >= MOSTLY and _bare_corners(panel, paper) >= 3
    return panel if another and drawn and bare else None


def _thickness(rows: Grey) -> int:
    """How many of the outermost `rows` are one frame or bar."""
    share = _near(rows, float(np.median(rows[0]))).mean(1)
    whole, end = share >= WHOLE, np.append(share, 0.0)
    mostly, strictly = (
        int(np.max(np.flatnonzero(whole[: np.argmax(end < least)]) + 1, initial=0))
        for least in (MOSTLY, WHOLE)
    )
    # Clothing in a wide margin leaves more than half of each row free.
    return mostly if mostly < len(rows) / 2 else strictly


def _bare_corners(panel: Grey, paper: float) -> int:
    """In how many corners is paper: clothing without a frame touches few of those around it."""
    side = math.ceil(BLUR * min(panel.shape))
    ends = (slice(None, side), slice(-side, None))
    return sum(
        abs(float(np.median(panel[rows, columns])) - paper) <= NEARLY_PAPER
        for rows in ends
        for columns in ends
    )


def _near(values: Grey, level: float) -> NDArray[np.bool_]:
    return np.asarray(np.abs(values - level) <= NEARLY_PAPER)


def _is_edge(shape: tuple[int, ...], width: int | None = None) -> NDArray[np.bool_]:
    width = width or max(1, round(EDGE * min(shape)))
    edge = np.ones(shape, bool)
    edge[width:-width, width:-width] = False
    return edge


def _commonest(values: Grey) -> float:
    """The level around which most `values` are, as the median of those."""
    around = np.convolve(np.bincount(values, minlength=256), np.ones(SAME_SHADE), "same")
    middle = int(around.argmax())
    return float(np.median(values[np.abs(values - float(middle)) <= SAME_SHADE // 2]))


def _above_paper(grey: Grey) -> tuple[Levels, float]:
    """`grey` less its paper, a plane, and by how much the paper differs from that."""
    rows, columns = (np.linspace(-1, 1, side) for side in grey.shape)
    y, x = np.meshgrid(rows, columns, indexing="ij")
    edge = _is_edge(grey.shape)
    seen = grey[edge].astype(np.float64)
    axes = np.stack([np.ones_like(seen), x[edge], y[edge]], 1)
    plane = np.array([_commonest(grey[edge]), 0.0, 0.0])
    for _ in range(ROUNDS):
        paper = np.abs(seen - axes @ plane) <= NEARLY_PAPER
        fitted = np.linalg.lstsq(axes[paper], seen[paper])[0]
        if np.abs(fitted[1:]).sum() < NEARLY_PAPER / 2:
            break
        plane = fitted
    off = np.abs(seen - axes @ plane)
    noise = 1.4826 * float(np.median(off[off <= NEARLY_PAPER]))
    levels = grey - (plane[0] + plane[1] * x + plane[2] * y)
    return levels, max(NEARLY_PAPER, NOISE * noise)
