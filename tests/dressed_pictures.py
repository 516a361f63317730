"""28x28 images dressed as the pictures that people have: on paper, framed, dusty, turned, cut out.

Each kind has one thing done to it, by how much is drawn at random. Used by tests and by
benchmarks/robustness/pictures.py; nothing here knows how pictures are read.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Pixels = NDArray[np.uint8]
Random = np.random.Generator
Colour = tuple[int, int, int]

WHITE, BLACK = (255, 255, 255), (0, 0, 0)
LIES_AS: dict[int, Image.Transpose | None] = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""What was done to the picture for EXIF's orientation tag to be true of it."""


def drawn(
    pixels: Pixels, random: Random, paper: Colour = WHITE, ink: Colour = BLACK
) -> Image.Image:
    """`pixels` in `ink` on `paper`, 6 to 14 times as large, sharp or smooth."""
    side = 28 * int(random.integers(6, 15))
    way = Image.Resampling.NEAREST if random.random() < 0.5 else Image.Resampling.BICUBIC
    large = Image.fromarray(pixels).resize((side, side), way)
    share = np.asarray(large, np.float64)[..., None] / 255
    return Image.fromarray(np.rint(paper + (np.array(ink) - paper) * share).astype(np.uint8))


def in_margins(picture: Image.Image, random: Random, colour: Colour, most: float) -> Image.Image:
    """`picture` with a margin of its own on each side, up to `most` of its side."""
    left, top, right, bottom = (int(one) for one in random.uniform(0, most, 4) * picture.width)
    size = picture.width + left + right, picture.height + top + bottom
    whole = Image.new("RGB", size, colour)
    whole.paste(picture, (left, top))
    return whole


def some(colours: list[Colour], random: Random) -> Colour:
    """One of `colours`."""
    return colours[int(random.integers(len(colours)))]


def enlarged(pixels: Pixels, random: Random) -> Image.Image:
    """Nothing but larger, light on black."""
    return drawn(pixels, random, paper=BLACK, ink=WHITE)


def negative(pixels: Pixels, random: Random) -> Image.Image:
    """Dark on white, larger."""
    return drawn(pixels, random)


def paper(pixels: Pixels, random: Random) -> Image.Image:
    """On white, grey or coloured paper, with margins, not in the middle."""
    level = int(random.integers(150, 256))
    tints = [(0, 0, 0), (0, 5, 25), (25, 0, 10), (15, 10, 0)]
    red, green, blue = (level - part for part in some(tints, random))
    colour = red, green, blue
    return in_margins(drawn(pixels, random, colour), random, colour, most=1.0)


def grainy_paper(pixels: Pixels, random: Random) -> Image.Image:
    """A photograph of paper: grain, and light that falls off to one side."""
    flat = np.asarray(paper(pixels, random), np.float64)
    height, width = flat.shape[:2]
    x, y = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    angle = random.uniform(0, 2 * np.pi)
    light = 1 - 0.1 * (1 + x * np.cos(angle) + y * np.sin(angle)) / 2
    seen = flat * light[..., None] + random.normal(0, 2, (height, width, 1))
    return Image.fromarray(np.clip(np.rint(seen), 0, 255).astype(np.uint8))


def dark_wall(pixels: Pixels, random: Random) -> Image.Image:
    """Light on a dark wall, with margins."""
    wall, light = int(random.integers(0, 90)), int(random.integers(190, 256))
    colour = (wall, wall, wall)
    picture = drawn(pixels, random, colour, (light, light, light))
    return in_margins(picture, random, colour, most=0.5)


def pen(pixels: Pixels, random: Random) -> Image.Image:
    """In pencil, or a coloured pen, on nearly white paper."""
    inks = [(130, 130, 130), (20, 30, 160), (190, 20, 30), (10, 110, 50), (230, 200, 20)]
    sheet = some([WHITE, (250, 248, 240)], random)
    picture = drawn(pixels, random, sheet, some(inks, random))
    return in_margins(picture, random, sheet, most=0.5)


def framed(pixels: Pixels, random: Random, margin: float) -> Image.Image:
    """Dark on white or light on black, `margin` at most around it, in a frame of 1 to 20 %."""
    sheet, ink = some([(WHITE), (WHITE), (BLACK)], random), WHITE
    ink = BLACK if sheet == WHITE else WHITE
    picture = in_margins(drawn(pixels, random, sheet, ink), random, sheet, most=margin)
    colours = [ink, ink, (128, 128, 128), (120, 70, 30)]
    width = max(2, int(picture.width * random.uniform(0.01, 0.2)))
    whole = Image.new(
        "RGB", (picture.width + 2 * width, picture.height + 2 * width), some(colours, random)
    )
    whole.paste(picture, (width, width))
    return whole


def frame(pixels: Pixels, random: Random) -> Image.Image:
    """A frame with some of the paper between it and the clothing."""
    return framed(pixels, random, margin=0.3)


def tight_frame(pixels: Pixels, random: Random) -> Image.Image:
    """A frame that the clothing touches."""
    return framed(pixels, random, margin=0.0)


def line_frame(pixels: Pixels, random: Random) -> Image.Image:
    """A thin line around it, and paper outside it too."""
    picture = in_margins(drawn(pixels, random), random, WHITE, most=0.2)
    ImageDraw.Draw(picture).rectangle(
        (0, 0, picture.width - 1, picture.height - 1), outline=BLACK, width=2
    )
    return in_margins(picture, random, WHITE, most=0.3)


def bars(pixels: Pixels, random: Random) -> Image.Image:
    """Bars above and below, or at both sides, black mostly."""
    sheet, ink = (BLACK, WHITE) if random.random() < 0.25 else (WHITE, BLACK)
    picture = in_margins(drawn(pixels, random, sheet, ink), random, sheet, most=0.2)
    colour = some([ink, ink, (60, 60, 60)], random)
    wide, high = (int(one * picture.width) for one in random.uniform(0.02, 0.5, 2))
    if random.random() < 0.5:
        whole = Image.new("RGB", (picture.width, picture.height + wide + high), colour)
        whole.paste(picture, (0, wide))
    else:
        whole = Image.new("RGB", (picture.width + wide + high, picture.height), colour)
        whole.paste(picture, (wide, 0))
    return whole


def screenshot(pixels: Pixels, random: Random) -> Image.Image:
    """A telephone's: a bar with a clock above, one with buttons below."""
    side = drawn(pixels, random, WHITE, BLACK)
    picture = in_margins(side, random, WHITE, most=0.3)
    top, bottom = int(0.06 * picture.height), int(0.1 * picture.height)
    colours = [BLACK, (40, 44, 52), (225, 225, 230)]
    whole = Image.new("RGB", (picture.width, picture.height + top + bottom), some(colours, random))
    whole.paste(picture, (0, top))
    pen = ImageDraw.Draw(whole)
    contrast = BLACK if whole.getpixel((0, 0)) == colours[2] else WHITE
    pen.text((4, 1), "12:34", fill=contrast, font_size=max(6, int(0.7 * top)))
    for place in (0.2, 0.5, 0.8):
        x, y = place * whole.width, whole.height - bottom / 2
        pen.ellipse((x - bottom / 5, y - bottom / 5, x + bottom / 5, y + bottom / 5), fill=contrast)
    return whole


def specks(pixels: Pixels, random: Random) -> Image.Image:
    """Dust on it: up to 40 specks of up to 4 pixels a side, anywhere."""
    picture = in_margins(drawn(pixels, random), random, WHITE, most=0.7)
    for _ in range(int(random.integers(1, 41))):
        x, y = int(random.integers(picture.width)), int(random.integers(picture.height))
        grey = int(random.integers(0, 150))
        size = int(random.integers(0, 4))
        ImageDraw.Draw(picture).rectangle((x, y, x + size, y + size), fill=(grey, grey, grey))
    return picture


def turned(pixels: Pixels, random: Random) -> Image.Image:
    """Lying on its side or its head, mirrored too, as EXIF says."""
    picture = in_margins(drawn(pixels, random), random, WHITE, most=0.3)
    orientation = int(random.integers(1, 9))
    way = LIES_AS[orientation]
    lying = picture if way is None else picture.transpose(way)
    lying.getexif()[0x0112] = orientation
    return lying


def deep(pixels: Pixels, random: Random) -> Image.Image:
    """16 bits a pixel, of which 10, 12 or all are used; light on black or the reverse."""
    grey = np.asarray(drawn(pixels, random).convert("L"), np.float64) / 255
    if random.random() < 0.5:
        grey = 1 - grey
    most = 2 ** int(random.choice([10, 12, 16])) - 1
    return Image.fromarray(np.rint(most * grey).astype(np.uint16))


def ink_alone(pixels: Pixels, random: Random) -> Image.Image:
    """Black ink or white chalk, as thick as it is opaque, on nothing."""
    large = drawn(pixels, random, BLACK, WHITE).convert("L")
    picture = Image.new("RGBA", large.size, some([BLACK, WHITE], random))
    picture.putalpha(large)
    return picture


def cut_out(pixels: Pixels, random: Random) -> Image.Image:
    """The clothing in its shades, dark or light, and nothing around it."""
    sheet = some([WHITE, BLACK], random)
    ink = BLACK if sheet == WHITE else WHITE
    picture = drawn(pixels, random, sheet, ink).convert("RGBA")
    seen = np.abs(np.asarray(picture.convert("L"), np.int16) - sheet[0]) > 12
    bare = np.array(picture)
    bare[..., 3] = 255 * seen
    if random.random() < 0.5:
        bare[~seen] = 0
    return in_nothing(Image.fromarray(bare), random)


def in_nothing(picture: Image.Image, random: Random) -> Image.Image:
    """`picture` with a transparent margin."""
    width = int(random.uniform(0, 0.5) * picture.width)
    whole = Image.new("RGBA", (picture.width + 2 * width, picture.height + 2 * width))
    whole.paste(picture, (width, width))
    return whole


def palette(pixels: Pixels, random: Random) -> Image.Image:
    """A GIF's colours."""
    return paper(pixels, random).convert("P", palette=Image.Palette.ADAPTIVE)


KINDS: dict[str, Callable[[Pixels, Random], Image.Image]] = {
    kind.__name__: kind
    for kind in (
        enlarged,
        negative,
        paper,
        grainy_paper,
        dark_wall,
        pen,
        frame,
        tight_frame,
        line_frame,
        bars,
        screenshot,
        specks,
        turned,
        deep,
        ink_alone,
        cut_out,
        palette,
    )
}
KINDS["jpeg"] = paper
"""By name: (28, 28) uint8, light on black, and a source of chance -> a picture."""


def write_dressed(kind: str, pixels: Pixels, number: int, folder: Path) -> Path:
    """Write image `number`, `pixels` (28, 28) uint8, dressed as `kind`: the file."""
    random = np.random.default_rng([number, *kind.encode()])
    picture = KINDS[kind](pixels, random)
    path = folder / f"{kind}-{number}.{'jpg' if kind == 'jpeg' else 'png'}"
    picture.save(path, exif=picture.getexif(), quality=int(random.integers(40, 95)))
    return path
