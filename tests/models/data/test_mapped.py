"""Files of a data set that several processes map instead of reading them."""

from pathlib import Path

import pytest
import torch

from fmnist_models.data.dataset import load_test_data, load_training_data
from fmnist_models.data.idx import FILE_NAMES, TRAIN_IMAGES, read_data_files, save_plain
from fmnist_models.errors import DataError


def mapped_files(address: int) -> list[str]:
    """The files that this process has mapped where `address` is."""
    found = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        start, end = (int(bound, 16) for bound in line.split()[0].split("-"))
        if start <= address < end:
            found.append(line.split()[-1])
    return found


def test_training_images_stay_in_the_mapped_file_and_are_the_same(
    small_data: Path, tmp_path: Path
) -> None:
    read = read_data_files(small_data)
    save_plain(read, tmp_path / "plain")
    assert sorted(path.name for path in (tmp_path / "plain").iterdir()) == sorted(FILE_NAMES)
    mapped = read_data_files(tmp_path / "plain", mapped=True)
    assert (mapped.digest, mapped.name) == (read.digest, read.name)
    ours, theirs = load_training_data(mapped), load_training_data(read)
    assert torch.equal(ours.train.images, theirs.train.images)
    assert torch.equal(ours.train.labels, theirs.train.labels)
    assert torch.equal(load_test_data(mapped).images, load_test_data(read).images)
    file = str(tmp_path / "plain" / TRAIN_IMAGES)
    assert mapped_files(ours.train.images.data_ptr()) == [file]
    assert file not in mapped_files(theirs.train.images.data_ptr())


def test_what_is_done_to_mapped_images_is_not_done_to_the_file(
    small_data: Path, tmp_path: Path
) -> None:
    save_plain(read_data_files(small_data), tmp_path / "plain")
    load_training_data(read_data_files(tmp_path / "plain", mapped=True)).train.images.zero_()
    assert read_data_files(tmp_path / "plain").digest == read_data_files(small_data).digest


def test_a_place_that_cannot_be_written_is_named(small_data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"cannot be written into {tmp_path}"):
        save_plain(read_data_files(small_data), tmp_path)  # which is there already
