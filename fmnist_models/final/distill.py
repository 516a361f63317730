"""Teaching one network what an ensemble knows, on training images alone.

The student learns from the teacher's probabilities of the very images it sees, augmented and mixed
(arXiv:2106.05237), with temperature and a share of the true labels (arXiv:1503.02531).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field, JsonValue
from torch import Tensor, nn
from torch.nn.functional import kl_div, log_softmax, softmax

from fmnist_models.config.base import Config
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.idx import DataFiles
from fmnist_models.errors import ConfigError, DataError, OutputError
from fmnist_models.files import make_folder, write_atomically
from fmnist_models.final.train import Extras, Say, train
from fmnist_models.saved_model.folder import (
    TEACHER,
    WEIGHTS,
    ModelMetrics,
    load_network,
)
from fmnist_models.saved_model.ownership import remove_model
from fmnist_models.training.losses import training_loss


class DistillConfig(Config):
    """How a student learns: `temperature` T softens both sides, `share` weighs the teacher's part.

    The loss is share * T^2 * KL(teacher || student) + (1 - share) * the configuration's own.
    """

    temperature: Annotated[float, Field(gt=0, le=20)] = 2.0
    share: Annotated[float, Field(ge=0, le=1)] = 0.9


@dataclass(frozen=True, eq=False)
class StudentLoss:
    """A `gradient_step.Loss`: the one of `config`, and a part that `teacher` gives."""

    config: TrialConfig
    teacher: nn.Module
    how: DistillConfig

    def __call__(self, images: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """images: (B, 1, 28, 28), the student's logits: (B, classes) -> a scalar."""
        own = training_loss(self.config, logits, labels)
        with torch.no_grad():
            told = self.teacher(images.to(memory_format=torch.channels_last)).float()
        taught = distillation_loss(logits, told, self.how.temperature)
        return self.how.share * taught + (1 - self.how.share) * own


def distillation_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 KL(teacher || student), mean of the batch; both are logits (B, classes): a scalar."""
    ours = log_softmax(student.float() / temperature, dim=1)
    theirs = softmax(teacher.float() / temperature, dim=1)
    return temperature**2 * kl_div(ours, theirs, reduction="batchmean")


def distill(
    source: Path,
    config: TrialConfig,
    folder: Path,
    how: DistillConfig,
    *,
    files: DataFiles,
    device: str,
    force: bool,
    say: Say,
    extras: Extras | None = None,
) -> ModelMetrics:
    """Train `config` into `folder`, taught by the model or ensemble in `source`.

    As `train.train`. Raises also DataError when the teacher knows another data set.
    """
    teacher, header = load_network(source, device)
    if files.digest != header.digest:
        raise DataError(f"the model in {source} was trained on another data set; give --data-dir")
    if source.resolve() == folder.resolve():
        raise ConfigError(f"--out {folder} is the teacher's own folder; give another")
    about = _about(source, how)
    _claim(folder, about, force)
    return train(
        config,
        folder,
        files=files,
        device=device,
        force=False,
        say=say,
        extras=replace(extras or Extras(), loss=StudentLoss(config, teacher, how), teacher=about),
    )


def _about(source: Path, how: DistillConfig) -> dict[str, JsonValue]:
    """Who teaches and how, for the record."""
    digest = hashlib.sha256((source / WEIGHTS).read_bytes()).hexdigest()
    return {"source": source.name, "weights_sha256": digest, **how.model_dump()}


def _claim(folder: Path, about: dict[str, JsonValue], force: bool) -> None:
    """Write the teacher down in the student's folder; raises OutputError if it had another."""
    path, text = folder / TEACHER, (json.dumps(about, indent=2) + "\n").encode()
    if folder.is_dir() and force:
        remove_model(folder)
    elif folder.is_dir() and any(folder.iterdir()):
        if not path.exists() or path.read_bytes() != text:
            raise OutputError(f"{folder} holds something else; give another --out, or --force")
        return
    make_folder(folder)
    write_atomically(path, text)
