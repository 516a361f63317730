"""What an epoch of a configuration will cost on this machine: measured on a few, predicted for all.

A training step is bound partly by arithmetic, partly by memory traffic, partly by the number of
calls, so the time an image takes is fitted as
    a * multiply-accumulates + b * passes over activations + c      (a, b, c >= 0)
to a few configurations of the space at hand that are trained for a few steps. How well this
predicts others: results/cost_prediction.json.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import init
from torch.overrides import TorchFunctionMode

from fmnist_models.compute.memory import allocated_bytes, give_back_memory, is_out_of_memory
from fmnist_models.compute.precision import Precision
from fmnist_models.config.base import ModelConfig
from fmnist_models.config.optimizers import SgdConfig
from fmnist_models.config.registry import build_model
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.dataset import Dataset
from fmnist_models.families.layers import PartialConv2d
from fmnist_models.training.trainer import Trainer

PROBE_STEPS, GPU_PROBE_STEPS = 3, 30
PROBE_BYTES_PER_PARAMETER = 12
"""A GPU holds at least so many: the weight, its gradient and its momentum, in float32."""
PASSES: dict[type[nn.Module], int] = {nn.SiLU: 2, nn.GELU: 2, nn.Mish: 7, PartialConv2d: 3}
PADDED_PASSES = 3
"""Passes over memory, where a ReLU takes one; measured: benchmarks/LOG.md."""
VALIDATION_SHARE = 1 / 3
"""Seconds of a validation image over those of a training image: forward only."""


@dataclass(frozen=True)
class ModelCost:
    """What one image's forward pass takes.

    macs: multiply-accumulates. activations: values written. passes: passes over these values, where
    that of a ReLU counts as one. parameters: of the whole network.
    """

    macs: int
    activations: int
    passes: int
    parameters: int


@lru_cache(maxsize=4096)
def model_cost(config: ModelConfig, classes: int = 10) -> ModelCost:
    """Count without computing: the network is built without weights, and its layers tell shapes.

    What is between layers is computed, on one image: torch's meta device takes longer for it.
    """
    with torch.device("meta"), _NothingDrawn():
        model = build_model(config, classes)
    model.eval()
    counter = _Counter(model)
    parameters = sum(p.numel() for p in model.parameters())
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    unset = {name: torch.empty(()).expand(tensor.shape) for name, tensor in tensors.items()}
    with torch.no_grad():
        functional_call(model, unset, torch.empty(1, 1, 28, 28))
    return ModelCost(counter.macs, counter.activations, counter.passes, parameters)


class _NothingDrawn(TorchFunctionMode):
    """Leaves out drawing initial weights, of which there are none on the meta device.

    There it would import torch._dynamo, which takes 1.4 s.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in (Tensor.normal_, Tensor.uniform_):
            return args[0]
        if func in (init.kaiming_uniform_, init.kaiming_normal_):  # which take longer to come there
            return kwargs["tensor"] if kwargs else args[0]
        return func(*args, **(kwargs or {}))


class _Counter:
    """Adds up what the leaf modules of a model do in its next forward pass."""

    def __init__(self, model: nn.Module) -> None:
        self.macs = self.activations = self.passes = 0
        for module in model.modules():
            shape_of = next((f for kind, f in SHAPES.items() if isinstance(module, kind)), None)
            if shape_of:
                module.forward = _empty_of(module, shape_of)
            if not list(module.children()):
                module.register_forward_hook(self._count)

    def _count(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, nn.Dropout | nn.Identity):
            return
        self.activations += output.numel()
        self.passes += output.numel() * PASSES.get(type(module), 1)
        if isinstance(module, nn.Conv2d) and module.padding_mode != "zeros":
            self.activations += inputs[0].numel()  # copied into a larger one
            self.passes += inputs[0].numel() * PADDED_PASSES
        if isinstance(module, nn.Conv2d | nn.Linear):
            self.macs += output.numel() * module.weight[0].numel()


def _empty_of(
    module: nn.Module, shape_of: Callable[[Any, torch.Size], Sequence[int]]
) -> Callable[[Tensor], Tensor]:
    return lambda x: x.new_empty(shape_of(module, x.shape))


def _same_shape(_: nn.Module, shape: torch.Size) -> Sequence[int]:
    return shape


def _convolved_shape(conv: nn.Conv2d, shape: torch.Size) -> Sequence[int]:
    def size(axis: int) -> int:
        padding = conv.padding[axis]
        reach = conv.dilation[axis] * (conv.kernel_size[axis] - 1)
        return (shape[2 + axis] + 2 * int(padding) - reach - 1) // conv.stride[axis] + 1

    return (shape[0], conv.out_channels, size(0), size(1))


def _multiplied_shape(linear: nn.Linear, shape: torch.Size) -> Sequence[int]:
    return (*shape[:-1], linear.out_features)


SHAPES: dict[type[nn.Module], Callable[[Any, torch.Size], Sequence[int]]] = {
    nn.Conv2d: _convolved_shape,
    nn.Linear: _multiplied_shape,
    **dict.fromkeys(
        (nn.BatchNorm1d, nn.BatchNorm2d, nn.ReLU, nn.SiLU, nn.GELU, nn.Mish), _same_shape
    ),
}
"""Output shapes, which torch takes several times as long to tell on its meta device."""


@dataclass(frozen=True)
class CostModel:
    """Seconds that one training image takes, from what its network does.

    `bytes_per_activation`: of a GPU's memory for each value that a network writes for an image of
    the batch; 0 where it was not measured.
    """

    seconds_per_mac: float
    seconds_per_pass: float
    seconds_per_image: float = 0.0
    bytes_per_activation: float = 0.0

    def image_seconds(self, model: ModelConfig) -> float:
        """Predicted seconds to train on one image once."""
        cost = model_cost(model)
        return (
            self.seconds_per_mac * cost.macs
            + self.seconds_per_pass * cost.passes
            + self.seconds_per_image
        )

    def epoch_seconds(self, model: ModelConfig, train: int, validation: int) -> float:
        """Predicted seconds of an epoch over `train` images, validated on `validation`.

        One pass a step of plain SGD: with SAM training takes twice as long.
        """
        return self.image_seconds(model) * (train + VALIDATION_SHARE * validation)


@dataclass(frozen=True)
class ProbeResult:
    """What a probe took: seconds an image, and the most memory on a GPU (on a CPU 0)."""

    image_seconds: float
    peak_memory_bytes: int


def calibrate(
    probes: Sequence[TrialConfig], dataset: Dataset, *, device: str, precision: Precision
) -> CostModel:
    """Train a few steps of each of `probes` here and now, and fit the cost model to them.

    A probe for which memory does not suffice is left out, but not the last that is left.
    """
    return fit_cost(probes, time_probes(probes, dataset, device=device, precision=precision))


def time_probes(
    probes: Sequence[TrialConfig], dataset: Dataset, *, device: str, precision: Precision
) -> list[ProbeResult | None]:
    """Train a few steps of each of `probes`; None for those that memory did not suffice for.

    Raises what the first of them raises, as then nothing can be trained here.
    """
    found: list[ProbeResult | None] = []
    for probe in probes:
        try:
            found.append(measure_probe(probe, dataset, device=device, precision=precision))
        except Exception as error:
            if not (found and is_out_of_memory(error)):
                raise
            found.append(None)
    give_back_memory(device)  # this process lives on, beside those that train
    return found


def fit_cost(probes: Sequence[TrialConfig], results: Sequence[ProbeResult | None]) -> CostModel:
    """The cost model that fits what `time_probes` found for `probes`."""
    pairs = zip(probes, results, strict=True)
    found = [(probe, result) for probe, result in pairs if result is not None]
    costs = [model_cost(probe.model) for probe, _ in found]
    times = fit_times([(c.macs, c.passes) for c in costs], [m.image_seconds for _, m in found])
    peaks = [(model_cost(p.model), p.batch_size, m.peak_memory_bytes) for p, m in found]
    return replace(times, bytes_per_activation=fit_memory(peaks))


def fit_memory(peaks: Sequence[tuple[ModelCost, int, int]]) -> float:
    """Bytes for each activation of an image: the most that any (cost, batch, peak bytes) took.

    The most, as what is expected to fit on a shared card has to.
    """
    return max(
        max(0.0, peak - PROBE_BYTES_PER_PARAMETER * cost.parameters) / (cost.activations * batch)
        for cost, batch, peak in peaks
    )


def fit_times(counts: Sequence[tuple[int, int]], seconds: Sequence[float]) -> CostModel:
    """The cost model with the least squared relative error; counts are (macs, passes).

    None of the three coefficients may be negative. Each choice of those that are not zero is solved
    by plain least squares: there are seven, so no solver is needed.
    """
    features = np.array([(macs, passes, 1.0) for macs, passes in counts])
    rows = features / np.asarray(seconds, dtype=float)[:, None]
    solutions = []
    for size in (1, 2, 3):
        for active in combinations(range(3), size):
            solution = np.zeros(3)
            solution[list(active)] = np.linalg.lstsq(
                rows[:, list(active)], np.ones(len(rows)), rcond=None
            )[0]
            if (solution >= 0).all():
                solutions.append(solution)
    # The first of equals, which is the one with the fewest coefficients.
    best = min(solutions, key=lambda c: float(((rows @ c - 1.0) ** 2).sum()))
    return CostModel(*(float(coefficient) for coefficient in best))


def probe_images(probe: TrialConfig, dataset: Dataset, device: str) -> int:
    """How many images of `dataset` a probe is timed on."""
    steps = PROBE_STEPS if device == "cpu" else GPU_PROBE_STEPS
    return min(steps * probe.batch_size, len(dataset.train))


def measure_probe(
    probe: TrialConfig, dataset: Dataset, *, device: str, precision: Precision
) -> ProbeResult:
    """Time and memory of the fastest of a few short epochs of a few steps of `probe`."""
    on_cpu = device == "cpu"
    images = dataset.train.subset(torch.arange(probe_images(probe, dataset, device)))
    part = replace(dataset, train=images, validation=images.subset(torch.arange(0)))
    # The network alone, one pass a step, with a learning rate that lets no probe diverge.
    config = TrialConfig(
        model=probe.model,
        optimizer=SgdConfig(lr=1e-5),
        batch_size=probe.batch_size,
        epochs=3,
        seed=probe.seed,
    )
    if not on_cpu:
        give_back_memory(device)  # of the probe before
    before = allocated_bytes(device)
    trainer = Trainer(config, part, device=device, precision=precision)
    epochs = []
    for _ in range(2):
        start = time.perf_counter()
        epochs.append(trainer.run_epoch())
        if on_cpu and time.perf_counter() - start > 2:
            break  # on a GPU the first one may have taken that to set things up
    peak = 0 if on_cpu else max(e.peak_memory_bytes for e in epochs) - before
    return ProbeResult(1 / max(e.images_per_second for e in epochs), peak)
