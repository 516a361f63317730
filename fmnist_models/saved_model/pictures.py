"""Ordinary picture files made into what the networks know: 28x28 grey, light on black.

For clothing the steps are those by which Fashion-MNIST was made (arXiv:1708.07747, section 2):
margins trimmed, the longer side brought to 28 pixels, put into the middle, negated. What is 28x28
already is left as it is. Before, what the shop's pictures did not need: the background, off-white
paper say, is made black, and the clothing's brightest 255. For other data sets nothing is trimmed
or brightened: where a digit lies matters.
"""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from fmnist_models.data.idx import IMAGE_SIDE
from fmnist_models.errors import ConfigError

Invert = Literal["auto", "yes", "no"]
"""Whether light and dark are exchanged: as the corners tell, always, or never."""
NEARLY_BACKGROUND = 0.05 * 255
"""Margins that differ from the background by no more are trimmed; the paper's 5 %."""
CORNER = 1 / 14
"""Side of the corner squares that tell the background, as a share of the picture's shorter side."""

BRIGHTEST = 0.99
"""This quantile of the pixels becomes 255, which 92 % of Fashion-MNIST's images reach somewhere."""
MOST_GAIN = 8.0
"""Contrast is raised by no more, as what is fainter is noise."""
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "TGA", "JPEG2000")
"""What is read. Pillow knows more, and starts Ghostscript for one of them: EPS is a program."""
MOST_PIXELS = 25_000_000
"""What is unpacked: a picture of a few hundred kB may have hundreds of millions."""

Grey = NDArray[np.uint8]


def read_picture(path: Path) -> Image.Image:
    """The picture in the file at `path`, turned as its camera says.

    Raises ConfigError, in one line, when there is no picture that can be read.
    """
    try:
        with warnings.catch_warnings():
            # Pillow only warns of pictures that would fill the memory when unpacked.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as picture:
                if _pixels(picture) > MOST_PIXELS:
                    side = math.isqrt(MOST_PIXELS)
                    picture.draft(None, (side // 2, side // 2))  # JPEG is unpacked as a smaller one
                if _pixels(picture) <= MOST_PIXELS:
                    picture.load()
                    return ImageOps.exif_transpose(picture)
                reason = f"it has {_pixels(picture):,} pixels, and {MOST_PIXELS:,} are read at most"
    except UnidentifiedImageError:
        reason = "it is in no format that is known here"
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        reason = f"it has more than {Image.MAX_IMAGE_PIXELS:,} pixels, the most that are read"
    except OSError as error:
        reason = error.strerror or str(error)
    except (ValueError, SyntaxError, EOFError, MemoryError) as error:
        reason = str(error) or type(error).__name__
    reason = " ".join(reason.split())
    raise ConfigError(f"cannot read the picture {path}: {reason}; give a PNG, JPEG or the like")


def _pixels(picture: Image.Image) -> int:
    return picture.width * picture.height


def prepare(picture: Image.Image, invert: Invert = "auto", *, trim: bool) -> tuple[Grey, bool]:
    """`picture` as (28, 28) uint8, light on black, and whether light and dark were exchanged.

    `trim` for clothing: see the top of the file. Transparent parts count as background.
    """
    grey = _grey(picture)
    inverted = invert == "yes" or (invert == "auto" and background(grey) > 127.5)
    if inverted:
        grey = 255 - grey
    if grey.shape == (IMAGE_SIDE, IMAGE_SIDE):
        return grey, inverted
    backdrop = background(grey)
    if not trim:
        return _fitted(grey, backdrop), inverted
    return _fitted(_levelled(_trimmed(grey), backdrop), 0.0), inverted


def _grey(picture: Image.Image) -> Grey:
    """(H, W) uint8; transparent parts in black or white, whichever the picture stands out from."""
    if picture.mode.startswith("I") or picture.mode == "F":
        return _stretched(np.asarray(picture, dtype=np.float64))
    if not picture.has_transparency_data:
        return np.asarray(picture.convert("L"))
    layers = np.asarray(picture.convert("LA"), dtype=np.float64)
    values, alpha = layers[..., 0], layers[..., 1] / 255
    seen = alpha.sum()
    light = seen > 0 and (values * alpha).sum() / seen > 127.5
    backdrop = 0.0 if light else 255.0
    return np.asarray(np.rint(values * alpha + backdrop * (1 - alpha)), dtype=np.uint8)


def _stretched(values: NDArray[np.float64]) -> Grey:
    """Pictures of 16 or more bits: their own range, brought to 0 to 255."""
    low, high = float(values.min()), float(values.max())
    span = (high - low) or 1.0
    return np.asarray(np.rint(255 * (values - low) / span), dtype=np.uint8)


def background(grey: Grey) -> float:
    """The grey level (0 to 255) of the background: the median of the four corners' means."""
    side = max(1, round(CORNER * min(grey.shape)))
    ends = (slice(None, side), slice(-side, None))
    return float(np.median([grey[rows, columns].mean() for rows in ends for columns in ends]))


def _trimmed(grey: Grey) -> Grey:
    """Without the margins that are background; a picture of nothing else stays whole."""
    differs = np.abs(grey - background(grey)) > NEARLY_BACKGROUND
    rows, columns = np.flatnonzero(differs.any(1)), np.flatnonzero(differs.any(0))
    if not len(rows):
        return grey
    return grey[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _levelled(grey: Grey, backdrop: float) -> Grey:
    """With the background at 0 and the brightest parts at 255.

    A network that knows only black backgrounds takes anything on grey paper for something large:
    of 600 training images on paper of 94 % it named 63 % right without this, 93 % with it.
    """
    above = np.maximum(0.0, grey.astype(np.float64) - backdrop)
    top = max(float(np.quantile(above, BRIGHTEST)), 255 / MOST_GAIN)
    return np.asarray(np.rint(255 * np.minimum(1.0, above / top)), dtype=np.uint8)


def _fitted(grey: Grey, backdrop: float) -> Grey:
    """The longer side brought to 28 pixels, the whole put into the middle of a square.

    What is added has the grey level `backdrop`, 0 to 255.
    """
    height, width = grey.shape
    scale = IMAGE_SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    # Areas averaged on the way down, as an image sensor would; smooth on the way up.
    way = Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC
    small = np.asarray(Image.fromarray(grey).resize(size, way))
    square = np.full((IMAGE_SIDE, IMAGE_SIDE), round(backdrop), dtype=np.uint8)
    # Of an odd margin the larger part is above and to the left, as in nearly all of Fashion-MNIST.
    top, left = (IMAGE_SIDE + 1 - size[1]) // 2, (IMAGE_SIDE + 1 - size[0]) // 2
    square[top : top + size[1], left : left + size[0]] = small
    return square
