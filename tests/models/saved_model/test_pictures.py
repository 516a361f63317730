"""Ordinary pictures, made of real images in many ways, come back as what they were made of."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from fmnist_models.data.dataset import Dataset
from fmnist_models.errors import ConfigError
from fmnist_models.saved_model.pictures import prepare, read_picture
from tests.dressed_pictures import KINDS, write_dressed

COUNT = 8
Pixels = NDArray[np.uint8]


def plain(pixels: Pixels) -> Image.Image:
    return Image.fromarray(pixels)


def negative(pixels: Pixels) -> Image.Image:
    return Image.fromarray(255 - pixels)


def large(pixels: Pixels) -> Image.Image:
    return plain(pixels).resize((280, 280), Image.Resampling.NEAREST)


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_comes_back_as_the_image_it_was_made_of(
    data: Dataset, tmp_path: Path, kind: str
) -> None:
    """Of a frame, a bar or a speck that is taken for clothing, `off` is 50 to 150."""
    images = data.train.images[:COUNT, 0].numpy()
    off = []
    for number, pixels in enumerate(images):
        picture = read_picture(write_dressed(kind, pixels, number, tmp_path))
        grey, _ = prepare(picture, trim=True)
        assert (grey.shape, grey.dtype) == ((28, 28), np.uint8)
        off.append(float(np.abs(grey.astype(int) - pixels).mean()))
    assert np.mean(off) <= 25


@pytest.mark.parametrize("make", [plain, negative])
def test_28x28_pixels_are_left_as_they_are(
    data: Dataset, make: Callable[[Pixels], Image.Image]
) -> None:
    told = 0
    for pixels in data.train.images[:80, 0].numpy():
        grey, inverted = prepare(make(pixels), trim=True)
        told += inverted == (make is negative)
        assert np.array_equal(grey, 255 - np.asarray(make(pixels)) if inverted else make(pixels))
    assert told >= 78


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


def _grey(level: int, size: tuple[int, int] = (200, 150)) -> Image.Image:
    return Image.new("L", size, level)


def _noise() -> Image.Image:
    return plain(np.random.default_rng(0).integers(250, 256, (200, 200)).astype(np.uint8))


def _dusty() -> Image.Image:
    picture = _grey(240)
    for x, y in ((3, 5), (180, 20), (90, 140)):
        picture.paste(0, (x, y, x + 3, y + 2))
    return picture


EMPTY = {
    "white": lambda: _grey(255),
    "black": lambda: _grey(0),
    "as large as the network's": lambda: _grey(9, (28, 28)),
    "one pixel": lambda: _grey(200, (1, 1)),
    "noise": _noise,
    "dust alone": _dusty,
    "a frame alone": lambda: ImageOps.expand(_grey(240), 20, fill=0),
    "transparent": lambda: Image.new("RGBA", (90, 90), (7, 8, 9, 0)),
    "opaque": lambda: Image.new("RGBA", (90, 90), (7, 8, 9, 255)),
    "colour": lambda: Image.new("RGB", (90, 90), (200, 30, 30)),
    "16 bits": lambda: plain(
        np.random.default_rng(0).integers(60000, 60100, (90, 90)).astype("u2")
    ),
    "not a number": lambda: plain(np.full((90, 90), np.nan, np.float32)),
}


@pytest.mark.parametrize("what", EMPTY)
@pytest.mark.parametrize("trim", [True, False])
def test_where_nothing_is_on_it_that_is_said(what: str, trim: bool) -> None:
    for invert in ("auto", "yes", "no"):
        with pytest.raises(ConfigError, match="there is nothing on it"):
            prepare(EMPTY[what](), invert, trim=trim)


def test_of_an_animation_the_first_frame_with_something_on_it_counts(
    data: Dataset, tmp_path: Path
) -> None:
    pixels = data.train.images[0, 0].numpy()
    frames = [Image.new("L", (280, 280), 255), large(255 - pixels), Image.new("L", (280, 280), 9)]
    for ending in ("gif", "tiff", "webp", "png"):
        path = tmp_path / f"one.{ending}"
        frames[0].save(path, save_all=True, append_images=frames[1:])
        grey, inverted = prepare(read_picture(path), trim=True)
        assert inverted
        assert np.abs(grey.astype(int) - pixels).mean() < 16
        frames[0].save(path, save_all=True, append_images=[frames[0].point(lambda v: v - 9)])
        with pytest.raises(ConfigError, match="there is nothing on it"):
            prepare(read_picture(path), trim=True)


def test_a_thing_with_straight_sides_is_no_frame() -> None:
    for shade in (0, 90, 200):
        thing = Image.new("L", (200, 200), 255)
        thing.paste(shade, (60, 70, 150, 130))
        grey, inverted = prepare(thing, trim=True)
        assert inverted
        assert (grey.max(1) > 0).sum() == 19  # as high as it is for its width
        bag = thing.copy()
        bag.paste(255, (95, 90, 115, 100))
        assert prepare(bag, trim=True)[0][13, 14] == 0


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (28, 28), (27, 29), (2000, 30)])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F"])
def test_every_size_and_mode_gives_an_image(size: tuple[int, int], mode: str) -> None:
    for trim in (True, False):
        picture = Image.new("L", size)
        picture.paste(255, (0, 0, *(max(1, side // 2) for side in size)))
        picture = picture.convert(mode)
        if max(size) == 1:
            with pytest.raises(ConfigError, match="nothing"):
                prepare(picture, trim=trim)
            continue
        grey, _ = prepare(picture, trim=trim)
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
