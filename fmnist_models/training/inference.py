"""Forward passes over many images, a batch at a time: for scores and for batch-norm statistics."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fmnist_models.compute.memory import give_back_memory, is_out_of_memory
from fmnist_models.compute.precision import Precision, autocast
from fmnist_models.data.dataset import Images, Normalization

EVALUATION_BATCH = 1000


@torch.inference_mode()
def predict(
    model: nn.Module,
    images: Images,
    normalization: Normalization,
    precision: Precision,
    batch: int = EVALUATION_BATCH,
) -> Tensor:
    """Logits (N, classes) float32 of `images`, on their device, by `model` in evaluation mode.

    `batch` images at a time, or fewer where memory does not suffice.
    """
    model.eval()
    while True:
        try:
            return torch.cat(forward_batches(model, images, normalization, precision, batch))
        except Exception as error:
            if batch == 1 or not is_out_of_memory(error):
                raise
        batch = -(-batch // 2)
        give_back_memory(images.images.device.type)


def forward_batches(
    model: nn.Module,
    images: Images,
    normalization: Normalization,
    precision: Precision,
    batch: int,
) -> list[Tensor]:
    """Logits (n, classes) float32 of `images`, a batch at a time, in the mode the model is in."""
    device = images.images.device.type
    logits = []
    with autocast(device, precision):
        for part in torch.split(images.images, batch):
            pixels = normalization(part)
            logits.append(model(pixels.to(memory_format=torch.channels_last)).float())
    return logits
