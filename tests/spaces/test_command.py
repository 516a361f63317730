"""`python -m spaces point`: a known-good point as a file that final training takes."""

from pathlib import Path

import pytest

from fmnist_models.config.base import ModelConfig
from fmnist_models.config.files import read_config
from spaces import SPACES, SpaceContext, get_space
from spaces.__main__ import main


def test_a_point_is_written_as_a_configuration(tmp_path: Path) -> None:
    file = tmp_path / "six.json"
    assert main(["point", "cnn", "six", "--epochs", "50", "--seed", "3", "--out", str(file)]) == 0
    config = read_config(file)
    expected = get_space("cnn").configure("six", SpaceContext(epochs=50, seed=3))
    assert config == expected
    assert (config.epochs, config.seed, config.patience) == (50, 3, 10)
    assert config.lr_schedule.step_epochs == 25


def test_without_a_file_it_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["point", "mlp", "gradient-descent"]) == 0
    assert '"epochs": 27' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["wrm", "wrn-10-1"], "unknown space 'wrm': known are "),
        (["wrn", "wrn-10"], "unknown wrn point 'wrn-10': known are "),
        (["wrn", "wrn-10-1", "--epochs", "0"], "--epochs: Input should be greater than"),
        (["wrn", "wrn-10-1", "--seed", "-1"], "--seed: Input should be greater than"),
        (["wrn", "wrn-10-1", "--out", "/nowhere/x.json"], "/nowhere/x.json"),
        (["wrn", "wrn-10-1", "--out", "x.csv"], ".json"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["point", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_file_of_other_content_is_kept_until_forced(tmp_path: Path) -> None:
    file = tmp_path / "six.json"
    point = ["point", "cnn", "six", "--out", str(file)]
    assert [main(point), main(point)] == [0, 0]
    file.write_text("mine")
    assert main(point) == 2
    assert file.read_text() == "mine"
    assert main([*point, "--force"]) == 0
    assert read_config(file)


def small(model: ModelConfig) -> bool:
    return model.family in ("wrn", "mlp") and model.model_dump()["depth"] < 28


def test_all_tries_one_point_of_each_space_the_last_that_is_affordable() -> None:
    space = get_space("all")
    families = [name for name in SPACES if name != "all"]
    best = space.affordable_points(SpaceContext(epochs=9))
    assert [point["all.space"] for point in best.values()] == families
    assert "wrn/wrn-40-4-playground" in best
    limited = SpaceContext(9, affordable=small)
    assert list(space.affordable_points(limited)) == ["mlp/gradient-descent", "wrn/wrn-16-4-cutout"]


def test_a_point_with_sam_needs_two_affordable_passes() -> None:
    once = SpaceContext(9, affordable_twice=lambda model: False)
    left = set(get_space("shake").points) - set(get_space("shake").affordable_points(once))
    assert left == {"shake-26-2x96d-cutout-sam"}
