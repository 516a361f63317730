"""A trained model to be used: pictures in, classes with probabilities out.

from fmnist_models import load_model
load_model("models/quick").predict(["shirt.jpg"])
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from fmnist_models.data.class_names import class_names, is_fashion_mnist
from fmnist_models.data.dataset import Images
from fmnist_models.data.idx import IMAGE_SIDE
from fmnist_models.errors import ConfigError
from fmnist_models.saved_model.folder import Header, load_network
from fmnist_models.saved_model.pictures import Invert, prepare, read_picture
from fmnist_models.training.inference import predict

Picture = str | Path | Image.Image | NDArray[Any] | Tensor


@dataclass(frozen=True)
class Prediction:
    """What a model takes an image for; `probabilities` by name, of all classes in their order.

    `inverted`: light and dark of the picture were exchanged first.
    """

    label: int
    name: str
    probability: float
    probabilities: dict[str, float]
    inverted: bool = False


class Model:
    """A network with all that using it takes; made by `load_model`."""

    def __init__(self, network: nn.Module, header: Header, device: str) -> None:
        self.network, self.header, self.device = network, header, device
        self.names = class_names(header.digest, header.classes)
        self.is_fashion = is_fashion_mnist(header.digest)

    def probabilities(self, images: Tensor) -> NDArray[np.float32]:
        """images: (N, 1, 28, 28) uint8, light on black -> probabilities (N, classes)."""
        batch = Images(images, torch.zeros(len(images), dtype=torch.int64)).to(self.device)
        logits = predict(self.network, batch, self.header.normalization, "fp32")
        result: NDArray[np.float32] = logits.softmax(1).cpu().numpy()
        return result

    def predict(
        self, pictures: Picture | Iterable[Picture], invert: Invert = "auto"
    ) -> list[Prediction]:
        """A prediction for each picture, in their order.

        `pictures`: files, Pillow images, or arrays or tensors of uint8 with axes (28, 28),
        (N, 28, 28) or (N, 1, 28, 28); arrays are taken to be light on black unless `invert` is
        "yes". Raises ConfigError when one cannot be used, or nothing is on it.
        """
        prepared = [one for picture in _listed(pictures) for one in self._prepared(picture, invert)]
        if not prepared:
            return []
        stack = torch.from_numpy(np.stack([pixels for pixels, _ in prepared]))[:, None]
        shares = self.probabilities(stack)
        flags = [inverted for _, inverted in prepared]
        return [self._prediction(row, flag) for row, flag in zip(shares, flags, strict=True)]

    def _prepared(self, picture: Picture, invert: Invert) -> list[tuple[NDArray[np.uint8], bool]]:
        name = "the picture"
        if isinstance(picture, str | Path):
            name, picture = str(picture), read_picture(Path(picture))
        if isinstance(picture, Image.Image):
            named = {name: picture}
        else:
            invert = "yes" if invert == "yes" else "no"
            named = {f"image {n}": Image.fromarray(one) for n, one in enumerate(_images(picture))}
        prepared = []
        for name, one in named.items():
            try:
                prepared.append(prepare(one, invert, trim=self.is_fashion))
            except ConfigError as error:
                raise ConfigError(f"{name}: {error}") from None
        return prepared

    def _prediction(self, row: NDArray[np.float32], inverted: bool) -> Prediction:
        label = int(row.argmax())
        shares = {name: float(share) for name, share in zip(self.names, row, strict=True)}
        return Prediction(label, self.names[label], float(row[label]), shares, inverted)


def load_model(folder: str | Path, device: str = "cpu") -> Model:
    """The model in `folder`, single or an ensemble, ready to use on `device` ("cpu" or "cuda").

    Nothing in the folder is executed. Raises ConfigError when it holds no model that fits.
    """
    network, header = load_network(Path(folder), device)
    return Model(network, header, device)


def _listed(pictures: Picture | Iterable[Picture]) -> Sequence[Picture]:
    if isinstance(pictures, str | Path | Image.Image | np.ndarray | Tensor):
        return [pictures]
    return list(pictures)


def _images(array: NDArray[Any] | Tensor) -> NDArray[np.uint8]:
    """array: (28, 28), (N, 28, 28) or (N, 1, 28, 28) uint8 -> (N, 28, 28)."""
    values = np.asarray(array.cpu() if isinstance(array, Tensor) else array)
    side = (IMAGE_SIDE, IMAGE_SIDE)
    shaped = values.shape[-2:] == side and values.ndim <= 4
    if values.dtype != np.uint8 or not shaped or values.shape[1:-2] not in ((), (1,)):
        raise ConfigError(
            f"an array of {values.dtype} with axes {values.shape} cannot be used; give uint8 with "
            "axes (28, 28), (N, 28, 28) or (N, 1, 28, 28), or a Pillow image"
        )
    return values.reshape(-1, *side)
