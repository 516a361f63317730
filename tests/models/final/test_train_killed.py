"""Final training that is killed at any moment, or short of memory: started again it finishes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from fmnist_models.__main__ import main
from fmnist_models.config.registry import FAMILIES
from fmnist_models.data.idx import read_data_files
from fmnist_models.errors import OutOfMemoryError
from fmnist_models.final.train import train
from fmnist_models.saved_model.folder import CHECKPOINT, WEIGHTS
from tests.conftest import ROOT
from tests.faulty import ENTRY, faulty

FILES = {"model.safetensors", "config.json", "metrics.json"}


def test_killed_before_any_change_to_the_disk_the_rerun_makes_the_same_model(
    tiny_folder: Path, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.models.final.killed", str(tiny_folder), str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    moments = done.stdout.splitlines()
    # Two epochs, weights, configuration, metrics and a reading, each opened and renamed at least.
    assert len(moments) >= 2 * 6 + 2
    expected = load_file(tmp_path / "whole" / "model.safetensors")
    for number in range(1, len(moments) + 1):
        folder = tmp_path / str(number)
        assert {p.name for p in folder.iterdir()} == FILES, moments[number - 1]
        weights = load_file(folder / "model.safetensors")
        assert all(weights[name].equal(expected[name]) for name in expected), moments[number - 1]
        assert (folder / WEIGHTS).read_bytes() == (tmp_path / "whole" / WEIGHTS).read_bytes()
        metrics = json.loads((folder / "metrics.json").read_text())
        assert len(metrics["test_readings"]) == 1
        assert [epoch["epoch"] for epoch in metrics["epochs"]] == [1, 2]


@pytest.fixture(autouse=True)
def _faults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAMILIES, *ENTRY)


def test_out_of_memory_it_goes_on_with_smaller_parts(tiny_folder: Path, tmp_path: Path) -> None:
    # Six passes an epoch; in the second, more than 30 images at a time are too many.
    config = faulty("crowd", at=9, amount=30)
    said: list[str] = []
    metrics = train(
        config,
        tmp_path / "out",
        files=read_data_files(tiny_folder),
        device="cpu",
        force=False,
        say=said.append,
    )
    parts = [line for line in said if line.startswith("out of memory: ")]
    assert parts == [
        f"out of memory: going on with each batch in {n} parts, which is slower" for n in (2, 4)
    ]
    assert metrics.environment["micro_batches"] == 4
    assert [epoch.epoch for epoch in metrics.epochs] == [1, 2, 3]
    assert said.count("going on after epoch 1") == 2, "the first epoch was not trained again"
    assert {p.name for p in (tmp_path / "out").iterdir()} == FILES


def test_killed_after_that_it_goes_on_with_the_parts_that_fit(
    tiny_folder: Path, tmp_path: Path
) -> None:
    config = faulty("crowd", amount=60)
    said: list[str] = []

    def die(line: str) -> None:
        said.append(line)
        if line.startswith("epoch 1/"):
            raise SystemError("killed")

    with pytest.raises(SystemError):
        train(
            config, tmp_path, files=read_data_files(tiny_folder), device="cpu", force=False, say=die
        )
    assert sum("out of memory" in line for line in said) == 1
    assert (tmp_path / CHECKPOINT).stat().st_mode & 0o777 == 0o600
    train(
        config,
        tmp_path,
        files=read_data_files(tiny_folder),
        device="cpu",
        force=False,
        say=said.append,
    )
    assert sum("out of memory" in line for line in said) == 1


def test_when_not_even_one_image_fits_it_says_so(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = faulty("crowd", batch_size=3, epochs=1)
    with pytest.raises(OutOfMemoryError, match="not even for one image at a time"):
        train(
            config,
            tmp_path / "a",
            files=read_data_files(tiny_folder),
            device="cpu",
            force=False,
            say=len,
        )
    path = tmp_path / "config.json"
    path.write_text(config.model_dump_json())
    command = ["train", str(path), "--out", str(tmp_path / "b"), "--data-dir", str(tiny_folder)]
    assert main([*command, "--device", "cpu"]) == 3
    *said, last = capsys.readouterr().err.splitlines()
    assert "not even for one image" in last
    assert len([line for line in said if "out of memory" in line]) == 2
