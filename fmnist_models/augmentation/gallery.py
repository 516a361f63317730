"""A picture of every augmentation on real training images: one row each, all switched on hard."""

from __future__ import annotations

import io
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from fmnist_models.augmentation.batch_loader import SIDE, BatchLoader
from fmnist_models.augmentation.mixing import Mixer
from fmnist_models.config.training import AugmentationConfig
from fmnist_models.data.dataset import Dataset, load_search_data
from fmnist_models.data.download import find_data
from fmnist_models.errors import OutputError
from fmnist_models.files import write_atomically

ROWS: dict[str, AugmentationConfig] = {
    "none": AugmentationConfig(),
    "flip": AugmentationConfig(flip=True),
    "shift 4": AugmentationConfig(shift=4),
    "cutout 14": AugmentationConfig(cutout=14),
    "random erasing": AugmentationConfig(random_erasing=1.0),
    "RandAugment": AugmentationConfig(policy="randaugment", randaugment_magnitude=20),
    "TrivialAugment": AugmentationConfig(policy="trivialaugment"),
    "mixup": AugmentationConfig(mixing="mixup"),
    "CutMix": AugmentationConfig(mixing="cutmix"),
    "RICAP": AugmentationConfig(mixing="ricap"),
}
COLUMNS, SCALE, GAP, MARGIN = 12, 2, 4, 110


def draw_gallery(path: Path, data_dir: Path | None, *, force: bool, seed: int = 0) -> None:
    """Write the picture to `path`, in the format its ending names.

    Raises OutputError when it cannot be written, or `path` exists and `force` is not given;
    DataError when there are no images.
    """
    if path.exists() and not force:
        raise OutputError(f"{path} exists; give --force or another --out")
    dataset = load_search_data(find_data(data_dir))
    step = SIDE * SCALE + GAP
    sheet = Image.new("L", (MARGIN + COLUMNS * step, len(ROWS) * step), 255)
    pen = ImageDraw.Draw(sheet)
    for row, (name, config) in enumerate(ROWS.items()):
        pen.text((GAP, row * step + step // 3), name, fill=0)
        for column, pixels in enumerate(augmented(config, dataset, seed)):
            tile = Image.fromarray(pixels.numpy()).resize((SIDE * SCALE, SIDE * SCALE), 0)
            sheet.paste(tile, (MARGIN + column * step, row * step))
    content = io.BytesIO()
    try:
        sheet.save(content, format=Image.registered_extensions()[path.suffix.lower()])
    except (KeyError, OSError, ValueError):
        raise OutputError(f"--out {path}: no ending of a picture; give another --out") from None
    write_atomically(path, content.getvalue())


def augmented(config: AugmentationConfig, dataset: Dataset, seed: int) -> Tensor:
    """The first COLUMNS training images under `config`: (COLUMNS, 28, 28) uint8."""
    generator = torch.Generator().manual_seed(seed)
    index = torch.arange(COLUMNS)
    images = BatchLoader(dataset.train.images, dataset.normalization, config, generator)(index)
    if config.mixing != "none":
        mixer = Mixer(config, dataset.classes, generator)
        images, _ = mixer(images, dataset.train.labels[index])
    grey = 255 * (images * dataset.normalization.std + dataset.normalization.mean)
    return grey.round().clamp(0, 255).byte()[:, 0]
