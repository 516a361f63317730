"""Configurations: what is accepted comes back, what is not is one line that names it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from fmnist_models.config.base import explain
from fmnist_models.config.files import ExportedConfig, parse_config, read_config
from fmnist_models.config.optimizers import AdamWConfig, SgdConfig
from fmnist_models.config.training import AugmentationConfig, LrScheduleConfig, RegularizationConfig
from fmnist_models.config.trial import TrialConfig
from fmnist_models.errors import ConfigError
from fmnist_models.families.wrn import WrnConfig

ROOT = Path(__file__).parents[3]
FULL = TrialConfig(
    model=WrnConfig(depth=22, width=3, dropout=0.1, activation="mish"),
    optimizer=AdamWConfig(lr=1e-3, beta1=0.8, weight_decay=0.05),
    lr_schedule=LrScheduleConfig(kind="linear", warmup=0.1),
    augmentation=AugmentationConfig(flip=True, shift=2, cutout=12, random_erasing=0.5),
    regularization=RegularizationConfig(label_smoothing=0.1, ema_decay=0.99),
    batch_size=128,
    epochs=9,
    seed=5,
)


def changed(path: str, value: Any) -> str:
    """JSON of `FULL` with `value` at the dotted `path`."""
    content = json.loads(FULL.model_dump_json())
    *parents, last = path.split(".")
    part = content
    for parent in parents:
        part = part[parent]
    part[last] = value
    return json.dumps(content)


def message_of(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "c.json")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_full_configuration_comes_back_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text(FULL.model_dump_json(indent=2), encoding="utf-8")
    assert read_config(path) == FULL
    export = ExportedConfig(
        config=FULL, study="é", trial=0, validation_accuracy=1.0, evidence={"a": [1, None]}
    )
    path.write_text(export.model_dump_json(), encoding="utf-8")
    assert read_config(path) == FULL


def test_defaults_need_not_be_given_and_an_int_will_do_for_a_float() -> None:
    text = '{"model": {"family": "wrn"}, "optimizer": {"kind": "sgd", "lr": 1}, "epochs": 1}'
    assert parse_config(text) == TrialConfig(
        model=WrnConfig(), optimizer=SgdConfig(lr=1.0), epochs=1
    )


BAD_VALUES: list[tuple[str, Any, str, str]] = [
    ("speed", 1, "speed", "1"),
    ("a\nb", 1, r"a\nb", "1"),
    ("model.speed", 1, "model.speed", "1"),
    ("optimizer.momentum", 0.9, "optimizer.adamw.momentum", "0.9"),
    ("optimizer.lr", "0.1", "optimizer.adamw.lr", "'0.1'"),
    ("optimizer.lr", -0.1, "optimizer.adamw.lr", "-0.1"),
    ("optimizer.lr", 0, "optimizer.adamw.lr", "0"),
    ("optimizer.lr", None, "optimizer.adamw.lr", "None"),
    ("optimizer.lr", float("nan"), "optimizer.adamw.lr", "nan"),
    ("optimizer.lr", float("inf"), "optimizer.adamw.lr", "inf"),
    ("optimizer.weight_decay", float("-inf"), "optimizer.adamw.weight_decay", "-inf"),
    ("optimizer.kind", "adamm", "optimizer", "{'kind': 'adamm'"),
    ("model.depth", 15, "model.depth", "15"),
    ("model.depth", 9, "model.depth", "9"),
    ("model.depth", 16.0, "model.depth", "16.0"),
    ("model.width", 0, "model.width", "0"),
    ("model.width", True, "model.width", "True"),
    ("model.dropout", 1.1, "model.dropout", "1.1"),
    ("model.dropout", float("nan"), "model.dropout", "nan"),
    ("model.activation", "tanh", "model.activation", "'tanh'"),
    ("model", {"depth": 16}, "model", "{'depth': 16}"),
    ("model", "wrn", "model", "'wrn'"),
    ("lr_schedule.warmup", 1.0, "lr_schedule.warmup", "1.0"),
    ("augmentation.flip", 1, "augmentation.flip", "1"),
    ("augmentation.shift", 9, "augmentation.shift", "9"),
    ("augmentation.random_erasing", -0.1, "augmentation.random_erasing", "-0.1"),
    ("regularization.ema_decay", 1.0, "regularization.ema_decay", "1.0"),
    ("batch_size", 0, "batch_size", "0"),
    ("batch_size", "x" * 1000, "batch_size", "'xxxx"),
    ("epochs", 0, "epochs", "0"),
    ("epochs", 1.5, "epochs", "1.5"),
    ("seed", 2**31, "seed", "2147483648"),
    ("seed", -1, "seed", "-1"),
]


@pytest.mark.parametrize(("path", "value", "place", "given"), BAD_VALUES)
def test_a_bad_value_is_named_with_its_place(path: str, value: Any, place: str, given: str) -> None:
    message = message_of(changed(path, value))
    assert message.startswith(f"c.json: {place}: ")
    assert f"got {given}" in message
    assert message.endswith("; correct it or export it again")
    assert len(message) < 400


def test_a_missing_value_is_named_and_the_other_complaints_counted() -> None:
    assert message_of("{}").startswith("c.json: model: Field required (and 2 more)")


def test_a_bad_value_within_an_export_is_named() -> None:
    export = ExportedConfig(config=FULL, study="s", trial=0, validation_accuracy=0.9)
    content = json.loads(export.model_dump_json())
    content["config"]["model"]["depth"] = 15
    assert message_of(json.dumps(content)).startswith("c.json: config.model.depth: depth must be")
    content["format"] = "fmnist-search-export-2"
    assert message_of(json.dumps(content)).startswith(
        "c.json is of format 'fmnist-search-export-2', and this version reads"
    )


def test_an_unknown_family_is_one_line() -> None:
    assert "unknown family 'wnr'" in message_of(changed("model.family", "wnr"))


@pytest.mark.parametrize(
    "text",
    ["", "{", "epochs: 9", "\ufeff{}", "[" * 100_000, "{'epochs': 9}", '{"epochs": ' + "9" * 5_000],
    ids=["empty", "cut short", "yaml", "byte order mark", "very deep", "python", "huge number"],
)
def test_what_is_not_json_is_said_to_be_none(text: str) -> None:
    assert message_of(text).startswith("c.json is not JSON (")


@pytest.mark.parametrize("text", ["[]", "null", "3", '"x"', '{"config": 3}', '{"config": null}'])
def test_json_that_is_no_configuration(text: str) -> None:
    assert "should be an object" in message_of(text)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin.json").write_bytes(b'{"caf\xe9": 1}')
    (tmp_path / "large.json").write_bytes(b" " * 1_000_001)
    reasons = {
        "none.json": "No such file or directory",
        "": "Is a directory",
        "latin.json": "is not UTF-8 text",
        "large.json": "has over 1 MB",
    }
    for name, reason in reasons.items():
        with pytest.raises(ConfigError, match=reason) as caught:
            read_config(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_the_error_of_parsing_a_file_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text(changed("epochs", 0))
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    assert str(caught.value).startswith(f"{path}: epochs: ")


def test_a_configuration_is_frozen() -> None:
    with pytest.raises(ValidationError) as caught:
        FULL.epochs = 3
    assert explain(caught.value).startswith("epochs: Instance is frozen")


def test_reading_a_module_of_configurations_imports_no_torch() -> None:
    ours = "fmnist_models.config.trial, fmnist_models.training.metrics"
    code = f"import sys, {ours}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=200)
