"""What the processes that train for another have in common: origin, reports, a common end."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, ForkServerProcess

from fmnist_models.compute.allocator import keep_memory
from fmnist_models.compute.precision import set_threads
from fmnist_models.errors import FmnistError, OutOfMemoryError
from fmnist_models.final.progress import Watcher
from fmnist_models.training.metrics import EpochMetrics

PRELOADED = "fmnist_models.final.preloaded"


def new_processes() -> ForkServerContext:
    """Where the processes come from: a server that has imported what they need, once for all.

    It ends with this process, and is there at once when it is asked for the second time.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([PRELOADED])
    return context


class Told:
    """A watcher that passes on what it is told, to the process that has the real ones."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def begin(self, epochs: int, done: Sequence[EpochMetrics]) -> None:
        """A run starts, or goes on."""
        self._connection.send(("begin", epochs, list(done)))

    def step(self, done: int, steps: int) -> None:
        """Steps are done."""
        self._connection.send(("step", done, steps))

    def end_epoch(self, metrics: EpochMetrics) -> None:
        """An epoch ended."""
        self._connection.send(("end_epoch", metrics))

    def close(self) -> None:
        """The run ended; whoever has the real watchers sees that by itself."""


def pass_on(message: tuple[object, ...], watchers: Sequence[Watcher]) -> None:
    """Let `watchers` know what a `Told` has sent."""
    kind, *content = message
    for watcher in watchers:
        getattr(watcher, str(kind))(*content)


def start_up(device: str, threads: int, card: int) -> None:
    """Make a new process ready to train: on its CPU threads or its GPU, ended with its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if device == "cpu":
        set_threads(threads)
    else:
        os.environ["CUDA_VISIBLE_DEVICES"] = _card_name(card)
    keep_memory(device)  # before the first tensor


def check_exit(process: ForkServerProcess, name: str, remedy: str) -> None:
    """Raise FmnistError where the process that was called `name` ended otherwise than well."""
    process.join()
    if process.exitcode == -signal.SIGKILL:
        raise OutOfMemoryError(
            f"the process of {name} was killed, as happens when memory is short; "
            f"start it again to go on, or {remedy}"
        )
    if process.exitcode:
        raise FmnistError(f"{name} ended with status {process.exitcode}")


def _card_name(number: int) -> str:
    """The name of the so many-th GPU that the parent may use."""
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return visible[number] if number < len(visible) else str(number)


def _end_with_parent() -> None:
    """End this process when the one that started it does, however that ends."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
