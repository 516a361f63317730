"""Ordinary pictures, made of real images in many ways, come back as what they were made of."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fmnist_models.data.dataset import Dataset
from fmnist_models.errors import ConfigError
from fmnist_models.saved_model.pictures import prepare, read_picture

COUNT = 80
Pixels = NDArray[np.uint8]


def plain(pixels: Pixels) -> Image.Image:
    return Image.fromarray(pixels)


def negative(pixels: Pixels) -> Image.Image:
    return Image.fromarray(255 - pixels)


def large(pixels: Pixels) -> Image.Image:
    return plain(pixels).resize((280, 280), Image.Resampling.NEAREST)


def large_negative(pixels: Pixels) -> Image.Image:
    return negative(pixels).resize((333, 333), Image.Resampling.BICUBIC)


def wide_canvas(pixels: Pixels) -> Image.Image:
    canvas = Image.new("RGB", (640, 400), "white")
    canvas.paste(negative(pixels).resize((252, 252), Image.Resampling.NEAREST), (300, 90))
    return canvas


def coloured(pixels: Pixels) -> Image.Image:
    grey = np.asarray(large_negative(pixels), dtype=np.float64)
    return Image.fromarray(np.stack([grey, grey * 0.97, grey * 0.94], 2).astype(np.uint8))


def deep(pixels: Pixels) -> Image.Image:
    return Image.fromarray(np.asarray(large(pixels), dtype=np.uint16) * 257)


def palette(pixels: Pixels) -> Image.Image:
    return large(pixels).convert("P")


def on_paper(pixels: Pixels, paper: int, ink: int) -> Image.Image:
    """Drawn in grey `ink` on `paper`, not in the middle."""
    share = np.asarray(large(pixels), dtype=np.float64) / 255
    canvas = Image.new("L", (500, 420), paper)
    canvas.paste(Image.fromarray((paper + (ink - paper) * share).astype(np.uint8)), (150, 60))
    return canvas


def grey_paper(pixels: Pixels) -> Image.Image:
    return on_paper(pixels, 215, 0)


def pale(pixels: Pixels) -> Image.Image:
    return on_paper(pixels, 250, 130)


def dark_wall(pixels: Pixels) -> Image.Image:
    return on_paper(pixels, 60, 230)


WAYS = [
    (plain, False, 0),
    (negative, True, 0),
    (large, False, 8),
    (large_negative, True, 16),
    (wide_canvas, True, 8),
    (coloured, True, 20),
    (deep, False, 8),
    (palette, False, 8),
    (grey_paper, True, 16),
    (pale, True, 16),
    (dark_wall, False, 16),
]


@pytest.mark.parametrize(
    ("make", "dark_on_light", "allowed"), WAYS, ids=lambda v: getattr(v, "__name__", None)
)
def test_a_picture_comes_back_as_the_image_it_was_made_of(
    data: Dataset,
    tmp_path: Path,
    make: Callable[[Pixels], Image.Image],
    dark_on_light: bool,
    allowed: float,
) -> None:
    images = data.train.images[:COUNT, 0].numpy()
    told, off = 0, []
    for pixels in images:
        path = tmp_path / "one.png"
        make(pixels).save(path)
        grey, inverted = prepare(read_picture(path), trim=True)
        assert grey.shape == (28, 28)
        assert grey.dtype == np.uint8
        told += inverted == dark_on_light
        if inverted == dark_on_light:
            off.append(float(np.abs(grey.astype(int) - pixels).mean()))
    assert told >= 0.97 * COUNT
    assert np.mean(off) <= allowed


@pytest.mark.parametrize("light", [True, False])
@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_a_cut_out_stands_out_from_black(data: Dataset, light: bool, mode: str) -> None:
    for pixels in data.train.images[:50, 0].numpy():
        shape = large(np.where(pixels > 20, 255, 0).astype(np.uint8))
        picture = Image.new("L", shape.size, 220 if light else 30).convert(mode)
        picture.putalpha(shape)
        grey, inverted = prepare(picture, trim=True)
        assert inverted != light
        assert grey[0, 0] <= 1 or pixels[0, 0] > 20
        assert grey.max() == 255


def test_what_is_told_beats_what_is_seen(data: Dataset) -> None:
    pixels = data.train.images[0, 0].numpy()
    assert np.array_equal(prepare(plain(pixels), "yes", trim=True)[0], 255 - pixels)
    assert np.array_equal(prepare(negative(pixels), "no", trim=True)[0], 255 - pixels)


def test_nothing_is_trimmed_where_places_matter(data: Dataset) -> None:
    pixels = np.zeros((56, 56), np.uint8)
    pixels[4:14, 4:14] = 200
    whole, _ = prepare(plain(pixels), trim=False)
    assert whole[2:7, 2:7].min() == 200
    assert whole[10:].max() == 0
    trimmed, _ = prepare(plain(pixels), trim=True)
    assert trimmed.min() == 255


def test_faint_noise_is_not_made_into_something() -> None:
    noise = np.random.default_rng(0).integers(250, 256, (200, 200)).astype(np.uint8)
    assert prepare(plain(noise), trim=True)[0].max() < 60


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (28, 28), (27, 29), (2000, 30)])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F"])
def test_every_size_and_mode_gives_an_image(size: tuple[int, int], mode: str) -> None:
    for trim in (True, False):
        grey, _ = prepare(Image.new(mode, size), trim=trim)
        assert (grey.shape, grey.dtype) == ((28, 28), np.uint8)


def test_a_photograph_is_turned_as_its_camera_says(tmp_path: Path) -> None:
    picture = Image.new("L", (40, 20), 0)
    picture.paste(255, (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    picture.save(tmp_path / "turned.jpg", exif=exif)
    read = read_picture(tmp_path / "turned.jpg")
    assert read.size == (20, 40)
    assert np.asarray(read)[5, 10] > 200 > 50 > np.asarray(read)[35, 10]


def test_a_jpeg_of_many_pixels_is_unpacked_as_a_smaller_one(tmp_path: Path) -> None:
    picture = Image.new("L", (6000, 6000), 0)
    picture.paste(255, (0, 0, 3000, 6000))
    picture.save(tmp_path / "large.jpg")
    read = read_picture(tmp_path / "large.jpg")
    assert read.size == (3000, 3000)
    assert (read.getpixel((100, 1500)), read.getpixel((2900, 1500))) == (255, 0)


def _cut_short(path: Path) -> None:
    Image.effect_noise((200, 200), 50).save(path)
    path.write_bytes(path.read_bytes()[:2000])


BAD = {
    "text.png": lambda path: path.write_text("no picture"),
    "empty.png": lambda path: path.write_bytes(b""),
    "short.png": _cut_short,
    "folder.png": lambda path: path.mkdir(),
    "missing.png": lambda path: None,
    "page.html": lambda path: path.write_text("<html><script>alert(1)</script>"),
    "program.eps": lambda path: Image.new("L", (30, 30)).save(path),
    "large.png": lambda path: Image.new("1", (6_000, 6_000)).save(path),
    "bomb.png": lambda path: Image.new("1", (20_000, 20_000)).save(path),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_picture_is_refused_in_a_line(name: str, tmp_path: Path) -> None:
    BAD[name](tmp_path / name)
    with pytest.raises(ConfigError, match=name) as caught:
        read_picture(tmp_path / name)
    assert "\n" not in str(caught.value)
