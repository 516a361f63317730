"""A training step's passes as CUDA graphs: recorded once, then launched whole.

A small network keeps the host busier with launching its few hundred kernels than the card with
computing them. A graph (torch.cuda.CUDAGraph) launches them as one. It reads and writes fixed
memory: batches are copied to where it reads, loss, hits and gradients lie where it writes. The
forward and the backward pass are recorded; augmentation, SAM's move, clipping, the update and
averaging, which are few launches and partly need the host, are not.

Shapes: images (B, 1, 28, 28) float32; labels (B,) int64 or (B, classes) float32.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from fmnist_models.compute.memory import give_back_memory
from fmnist_models.errors import message_of

Pass = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Takes images and labels, leaves gradients in parameters that had none; gives loss and hits."""
Body = Callable[[], list[Tensor]]
"""A pass over fixed memory; gives all that it wrote."""
Record = Callable[[Body], tuple[list[Tensor], Callable[[], None]]]
"""Takes a body; gives its output and what does it again, into that same output."""
WARM_UPS = 3
"""Passes before recording, in which libraries load their kernels and choose their algorithms."""
LAUNCH_BOUND = 0.5
"""A pass is bound by its launches if they take so much of its time; not tuned on a card yet."""


class GraphedPasses:
    """The passes of one network's step, each recorded at its first batch where that pays.

    Recording leaves no trace: statistics of batch norms and generators are as before. A pass that
    cannot be recorded (it waits for the card, or memory does not suffice) goes on as it is, and
    `failure` says why. `passes` holds what was recorded by name, None for what goes on as it is.

    `always`: without measuring whether it pays. On a CPU, where there are no graphs, a recorded
    pass is the pass itself on the graph's fixed memory, so that all else can be tried there.
    """

    def __init__(
        self, model: nn.Module, device: str, *, always: bool = False, record: Record | None = None
    ) -> None:
        self.failure = ""
        self._model, self._device, self._always = model, device, always
        self.passes: dict[str, RecordedPass | None] = {}
        self._launcher = _Launcher() if device != "cpu" else None
        self._record = record or (self._launcher.capture if self._launcher else _repeat)

    def run(self, name: str, run: Pass, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """As `run`, the pass called `name`, for parameters without gradients."""
        if name not in self.passes:
            self.passes[name] = self._try(run, images, labels)
        found = self.passes[name]
        if found is None or not found.fits(images, labels):
            return run(images, labels)
        return found(images, labels)

    def _try(self, run: Pass, images: Tensor, labels: Tensor) -> RecordedPass | None:
        """The pass recorded; None where that does not pay or fails."""
        try:
            with untouched(self._model, self._device):
                inputs = images.clone(), labels.clone()
                share = self._warm_up(lambda: run(*inputs))
                if share < LAUNCH_BOUND and not self._always:
                    return None
                return RecordedPass(run, self._model, inputs, self._record)
        except Exception as error:
            self.failure = (message_of(error).strip().splitlines() or [type(error).__name__])[0]
        # Out here nothing refers to the error any more, and so to what its functions held.
        give_back_memory(self._device)
        return None

    def _warm_up(self, run: Callable[[], object]) -> float:
        """Pass a few times; the share of the last one's time that the host took to launch it."""
        if self._launcher:
            return self._launcher.warm_up(self._model, run)
        run()
        return 1.0


class RecordedPass:
    """One recorded pass, its fixed memory and what launches it."""

    def __init__(
        self, run: Pass, model: nn.Module, inputs: tuple[Tensor, Tensor], record: Record
    ) -> None:
        self._images, self._labels = inputs
        # As the warm-up left them: a parameter that the loss does not depend on has none.
        self._reached = [p for p in model.parameters() if p.grad is not None]
        reached = self._reached  # so that the body does not hold on to this object
        model.zero_grad(set_to_none=True)

        def body() -> list[Tensor]:
            for parameter in reached:
                parameter.grad = None  # so that gradients are written anew, not added to
            loss, hits = run(*inputs)
            return [loss, hits, *(p.grad for p in reached if p.grad is not None)]

        (self._loss, self._hits, *self._gradients), self._launch = record(body)

    def fits(self, images: Tensor, labels: Tensor) -> bool:
        """Whether a batch has the shape that was recorded."""
        return images.shape == self._images.shape and labels.shape == self._labels.shape

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Loss and hits, good until the next call; gradients are put where they are looked for."""
        self._images.copy_(images)
        self._labels.copy_(labels)
        self._launch()
        for parameter, gradient in zip(self._reached, self._gradients, strict=True):
            # `zero_grad` drops the reference alone: the graph goes on writing to this memory.
            parameter.grad = gradient
        return self._loss, self._hits


class _Launcher:
    """Warms up and captures on the current card; all graphs share one pool of memory.

    They may, as they always run in the order in which they were captured.
    """

    def __init__(self) -> None:
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()

    def warm_up(self, model: nn.Module, run: Callable[[], object]) -> float:
        """As `GraphedPasses._warm_up`, on the stream of the capture."""
        share, current = 1.0, torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            for _ in range(WARM_UPS):
                model.zero_grad(set_to_none=True)
                torch.cuda.synchronize()
                start = time.perf_counter()
                run()
                launched = time.perf_counter() - start
                torch.cuda.synchronize()
                share = launched / (time.perf_counter() - start)
        current.wait_stream(self._stream)
        return share

    def capture(self, body: Body) -> tuple[list[Tensor], Callable[[], None]]:
        """Record `body` without computing anything; a `Record`."""
        generator = torch.cuda.default_generators[torch.cuda.current_device()]
        kept = generator.clone_state()
        graph = torch.cuda.CUDAGraph()
        gc.collect()  # an older graph that is destroyed during a capture breaks it
        try:
            # The outer block puts the stream back also where a broken capture's end raises.
            with (
                torch.cuda.stream(torch.cuda.current_stream()),
                torch.cuda.graph(graph, pool=self._pool, stream=self._stream),
            ):
                outputs = body()
        except BaseException:
            # Else it would believe for ever that it is being captured, and refuse to draw.
            generator.graphsafe_set_state(kept)
            raise
        return outputs, graph.replay


def _repeat(body: Body) -> tuple[list[Tensor], Callable[[], None]]:
    """A `Record` for a CPU: the pass is done again, and its output put where the first one's is."""
    outputs = body()

    def again() -> None:
        fresh = body()
        with torch.no_grad():
            for kept, value in zip(outputs, fresh, strict=True):
                kept.copy_(value)

    return outputs, again


@contextmanager
def untouched(model: nn.Module, device: str) -> Iterator[None]:
    """Within, `model` may pass and draw; after it buffers and generators are as before.

    Gradients are cleared on the way out.
    """
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    gpus = [torch.cuda.current_device()] if device != "cpu" else []
    try:
        with torch.random.fork_rng(devices=gpus):
            yield
    finally:
        for parameter in model.parameters():
            parameter.grad = None
        with torch.no_grad():
            for buffer, kept in buffers:
                buffer.copy_(kept)
