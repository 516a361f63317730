"""The processes in which the members of an ensemble are trained side by side."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from fmnist_models.compute.allocator import keep_memory
from fmnist_models.compute.precision import set_threads
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.idx import read_data_files
from fmnist_models.errors import FmnistError, OutOfMemoryError
from fmnist_models.final.progress import Events, Watcher
from fmnist_models.final.time_budget import limit_epochs
from fmnist_models.final.train import Extras, Say, train
from fmnist_models.saved_model.folder import (
    EVENTS,
)
from fmnist_models.training.metrics import EpochMetrics


@dataclass(frozen=True)
class MemberTask:
    """What a member's process is told. `minutes`: None where epochs are not limited by time."""

    config: TrialConfig
    folder: Path
    data: Path
    digest: str
    device: str
    card: int
    threads: int
    minutes: float | None


def run_members(tasks: Sequence[MemberTask], say: Say, watchers: Sequence[Watcher]) -> None:
    """Train all to the end, each in a process; the first that fails ends the others."""
    spawn = multiprocessing.get_context("spawn")
    processes: dict[Connection, tuple[int, SpawnProcess]] = {}
    try:
        for number, task in enumerate(tasks):
            ours, theirs = spawn.Pipe(duplex=False)
            process = spawn.Process(target=_member, args=(task, theirs), daemon=True)
            process.start()
            theirs.close()
            processes[ours] = number, process
        while processes:
            for ready in wait(list(processes)):
                assert isinstance(ready, Connection)
                number, process = processes[ready]
                watcher = watchers[number] if watchers else None
                if not _hear(ready, process, number, say, watcher):
                    del processes[ready]
    finally:
        for _, process in processes.values():
            process.terminate()
            process.join()
        for watcher in watchers:
            watcher.close()


def _hear(
    ready: Connection, process: SpawnProcess, number: int, say: Say, watcher: Watcher | None
) -> bool:
    """Pass on what a member says; False when it came to its end, an error where it failed."""
    try:
        kind, *content = ready.recv()
    except EOFError:
        process.join()
        if process.exitcode == -signal.SIGKILL:
            raise OutOfMemoryError(
                f"the process of member {number} was killed, as happens when memory is short; "
                "start it again to go on, or with fewer --members"
            ) from None
        if process.exitcode:
            raise FmnistError(f"member {number} ended with status {process.exitcode}") from None
        return False
    if kind == "failed":
        raise content[0]
    if kind == "say":
        say(f"member {number}: {content[0]}")
    elif watcher:
        getattr(watcher, kind)(*content)
    return True


class _Told:
    """A watcher that passes on what it is told, to the process that watches all members."""

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
        """The run ended; whoever watches all of them sees that by itself."""


def _member(task: MemberTask, connection: Connection) -> None:
    """A member's process, from its first line to its last."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        if task.device == "cpu":
            set_threads(task.threads)
        else:
            os.environ["CUDA_VISIBLE_DEVICES"] = _card(task.card)
        keep_memory(task.device)  # before the first tensor
        files = read_data_files(task.data)
        say: Say = lambda line: connection.send(("say", line))  # noqa: E731
        config = task.config
        if task.minutes is not None:
            config = limit_epochs(
                config,
                task.folder,
                files=files,
                device=task.device,
                minutes=task.minutes,
                fresh=False,
                say=say,
            )
        watchers = (_Told(connection), Events(task.folder / EVENTS))
        extras = Extras(watchers=watchers, test=False, report=False)
        train(
            config,
            task.folder,
            files=files,
            device=task.device,
            force=False,
            say=say,
            extras=extras,
        )
    except FmnistError as error:
        connection.send(("failed", error))
    finally:
        connection.close()


def _card(number: int) -> str:
    """The name of the so many-th GPU that the parent may use."""
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return visible[number] if number < len(visible) else str(number)


def _end_with_parent() -> None:
    """End this process when the one that started it does, however that ends."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
