"""The training engine: one `TrialConfig` in, one `EpochMetrics` an epoch out.

What makes it fast: images resident on the device as uint8, batches by index, augmentation on whole
batches, channels_last, bf16 where it pays, a fused optimizer, and no synchronisation with the host
inside an epoch. What makes it repeatable: every random draw of an epoch comes from generators
seeded by (seed, epoch), so that a run resumed from a checkpoint draws what it would have drawn.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_

from fmnist_models.augmentation.batch_loader import BatchLoader
from fmnist_models.augmentation.mixing import Mixer
from fmnist_models.compute.allocator import keep_memory
from fmnist_models.compute.batch_norm import prepare_norms
from fmnist_models.compute.cuda_graphs import GraphedPasses
from fmnist_models.compute.memory import peak_memory_bytes, reset_peak_memory
from fmnist_models.compute.precision import Precision, autocast
from fmnist_models.config.optimizers import ScheduleFreeConfig
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.dataset import Dataset
from fmnist_models.errors import ConfigError, DivergedError
from fmnist_models.training.inference import EVALUATION_BATCH, feed, predict
from fmnist_models.training.losses import build_network, training_loss
from fmnist_models.training.lr_schedules import lr_factor, out_of_patience
from fmnist_models.training.metrics import EpochMetrics
from fmnist_models.training.optimizers import build_optimizer
from fmnist_models.training.sam import Sam
from fmnist_models.training.weight_averages import (
    Average,
    ScheduleFreeWeights,
    StochasticWeightAverage,
    WeightAverage,
    refresh_norms,
    slow_down_norms,
)

OnStep = Callable[[int, int], None]
"""Is told after each step how many of an epoch's steps are done, and how many it has."""
REFRESH_IMAGES = 5000
"""So many training images, as they are scored, give an average's batch norms their statistics."""
DROPOUT_SEED = 2**62
"""Keeps what dropout draws apart from what shuffling and augmentation draw."""


@dataclass(frozen=True)
class Score:
    """How a model did on a set of images: `loss` the mean cross-entropy, `accuracy` a fraction."""

    loss: float
    accuracy: float


class Trainer:
    """One training run, an epoch at a time.

    `dataset.train` and `dataset.validation` are moved to `device`; the validation part may be
    empty, and then epochs carry no validation figures. Raises ConfigError when a batch is larger
    than the training data.

    `micro_batches`: each batch passes through the network in so many parts, whose gradients add up
    to the batch's, so that fewer activations are held at a time. Draws for augmentation and mixing,
    both passes of SAM, clipping and the update are the undivided batch's; the step is the same up
    to rounding, but for two layers: dropout draws otherwise, and batch norm normalises each part by
    itself (ghost batches, arXiv:1705.08741), its running statistics moving as far a step as before.

    `graphs`: whether forward and backward pass run as CUDA graphs (graphs.py). By default they do
    on a GPU where launching them takes longer than computing; in parts they never do.
    """

    def __init__(
        self,
        config: TrialConfig,
        dataset: Dataset,
        *,
        device: str,
        precision: Precision,
        micro_batches: int = 1,
        graphs: bool | None = None,
    ) -> None:
        images = len(dataset.train)
        if config.batch_size > images:
            raise ConfigError(
                f"batch_size {config.batch_size} is larger than the {images} training images; "
                "lower it or train on more"
            )
        keep_memory(device)
        reset_peak_memory(device)
        self.config, self.device, self.precision = config, device, precision
        self.micro_batches = min(micro_batches, config.batch_size)
        self._evaluation_batch = -(-EVALUATION_BATCH // self.micro_batches)
        self.epoch = 0
        self.accuracies: list[float | None] = []
        self.on_step: OnStep | None = None
        self.steps_per_epoch = images // config.batch_size
        self.train, self.validation = dataset.train.to(device), dataset.validation.to(device)
        self.dataset = dataset
        self.model = self._fresh_model()
        prepare_norms(self.model, device, precision)
        if self.micro_batches > 1:
            slow_down_norms(self.model, self.micro_batches)
        self.optimizer = build_optimizer(
            self.model, config.optimizer, decay_vectors=config.regularization.decay_vectors
        )
        self.average = self._new_average()
        rho = config.regularization.sam_rho
        self._sam = Sam(self.model, rho) if rho else None
        wanted = device != "cpu" if graphs is None else graphs
        self.graphs: GraphedPasses | None = None
        if wanted and self.micro_batches == 1:
            self.graphs = GraphedPasses(self.model, device, always=bool(graphs))
        self._generator = torch.Generator(device)
        self._load = BatchLoader(self.train.images, dataset, config.augmentation, self._generator)
        mixed = config.augmentation.mixing != "none"
        self._mix = Mixer(config.augmentation, dataset.classes, self._generator) if mixed else None

    def _fresh_model(self) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.config.seed)  # the CPU's alone
            model = build_network(self.config, self.dataset.classes)
        return model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def _new_average(self) -> Average:
        """What the configuration asks for; with an EMA decay of 0 the model itself."""
        regularization, fresh = self.config.regularization, self._fresh_model()
        if isinstance(self.config.optimizer, ScheduleFreeConfig):
            return ScheduleFreeWeights(self.model, fresh, self.optimizer, self._refresh_norms)
        if regularization.swa_fraction:
            averaged = math.ceil(self.config.epochs * regularization.swa_fraction)
            first = self.config.epochs - averaged + 1
            return StochasticWeightAverage(self.model, fresh, first, self._refresh_norms)
        return WeightAverage(self.model, fresh, regularization.ema_decay)

    def _refresh_norms(self, model: nn.Module) -> None:
        """Estimate the statistics of the batch norms of `model` at its weights."""
        images = self.train.subset(torch.arange(min(REFRESH_IMAGES, len(self.train))))
        about = self.dataset.mean, self.dataset.std, self.precision, self._evaluation_batch
        refresh_norms(model, lambda m: feed(m, images, *about))

    @property
    def averaged_model(self) -> nn.Module:
        """The network that is scored and kept: the averaged one where averaging is on."""
        return self.average.average

    def epochs(self) -> Iterator[EpochMetrics]:
        """Train from here to the end, giving the metrics of each epoch as it ends."""
        while not self.is_finished:
            yield self.run_epoch()

    @property
    def is_finished(self) -> bool:
        """Whether all epochs are done, or the configuration's patience is over.

        Without validation images, as in final training, patience never ends.
        """
        all_done = self.epoch >= self.config.epochs
        return all_done or out_of_patience(self.accuracies, self.config.patience)

    def run_epoch(self) -> EpochMetrics:
        """Train one epoch and validate; raises DivergedError when the loss is not finite."""
        start = time.perf_counter()
        gpus = [torch.cuda.current_device()] if self.device != "cpu" else []
        with torch.random.fork_rng(devices=gpus):
            seed = _mix(self.config.seed, self.epoch)
            torch.manual_seed(seed + DROPOUT_SEED)
            self._generator.manual_seed(seed)
            train = self._train_epoch()
        trained = time.perf_counter()
        self.epoch += 1
        self.average.end_epoch(self.epoch)
        score = self._validate()
        self.accuracies.append(score.accuracy if score else None)
        return EpochMetrics(
            epoch=self.epoch,
            train_loss=train.loss,
            train_accuracy=train.accuracy,
            val_loss=score.loss if score else None,
            val_accuracy=score.accuracy if score else None,
            lr=self.optimizer.param_groups[0]["lr"],
            seconds=time.perf_counter() - start,
            images_per_second=self.steps_per_epoch * self.config.batch_size / (trained - start),
            peak_memory_bytes=peak_memory_bytes(self.device),
        )

    def _train_epoch(self) -> Score:
        self.model.train()
        batch, steps = self.config.batch_size, self.steps_per_epoch
        loss, hits = torch.zeros((), device=self.device), torch.zeros((), device=self.device)
        order = torch.randperm(len(self.train), generator=self._generator, device=self.device)
        for i in range(steps):
            # The incomplete last batch is left out: fixed shapes, and other images each epoch.
            index = order[i * batch : (i + 1) * batch]
            step = self.epoch * steps + i
            self._set_lr(step)
            step_loss, step_hits = self._step(*self._batch(index))
            self.average.update(step)
            if self.on_step:
                self.on_step(i + 1, steps)
            loss += step_loss
            hits += step_hits
        return self._to_host(loss / steps, hits, steps * batch)

    def _batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, 1, 28, 28) at index (B,), and labels (B,), or (B, classes) where mixed."""
        images, labels = self._load(index), self.train.labels[index]
        return self._mix(images, labels) if self._mix else (images, labels)

    def _set_lr(self, step: int) -> None:
        progress = (step + 0.5) / (self.config.epochs * self.steps_per_epoch)
        lr = self.config.optimizer.lr * lr_factor(
            self.config.lr_schedule, progress, self.config.epochs
        )
        for group in self.optimizer.param_groups:
            group["lr"] = lr

    def _step(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Update once on images (B, 1, 28, 28) float: loss and hits.

        labels: (B,) int64, or shares of the classes (B, classes), whose largest is to be hit.
        """
        self.optimizer.zero_grad(set_to_none=True)
        loss, hits = self._add_gradients(images, labels)
        if self._sam:
            with self._sam.perturbed():
                self._add_gradients(images, labels, "perturbed")
        if self.config.regularization.clip_norm:
            clip_grad_norm_(self.model.parameters(), self.config.regularization.clip_norm)
        self.optimizer.step()
        return loss, hits

    def _add_gradients(
        self, images: Tensor, labels: Tensor, name: str = "plain"
    ) -> tuple[Tensor, Tensor]:
        """Give the parameters, which have none, gradients of the mean loss; that loss, and hits.

        `name` tells the passes of a step apart.
        """
        if self.graphs:
            return self.graphs.run(name, self._backward, images, labels)
        if self.micro_batches == 1:
            return self._backward(images, labels)
        loss, hits = torch.zeros((), device=self.device), torch.zeros((), device=self.device)
        parts = images.tensor_split(self.micro_batches), labels.tensor_split(self.micro_batches)
        for part, part_labels in zip(*parts, strict=True):
            part_loss, part_hits = self._backward(part, part_labels, len(part) / len(images))
            loss += part_loss
            hits += part_hits
        return loss, hits

    def _backward(
        self, images: Tensor, labels: Tensor, share: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """As `_add_gradients` in one go, of `share` times the loss, added to what there is."""
        loss, logits = self._forward(images, labels)
        if share != 1:
            loss = loss * share
        loss.backward()  # type: ignore[no-untyped-call]
        wanted = labels if labels.ndim == 1 else labels.argmax(1)
        return loss.detach(), (logits.detach().argmax(1) == wanted).sum()

    def _forward(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The training loss of a batch, and its logits (B, classes) float32."""
        with autocast(self.device, self.precision):
            logits = self.model(images.to(memory_format=torch.channels_last))
            return training_loss(self.config, logits, labels), logits

    def _validate(self) -> Score | None:
        """Score the averaged weights on the validation images; None where there are none."""
        if not len(self.validation):
            return None
        about = self.dataset.mean, self.dataset.std, self.precision, self._evaluation_batch
        logits = predict(self.averaged_model, self.validation, *about)
        loss = cross_entropy(logits, self.validation.labels)
        hits = logits.argmax(1) == self.validation.labels
        return self._to_host(loss, hits.sum(), len(self.validation))

    def _to_host(self, loss: Tensor, hits: Tensor, images: int) -> Score:
        """Loss and share of hits as numbers: the one synchronisation of a pass over the data."""
        score = Score(loss.item(), hits.item() / images)
        if not math.isfinite(score.loss):
            lr = self.config.optimizer.lr
            raise DivergedError(f"the loss became {score.loss} with lr {lr:g}; lower the lr")
        return score

    def state_dict(self) -> dict[str, Any]:
        """All that changes while training, as tensors and plain values, for a checkpoint."""
        return {
            "epoch": self.epoch,
            "model": self.model.state_dict(),
            "average": self.average.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "accuracies": list(self.accuracies),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint of the same configuration: the curve is the unbroken one."""
        self.model.load_state_dict(state["model"])
        self.average.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch = state["epoch"]
        self.accuracies = list(state["accuracies"])


def _mix(seed: int, epoch: int) -> int:
    """A seed of 63 bits for one epoch; distinct for distinct (seed, epoch)."""
    return seed * 1_000_003 + epoch
