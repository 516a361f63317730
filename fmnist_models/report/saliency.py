"""What a network goes by: integrated gradients (arXiv:1703.01365), computed by captum.

From a black image to the one at hand, how much each pixel raised the predicted class's logit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from fmnist_models.saved_model.folder import Header

STEPS = 32
"""Points on the way from black, at which the gradient is taken."""
SMOOTHED = 2
"""Times that each pixel becomes the mean of its 3x3 neighbourhood."""
AT_ONCE = 512
"""Images, at their points, in one forward and backward pass."""


def attributions(
    network: nn.Module, header: Header, images: Tensor, targets: Sequence[int], device: str
) -> NDArray[np.float32]:
    """images: (N, 1, 28, 28) uint8; targets: a class for each -> maps (N, 28, 28), signed.

    Smoothed over 5x5 pixels, the middle most: single pixels' gradients are noise to the eye.
    """
    # Imported late, as captum brings matplotlib with it.
    from captum.attr import IntegratedGradients

    pixels = header.normalization(images.to(device))
    black = header.normalization(torch.zeros_like(images[:1], device=device))
    method = IntegratedGradients(network.to(device).eval())
    maps: Tensor = method.attribute(
        pixels,
        baselines=black.expand_as(pixels),
        target=torch.tensor(list(targets), device=device),
        n_steps=STEPS,
        internal_batch_size=AT_ONCE,
    )
    smooth = maps.detach().float()
    for _ in range(SMOOTHED):
        smooth = avg_pool2d(smooth, 3, stride=1, padding=1)
    result: NDArray[np.float32] = smooth[:, 0].cpu().numpy()
    return result
