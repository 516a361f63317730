"""An ensemble trained as one: members side by side in processes of their own."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fmnist_models.__main__ import main
from fmnist_models.config.files import ExportedConfig, Origin
from fmnist_models.config.optimizers import SgdConfig
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.idx import read_data_files
from fmnist_models.families.quick import QuickConfig
from fmnist_models.final import members
from fmnist_models.final.members import members_are_ahead
from fmnist_models.saved_model.ensemble import EnsembleConfig
from fmnist_models.saved_model.folder import load_config, load_metrics
from fmnist_models.saved_model.predictor import load_model
from tests.conftest import Refused
from tests.models.final.processes import all_gone, trainers_of

CONFIG = TrialConfig(
    model=QuickConfig(width=4, depth=1), optimizer=SgdConfig(lr=0.05), batch_size=64, epochs=2
)


@pytest.fixture
def train(folder: Path, tiny_folder: Path) -> list[str]:
    """The command that trains two members into `out`."""
    export = ExportedConfig(config=CONFIG, study="s", trial=7, validation_accuracy=0.5)
    (folder / "config.json").write_text(export.model_dump_json())
    train = ["train", "config.json", "--data-dir", str(tiny_folder), "--no-report"]
    return [*train, "--out", "out", "--members", "2"]


def test_members_are_trained_side_by_side_and_scored_once_as_one(
    train: list[str], folder: Path, capsys: pytest.CaptureFixture[str], refused: Refused
) -> None:
    assert main(train) == 0
    said = capsys.readouterr()
    assert "2 members side by side" in said.err
    assert "member 1: epoch 2/2" in said.err
    assert "out: test accuracy" in said.out
    kept = load_config(folder / "out")
    assert isinstance(kept, EnsembleConfig)
    assert kept.members == (CONFIG, CONFIG.model_copy(update={"seed": 1}))
    assert kept.chosen == "unread"
    metrics = load_metrics(folder / "out")
    assert len(metrics.test_readings) == 1
    assert metrics.origin == Origin(study="s", trial=7, validation_accuracy=0.5)
    assert [len(epochs) for epochs in metrics.member_epochs] == [2, 2]
    for number in range(2):
        place = folder / "out" / "members" / f"member-{number}"
        assert load_metrics(place).test_readings == ()
        assert len(load_metrics(place).epochs) == 2
        assert list((place / "events").iterdir())
    assert load_model(folder / "out", "cpu")

    weights = (folder / "out" / "model.safetensors").stat().st_mtime_ns
    assert main(train) == 0
    assert "nothing to do" in capsys.readouterr().err
    assert (folder / "out" / "model.safetensors").stat().st_mtime_ns == weights
    assert len(load_metrics(folder / "out").test_readings) == 1

    refused(main, [*train[:-1], "3"], "out", "--force")  # another number of members
    refused(main, train[:-2], "out", "--force")  # a single model
    (folder / "out" / "notes.txt").write_text("mine")
    refused(main, train, "out", "--force")
    assert main([*train, "--force", "--epochs", "1", "--no-test"]) == 0
    assert (folder / "out" / "notes.txt").read_text() == "mine"
    assert load_metrics(folder / "out").test_readings == ()


def test_a_member_that_fails_ends_the_others_with_its_message(
    train: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    endless = CONFIG.model_copy(update={"epochs": 5000})
    (folder / "config.json").write_text(endless.model_dump_json())
    place = folder / "out" / "members" / "member-1"
    place.mkdir(parents=True)
    (place / "notes.txt").write_text("mine")
    assert main(train) == 2
    assert "member-1 holds something else; give another --out" in capsys.readouterr().err
    assert (place / "notes.txt").read_text() == "mine"
    assert not multiprocessing.active_children()


def test_bad_numbers_of_members_and_seeds_beside_them_are_refused(
    train: list[str], refused: Refused
) -> None:
    refused(main, [*train[:-1], "0"], "--members", "'0'")
    refused(main, [*train, "--seeds", "2"], "--seeds", "--members")


def test_there_is_a_member_a_core_up_to_four_where_each_sees_the_images_often(
    monkeypatch: pytest.MonkeyPatch, tiny_folder: Path
) -> None:
    files = read_data_files(tiny_folder)
    monkeypatch.setattr(members, "set_threads", lambda threads: None)

    def usual(threads: int, minutes: float, device: str = "cpu") -> int:
        monkeypatch.setattr(members.torch, "get_num_threads", lambda: threads)
        return members.usual_members(CONFIG, files, device, minutes)

    assert [usual(threads, 60.0) for threads in (1, 2, 3, 64)] == [1, 2, 3, 4]
    assert usual(2, 0.001) == 1
    assert usual(2, 60.0, "cuda") == 1


def test_a_small_network_has_members_sooner_than_a_large_one() -> None:
    def fewest_passes(width: int) -> int:
        model = CONFIG.model.model_copy(update={"width": width})
        config = CONFIG.model_copy(update={"model": model})
        return next(n for n in range(1, 10_000) if members_are_ahead(config, 2, n))

    small, large = fewest_passes(4), fewest_passes(32)
    assert 10 < small < large / 2
    assert not members_are_ahead(CONFIG, 2, 1.0)
    assert members_are_ahead(CONFIG, 2, 1e4)


def test_an_export_by_time_becomes_an_ensemble_where_time_suffices(
    monkeypatch: pytest.MonkeyPatch,
    train: list[str],
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(members.torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(members, "set_threads", lambda threads: None)
    config = CONFIG.model_copy(update={"epochs": 1, "epoch_images": 640})
    found = {"config": config, "study": "s", "trial": 0, "validation_accuracy": 0.5}
    exported = ExportedConfig.model_validate({**found, "final_seconds": 2.0})
    (folder / "config.json").write_text(exported.model_dump_json())
    monkeypatch.setattr(members, "GAIN_OF_MEMBERS", 0)
    assert main([*train[:-2], "--no-test"]) == 0
    assert isinstance(load_config(folder / "out"), TrialConfig)
    monkeypatch.setattr(members, "GAIN_OF_MEMBERS", 9)
    assert main([*train[:-2], "--no-test"]) == 0  # what was begun stays what it is
    assert "nothing to do" in capsys.readouterr().err
    assert main([*train[:-2], "--no-test", "--force"]) == 0
    kept = load_config(folder / "out")
    assert isinstance(kept, EnsembleConfig)
    assert [one.epochs > 1 for one in kept.members] == [True, True]
    capsys.readouterr()
    assert main([*train[:-2], "--no-test"]) == 0
    assert "nothing to do" in capsys.readouterr().err


def test_killed_its_members_end_with_it_and_it_goes_on(
    train: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    longer = CONFIG.model_copy(update={"epochs": 40})
    (folder / "config.json").write_text(longer.model_dump_json())
    run = subprocess.Popen(
        [sys.executable, "-m", "fmnist_models", *train], stderr=subprocess.PIPE, text=True
    )
    assert run.stderr is not None
    for line in run.stderr:
        if "epoch 2/" in line:
            break
    pids = trainers_of(run.pid)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    run.stderr.close()
    assert len(pids) == 2
    assert all_gone(pids)

    assert main(train) == 0
    assert "going on after epoch" in capsys.readouterr().err
    found = json.loads((folder / "out" / "config.json").read_text())
    assert [member["epochs"] for member in found["members"]] == [40, 40]
