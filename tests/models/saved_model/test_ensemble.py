"""Ensembles: what they compute, who may be a member, and what they teach."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.functional import kl_div, log_softmax, softmax

from fmnist_models import load_model
from fmnist_models.__main__ import main
from fmnist_models.config.optimizers import SgdConfig
from fmnist_models.config.training import ViewsConfig
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.dataset import Dataset
from fmnist_models.families.quick import QuickConfig
from fmnist_models.final.distill import DistillConfig, StudentLoss, distillation_loss
from fmnist_models.final.make_ensemble import make_ensemble
from fmnist_models.saved_model.folder import (
    Header,
    load_config,
    load_metrics,
    load_network,
    save_model,
)
from fmnist_models.training.ensemble import Ensemble
from fmnist_models.training.losses import build_network
from fmnist_models.training.trainer import Trainer
from tests.conftest import Refused
from tests.models.conftest import MakeConfig

CONFIG = TrialConfig(
    model=QuickConfig(width=4, depth=1), optimizer=SgdConfig(lr=0.05), batch_size=64, epochs=1
)
Say = Callable[[str], None]


def make_member(model: Path, folder: Path, seed: int) -> Path:
    """A model folder like `model` with fresh weights of another seed."""
    shutil.copytree(model, folder)
    config = load_config(model)
    assert isinstance(config, TrialConfig)
    config = config.model_copy(update={"seed": seed})
    torch.manual_seed(seed)
    _, header = load_network(model, "cpu")
    save_model(folder, build_network(config, 10), config, header)
    return folder


@pytest.fixture
def members(trained: Path, tmp_path: Path) -> list[Path]:
    """Three folders: a trained model, and two with fresh weights."""
    first = Path(shutil.copytree(trained, tmp_path / "member-0"))
    return [first, *(make_member(trained, tmp_path / f"member-{i}", i) for i in (1, 2))]


def test_an_ensemble_is_the_mean_of_its_members(
    members: list[Path], data: Dataset, folder: Path
) -> None:
    assert main(["ensemble", *map(str, members), "--out", "all"]) == 0
    images = data.validation.images[:50]
    wanted = sum(load_model(member).probabilities(images) for member in members) / 3
    found = load_model(folder / "all").probabilities(images)
    assert abs(found - wanted).max() < 1e-6
    config = load_config(folder / "all")
    assert (config.chosen, config.sources) == ("unread", ("member-0", "member-1", "member-2"))


def test_views_are_flipped_and_moved_images(data: Dataset) -> None:
    network = build_network(CONFIG, 10).eval()
    x = data.normalization(data.train.images[:20])
    black = data.normalization.black
    padded = torch.nn.functional.pad(x, (2, 2, 2, 2), value=black)
    moves = [(2, 2), (0, 2), (4, 2), (2, 0), (2, 4)]
    looks = [padded[:, :, i : i + 28, j : j + 28] for i, j in moves]
    looks += [look.flip(3) for look in looks]
    views = ViewsConfig(flip=True, shift=2)
    assert views.count == len(looks)
    with torch.no_grad():
        wanted = torch.stack([network(look).softmax(1) for look in looks]).mean(0)
        found = Ensemble([network], views, black)(x).softmax(1)
    torch.testing.assert_close(found, wanted)


@pytest.fixture
def mirrored(trained: Path, tmp_path: Path) -> Path:
    """The trained model as one that was trained on mirror images, too."""
    folder, config = tmp_path / "mirrored", load_config(trained)
    shutil.copytree(trained, folder)
    network, header = load_network(trained, "cpu")
    save_model(folder, network, config, replace(header, mirrored=True))
    return folder


def test_a_model_that_was_trained_on_mirror_images_looks_at_both(
    trained: Path, mirrored: Path, data: Dataset
) -> None:
    plain, both = (load_network(folder, "cpu")[0] for folder in (trained, mirrored))
    x = data.normalization(data.validation.images[:200])
    with torch.inference_mode():
        mean = (plain(x).softmax(1) + plain(x.flip(3)).softmax(1)) / 2
        torch.testing.assert_close(both(x).softmax(1), mean)
        assert not both.training
    torch.testing.assert_close(both(x.flip(3)), both(x))


def test_an_ensemble_of_such_models_looks_at_both_too(
    mirrored: Path, members: list[Path], tmp_path: Path
) -> None:
    again = Path(shutil.copytree(mirrored, tmp_path / "again"))
    all_such = make_ensemble(
        [mirrored, again], tmp_path / "all", ViewsConfig(), declared=False, force=False
    )
    some = make_ensemble(
        [mirrored, members[1]], tmp_path / "some", ViewsConfig(), declared=False, force=False
    )
    assert (all_such.views.count, some.views.count) == (2, 1)
    alone, together = (load_network(folder, "cpu")[0] for folder in (mirrored, tmp_path / "all"))
    x = torch.rand(8, 1, 28, 28)
    torch.testing.assert_close(together(x), alone(x))


def test_an_ensemble_is_evaluated_and_predicts(
    members: list[Path], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ensemble", *map(str, members[:2]), "--out", "all", "--flip"]) == 0
    assert main(["evaluate", "all"]) == 0
    assert "test accuracy" in capsys.readouterr().out
    card = (folder / "all" / "README.md").read_text()
    assert "2 networks (quick), 2 views of each image" in card
    assert "no member had been scored" in card
    assert (folder / "all" / "pictures" / "learning-curves.png").exists()


def read_once(member: Path) -> None:
    metrics = load_metrics(member)
    reading = {"at": "now", "correct": 9, "images": 10, "accuracy": 0.9, "interval": [0.5, 1.0]}
    content = json.loads(metrics.model_dump_json()) | {"test_readings": [reading]}
    (member / "metrics.json").write_text(json.dumps(content))


def test_members_whose_test_score_is_known_must_be_declared(
    members: list[Path], refused: Refused, folder: Path
) -> None:
    read_once(members[1])
    arguments = ["ensemble", *map(str, members), "--out", "all"]
    refused(main, arguments, "member-1", "--no-test", "--chosen-before-test")
    assert main([*arguments, "--chosen-before-test"]) == 0
    assert load_config(folder / "all").chosen == "declared"


def test_all_seeds_of_one_run_may_be_members(
    trained: Path, tmp_path: Path, refused: Refused, folder: Path
) -> None:
    config = load_config(trained)
    parent = tmp_path / "seeds"
    parent.mkdir()
    seeds = [make_member(trained, parent / f"seed-{i}", i) for i in range(3)]
    for seed in seeds:
        read_once(seed)
    report = {"config": json.loads(config.model_dump_json()), "seeds": [0, 1, 2]}
    (parent / "seeds.json").write_text(json.dumps(report))
    refused(main, ["ensemble", *map(str, seeds[:2]), "--out", "two"], "has been scored")
    assert main(["ensemble", *map(str, seeds), "--out", "all"]) == 0
    assert load_config(folder / "all").chosen == "all seeds"


def test_what_can_be_no_ensemble(
    members: list[Path],
    data: Dataset,
    refused: Refused,
    tmp_path: Path,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first, second, _ = map(str, members)
    refused(main, ["ensemble", first, first, "--out", "all"], "named twice")
    refused(main, ["ensemble", first, second, "--out", first], "a member's own folder")
    refused(main, ["ensemble", first, str(tmp_path / "none"), "--out", "all"], "is no folder")
    refused(main, ["ensemble", first, "--shift", "9", "--out", "all"], "--shift")
    config = load_config(members[0])
    other = Header(10, data.normalization.mean, data.normalization.std, "0" * 64)
    save_model(members[1], build_network(config, 10), config, other)
    refused(main, ["ensemble", first, second, "--out", "all"], "was trained on other data")
    assert main(["ensemble", first, "--flip", "--out", "one"]) == 0
    capsys.readouterr()
    refused(main, ["ensemble", "one", first, "--out", "all"], "is an ensemble already")
    refused(main, ["ensemble", first, "--out", "one"], "holds something already")
    (folder / "one" / "mine.txt").write_text("mine")
    refused(main, ["ensemble", first, "--out", "one"], "holds something already", "--force")
    assert main(["ensemble", first, "--shift", "1", "--out", "one", "--force"]) == 0
    assert (folder / "one" / "mine.txt").read_text() == "mine"
    assert load_config(folder / "one").views == ViewsConfig(shift=1)


def test_the_distillation_loss_is_hintons() -> None:
    student, teacher = torch.randn(2, 8, 10)
    wanted = 9 * kl_div(log_softmax(student / 3, 1), softmax(teacher / 3, 1), reduction="none").sum(
        1
    ).mean(0)
    torch.testing.assert_close(distillation_loss(student, teacher, 3.0), wanted)
    assert distillation_loss(teacher, teacher, 2.0).abs() < 1e-6


def test_a_student_comes_closer_to_its_teacher(
    trained: Path, few: Dataset, everything_on: MakeConfig
) -> None:
    teacher, _ = load_network(trained, "cpu")
    x = few.normalization(few.validation.images)

    def distance(share: float) -> float:
        how = DistillConfig(share=share, temperature=2.0)
        config = everything_on(model=QuickConfig(width=8, depth=1), batch_size=32, epochs=4)
        loss = StudentLoss(config, teacher, how)
        student = Trainer(config, few, device="cpu", precision="fp32", loss=loss)
        list(student.epochs())
        with torch.no_grad():
            return float(distillation_loss(student.averaged_model(x), teacher(x), 1.0))

    assert distance(1.0) < distance(0.0)


def test_a_student_is_trained_from_the_shell(
    trained: Path,
    small_data: Path,
    folder: Path,
    refused: Refused,
    capsys: pytest.CaptureFixture[str],
) -> None:
    teacher = folder / "teacher"
    shutil.copytree(trained, teacher)
    from fmnist_models.data.dataset import load_training_data
    from fmnist_models.data.idx import read_data_files

    small = load_training_data(read_data_files(small_data))
    config = load_config(teacher)
    network, _ = load_network(teacher, "cpu")
    save_model(teacher, network, config, replace(Header.of(small), classes=10))
    (folder / "config.json").write_text(CONFIG.model_dump_json())
    common = ["--data-dir", str(small_data), "--no-report", "--device", "cpu"]
    arguments = ["distill", str(teacher), "config.json", "--out", "student", *common]
    assert main(arguments) == 0
    metrics = load_metrics(folder / "student")
    assert metrics.teacher["source"] == "teacher"
    assert metrics.test_accuracy is not None
    assert main(arguments) == 0, "a finished student is left as it is"
    assert len(load_metrics(folder / "student").test_readings) == 1
    capsys.readouterr()
    refused(main, [*arguments, "--temperature", "3"], "holds something else")
    refused(main, [*arguments, "--share", "2"], "--share")
    arguments[4] = "teacher"
    refused(main, arguments, "the teacher's own folder")
