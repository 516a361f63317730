"""Every family as ONNX, run by onnxruntime on real images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from fmnist_models import load_model
from fmnist_models.__main__ import main
from fmnist_models.config.optimizers import SgdConfig
from fmnist_models.config.registry import FAMILIES, get_family
from fmnist_models.config.training import ArcFaceConfig, ViewsConfig
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.class_names import FASHION_CLASSES
from fmnist_models.data.dataset import Dataset
from fmnist_models.families.mobilenet import MobilenetConfig
from fmnist_models.families.quick import QuickConfig
from fmnist_models.families.wrn import WrnConfig
from fmnist_models.saved_model.ensemble import EnsembleConfig
from fmnist_models.saved_model.folder import Header, save_model
from fmnist_models.saved_model.onnx_export import TOLERANCE, export_onnx
from fmnist_models.training.ensemble import Ensemble
from fmnist_models.training.losses import build_network
from tests.conftest import Refused


def config_of(model: object, **parts: object) -> TrialConfig:
    return TrialConfig(model=model, optimizer=SgdConfig(lr=0.1), epochs=1, **parts)


CONFIGS = {name: config_of(get_family(name).example) for name in FAMILIES} | {
    "56 pixels": config_of(MobilenetConfig(resolution=56)),
    "gem, drop block, weighted padding": config_of(
        WrnConfig(depth=10, pool="gem", drop_block=0.1, padding="weighted")
    ),
    "cosine head, reflected padding": config_of(
        QuickConfig(width=8, depth=1, padding="reflect"), loss=ArcFaceConfig()
    ),
}


# Each takes a CPU core 5 to 20 seconds; these few have what the exporter finds hard.
SHORT = {"gem, drop block, weighted padding", "cosine head, reflected padding"}
ALL = [name if name in SHORT else pytest.param(name, marks=pytest.mark.long) for name in CONFIGS]


def write(folder: Path, config: TrialConfig, data: Dataset) -> None:
    """A model folder with fresh weights whose batch norms have seen real images."""
    torch.manual_seed(0)
    network = build_network(config, 10)
    network.train()
    with torch.no_grad():
        network(data.train.images[:64].float() / 128 - 1)
    save_model(folder, network, config, Header.of(data))


@pytest.mark.parametrize("name", ALL)
def test_onnxruntime_agrees_with_torch(name: str, data: Dataset, tmp_path: Path) -> None:
    write(tmp_path, CONFIGS[name], data)
    path = tmp_path / "model.onnx"
    check = export_onnx(tmp_path, path, None, force=False)
    assert check.largest_difference <= TOLERANCE
    agrees(tmp_path, path, data)
    assert [p.name for p in tmp_path.iterdir() if p.suffix == ".data"] == []


def agrees(folder: Path, path: Path, data: Dataset) -> None:
    """Other images than those of the check, in batches of several sizes."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = session.get_modelmeta().custom_metadata_map["classes"].split("\n")
    assert tuple(names) == FASHION_CLASSES
    images = data.validation.images[:33]
    ours = load_model(folder).probabilities(images)
    for part in (slice(0, 1), slice(1, 33)):
        (theirs,) = session.run(None, {"images": images[part].numpy()})
        np.testing.assert_allclose(theirs, ours[part], atol=TOLERANCE)


@pytest.mark.parametrize(
    ("count", "views"),
    [(2, ViewsConfig(flip=True)), (1, ViewsConfig(shift=1))],
    ids=["flip", "shift"],
)
def test_an_ensemble_with_views(
    data: Dataset, tmp_path: Path, count: int, views: ViewsConfig
) -> None:
    config = config_of(QuickConfig(width=8, depth=1))
    members = [build_network(config, 10) for _ in range(count)]
    made = EnsembleConfig(
        members=(config,) * count, views=views, chosen="unread", sources=("a", "b")[:count]
    )
    save_model(
        tmp_path,
        Ensemble(members, views, data.normalization.black),
        made,
        Header.of(data),
    )
    export_onnx(tmp_path, tmp_path / "model.onnx", None, force=False)
    agrees(tmp_path, tmp_path / "model.onnx", data)


def test_a_file_that_exists_is_kept_until_forced(
    model: Path, refused: Refused, capsys: pytest.CaptureFixture[str]
) -> None:
    path = model / "model.onnx"
    path.write_text("mine")
    refused(main, ["export-onnx", str(model)], "model.onnx exists", "--force")
    assert path.read_text() == "mine"
    assert main(["export-onnx", str(model), "--force"]) == 0
    assert "256 real images" in capsys.readouterr().out


def test_other_data_are_refused(model: Path, small_data: Path, refused: Refused) -> None:
    refused(main, ["export-onnx", str(model), "--data-dir", str(small_data)], "another data set")
    assert not (model / "model.onnx").exists()
