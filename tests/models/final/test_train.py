"""Final training: once through, after a kill, and into a folder that holds something else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

from fmnist_models.__main__ import main
from fmnist_models.config.optimizers import SgdConfig
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.idx import read_data_files
from fmnist_models.errors import OutputError
from fmnist_models.families.quick import QuickConfig
from fmnist_models.files import load_checkpoint
from fmnist_models.final.train import train
from fmnist_models.saved_model.folder import CHECKPOINT, WEIGHTS
from fmnist_models.saved_model.ownership import OURS, check_ours, remove_model
from tests.conftest import ROOT, Refused

CONFIG = TrialConfig(
    model=QuickConfig(width=4, depth=1, dropout=0.2),
    optimizer=SgdConfig(lr=0.05),
    batch_size=64,
    epochs=3,
)


def run(
    folder: Path, tiny_folder: Path, *, force: bool = False, say: Callable[[str], None] = len
) -> None:
    train(CONFIG, folder, files=read_data_files(tiny_folder), device="cpu", force=force, say=say)


@pytest.fixture(scope="module")
def whole(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an unbroken run."""
    folder = tmp_path_factory.mktemp("model") / "whole"
    run(folder, tiny_folder)
    return folder


def readings(folder: Path) -> int:
    return len(json.loads((folder / "metrics.json").read_text())["test_readings"])


def test_a_run_leaves_a_model_that_was_scored_once(whole: Path, tiny_folder: Path) -> None:
    assert {p.name for p in whole.iterdir()} == {"model.safetensors", "config.json", "metrics.json"}
    metrics = json.loads((whole / "metrics.json").read_text())
    low, high = metrics["test_interval"]
    assert 0 <= low <= metrics["test_accuracy"] <= high <= 1
    assert [e["epoch"] for e in metrics["epochs"]] == [1, 2, 3]
    assert metrics["train_images"] == 640
    run(whole, tiny_folder)
    assert readings(whole) == 1, "a finished folder is left as it is"


def broken_off(folder: Path, tiny_folder: Path) -> None:
    """A run that dies after its first epoch."""

    def die(line: str) -> None:
        if line.startswith("epoch 1/"):
            raise SystemError("killed")

    with pytest.raises(SystemError):
        run(folder, tiny_folder, say=die)


def test_a_broken_run_goes_on_to_the_same_weights(
    whole: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    broken_off(tmp_path, tiny_folder)
    (tmp_path / f".{CHECKPOINT}.half").write_bytes(b"left by a kill in the middle of writing")
    said: list[str] = []
    run(tmp_path, tiny_folder, say=said.append)
    assert "going on after epoch 1" in said
    kept, again = (load_file(folder / "model.safetensors") for folder in (whole, tmp_path))
    assert kept.keys() == again.keys()
    assert all(kept[name].equal(again[name]) for name in kept)
    assert (tmp_path / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()
    assert len(json.loads((tmp_path / "metrics.json").read_text())["epochs"]) == 3


def test_a_damaged_checkpoint_is_never_used(tiny_folder: Path, tmp_path: Path) -> None:
    broken_off(tmp_path, tiny_folder)
    path = tmp_path / CHECKPOINT
    content = path.read_bytes()
    assert load_checkpoint(path) is not None
    for place in range(0, len(content), len(content) // 60):
        path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        assert load_checkpoint(path) is None
    path.write_bytes(content[:-1])
    assert load_checkpoint(path) is None


@pytest.mark.parametrize("name", ["README.md", "report.html", "pictures", "model.onnx"])
def test_what_has_only_the_name_of_one_of_our_files_is_kept(
    tiny_folder: Path, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    if name == "pictures":
        path.mkdir()
        path /= "confusion-matrix.png"
    path.write_text("mine")
    with pytest.raises(OutputError, match="holds something else"):
        run(tmp_path, tiny_folder)
    assert path.read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ["notes.txt", "config.json", CHECKPOINT])
def test_a_folder_with_something_else_is_refused_until_forced(
    tiny_folder: Path, tmp_path: Path, name: str
) -> None:
    broken_off(tmp_path, tiny_folder)
    other = CONFIG.model_copy(update={"seed": 7})
    if name != CHECKPOINT:
        (tmp_path / name).write_text(other.model_dump_json())
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    wanted = other if name == CHECKPOINT else CONFIG
    with pytest.raises(OutputError, match="holds something else"):
        train(
            wanted, tmp_path, files=read_data_files(tiny_folder), device="cpu", force=False, say=len
        )
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    train(wanted, tmp_path, files=read_data_files(tiny_folder), device="cpu", force=True, say=len)
    assert readings(tmp_path) == 1


WITHOUT = """
import sys
missing = ("ray", "optuna", "sqlalchemy", "alembic", "numba", "search", "spaces")
sys.modules.update(dict.fromkeys(missing))
from fmnist_models.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def test_training_needs_nothing_of_the_search(tiny_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(CONFIG.model_dump_json())
    command = [sys.executable, "-c", WITHOUT, "train", "config.json", "--out", "out"]
    done = subprocess.run(
        [*command, "--data-dir", str(tiny_folder)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "report.html").exists()


def test_force_leaves_what_is_not_ours(tiny_folder: Path, tmp_path: Path) -> None:
    run(tmp_path, tiny_folder)
    mine = {"events/mine.txt", "events/events.out.tfevents.1.mine", "pictures/mine.txt"}
    mine |= {"notes.txt", ".config.json.swp"}
    for name in mine:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    remove_model(tmp_path)
    assert {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()} == mine


def contents(folder: Path) -> dict[str, bytes | str]:
    return {
        str(path.relative_to(folder)): str(path.readlink())
        if path.is_symlink()
        else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


FOREIGN = [name for name in OURS if name not in ("pictures", "events")]
FOREIGN += ["pictures/worst-mistakes.png", "members/member-0/config.json"]


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("name", FOREIGN)
def test_a_file_of_somebody_elses_is_never_overwritten(
    whole: Path, tiny_folder: Path, tmp_path: Path, name: str, force: bool
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(whole, folder)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text('{"test_accuracy": 1.0, "model": "mine"}')
    before = contents(folder)
    with pytest.raises(OutputError, match=f"holds something else: {name} does not say"):
        run(folder, tiny_folder, force=force)
    assert contents(folder) == before


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("name", [*OURS, "members", "members/member-0", "pictures/mine.png"])
def test_no_link_is_followed(
    whole: Path, tiny_folder: Path, tmp_path: Path, name: str, force: bool
) -> None:
    folder, beyond = tmp_path / "model", tmp_path / "beyond"
    shutil.copytree(whole, folder)
    if (folder / name).exists():  # so that what the link leads to would count as ours
        beyond.write_bytes((folder / name).read_bytes())
        (folder / name).unlink()
    else:
        beyond.mkdir()
        (beyond / "worst-mistakes.png").write_bytes(b"Software\0fmnist-search")
        (beyond / "config.json").write_bytes((folder / "config.json").read_bytes())
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).symlink_to(beyond)
    before = contents(tmp_path)
    with pytest.raises(OutputError, match=f"{name} is a link"):
        run(folder, tiny_folder, force=force)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "metrics.json", CHECKPOINT])
@pytest.mark.parametrize("share", [0.0, 0.6])
def test_what_is_ours_and_damaged_can_be_replaced(
    whole: Path, tiny_folder: Path, tmp_path: Path, name: str, share: float
) -> None:
    if name == CHECKPOINT:
        broken_off(tmp_path, tiny_folder)
    else:
        (tmp_path / name).write_bytes((whole / name).read_bytes())
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(share * len(content))])
    remove_model(tmp_path)
    assert not (tmp_path / name).exists()


def test_what_we_write_says_that_it_is_ours(tiny_folder: Path, tmp_path: Path) -> None:
    config = tmp_path / "configuration.json"
    config.write_text(CONFIG.model_dump_json())
    out = tmp_path / "out"
    train = ["train", str(config), "--out", str(out), "--epochs", "1", "--seeds", "1"]
    assert main([*train, "--data-dir", str(tiny_folder)]) == 0
    check_ours(out, "seeds.json")
    assert {path.name for path in (out / "seed-0").iterdir()} > {
        "report.html",
        "events",
        "pictures",
    }
    remove_model(out / "seed-0")
    assert not list((out / "seed-0").iterdir())


def test_a_configuration_is_not_cleared_away_for_its_own_training(
    tmp_path: Path, refused: Refused
) -> None:
    path = tmp_path / "config.json"
    path.write_text(CONFIG.model_dump_json())
    refused(main, ["train", str(path), "--out", str(tmp_path), "--force"], "copy it elsewhere")
    assert path.read_text() == CONFIG.model_dump_json()


def test_force_removes_the_old_model_before_it_begins(
    whole: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    for path in whole.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())

    def die(line: str) -> None:
        raise SystemError(line)

    with pytest.raises(SystemError):
        run(tmp_path, tiny_folder, force=True, say=die)
    assert not list(tmp_path.iterdir()), "nothing of the old model can be taken for the new one's"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--seed", "3000000000"], "seed"),
        (["--seed", "-1"], "seed"),
        (["--epochs", "0"], "epochs"),
        (["--epochs", "20000"], "epochs"),
        (["--device", "tpu"], "tpu"),
        (["--data-dir", "nowhere"], "nowhere"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(
    options: list[str], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text(CONFIG.model_dump_json())
    out = tmp_path / "out"
    assert main(["train", str(tmp_path / "config.json"), "--out", str(out), *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert named in line
    assert not out.exists()


def test_evaluate_records_every_reading(
    whole: Path, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in whole.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    command = ["evaluate", str(tmp_path), "--no-report"]
    assert main([*command, "--data-dir", str(tiny_folder)]) == 0
    assert readings(tmp_path) == 2
    assert "test accuracy" in capsys.readouterr().out
    assert main(command) == 2  # trained on another data set than is found here
    assert "another data set" in capsys.readouterr().err
    assert readings(tmp_path) == 2
