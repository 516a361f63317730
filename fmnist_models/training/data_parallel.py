"""Data-parallel training: processes that hold the same network, each trained on a part of a batch.

Their gradients are summed before each update (torch.distributed: gloo between CPU cores, NCCL
between GPUs), so that all take the same step and stay the same. Each normalises its own part in
batch norms, whose running statistics are averaged when an epoch ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor, nn

DRAWS_APART = 2**53
"""Between the seeds by which the processes draw what each draws for itself (dropout)."""


@dataclass(frozen=True)
class DataParallel:
    """This process among those that train one network: number `rank` of `size`.

    With a `size` of 1 there is no other, and nothing is sent. All must call the same methods in the
    same order; else they wait for each other without end. torch.distributed must have been
    initialised where there are several, as `join` does.
    """

    rank: int = 0
    size: int = 1

    def part_of(self, images: int) -> slice:
        """Which of a batch's images this process trains on; the first may have one more."""
        share, more = divmod(images, self.size)
        start = self.rank * share + min(self.rank, more)
        return slice(start, start + share + (self.rank < more))

    def sum_gradients(self, model: nn.Module) -> None:
        """Replace each process's gradients by the sum over all; one message for all parameters."""
        if self.size == 1:
            return
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        self.sum(flat)
        sums = torch.split(flat, [gradient.numel() for gradient in gradients])
        with torch.no_grad():
            for gradient, total in zip(gradients, sums, strict=True):
                gradient.copy_(total.view(gradient.shape))

    def sum(self, values: Tensor) -> None:
        """Replace `values`, of one shape in all processes, by their sum."""
        if self.size > 1:
            torch.distributed.all_reduce(values)

    def first(self, value: float, device: str) -> float:
        """The first process's `value`, for all."""
        if self.size == 1:
            return value
        sent = torch.tensor(value if self.rank == 0 else 0.0, dtype=torch.float64, device=device)
        self.sum(sent)
        return float(sent)

    def average_buffers(self, *models: nn.Module) -> None:
        """Replace what is not learned, batch norms' running statistics, by the mean over all.

        These are moving averages of each process's part, which is linear in it: done once an epoch
        it is the same as done at each step.
        """
        if self.size == 1:
            return
        buffers = chain.from_iterable(model.buffers() for model in models)
        floats = [buffer for buffer in buffers if buffer.is_floating_point()]
        if not floats:
            return
        flat = torch.cat([buffer.reshape(-1) for buffer in floats])
        self.sum(flat)
        means = torch.split(flat / self.size, [buffer.numel() for buffer in floats])
        for buffer, mean in zip(floats, means, strict=True):
            buffer.copy_(mean.view(buffer.shape))


ALONE = DataParallel()
"""A process that trains by itself."""


def join(rank: int, size: int, device: str, init_method: str) -> DataParallel:
    """Become number `rank` of `size` processes; `init_method` is torch.distributed's address."""
    backend = "gloo" if device == "cpu" else "nccl"
    torch.distributed.init_process_group(
        backend, init_method=init_method, rank=rank, world_size=size
    )
    return DataParallel(rank, size)


def leave(workers: DataParallel) -> None:
    """End what `join` began."""
    if workers.size > 1:
        torch.distributed.destroy_process_group()
