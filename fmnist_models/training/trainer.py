"""The training engine: one `TrialConfig` in, one `EpochMetrics` an epoch out.

What makes it fast: images resident on the device as uint8, batches by index, augmentation on whole
batches, channels_last, bf16 where it pays, a fused optimizer, and no synchronisation with the host
inside an epoch. What makes it repeatable: every random draw of an epoch comes from generators
seeded by (seed, epoch), so that a run resumed from a checkpoint draws what it would have drawn.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import count, islice
from typing import Any

import torch
from torch import Tensor, nn

from fmnist_models.augmentation.batch_loader import BatchLoader
from fmnist_models.augmentation.mixing import make_mixer
from fmnist_models.compute.allocator import keep_memory
from fmnist_models.compute.batch_norm import prepare_norms
from fmnist_models.compute.memory import peak_memory_bytes, reset_peak_memory
from fmnist_models.compute.precision import Precision
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.dataset import Dataset
from fmnist_models.errors import ConfigError
from fmnist_models.training.data_parallel import ALONE, DRAWS_APART, DataParallel
from fmnist_models.training.evaluator import Evaluator, Score
from fmnist_models.training.gradient_step import GradientStep, Loss
from fmnist_models.training.inference import EVALUATION_BATCH
from fmnist_models.training.losses import build_network
from fmnist_models.training.lr_schedules import lr_factor, out_of_patience
from fmnist_models.training.metrics import EpochMetrics
from fmnist_models.training.optimizers import build_optimizer
from fmnist_models.training.weight_averages import make_average, slow_down_norms

OnStep = Callable[[int, int], None]
"""Is told after each step how many of an epoch's steps are done, and how many it has."""
DROPOUT_SEED = 2**62
"""Keeps what dropout draws apart from what shuffling and augmentation draw."""
PASS_SEED = 2**61
"""Likewise the order of images where passes over them are not epochs."""


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

    `graphs`: whether forward and backward pass run as CUDA graphs (cuda_graphs.py). By default they
    do on a GPU where launching them takes longer than computing; in parts they never do.

    `loss` replaces the configuration's own, as in distillation.

    `workers`: this process among several that train the network together. What was said of parts
    holds of theirs, but each may have its own divided into micro-batches.
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
        loss: Loss | None = None,
        workers: DataParallel = ALONE,
    ) -> None:
        _check_batch_size(config, len(dataset.train))
        keep_memory(device)
        reset_peak_memory(device)
        self.config, self.device, self.precision = config, device, precision
        self.micro_batches = min(micro_batches, config.batch_size)
        self.workers = workers
        self.epoch = 0
        self.accuracies: list[float | None] = []
        self.on_step: OnStep | None = None
        self.dataset = dataset.to(device)
        self.evaluator = Evaluator(
            self.dataset,
            precision,
            # Smaller, too, where memory was too short for a whole batch; rounded up.
            batch=-(-EVALUATION_BATCH // self.micro_batches),
            lr=config.optimizer.lr,
        )
        self.model = self._fresh_model()
        # Now, lest the first epoch's speed count what is compiled once a machine.
        prepare_norms(self.model, device, precision)
        if self.micro_batches > 1:
            slow_down_norms(self.model, self.micro_batches)
        self.optimizer = build_optimizer(
            self.model, config.optimizer, decay_vectors=config.regularization.decay_vectors
        )
        self.average = make_average(
            config, self.model, self._fresh_model(), self.optimizer, self.evaluator.refresh_norms
        )
        self.step = GradientStep(
            config,
            self.model,
            self.optimizer,
            device=device,
            precision=precision,
            micro_batches=self.micro_batches,
            graphs=graphs,
            loss=loss,
            workers=workers,
        )
        self._generator = torch.Generator(device)
        self._load = BatchLoader(
            self.dataset.train.images,
            self.dataset.normalization,
            config.augmentation,
            self._generator,
        )
        self._mixer = make_mixer(config.augmentation, dataset.classes, self._generator)

    def _fresh_model(self) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.config.seed)  # the CPU's alone
            model = build_network(self.config, self.dataset.classes)
        return model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    @property
    def averaged_model(self) -> nn.Module:
        """The network that is scored and kept: the averaged one where averaging is on."""
        return self.average.average

    @property
    def steps_per_epoch(self) -> int:
        """How many steps an epoch has: see `TrialConfig.epoch_images`."""
        return self.config.steps_per_epoch(len(self.dataset.train))

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
        # Forked, as the process's generators belong to whoever else draws in it.
        with torch.random.fork_rng(devices=gpus):
            seed = epoch_seed(self.config.seed, self.epoch)
            torch.manual_seed(seed + DROPOUT_SEED + self.workers.rank * DRAWS_APART)
            self._generator.manual_seed(seed)
            train = self._train_epoch()
        trained = time.perf_counter()
        self.epoch += 1
        self.workers.average_buffers(self.model, self.averaged_model)
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

    def _validate(self) -> Score | None:
        """Score the epoch; the last one, by whatever ends the run, as the model will be used.

        That is by all validation images, and by their mirror images where it was trained on such.
        """
        if self.epoch < self.config.epochs:
            score = self.evaluator.validate(
                self.averaged_model, self.config.early_validation_images
            )
            accuracies = [*self.accuracies, score.accuracy if score else None]
            if not out_of_patience(accuracies, self.config.patience):
                return score
        return self.evaluator.validate(self.averaged_model, mirrored=self.config.augmentation.flip)

    def _train_epoch(self) -> Score:
        self.model.train()
        batch, steps = self.config.batch_size, self.steps_per_epoch
        # Sums stay on the device: a number for each step would wait for it each time.
        loss, hits = torch.zeros((), device=self.device), torch.zeros((), device=self.device)
        for i, index in enumerate(islice(self._batches(), steps)):
            step = self.epoch * steps + i
            self._set_lr(step)
            step_loss, step_hits = self.step(*self._batch(index))
            self.average.update(step)
            if self.on_step:
                self.on_step(i + 1, steps)
            loss += step_loss
            hits += step_hits
        sums = torch.stack([loss, hits])
        self.workers.sum(sums)
        return self.evaluator.to_host(sums[0] / steps, sums[1], steps * batch)

    def _batches(self) -> Iterator[Tensor]:
        """Which images the batches from the start of this epoch on have, each (B,), without end.

        The incomplete last batch of a pass is left out: fixed shapes, and other images each pass.
        """
        images, batch = len(self.dataset.train), self.config.batch_size
        in_pass = images // batch
        first, start = divmod(self.epoch * self.steps_per_epoch, in_pass)
        generator = self._generator
        for number in count(first):
            if self.config.epoch_images:
                # With draws of its own, as an epoch may begin in the middle of a pass.
                generator = torch.Generator(self.device)
                generator.manual_seed(epoch_seed(self.config.seed, number) + PASS_SEED)
            order = torch.randperm(images, generator=generator, device=self.device)
            for i in range(start, in_pass):
                yield order[i * batch : (i + 1) * batch]
            start = 0

    def _batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """This process's part of a batch of the images at index (B,).

        Images (P, 1, 28, 28) and labels (P,), or (P, classes) where they are mixed.
        """
        part, labels = self.workers.part_of(len(index)), self.dataset.train.labels[index]
        if not self._mixer:
            return self._load(index, part), labels[part]
        images, labels = self._mixer(self._load(index), labels)
        return images[part], labels[part]

    def _set_lr(self, step: int) -> None:
        # From the middle of the step, so that neither the first nor the last has a rate of zero.
        progress = (step + 0.5) / (self.config.epochs * self.steps_per_epoch)
        factor = lr_factor(self.config.lr_schedule, progress, self.config.epochs)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.optimizer.lr * factor

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


def _check_batch_size(config: TrialConfig, images: int) -> None:
    if config.batch_size > images:
        raise ConfigError(
            f"batch_size {config.batch_size} is larger than the {images} training images; "
            "lower it or train on more"
        )


def epoch_seed(seed: int, epoch: int) -> int:
    """A seed of 63 bits for one epoch; distinct for distinct (seed, epoch)."""
    return seed * 1_000_003 + epoch
