"""The model folder: what final training leaves behind, and how it is loaded again.

DIR/model.safetensors   weights; its header holds classes, mean, std and the data's digest
DIR/config.json         the `TrialConfig` it was trained by
DIR/metrics.json        `ModelMetrics`: every epoch, and every reading of the test set
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from fmnist_models.config import Config, Probability, TrialConfig, explain, read_config
from fmnist_models.data import Dataset
from fmnist_models.errors import ConfigError
from fmnist_models.files import write_atomically
from fmnist_models.losses import build_network
from fmnist_models.metrics import EpochMetrics

WEIGHTS, CONFIG, METRICS = "model.safetensors", "config.json", "metrics.json"


class TestReading(Config):
    """One reading of the test set: `at` is UTC in ISO form, `interval` Wilson's at 95 %."""

    __test__ = False  # not a test, whatever pytest thinks of the name

    at: str
    correct: int
    images: int
    accuracy: Probability
    interval: tuple[float, float]


class ModelMetrics(Config):
    """What is known of a trained model. `test_*` repeat the last entry of `test_readings`."""

    test_accuracy: Probability | None = None
    test_interval: tuple[float, float] | None = None
    test_readings: tuple[TestReading, ...] = ()
    train_images: int
    train_seconds: float
    data: str
    data_digest: str
    environment: dict[str, JsonValue]
    epochs: list[EpochMetrics]

    def with_reading(self, reading: TestReading) -> ModelMetrics:
        """The same with one more reading of the test set on record."""
        return self.model_copy(
            update={
                "test_accuracy": reading.accuracy,
                "test_interval": reading.interval,
                "test_readings": (*self.test_readings, reading),
            }
        )


@dataclass(frozen=True)
class Header:
    """What a network needs beside its weights: see `data.Dataset` for the fields."""

    classes: int
    mean: float
    std: float
    digest: str

    @classmethod
    def of(cls, dataset: Dataset) -> Header:
        """The header of a model trained on `dataset`."""
        return cls(dataset.classes, dataset.mean, dataset.std, dataset.digest)


def save_model(folder: Path, model: nn.Module, config: TrialConfig, header: Header) -> None:
    """Write weights and configuration into `folder`; raises OutputError."""
    weights = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    fields = {name: str(value) for name, value in vars(header).items()}
    write_atomically(folder / WEIGHTS, save(weights, metadata=fields))
    write_atomically(folder / CONFIG, (config.model_dump_json(indent=2) + "\n").encode())


def load_model(folder: Path, device: str) -> tuple[nn.Module, Header]:
    """The network in `folder`, in evaluation mode on `device`, and its header.

    Nothing in the folder is executed. Raises ConfigError when a file is missing or does not fit.
    """
    config = read_config(folder / CONFIG)
    path = folder / WEIGHTS
    try:
        with safe_open(path, framework="pt") as file:
            fields = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        header = Header(
            int(fields["classes"]), float(fields["mean"]), float(fields["std"]), fields["digest"]
        )
        model = build_network(config, header.classes)
        model.load_state_dict(weights)
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"{path} cannot be loaded: {reason}; train the model again") from None
    return model.to(device).eval(), header


def save_metrics(folder: Path, metrics: ModelMetrics) -> None:
    """Write metrics.json; raises OutputError."""
    write_atomically(folder / METRICS, (metrics.model_dump_json(indent=2) + "\n").encode())


def load_metrics(folder: Path) -> ModelMetrics:
    """Read metrics.json; raises ConfigError when it is missing or not one of ours."""
    path = folder / METRICS
    try:
        return ModelMetrics.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}; is it a model folder?") from None
    except ValidationError as error:
        raise ConfigError(f"{path}: {explain(error)}; train the model again") from None
