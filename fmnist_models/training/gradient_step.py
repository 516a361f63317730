"""One update of a network on one batch: loss, gradients, SAM, clipping, the optimizer's step.

Shapes: images (B, 1, 28, 28) float32; labels (B,) int64, or shares of the classes (B, classes) of
which the largest is to be hit. Losses and hits are scalars that stay on the device. Where several
processes train one network, B is this one's part of the batch, and so are its loss and its hits.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from fmnist_models.compute.cuda_graphs import GraphedPasses
from fmnist_models.compute.precision import Precision, autocast
from fmnist_models.config.trial import TrialConfig
from fmnist_models.training.data_parallel import ALONE, DataParallel
from fmnist_models.training.losses import training_loss
from fmnist_models.training.optimizers import Optimizer
from fmnist_models.training.sam import Sam

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Takes images, the network's logits (B, classes) float32 and labels; gives the mean loss."""


class GradientStep:
    """Updates `model` by `optimizer`, as `config` says; `loss` replaces the configuration's own.

    `micro_batches`, `graphs` and `workers` are as for `trainer.Trainer`.
    """

    def __init__(
        self,
        config: TrialConfig,
        model: nn.Module,
        optimizer: Optimizer,
        *,
        device: str,
        precision: Precision,
        micro_batches: int = 1,
        graphs: bool | None = None,
        loss: Loss | None = None,
        workers: DataParallel = ALONE,
    ) -> None:
        self.config, self.model, self.optimizer = config, model, optimizer
        self.workers = workers
        self.device, self.precision, self.micro_batches = device, precision, micro_batches
        self._loss = loss or (lambda _, logits, labels: training_loss(config, logits, labels))
        rho = config.regularization.sam_rho
        self._sam = Sam(model, rho) if rho else None
        wanted = device != "cpu" if graphs is None else graphs
        self.graphs: GraphedPasses | None = None
        if wanted and micro_batches == 1:
            self.graphs = GraphedPasses(model, device, always=bool(graphs))

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Update the weights once: the loss before it, and how many images were hit."""
        # To None, not to zero: saves a pass over memory, and tells which weights the loss reached.
        self.optimizer.zero_grad(set_to_none=True)
        loss, hits = self.add_gradients(images, labels, "plain")
        if self._sam:
            # Loss and hits stay the first pass's: the second is at weights that are not kept.
            with self._sam.perturbed():
                self.add_gradients(images, labels, "perturbed")
        if self.config.regularization.clip_norm:
            clip_grad_norm_(self.model.parameters(), self.config.regularization.clip_norm)
        self.optimizer.step()
        return loss, hits

    def add_gradients(self, images: Tensor, labels: Tensor, name: str) -> tuple[Tensor, Tensor]:
        """Compute the gradients of the batch's mean loss: that loss, and hits.

        The parameters must have no gradients before. `name` tells a step's passes apart, each of
        which has a CUDA graph of its own.
        """
        batch = len(images) if self.workers.size == 1 else self.config.batch_size
        found = self._add_gradients(images, labels, name, batch)
        self.workers.sum_gradients(self.model)
        return found

    def _add_gradients(
        self, images: Tensor, labels: Tensor, name: str, batch: int
    ) -> tuple[Tensor, Tensor]:
        """Likewise those of this process's part of a batch of so many images."""
        if self.graphs:
            run = partial(self.backward, share=len(images) / batch)
            return self.graphs.run(name, run, images, labels)
        if self.micro_batches == 1:
            return self.backward(images, labels, len(images) / batch)
        loss, hits = torch.zeros((), device=self.device), torch.zeros((), device=self.device)
        # Parts may differ by an image, so that each counts by its share of the batch.
        parts = images.tensor_split(self.micro_batches), labels.tensor_split(self.micro_batches)
        for part, part_labels in zip(*parts, strict=True):
            part_loss, part_hits = self.backward(part, part_labels, len(part) / batch)
            loss += part_loss
            hits += part_hits
        return loss, hits

    def backward(self, images: Tensor, labels: Tensor, share: float = 1.0) -> tuple[Tensor, Tensor]:
        """Add the gradients of `share` times the mean loss to what there is: that loss, and hits.

        `share` is the images' part of the whole batch.
        """
        loss, logits = self.forward(images, labels)
        if share != 1:
            loss = loss * share
        loss.backward()  # type: ignore[no-untyped-call]
        wanted = labels if labels.ndim == 1 else labels.argmax(1)
        return loss.detach(), (logits.detach().argmax(1) == wanted).sum()

    def forward(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The mean loss of a batch, and its logits (B, classes) float32."""
        with autocast(self.device, self.precision):
            logits = self.model(images.to(memory_format=torch.channels_last))
            return self._loss(images, logits, labels), logits
