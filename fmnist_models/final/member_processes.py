"""The processes in which the members of an ensemble are trained side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.idx import read_data_files
from fmnist_models.errors import FmnistError
from fmnist_models.final.child_processes import (
    Told,
    check_exit,
    new_processes,
    pass_on,
    start_up,
)
from fmnist_models.final.progress import Events, Watcher
from fmnist_models.final.time_budget import limit_epochs
from fmnist_models.final.train import Extras, Say, train
from fmnist_models.saved_model.folder import EVENTS


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
    """Train all to the end, each in a process that ends with this one.

    The first that fails ends the others.
    """
    context = new_processes()
    processes: dict[Connection, tuple[int, ForkServerProcess]] = {}
    try:
        for number, task in enumerate(tasks):
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(target=_member, args=(task, theirs), daemon=True)
            process.start()
            theirs.close()
            processes[ours] = number, process
        while processes:
            for ready in wait(list(processes)):
                assert isinstance(ready, Connection)
                number, process = processes[ready]
                if not _hear(ready, process, number, say, watchers[number : number + 1]):
                    del processes[ready]
    finally:
        for _, process in processes.values():
            process.terminate()
            process.join()
        for watcher in watchers:
            watcher.close()


def _hear(
    ready: Connection,
    process: ForkServerProcess,
    number: int,
    say: Say,
    watchers: Sequence[Watcher],
) -> bool:
    """Pass on what a member says; False when it came to its end, an error where it failed."""
    try:
        message = ready.recv()
    except EOFError:
        check_exit(process, f"member {number}", "with fewer --members")
        return False
    if message[0] == "failed":
        raise message[1]
    if message[0] == "say":
        say(f"member {number}: {message[1]}")
    else:
        pass_on(message, watchers)
    return True


def _member(task: MemberTask, connection: Connection) -> None:
    """A member's process, from its first line to its last."""
    try:
        start_up(task.device, task.threads, task.card)
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
        watchers = (Told(connection), Events(task.folder / EVENTS))
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
