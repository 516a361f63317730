"""The model folder: what final training leaves behind, and how it is loaded again.

DIR/model.safetensors   weights; its header holds classes, mean, std and the data's digest
DIR/config.json         the `TrialConfig` it was trained by, or an `EnsembleConfig`
DIR/metrics.json        `ModelMetrics`: every epoch, and every reading of the test set
DIR/README.md           the model card
DIR/report.html         the same with pictures, in one file
DIR/pictures/*.png      the pictures
DIR/events/             training curves for TensorBoard
DIR/members/            of an ensemble that was trained as one: its members' folders
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field, JsonValue, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from fmnist_models.config.base import Config, Probability, explain
from fmnist_models.config.files import Origin, parse_config, read_config_text
from fmnist_models.config.training import ViewsConfig
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.contents import HEAD_BYTES, what_else
from fmnist_models.data.dataset import Dataset, Normalization
from fmnist_models.errors import ConfigError
from fmnist_models.files import MAKER, write_atomically
from fmnist_models.saved_model.ensemble import ENSEMBLE_FORMAT, EnsembleConfig
from fmnist_models.saved_model.scores import TestDetails
from fmnist_models.training.ensemble import Ensemble
from fmnist_models.training.losses import build_network
from fmnist_models.training.metrics import EpochMetrics

WEIGHTS, CONFIG, METRICS = "model.safetensors", "config.json", "metrics.json"
CARD, REPORT, PICTURES, EVENTS = "README.md", "report.html", "pictures", "events"
TEACHER, ONNX = "teacher.json", "model.onnx"
CHECKPOINT, MEMBERS = "checkpoint.bin", "members"
EVENTS_SUFFIX = f".{MAKER}"
"""How the names of our files in EVENTS end."""
METRICS_FORMAT: Literal["fmnist-metrics-1"] = "fmnist-metrics-1"
SEEDS, SEEDS_FORMAT = "seeds.json", "fmnist-seeds-1"
"""Of a folder that holds models: see `final/seeds.py`."""
MOST_CLASSES = 256
"""Labels are single bytes."""

AnyConfig = TrialConfig | EnsembleConfig


class TestReading(Config):
    """One reading of the test set: `at` is UTC in ISO form, `interval` Wilson's at 95 %."""

    __test__ = False  # not a test, whatever pytest thinks of the name

    at: str
    correct: int
    images: int
    accuracy: Probability
    interval: tuple[float, float]
    details: TestDetails | None = None


class ModelMetrics(Config):
    """What is known of a trained model. `test_*` repeat the last entry of `test_readings`.

    `teacher` says what a distilled model learned from, `origin` where its configuration was found;
    an ensemble has no epochs of its own but its members', its `train_seconds` are those of all
    members.
    """

    format: Literal["fmnist-metrics-1"] = METRICS_FORMAT
    test_accuracy: Probability | None = None
    test_interval: tuple[float, float] | None = None
    test_readings: tuple[TestReading, ...] = ()
    train_images: int
    train_seconds: float
    data: str
    data_digest: str
    environment: dict[str, JsonValue]
    epochs: list[EpochMetrics]
    member_epochs: Annotated[
        tuple[tuple[EpochMetrics, ...], ...], Field(exclude_if=lambda curves: not curves)
    ] = ()
    teacher: dict[str, JsonValue] | None = None
    origin: Annotated[Origin | None, Field(exclude_if=lambda origin: origin is None)] = None

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
    """What a network needs beside its weights: `mean` and `std` are of the training pixels.

    `mirrored`: an image's probabilities are the mean of its own and its mirror image's, as is due
    where the network was trained on both.
    """

    classes: int
    mean: float
    std: float
    digest: str
    mirrored: bool = False

    @property
    def normalization(self) -> Normalization:
        """What brings pixels to where the network expects them."""
        return Normalization(self.mean, self.std)

    @classmethod
    def of(cls, dataset: Dataset, mirrored: bool = False) -> Header:
        """The header of a model trained on `dataset`."""
        pixels = dataset.normalization
        return cls(dataset.classes, pixels.mean, pixels.std, dataset.digest, mirrored)

    @classmethod
    def parse(cls, fields: dict[str, str]) -> Header:
        """The header in a weights file's metadata; raises KeyError or ValueError."""
        header = cls(
            int(fields["classes"]),
            float(fields["mean"]),
            float(fields["std"]),
            fields["digest"],
            mirrored=fields.get("mirrored") == str(True),  # not said in models of before
        )
        if not 2 <= header.classes <= MOST_CLASSES:
            raise ValueError(f"it claims {header.classes} classes")
        if not (math.isfinite(header.mean) and math.isfinite(header.std) and header.std > 0):
            raise ValueError(f"it claims pixels of mean {header.mean} and deviation {header.std}")
        return header


def save_model(folder: Path, model: nn.Module, config: AnyConfig, header: Header) -> None:
    """Write weights and configuration into `folder`; raises OutputError."""
    weights = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    # What is not so is not said, so that files are byte for byte those of before.
    said = {name: value for name, value in vars(header).items() if value is not False}
    fields = {name: str(value) for name, value in said.items()}
    write_atomically(folder / WEIGHTS, _ordered(save(weights, metadata=fields)))
    write_atomically(folder / CONFIG, (config.model_dump_json(indent=2) + "\n").encode())


def _ordered(content: bytes) -> bytes:
    """The same safetensors file, byte for byte equal whenever its weights and metadata are.

    safetensors writes the metadata in an order that changes from one process to the next. The file
    starts with the length of its header, in 8 bytes, and the header, JSON that may end in spaces.
    """
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    padded = text.ljust(-(-len(text) // 8) * 8)
    return len(padded).to_bytes(8, "little") + padded + content[8 + size :]


def load_config(folder: Path) -> AnyConfig:
    """The configuration in `folder`; raises ConfigError when it is missing or not acceptable."""
    path = folder / CONFIG
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no folder; name one that `train` has written")
    text = read_config_text(path)
    try:
        content = json.loads(text)
        if isinstance(content, dict) and content.get("format") == ENSEMBLE_FORMAT:
            return EnsembleConfig.model_validate_json(text)
    except ValidationError as error:
        raise ConfigError(f"{path}: {explain(error)}; make the ensemble again") from None
    except (ValueError, RecursionError):
        pass  # for `parse_config` to complain of
    return parse_config(text, str(path))


def load_network(folder: Path, device: str) -> tuple[nn.Module, Header]:
    """The network in `folder`, in evaluation mode on `device`, and its header.

    One that also looks at mirror images, where its header says so, as one that does so by itself.
    Nothing in the folder is executed: the configuration is checked data, the families are ours,
    the weights are safetensors. Raises ConfigError when a file is missing or does not fit.
    """
    network, header = load_trained(folder, device)
    if header.mirrored:
        views = ViewsConfig(flip=True)
        network = Ensemble([network], views, header.normalization.black).eval()
    return network, header


def load_trained(folder: Path, device: str) -> tuple[nn.Module, Header]:
    """As `load_network`, but the network as it was trained, whatever its header says."""
    config = load_config(folder)
    path = folder / WEIGHTS
    try:
        with safe_open(path, framework="pt") as file:
            header = Header.parse(file.metadata() or {})
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        what = _what_else(path)
        if what:
            raise ConfigError(f"{path} {what}") from None
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"{path} cannot be loaded: {reason}; train the model again") from None
    model = _build(config, header)
    misfit = _misfit(weights, model.state_dict())
    if misfit:
        raise ConfigError(f"{path} does not fit {CONFIG}: {misfit}; train the model again")
    model.load_state_dict(weights)
    return model.to(device).eval(), header


def _what_else(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return what_else(file.read(HEAD_BYTES))
    except OSError:
        return None


def _build(config: AnyConfig, header: Header) -> nn.Module:
    if isinstance(config, TrialConfig):
        return build_network(config, header.classes)
    members = [build_network(member, header.classes) for member in config.members]
    return Ensemble(members, config.views, header.normalization.black)


def _misfit(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> str | None:
    """Why weights cannot be loaded, by the first that differs; None where they can."""
    for name, tensor in wanted.items():
        if name not in found:
            return f"it has no {name}"
        if found[name].shape != tensor.shape:
            return f"{name} is {list(found[name].shape)}, not {list(tensor.shape)}"
        if not torch.isfinite(found[name]).all():
            return f"{name} is not finite"
    more = sorted(found.keys() - wanted.keys())
    return f"it has {more[0]!r} too" if more else None


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
