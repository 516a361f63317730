"""Processes that train one network together, each on a CPU core or a GPU of its own.

A training that is spread over the cores by threads waits at every layer for the slowest of them,
and stands nearly still when something else takes one (benchmarks/LOG.md). Processes wait for each
other once a step.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from fmnist_models.compute.memory import is_out_of_memory
from fmnist_models.compute.precision import Precision, choose_precision, gpu_count
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.dataset import Dataset, load_training_data
from fmnist_models.data.idx import DataFiles, read_data_files, save_plain
from fmnist_models.errors import ConfigError, FmnistError, OutOfMemoryError
from fmnist_models.files import load_checkpoint
from fmnist_models.final.child_processes import (
    Told,
    check_exit,
    new_processes,
    pass_on,
    start_up,
)
from fmnist_models.final.progress import Watcher
from fmnist_models.final.time_budget import MEASURED_STEPS, measure_step
from fmnist_models.final.train import Extras, Say, train_and_save
from fmnist_models.saved_model.folder import CHECKPOINT, CONFIG
from fmnist_models.training.data_parallel import DataParallel, join

LEAST_PART = 16
"""Images of a batch that a worker has at least where nothing is said of their number: batch norms
normalise each part by itself."""
LEAST_SECONDS = 120.0
"""What a training takes for which a race is worth the start of processes."""
MAY_BE_SLOWER = 1.15
"""How many times as long a step of workers may take for them to be taken all the same: beside other
work they do twice what threads do (results/workers.md)."""
LAST_WORDS_SECONDS = 10.0
"""When a worker fails because it has lost another, that one's end is waited for so long."""


@dataclass(frozen=True)
class WorkerTask:
    """What a worker's process is told when it starts.

    data: a folder of the pool's own with plain files, which all workers map.
    """

    rank: int
    size: int
    meeting_point: Path
    data: Path
    device: str
    threads: int
    precision: Precision


class WorkerPool:
    """So many processes, started when needed; they end with this one or when the pool is closed."""

    def __init__(self, size: int, files: DataFiles, device: str) -> None:
        self.size, self._files, self._device = size, files, device
        self._folder: Path | None = None
        self._processes: dict[Connection, tuple[int, ForkServerProcess]] = {}

    def _start(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="fmnist-workers-"))
        precision = choose_precision(self._device)
        data = self._folder / "data"
        save_plain(self._files, data)
        context = new_processes()
        for rank in range(self.size):
            ours, theirs = context.Pipe()
            task = WorkerTask(
                rank=rank,
                size=self.size,
                meeting_point=self._folder / "meet",
                data=data,
                device=self._device,
                threads=max(1, torch.get_num_threads() // self.size),
                precision=precision,
            )
            process = context.Process(target=_work, args=(task, theirs), daemon=True)
            process.start()
            theirs.close()
            self._processes[ours] = rank, process

    def step_seconds(self, config: TrialConfig, steps: int = MEASURED_STEPS) -> float:
        """Seconds of a training step, measured on so many of a network that is thrown away."""
        return float(self._order(("measure", config, steps)))

    def train(self, config: TrialConfig, folder: Path, say: Say, extras: Extras) -> None:
        """As `train.train_and_save`, which takes `extras` in the first worker's process."""
        try:
            told = extras.test, extras.report, extras.origin
            self._order(("train", config, folder, *told), say, extras.watchers)
        finally:
            for watcher in extras.watchers:
                watcher.close()

    def close(self) -> None:
        """End all processes."""
        for connection, (_, process) in self._processes.items():
            process.terminate()
            process.join()
            connection.close()
        self._processes.clear()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self.close()

    def _order(
        self, order: tuple[Any, ...], say: Say | None = None, watchers: Sequence[Watcher] = ()
    ) -> Any:
        """Have it done by all; what the first worker says of it. The first error ends it."""
        if not self._processes:
            self._start()
        for connection in self._processes:
            with suppress(OSError):  # of a process that has just died, which is seen below
                connection.send(order)
        waiting, found = set(self._processes), None
        while waiting:
            for ready in wait(waiting):
                assert isinstance(ready, Connection)
                kind, *content = self._hear(ready)
                if kind == "failed":
                    raise content[0]
                if kind == "broken":
                    raise self._reason(content[0])
                if kind == "done":
                    waiting.discard(ready)
                    found = content[0] if self._processes[ready][0] == 0 else found
                elif kind == "say":
                    if say:
                        say(content[0])
                else:
                    pass_on((kind, *content), watchers)
        return found

    def _hear(self, ready: Connection) -> tuple[Any, ...]:
        """A worker's message; raises FmnistError where it has ended."""
        try:
            message: tuple[Any, ...] = ready.recv()
        except EOFError:
            rank, process = self._processes[ready]
            check_exit(process, f"worker {rank}", "with fewer --workers")
            raise FmnistError(f"worker {rank} ended too soon") from None
        return message

    def _reason(self, text: str) -> FmnistError:
        """What stands behind an unforeseen error: another worker's end, or a defect."""
        end = time.monotonic() + LAST_WORDS_SECONDS
        while time.monotonic() < end:
            for rank, process in self._processes.values():
                if process.exitcode:
                    try:
                        check_exit(process, f"worker {rank}", "with fewer --workers")
                    except FmnistError as error:
                        return error
            time.sleep(0.1)
        return FmnistError(f"a worker failed:\n{text}")


def race(
    config: TrialConfig, files: DataFiles, device: str, minutes: float | None
) -> tuple[WorkerPool | None, float | None]:
    """The workers that are to train `config`, None where this process is clearly faster alone.

    Also seconds of a training step, where they were measured. `minutes`: how long training may
    take, if that is limited. Only on several CPU cores, and where it takes some time.
    """
    size = min(torch.get_num_threads(), config.batch_size // LEAST_PART)
    if device != "cpu" or size < 2 or (minutes is not None and 60 * minutes < LEAST_SECONDS):
        return None, None
    dataset, precision = load_training_data(files), choose_precision(device)
    alone = measure_step(config, dataset, device, precision)
    steps = config.epochs * config.steps_per_epoch(len(dataset.train))
    if minutes is None and alone * steps < LEAST_SECONDS:
        return None, alone
    pool = WorkerPool(size, files, device)
    try:
        together = pool.step_seconds(config)
    except BaseException:
        pool.close()
        raise
    if together < MAY_BE_SLOWER * alone:
        return pool, together
    pool.close()
    return None, alone


def begun_workers(folder: Path) -> int | None:
    """How many workers have begun the training in `folder`, 1 where it is done; else None."""
    state = load_checkpoint(folder / CHECKPOINT)
    if state:
        return int(state.get("workers", 1))
    return 1 if (folder / CONFIG).exists() else None


def check_workers(workers: int, config: TrialConfig, device: str) -> None:
    """Raises ConfigError where so many workers cannot share a batch or a machine."""
    if 2 * workers > config.batch_size:
        raise ConfigError(
            f"--workers {workers}: a batch of {config.batch_size} images leaves less than two to "
            f"each; give {config.batch_size // 2} at most"
        )
    if device != "cpu" and workers > gpu_count():
        raise ConfigError(f"--workers {workers}: there are {gpu_count()} GPUs; give fewer")


def _work(task: WorkerTask, connection: Connection) -> None:
    """A worker's process, from its first line to its last."""
    try:
        start_up(task.device, task.threads, task.rank)
        if task.device == "cpu":
            os.environ["GLOO_SOCKET_IFNAME"] = "lo"  # what gloo listens on
        files = read_data_files(task.data, mapped=True)
        dataset = load_training_data(files)
        meeting_point = f"file://{task.meeting_point}"
        workers = join(task.rank, task.size, task.device, meeting_point)
        if workers.rank == 0:  # all have joined, so all have mapped it: nothing is left if killed
            shutil.rmtree(task.data, ignore_errors=True)
        while True:
            order = connection.recv()
            connection.send(("done", _done(order, task, workers, files, dataset, connection)))
    except EOFError:
        return  # the pool is gone
    except FmnistError as error:
        connection.send(("failed", error))
    except Exception as error:
        if is_out_of_memory(error):
            text = f"{task.device} has not the memory for {task.size} workers; give fewer"
            connection.send(("failed", OutOfMemoryError(text)))
        else:
            connection.send(("broken", traceback.format_exc()))


def _done(
    order: tuple[Any, ...],
    task: WorkerTask,
    workers: DataParallel,
    files: DataFiles,
    dataset: Dataset,
    connection: Connection,
) -> float | None:
    """Do what was ordered, and give back what it comes to."""
    if order[0] == "measure":
        _, config, steps = order
        return measure_step(config, dataset, task.device, task.precision, workers, steps)
    _, config, folder, test, report, origin = order
    is_first = workers.rank == 0
    extras = Extras(
        watchers=(Told(connection),) if is_first else (),
        test=test,
        report=report,
        workers=workers,
        precision=task.precision,
        origin=origin,
    )

    def say(line: str) -> None:
        if is_first:
            connection.send(("say", line))

    train_and_save(config, folder, files, task.device, say, extras)
    return None
