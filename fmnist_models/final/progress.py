"""Final training as it is watched: a bar on a terminal, and curves for TensorBoard."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from fmnist_models.saved_model.folder import EVENTS_SUFFIX
from fmnist_models.training.metrics import EpochMetrics

if TYPE_CHECKING:
    from tensorboardX import SummaryWriter


SPEED_SECONDS = 600.0
"""The time left is told from the speed of so many last seconds."""


class Watcher(Protocol):
    """Is told what happens in a training run; never changes it."""

    def begin(self, epochs: int, done: Sequence[EpochMetrics]) -> None:
        """A run of so many `epochs` starts, or goes on after those that are `done`."""

    def step(self, done: int, steps: int) -> None:
        """So many of the epoch's `steps` are done."""

    def end_epoch(self, metrics: EpochMetrics) -> None:
        """An epoch ended."""

    def close(self) -> None:
        """The run ended, well or not; called at least once, and then for good."""


class Bar:
    """A progress bar with epoch, loss, accuracy, speed, time taken and time left."""

    def __init__(self, console: Console) -> None:
        self._progress, self._name = _progress(console), ""
        self._task: TaskID | None = None
        self._epochs = self._done = 0

    def another(self, name: str) -> Bar:
        """A bar under this one for a training that runs beside, with its name in front."""
        bar = copy(self)
        bar._name, bar._task = name, self._progress.add_task(name, epoch="", figures="begins")
        return bar

    def begin(self, epochs: int, done: Sequence[EpochMetrics]) -> None:
        """Show the bar, at what is done already."""
        self._epochs, self._done = epochs, len(done)
        if self._task is None:
            self._task = self._progress.add_task(self._name, epoch="", figures="")
        self._progress.reset(
            self._task,
            total=epochs,
            completed=len(done),
            epoch=self._epoch,
            figures="figures come with each epoch",
        )
        self._progress.start()

    def step(self, done: int, steps: int) -> None:
        """Move on by one step."""
        if self._task is not None:
            self._progress.update(
                self._task, completed=self._done + done / steps, epoch=self._epoch
            )

    def end_epoch(self, metrics: EpochMetrics) -> None:
        """Show the figures of the epoch that ended."""
        self._done = metrics.epoch
        if self._task is not None:
            self._progress.update(
                self._task, completed=self._done, epoch=self._epoch, figures=figures_of(metrics)
            )

    def close(self) -> None:
        """Leave the bar as it is."""
        self._progress.stop()

    @property
    def _epoch(self) -> str:
        return f"{min(self._done + 1, self._epochs)}/{self._epochs}"


def figures_of(metrics: EpochMetrics) -> str:
    """Loss, accuracy and speed of an epoch, for people."""
    return (
        f"loss {metrics.train_loss:.4f}  accuracy {100 * metrics.train_accuracy:.2f} %  "
        f"{metrics.images_per_second:,.0f} images/s"
    )


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}epoch {task.fields[epoch]}"),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[figures]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        expand=True,
        speed_estimate_period=SPEED_SECONDS,
    )


class Events:
    """Curves for TensorBoard, in a folder that is written anew at each start of a run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: SummaryWriter | None = None

    def begin(self, epochs: int, done: Sequence[EpochMetrics]) -> None:
        """Write the epochs that are done, so that a run that was killed has one whole curve."""
        from tensorboardX import SummaryWriter

        self.close()
        for old in self._folder.glob(f"*{EVENTS_SUFFIX}"):
            old.unlink()
        self._writer = SummaryWriter(str(self._folder), filename_suffix=EVENTS_SUFFIX)
        for metrics in done:
            self.end_epoch(metrics)

    def step(self, done: int, steps: int) -> None:
        """Only whole epochs are written."""

    def end_epoch(self, metrics: EpochMetrics) -> None:
        """Write the figures of an epoch."""
        if self._writer is None:
            return
        scalars = {
            "loss/train": metrics.train_loss,
            "accuracy/train": metrics.train_accuracy,
            "lr": metrics.lr,
            "images_per_second": metrics.images_per_second,
        }
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, metrics.epoch)
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
