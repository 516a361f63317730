"""What a running search shows on stderr: a live table on a terminal, plain lines otherwise."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fmnist_models.training.metrics import EpochMetrics
from search.quantities import describe, duration, percent
from search.trials.live_trial import Ended, LiveTrial, View
from search.trials.session import SearchSession

LAST_ENDED = 5


@dataclass
class Clock:
    """Elapsed and remaining time of a launch; seconds of a monotonic clock.

    The first guess of the whole comes from the estimate; as trials end, from their rate.
    """

    started: float
    expected_seconds: float
    finished_before: int
    trials: int
    deadline: float | None

    def elapsed(self) -> float:
        """Seconds since the launch."""
        return time.monotonic() - self.started

    def remaining(self, view: View) -> float:
        """Seconds that are probably left."""
        finished = view.counts["COMPLETE"] + view.counts["PRUNED"]
        done, elapsed = finished - self.finished_before, self.elapsed()
        left = self.trials - finished
        # A guess that has run out still leaves a trial's time while trials are left.
        least = self.expected_seconds / self.trials if left else 0.0
        by_estimate = max(least, self.expected_seconds - elapsed)
        # Until as many have ended as run at once, the rate says little.
        by_rate = left * elapsed / done if done > len(view.running) else by_estimate
        to_deadline = self.deadline - time.monotonic() if self.deadline else by_rate
        return max(0.0, min(by_rate, to_deadline))


class Display:
    """Shows a session until the block ends; `tick` is to be called now and then by its thread."""

    def __init__(self, session: SearchSession, clock: Clock, console: Console) -> None:
        self.session, self.clock, self.console = session, clock, console
        self._told_epochs: dict[int, int] = {}
        self._told_ended = 0

    @contextmanager
    def shown(self) -> Iterator[None]:
        """The live table for the block where stderr is a terminal; else `tick` prints lines."""
        if not self.console.is_terminal:
            yield
            self.tick()
            return
        with Live(
            console=self.console,
            get_renderable=lambda: render(self.session.view(), self.session.trials, self.clock),
            refresh_per_second=4,
            transient=True,
        ):
            yield

    def tick(self) -> None:
        """Print what is new, one line an epoch or end of a trial; nothing on a terminal."""
        if self.console.is_terminal:
            return
        view = self.session.view()
        for ended in view.ended[self._told_ended :]:
            self._line(_ended_line(ended))
        self._told_ended = len(view.ended)
        for live in view.running:
            if live.last and live.last.epoch > self._told_epochs.get(live.number, 0):
                self._told_epochs[live.number] = live.last.epoch
                self._line(_epoch_line(live, live.last))

    def note(self, number: int, text: str) -> None:
        """Print what a worker has to say of its trial, also on a terminal."""
        self._line(f"trial {number}: {text}")

    def _line(self, text: str) -> None:
        self.console.print(
            f"[{duration(self.clock.elapsed())}] {text}", markup=False, soft_wrap=True
        )


def _name(live: LiveTrial) -> str:
    """The number of a trial, and of the one that it repeats or goes on from."""
    repeats = live.chain.repeats
    return f"{live.number} (after {repeats[0]})" if repeats else str(live.number)


def _elsewhere(view: View) -> str:
    return f" and {view.elsewhere} elsewhere" if view.elsewhere else ""


def _epoch_line(live: LiveTrial, last: EpochMetrics) -> str:
    return (
        f"trial {_name(live)} epoch {last.epoch}/{live.config.epochs}: "
        f"validation {percent(last.val_accuracy)}, {last.images_per_second:,.0f} images/s"
    )


def _ended_line(ended: Ended) -> str:
    value = f" {percent(ended.value)}" if ended.value is not None else ""
    reason = ended.reason.splitlines()[0]
    return f"trial {ended.number} {ended.state}{value} after epoch {ended.epochs}: {reason}"


def render(view: View, trials: int, clock: Clock) -> RenderableType:
    """The live table: totals, running trials, and the last that ended."""
    return Group(_header(view, trials, clock), _running(view), _ended(view))


def _header(view: View, trials: int, clock: Clock) -> Text:
    counts = view.counts
    finished = counts["COMPLETE"] + counts["PRUNED"]
    text = Text()
    text.append(f"{finished}/{trials} trials finished", style="bold")
    text.append(
        f"   {len(view.running)} running{_elsewhere(view)}, {counts['COMPLETE']} complete, "
        f"{counts['PRUNED']} pruned, {counts['FAIL']} failed\n"
    )
    if view.best:
        text.append(f"best {percent(view.best[1])} (trial {view.best[0]})", style="bold green")
    else:
        text.append("no trial has run all its epochs yet")
    text.append(
        f"   {duration(clock.elapsed())} elapsed, about {duration(clock.remaining(view))} left"
    )
    return text


def _running(view: View) -> Table:
    table = Table(expand=True, box=box.SIMPLE_HEAD)
    for name in ("trial", "epoch", "validation", "images/s"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("configuration", ratio=1, no_wrap=True, overflow="ellipsis")
    for live in view.running:
        last = live.last
        table.add_row(
            _name(live),
            f"{last.epoch if last else 0}/{live.config.epochs}",
            percent(last.val_accuracy) if last else "-",
            f"{last.images_per_second:,.0f}" if last else "starting",
            describe(live.config.model_dump(mode="json")),
        )
    return table


def _ended(view: View) -> Text:
    styles = {"COMPLETE": "green", "PRUNED": "yellow", "FAIL": "red"}
    text = Text(overflow="ellipsis", no_wrap=True)
    for ended in view.ended[-LAST_ENDED:]:
        text.append(_ended_line(ended) + "\n", style=styles[ended.state])
    return text
