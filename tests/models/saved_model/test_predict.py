"""Predicting: from the shell and from Python, and folders that must not be trusted."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from fmnist_models import load_model
from fmnist_models.__main__ import main
from fmnist_models.data.class_names import FASHION_CLASSES
from fmnist_models.data.dataset import Dataset
from fmnist_models.errors import ConfigError
from fmnist_models.saved_model.folder import Header, save_model
from fmnist_models.training.losses import build_network
from tests.conftest import ROOT, Refused
from tests.models.conftest import MakeConfig


@pytest.fixture
def files(data: Dataset, tmp_path: Path) -> list[Path]:
    """Picture files of 30 validation images: every other one large and dark on light."""
    paths = []
    for i, pixels in enumerate(data.validation.images[:30, 0].numpy()):
        picture = (
            Image.fromarray(255 - pixels).resize((140, 140)) if i % 2 else Image.fromarray(pixels)
        )
        paths.append(tmp_path / f"{i}.png")
        picture.save(paths[-1])
    return paths


def test_files_arrays_and_pillow_images_are_predicted_alike(
    trained: Path, data: Dataset, files: list[Path]
) -> None:
    model = load_model(trained)
    plain = files[::2]
    arrays = data.validation.images[:30:2]
    wanted = model.predict(arrays)
    assert model.predict(plain) == wanted
    assert model.predict([str(path) for path in plain]) == wanted
    assert model.predict([Image.open(path) for path in plain]) == wanted
    assert model.predict(arrays[:, 0].numpy()) == wanted
    assert model.predict(255 - arrays.numpy(), invert="yes")[0].probabilities == (
        wanted[0].probabilities
    )
    (single,) = model.predict(plain[0])
    assert single.label == wanted[0].label
    assert single.probability == pytest.approx(wanted[0].probability, abs=1e-5)
    assert model.predict([]) == []


def test_probabilities_are_of_the_named_classes(trained: Path, files: list[Path]) -> None:
    (one,) = load_model(str(trained)).predict(files[0])
    assert tuple(one.probabilities) == FASHION_CLASSES
    assert sum(one.probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert one.name == FASHION_CLASSES[one.label]
    assert one.probability == max(one.probabilities.values())


@pytest.mark.parametrize(
    "array",
    [np.zeros((28, 28)), np.zeros((27, 28), np.uint8), np.zeros((2, 3, 28, 28), np.uint8)],
)
def test_arrays_of_another_kind_are_refused(trained: Path, array: np.ndarray) -> None:
    with pytest.raises(ConfigError, match="give uint8 with axes"):
        load_model(trained).predict(array)


def test_most_pictures_of_test_images_are_named_right(
    trained: Path, data: Dataset, files: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(trained), *map(str, files), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    labels = data.validation.labels[:30].tolist()
    hits = sum(one["label"] == label for one, label in zip(found, labels, strict=True))
    assert hits >= 20
    assert [one["inverted"] for one in found] == [False, True] * 15
    assert [one["picture"] for one in found] == list(map(str, files))


def test_a_bad_picture_is_a_line_and_the_others_are_predicted(
    trained: Path, files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_text("no picture")
    assert main(["predict", str(trained), str(files[0]), str(bad), str(tmp_path / "none.png")]) == 2
    out, err = capsys.readouterr()
    assert [name for name in ("bad.png", "none.png") if name not in err] == []
    assert err.count("\n") == 2
    assert len(out.splitlines()) == 2
    assert str(files[0]) in out


def test_of_an_empty_picture_no_class_is_told(
    trained: Path, files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blank = tmp_path / "blank.png"
    Image.new("L", (90, 90), 255).save(blank)
    assert main(["predict", str(trained), str(blank), str(files[0]), "--json"]) == 2
    out, err = capsys.readouterr()
    empty, good = json.loads(out)
    assert (empty["picture"], empty["label"], empty["probabilities"]) == (str(blank), None, None)
    assert f"{blank}: there is nothing on it" in empty["error"]
    assert (good["error"], good["picture"]) == (None, str(files[0]))
    assert good["name"] in FASHION_CLASSES
    assert err.count("\n") == 1
    assert empty["error"] in err
    model = load_model(trained)
    with pytest.raises(ConfigError, match="nothing on it"):
        model.predict(Image.open(blank))
    with pytest.raises(ConfigError, match="image 1: there is nothing on it"):
        model.predict(np.stack([np.eye(28), np.zeros((28, 28))]).astype(np.uint8))


def test_a_reader_that_has_seen_enough_is_no_error(trained: Path, files: list[Path]) -> None:
    command = [sys.executable, "-m", "fmnist_models", "predict", str(trained), str(files[0])]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_importing_the_package_stays_light() -> None:
    code = "import sys, fmnist_models; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "False"


class Trap:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return Path.touch, (Path(self.path),)  # type: ignore[return-value]


def test_loading_runs_nothing_of_what_a_hostile_folder_holds(
    model: Path, files: list[Path], tmp_path: Path
) -> None:
    sprung = tmp_path / "sprung"
    line = f"import pathlib; pathlib.Path({str(sprung)!r}).touch()\n"
    for name in (
        "__init__.py",
        "config.py",
        "model.py",
        "torch.py",
        "sitecustomize.py",
        "quick.py",
    ):
        (model / name).write_text(line)
    for name in ("pytorch_model.bin", "model.pt", "checkpoint.bin", "model.pkl"):
        (model / name).write_bytes(pickle.dumps(Trap(sprung)))
    (model / "templates").mkdir()
    (model / "templates" / "report.html").write_text(
        "{{ cycler.__init__.__globals__.os.system('true') }}"
    )
    command = [sys.executable, "-m", "fmnist_models", "predict", str(model), str(files[0])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert files[0].name in done.stdout
    weights = model / "model.safetensors"
    weights.write_bytes(pickle.dumps(Trap(sprung)))
    with pytest.raises(ConfigError, match="cannot be loaded"):
        load_model(model)
    config = json.loads((model / "config.json").read_text())
    config["model"]["family"] = "os"
    (model / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="unknown family 'os'"):
        load_model(model)
    assert not sprung.exists()


def _change_config(model: Path, /, **changes: object) -> None:
    path = model / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _rewrite(
    model: Path, change: Callable[[dict[str, torch.Tensor]], object], **fields: str
) -> None:
    path = model / "model.safetensors"
    weights = load_file(path)
    change(weights)
    kept = {"classes": "10", "mean": "0.28", "std": "0.35", "digest": "0" * 64, **fields}
    save_file(weights, path, metadata=kept)


SPOILED: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing": (lambda m: [p.unlink() for p in m.iterdir()], "cannot read configuration"),
    "no weights": (lambda m: (m / "model.safetensors").unlink(), "model.safetensors"),
    "cut short": (
        lambda m: (m / "model.safetensors").write_bytes(
            (m / "model.safetensors").read_bytes()[:-100]
        ),
        "cannot be loaded",
    ),
    "another version": (
        lambda m: _change_config(m, format="fmnist-search-export-9"),
        "this version reads 'fmnist-search-export-1'",
    ),
    "another network": (
        lambda m: _change_config(m, model={"family": "quick", "width": 16, "depth": 1}),
        "does not fit config.json: features.0.weight is [8, 1, 3, 3], not [16, 1, 3, 3]",
    ),
    "a tensor less": (lambda m: _rewrite(m, lambda w: w.pop("head.bias")), "it has no head.bias"),
    "a tensor more": (
        lambda m: _rewrite(m, lambda w: w.update(more=torch.zeros(1))),
        "it has 'more' too",
    ),
    "not finite": (
        lambda m: _rewrite(m, lambda w: w["head.bias"].fill_(torch.nan)),
        "head.bias is not finite",
    ),
    "no classes": (lambda m: _rewrite(m, len, classes="1"), "it claims 1 classes"),
    "many classes": (lambda m: _rewrite(m, len, classes="9" * 12), "it claims 999999999999"),
    "no deviation": (lambda m: _rewrite(m, len, std="0"), "deviation 0.0"),
    "nan": (lambda m: _rewrite(m, len, mean="nan"), "mean nan"),
    "half an ensemble": (
        lambda m: _change_config(m, format="fmnist-ensemble-1"),
        "make the ensemble again",
    ),
}


@pytest.mark.parametrize("how", SPOILED)
def test_a_folder_that_does_not_fit_is_refused_in_a_line(
    model: Path, files: list[Path], refused: Refused, how: str
) -> None:
    spoil, said = SPOILED[how]
    spoil(model)
    refused(main, ["predict", str(model), str(files[0])], said)


def test_what_is_no_folder_is_refused(files: list[Path], refused: Refused) -> None:
    refused(main, ["predict", "nowhere", str(files[0])], "nowhere is no folder")
    refused(main, ["predict", str(files[0]), str(files[0])], "is no folder")


def test_other_data_have_numbers_for_classes(
    few: Dataset, everything_on: MakeConfig, tmp_path: Path
) -> None:
    config = everything_on()
    header = Header(10, few.normalization.mean, few.normalization.std, "0" * 64)
    save_model(tmp_path, build_network(config, 10), config, header)
    (one,) = load_model(tmp_path).predict(few.train.images[:1])
    assert tuple(one.probabilities) == tuple("0123456789")
