"""One network trained by several processes together: the same as in parts, killed or not."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from fmnist_models.__main__ import main
from fmnist_models.config.files import ExportedConfig, Origin
from fmnist_models.config.optimizers import SgdConfig
from fmnist_models.config.training import AugmentationConfig, RegularizationConfig
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.dataset import load_training_data
from fmnist_models.data.idx import TRAIN_IMAGES, read_data_files
from fmnist_models.families.quick import QuickConfig
from fmnist_models.final import workers
from fmnist_models.saved_model.folder import load_metrics
from fmnist_models.training.trainer import Trainer
from tests.conftest import Refused
from tests.models.final.processes import all_gone, trainers_of

CONFIG = TrialConfig(
    model=QuickConfig(width=4, depth=1),
    optimizer=SgdConfig(lr=0.05),
    augmentation=AugmentationConfig(flip=True, shift=1, mixing="mixup"),
    regularization=RegularizationConfig(ema_decay=0.9, clip_norm=1.0, sam_rho=0.02),
    batch_size=64,
    epochs=24,
)


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> list[str]:
    """The command that trains CONFIG by two workers, but for --out."""
    file = tmp_path_factory.mktemp("config") / "config.json"
    export = ExportedConfig(config=CONFIG, study="s", trial=7, validation_accuracy=0.5)
    file.write_text(export.model_dump_json())
    train = ["train", str(file), "--data-dir", str(tiny_folder), "--no-report"]
    return [*train, "--workers", "2", "--out"]


@pytest.fixture(scope="module")
def whole(command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training without a break."""
    folder = tmp_path_factory.mktemp("whole") / "out"
    assert main([*command, str(folder)]) == 0
    return folder


def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "model.safetensors")


def same(one: Path, other: Path) -> bool:
    ours, theirs = weights(one), weights(other)
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


def started(command: list[str], folder: Path) -> tuple[subprocess.Popen[str], list[int]]:
    """A training in a process of its own after its first epoch, and its workers."""
    run = subprocess.Popen(
        [sys.executable, "-m", "fmnist_models", *command, str(folder)],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_hear_ctrl_c,
    )
    assert run.stderr is not None
    pids: list[int] = []
    for line in run.stderr:
        if "workers together" in line:
            pids = trainers_of(run.pid)
        if line.startswith("epoch "):
            break
    return run, pids


def _hear_ctrl_c() -> None:
    """A shell that starts these tests in the background has them ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_two_workers_take_the_steps_of_one_with_batches_in_two_parts(
    whole: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    dataset = load_training_data(read_data_files(tiny_folder))
    trainer = Trainer(CONFIG, dataset, device="cpu", precision="fp32", micro_batches=2)
    metrics = load_metrics(whole)
    if metrics.environment["precision"] == "fp32":
        epochs = list(trainer.epochs())
        assert [e.train_loss for e in metrics.epochs] == pytest.approx(
            [e.train_loss for e in epochs], rel=0.05
        )
        first, ours = epochs[0], metrics.epochs[0]
        assert ours.train_loss == pytest.approx(first.train_loss, rel=1e-3)
    assert metrics.environment["workers"] == 2
    assert metrics.origin == Origin(study="s", trial=7, validation_accuracy=0.5)
    assert len(metrics.test_readings) == 1
    assert (whole / "events").is_dir()
    assert not multiprocessing.active_children()
    assert main([*command, str(whole)]) == 0
    assert "nothing to do" in capsys.readouterr().err


def test_ended_by_ctrl_c_or_by_a_worker_that_is_killed_it_goes_on_as_unbroken(
    command: list[str], whole: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, pids = started(command, folder / "out")
    mapped = [TRAIN_IMAGES in Path(f"/proc/{pid}/maps").read_text() for pid in pids]
    left = list(Path(tempfile.gettempdir()).glob(f"fmnist-workers-*/data/{TRAIN_IMAGES}"))
    os.kill(run.pid, signal.SIGINT)
    run.communicate(timeout=120)
    assert len(pids) == 2
    assert mapped == [True, True]
    assert left == []
    assert all_gone(pids)

    run, pids = started(command, folder / "out")
    os.kill(pids[1], signal.SIGKILL)
    _, said = run.communicate(timeout=120)
    assert run.returncode != 0
    assert "the process of worker 1 was killed" in said
    assert "Traceback" not in said
    assert all_gone(pids)

    assert main([*command[:-3], "--out", str(folder / "out")]) == 0  # by as many as before
    assert "going on after epoch" in capsys.readouterr().err
    assert same(whole, folder / "out")


def test_torchrun_starts_the_same_training(
    command: list[str], whole: Path, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    train = [*torchrun, "-m", "fmnist_models", *command[:-3], "--out", str(folder / "out")]
    surroundings = {**os.environ, "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(train, env=surroundings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("test accuracy") == 1
    assert done.stderr.count("epoch 24/24") == 1
    assert same(whole, folder / "out")
    again = subprocess.run(train, env=surroundings, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert "nothing to do" in again.stderr
    assert len(load_metrics(folder / "out").test_readings) == 1


def test_numbers_of_workers_that_cannot_be_are_refused(
    command: list[str], folder: Path, refused: Refused
) -> None:
    train = [*command[:-2], "33", "--out", str(folder / "out")]
    refused(main, train, "--workers 33", "give 32 at most")
    refused(main, [*command, "out", "--members", "2"], "--members", "--workers")
    refused(main, [*command[:-2], "0", "--out", "out"], "--workers", "'0'")


def test_a_race_is_run_where_training_takes_long_on_several_cores(
    monkeypatch: pytest.MonkeyPatch, small_data: Path
) -> None:
    files, alone = read_data_files(small_data), 0.1
    steps = CONFIG.epochs * CONFIG.steps_per_epoch(len(load_training_data(files).train))
    monkeypatch.setattr(workers, "measure_step", lambda *_: alone)
    monkeypatch.setattr(workers, "LEAST_SECONDS", 0.9 * alone * steps)
    monkeypatch.setattr(workers.torch, "get_num_threads", lambda: 8)

    def winner(together: float, **changes: object) -> tuple[int | None, float | None]:
        monkeypatch.setattr(workers.WorkerPool, "step_seconds", lambda *_: together)
        config = replaced(CONFIG, {k: v for k, v in changes.items() if k != "minutes"})
        minutes = changes.get("minutes")
        assert minutes is None or isinstance(minutes, float)
        pool, seconds = workers.race(config, files, "cpu", minutes)
        return pool.size if pool else None, seconds

    assert winner(0.05) == (4, 0.05)  # 16 images each of 64
    assert winner(0.11) == (4, 0.11)  # beside other work they will be faster
    assert winner(0.2) == (None, 0.1)
    assert winner(0.05, epochs=3) == (None, 0.1)  # too short to be worth it
    assert winner(0.05, minutes=0.01) == (None, None)
    monkeypatch.setattr(workers.torch, "get_num_threads", lambda: 1)
    assert winner(0.05) == (None, None)
    assert workers.race(CONFIG, files, "cuda", None) == (None, None)


def replaced(config: TrialConfig, changes: dict[str, object]) -> TrialConfig:
    return TrialConfig.model_validate({**config.model_dump(), **changes})
