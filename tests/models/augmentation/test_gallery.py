"""The picture of augmentations: every ingredient has a row that shows it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from fmnist_models.__main__ import main
from fmnist_models.augmentation.batch_loader import SIDE
from fmnist_models.augmentation.gallery import COLUMNS, ROWS, augmented
from fmnist_models.config.training import AugmentationConfig
from fmnist_models.data.dataset import Dataset


def test_every_ingredient_has_a_row_and_changes_the_images(few: Dataset) -> None:
    shown = {field for config in ROWS.values() for field in config.model_fields_set}
    settings = {"randaugment_ops", "mixing_alpha", "mixing_probability"}
    assert shown | settings == set(AugmentationConfig.model_fields)
    plain = augmented(ROWS["none"], few, 0)
    assert torch.equal(plain, few.train.images[:COLUMNS, 0])
    for name, config in ROWS.items():
        assert torch.equal(augmented(config, few, 0), plain) == (name == "none")


def test_the_command_draws_it(tmp_path: Path, small_data: Path) -> None:
    path = tmp_path / "grid.png"
    arguments = ["augmentations", "--out", str(path), "--data-dir", str(small_data)]
    assert main(arguments) == 0
    with Image.open(path) as picture:
        assert picture.height > len(ROWS) * 2 * SIDE
        assert len(picture.getcolors() or []) > 100


def test_a_file_that_is_there_is_overwritten_only_by_force(
    tmp_path: Path, small_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "holiday.png"
    path.write_bytes(b"kept")
    arguments = ["augmentations", "--out", str(path), "--data-dir", str(small_data)]
    assert main(arguments) == 2
    assert path.read_bytes() == b"kept"
    assert capsys.readouterr().err.count("holiday.png exists; give --force or another --out") == 1
    assert main([*arguments, "--force"]) == 0
    assert path.read_bytes() != b"kept"


@pytest.mark.parametrize("name", ["nowhere/grid.png", "grid.nonsense"])
def test_what_cannot_be_written_is_one_line(
    tmp_path: Path, small_data: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    arguments = ["augmentations", "--out", str(tmp_path / name), "--data-dir", str(small_data)]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "another" in error
