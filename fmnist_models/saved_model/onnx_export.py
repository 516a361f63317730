"""A model as one ONNX file, checked against torch on real images before it is written.

Input `images`: (N, 1, 28, 28) uint8, light on black, as in the data set; N is free. Output
`probabilities`: (N, classes) float32. Normalisation is inside; the file's metadata has the classes'
names under "classes", separated by line breaks.
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from fmnist_models.config.base import Config
from fmnist_models.data.class_names import class_names
from fmnist_models.data.dataset import load_training_data
from fmnist_models.data.download import find_data
from fmnist_models.errors import ConfigError, DataError, OutputError
from fmnist_models.files import MAKER, write_atomically
from fmnist_models.saved_model.folder import Header, load_network

CHECKED_IMAGES = 256
TOLERANCE = 1e-4
"""Most that a probability may differ between torch and onnxruntime, both in float32 on a CPU."""
OPSET = 18


class OnnxCheck(Config):
    """How an export compared: `largest_difference` of any probability of the `images`."""

    images: int
    largest_difference: float
    tolerance: float = TOLERANCE


class _Deployed(nn.Module):
    """images (N, 1, 28, 28) uint8 -> probabilities (N, classes)."""

    def __init__(self, network: nn.Module, header: Header) -> None:
        super().__init__()
        self.network, self.normalization = network, header.normalization

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(self.normalization(images))
        return logits.float().softmax(1)


def export_onnx(folder: Path, path: Path, data_dir: Path | None, *, force: bool) -> OnnxCheck:
    """Write the model in `folder` to `path`, if onnxruntime agrees on real training images.

    Raises ConfigError when it does not, when the folder holds no model, or when the optional
    packages are missing; OutputError when `path` has another ending, or exists and `force` is not
    given; DataError when the model's data set is not there to check with.
    """
    if path.suffix.lower() != ".onnx":
        raise OutputError(f"--out {path}: the ending of an ONNX file is .onnx; use that")
    _need_packages()
    if path.exists() and not force:
        raise OutputError(f"{path} exists; give --force or another --out")
    network, header = load_network(folder, "cpu")
    images = _real_images(folder, header, data_dir)
    deployed = _Deployed(network, header).eval()
    content = _export(deployed, images, class_names(header.digest, header.classes))
    check = _check(content, deployed, images)
    write_atomically(path, content)
    return check


def _need_packages() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"{error.name} is not installed; pip install 'fmnist-search[onnx]'"
        ) from None


def _real_images(folder: Path, header: Header, data_dir: Path | None) -> Tensor:
    """The first training images of the model's data set: (N, 1, 28, 28) uint8."""
    source = find_data(data_dir)
    if source.digest != header.digest:
        raise DataError(
            f"the model in {folder} was trained on another data set than {source.directory} holds, "
            "and is checked on its images; give its --data-dir"
        )
    return load_training_data(source).train.images[:CHECKED_IMAGES]


def _export(deployed: nn.Module, images: Tensor, names: tuple[str, ...]) -> bytes:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter warns of its own parts
        program = torch.onnx.export(
            deployed,
            (images[:2],),
            input_names=["images"],
            output_names=["probabilities"],
            dynamic_shapes={"images": {0: torch.export.Dim("n", min=1)}},
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    proto.producer_name = MAKER
    proto.metadata_props.add(key="classes", value="\n".join(names))
    content: bytes = proto.SerializeToString()
    return content


def _check(content: bytes, deployed: nn.Module, images: Tensor) -> OnnxCheck:
    """Compare on all `images` at once and on one alone; raises ConfigError beyond `TOLERANCE`."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        ours = deployed(images).numpy()
    theirs = session.run(None, {"images": images.numpy()})[0]
    single = session.run(None, {"images": images[:1].numpy()})[0]
    difference = max(float(np.abs(ours - theirs).max()), float(np.abs(ours[:1] - single).max()))
    if not difference <= TOLERANCE:
        raise ConfigError(
            f"the exported model differs from torch by up to {difference:.2g} in probability, more "
            f"than {TOLERANCE:g}, so it was not written; please report this"
        )
    return OnnxCheck(images=len(images), largest_difference=difference)
