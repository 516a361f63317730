"""Final training as it is watched, limited, and repeated with several seeds."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from statistics import mean, stdev

import pytest
from rich.console import Console
from tensorboardX.proto.event_pb2 import Event

from fmnist_models.__main__ import main
from fmnist_models.config.files import ExportedConfig, Origin
from fmnist_models.config.optimizers import SgdConfig
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.dataset import Dataset
from fmnist_models.data.idx import read_data_files
from fmnist_models.families.quick import QuickConfig
from fmnist_models.final.progress import Bar, Events
from fmnist_models.final.seeds import read_seeds
from fmnist_models.final.time_budget import SAFETY, epochs_within, measure_step
from fmnist_models.final.train import Extras, train
from fmnist_models.saved_model.folder import load_metrics
from fmnist_models.training.metrics import EpochMetrics
from fmnist_models.training.trainer import Trainer
from tests.conftest import Refused

CONFIG = TrialConfig(
    model=QuickConfig(width=4, depth=1), optimizer=SgdConfig(lr=0.05), batch_size=64, epochs=3
)


def metrics(epoch: int) -> EpochMetrics:
    return EpochMetrics(
        epoch=epoch, train_loss=1 / epoch, train_accuracy=0.5, val_loss=None, val_accuracy=None,
        lr=0.1, seconds=1.0, images_per_second=1234.0, peak_memory_bytes=1,
    )  # fmt: skip


def test_the_bar_shows_epoch_loss_accuracy_speed_and_time_left() -> None:
    screen = io.StringIO()
    bar = Bar(Console(file=screen, force_terminal=True, width=120))
    bar.begin(4, [])
    bar.step(5, 10)
    bar.end_epoch(metrics(1))
    bar.step(1, 10)
    bar.close()
    shown = screen.getvalue()
    for part in ("2/4", "loss 1.0000", "accuracy 50.00 %", "1,234 images/s", "left"):
        assert part in shown
    bar.begin(4, [metrics(1), metrics(2)])  # again, after memory ran out
    bar.close()
    assert "3/4" in screen.getvalue()


def test_trainings_side_by_side_have_bars_with_names() -> None:
    screen = io.StringIO()
    first = Bar(Console(file=screen, force_terminal=True, width=120))
    bars = [first.another(f"member {number} ") for number in range(2)]
    for number, bar in reversed(list(enumerate(bars))):
        bar.begin(4, [metrics(1)])
        for epoch in range(2, 3 + number):
            bar.end_epoch(metrics(epoch))
    for bar in bars:
        bar.close()
    shown = screen.getvalue()
    first_at, second_at = (shown.rindex(f"member {n} epoch {n + 3}/4") for n in range(2))
    assert first_at < second_at


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    """What is in a folder's event files, by the format of TFRecord."""
    found: dict[str, dict[int, float]] = {}
    for path in folder.iterdir():
        content, place = path.read_bytes(), 0
        while place < len(content):
            (size,) = struct.unpack_from("<Q", content, place)
            event = Event.FromString(content[place + 12 : place + 12 + size])
            place += size + 16
            for value in event.summary.value:
                found.setdefault(value.tag, {})[event.step] = value.simple_value
    return found


def test_events_are_one_whole_curve_after_a_kill(tmp_path: Path) -> None:
    for done in ([], [metrics(1), metrics(2)]):
        events = Events(tmp_path / "events")
        events.begin(3, done)
        events.end_epoch(metrics(len(done) + 1))
        events.close()
    found = scalars(tmp_path / "events")
    assert found["loss/train"] == pytest.approx({1: 1.0, 2: 0.5, 3: 1 / 3})
    assert set(found) == {"loss/train", "accuracy/train", "lr", "images_per_second"}


class Counting:
    """Counts what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def begin(self, epochs: int, done: object) -> None:
        self.told.append(f"begin {epochs}")

    def step(self, done: int, steps: int) -> None:
        if done == steps:
            self.told.append(f"last step {steps}")

    def end_epoch(self, metrics: EpochMetrics) -> None:
        self.told.append(f"epoch {metrics.epoch}")

    def close(self) -> None:
        self.told.append("close")


def test_watchers_are_told(small_data: Path, tmp_path: Path) -> None:
    seen = Counting()
    train(
        CONFIG, tmp_path, files=read_data_files(small_data), device="cpu", force=True, say=len,
        extras=Extras(watchers=[seen]),
    )  # fmt: skip
    last = ["last step 37"]
    assert seen.told == ["begin 3", *last, "epoch 1", *last, "epoch 2", *last, "epoch 3", "close"]


def test_being_watched_changes_nothing(few: Dataset) -> None:
    runs = [Trainer(CONFIG, few, device="cpu", precision="fp32") for _ in range(2)]
    runs[1].on_step = lambda done, steps: None
    curves = [[e.train_loss for e in run.epochs()] for run in runs]
    assert curves[0] == curves[1]


@pytest.fixture
def config_file(folder: Path) -> str:
    """The name of a configuration's file in the working folder."""
    (folder / "config.json").write_text(CONFIG.model_dump_json())
    return "config.json"


def test_training_without_the_test_set_and_with_it_later(
    config_file: str, small_data: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", config_file, "--out", "out", "--data-dir", str(small_data)]
    assert main([*arguments, "--no-test"]) == 0
    assert "the test set is unread" in capsys.readouterr().out
    assert load_metrics(folder / "out").test_readings == ()
    assert "not been scored" in (folder / "out" / "README.md").read_text()
    weights = (folder / "out" / "model.safetensors").stat().st_mtime_ns
    assert main([*arguments, "--no-test"]) == 0
    assert "nothing to do" in capsys.readouterr().err
    assert main([*arguments, "--no-report"]) == 0
    assert len(load_metrics(folder / "out").test_readings) == 1
    assert (folder / "out" / "model.safetensors").stat().st_mtime_ns == weights
    assert scalars(folder / "out" / "events")["loss/train"].keys() == {1, 2, 3}


def test_several_seeds_are_all_reported(
    config_file: str,
    small_data: Path,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    refused: Refused,
) -> None:
    arguments = ["train", config_file, "--out", "out", "--data-dir", str(small_data), "--no-report"]
    assert main([*arguments, "--seeds", "3", "--seed", "5"]) == 0
    said = capsys.readouterr().out
    report = read_seeds(folder / "out")
    assert report is not None
    scores = [load_metrics(folder / "out" / f"seed-{i}").test_accuracy for i in (5, 6, 7)]
    assert report.seeds == (5, 6, 7)
    assert list(report.test_accuracies) == scores
    assert (report.mean, report.deviation) == (mean(scores), stdev(scores))
    assert f"{100 * mean(scores):.2f} +- {100 * stdev(scores):.2f} % over 3 seeds" in said
    assert main([*arguments, "--seeds", "3", "--seed", "5"]) == 0, "it goes on"
    assert len(load_metrics(folder / "out" / "seed-5").test_readings) == 1
    capsys.readouterr()
    refused(main, [*arguments, "--seeds", "2", "--seed", "5"], "holds something else")
    refused(main, [*arguments, "--seeds", "0"], "--seeds", "'0'")


def test_epochs_fit_into_the_time(data: Dataset) -> None:
    config = CONFIG.model_copy(update={"epochs": 1000})
    short = CONFIG.model_copy(update={"epochs": 1})
    (epoch,) = list(Trainer(short, data, device="cpu", precision="fp32").epochs())
    minutes = 100 * epoch.seconds / 60
    step_seconds = measure_step(config, data, "cpu", "fp32")
    fitting = epochs_within(config, len(data.train), step_seconds, minutes)
    assert 5 <= fitting < 1000  # with room for what else the machine has to do
    assert epochs_within(config, len(data.train), step_seconds, 1e-9) == 1
    assert epochs_within(CONFIG, len(data.train), step_seconds, 1e4) == 3


def test_a_limited_run_goes_on_with_the_epochs_it_began_with(
    folder: Path, small_data: Path, capsys: pytest.CaptureFixture[str], refused: Refused
) -> None:
    many = CONFIG.model_copy(update={"epochs": 5000})
    (folder / "config.json").write_text(many.model_dump_json())
    arguments = ["train", "config.json", "--out", "out", "--data-dir", str(small_data)]
    limited = [*arguments, "--no-report", "--max-minutes", "0.01"]
    assert main(limited) == 0
    assert "of 5000 epochs fit into 0.01 minutes" in capsys.readouterr().err
    epochs = json.loads((folder / "out" / "config.json").read_text())["epochs"]
    assert 1 <= epochs < 5000
    assert main(limited) == 0
    assert "nothing to do" in capsys.readouterr().err
    refused(main, [*arguments, "--max-minutes", "0"], "--max-minutes", "'0'")


def test_an_export_of_a_search_by_time_says_how_long_to_train(
    folder: Path,
    small_data: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As many epochs as fit, more than the search's, and as many again when it goes on."""
    monkeypatch.setattr("fmnist_models.final.time_budget.measure_step", lambda *_: 0.01)
    config = CONFIG.model_copy(update={"epochs": 1, "epoch_images": 640})
    found = {"config": config, "study": "s", "trial": 0, "validation_accuracy": 0.5}
    exported = ExportedConfig.model_validate({**found, "final_seconds": 2.0})
    (folder / "best.json").write_text(exported.model_dump_json())
    arguments = ["train", "best.json", "--data-dir", str(small_data), "--no-report", "--out"]
    assert main([*arguments, "out"]) == 0
    assert "0.0333 minutes: " in capsys.readouterr().err
    trained = json.loads((folder / "out" / "config.json").read_text())
    assert load_metrics(folder / "out").origin == Origin(
        study="s", trial=0, validation_accuracy=0.5
    )
    assert trained["epochs"] == int(SAFETY * 2.0 / (10 * 0.01)), "of ten steps each"
    assert trained == {**config.model_dump(mode="json"), "epochs": trained["epochs"]}
    assert main([*arguments, "out"]) == 0
    assert "nothing to do" in capsys.readouterr().err
    assert main([*arguments, "two", "--epochs", "2"]) == 0
    assert main([*arguments, "most", "--epochs", "2", "--max-minutes", "1"]) == 0
    for name in ("two", "most"):
        assert json.loads((folder / name / "config.json").read_text())["epochs"] == 2
