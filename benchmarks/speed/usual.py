"""What a person would write: torchvision's data and transforms, a DataLoader, a plain loop, fp32.

Rivals of `engine.py` and `half_hour.py`. No tricks are added and none is left out that a tutorial
has: an image at a time through the transforms, batches collated, the default memory layout.
"""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

MEAN, STD = 0.2860, 0.3530
MEASURED_BATCHES = 40
Loss = Callable[[Tensor, Tensor], Tensor]


def unpacked(source: Path, folder: Path) -> None:
    """The data where torchvision looks for it: below `folder`."""
    raw = folder / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for path in source.iterdir():
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        (raw / path.name.removesuffix(".gz")).write_bytes(content)


def images(folder: Path, *, train: bool = True, shift: int | None = None) -> Any:
    """torchvision's Fashion-MNIST, normalised; flipped and shifted at random where `shift` says."""
    from torchvision import transforms  # type: ignore[import-untyped]
    from torchvision.datasets import FashionMNIST  # type: ignore[import-untyped]

    augmentation = [transforms.RandomHorizontalFlip(), transforms.RandomCrop(28, padding=shift)]
    steps = [*(augmentation if shift is not None else []), transforms.ToTensor()]
    steps.append(transforms.Normalize((MEAN,), (STD,)))
    return FashionMNIST(str(folder), train=train, transform=transforms.Compose(steps))


def subset(data: Any, indices: Sequence[int]) -> Any:
    """The images at `indices`."""
    return torch.utils.data.Subset(data, indices)


def batches(data: Any, batch: int, workers: int = 0, *, shuffle: bool = True) -> Any:
    """A DataLoader; when shuffling it leaves out the incomplete last batch."""
    return torch.utils.data.DataLoader(
        data, batch_size=batch, shuffle=shuffle, drop_last=shuffle, num_workers=workers
    )


def steps(
    model: nn.Module, optimizer: Any, loader: Any, loss: Loss = cross_entropy
) -> Iterator[None]:
    """Train an epoch, a step at a time."""
    model.train()
    for inputs, labels in loader:
        optimizer.zero_grad()
        loss(model(inputs), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        yield


def hits(model: nn.Module, data: Any) -> int:
    """How many images of `data` the model gets right."""
    model.eval()
    with torch.no_grad():
        loader = batches(data, 1000, shuffle=False)
        return sum(int((model(x).argmax(1) == y).sum()) for x, y in loader)


def faster_workers(model: nn.Module, data: Any, batch: int) -> int:
    """None or two worker processes, whichever gets through some batches sooner.

    No step is taken; only the statistics of batch norms, if there are any, have seen images then.
    """
    seconds = {workers: _seconds(model, batches(data, batch, workers)) for workers in (0, 2)}
    return min(seconds, key=lambda workers: seconds[workers])


def _seconds(model: nn.Module, loader: Any) -> float:
    """Of some batches, forward and backward, after the first, with which processes start."""
    model.train()
    some = islice(loader, MEASURED_BATCHES + 1)
    next(some)
    start = time.perf_counter()
    for inputs, labels in some:
        cross_entropy(model(inputs), labels).backward()  # type: ignore[no-untyped-call]
        model.zero_grad()
    return time.perf_counter() - start
