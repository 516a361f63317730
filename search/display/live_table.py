"""What a running search shows on stderr: a live table on a terminal, plain lines otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fmnist_models.output import printable
from fmnist_models.training.metrics import EpochMetrics
from search.quantities import describe, duration, percent
from search.time_budget import Budget
from search.trials.live_trial import EndedTrial, LiveTrial, SearchView
from search.trials.session import SearchSession

LAST_ENDED = 5


@dataclass(frozen=True)
class Clock:
    """How long a launch has taken and will take, in seconds.

    The first guess of the whole comes from the forecast; as trials end, from their rate.
    """

    budget: Budget
    expected_seconds: float
    finished_before: int
    trials: int

    def remaining(self, view: SearchView) -> float:
        """Seconds that are probably left."""
        finished = view.counts["COMPLETE"] + view.counts["PRUNED"]
        done, elapsed = finished - self.finished_before, self.budget.elapsed
        left = self.trials - finished
        # A guess that has run out still leaves a trial's time while trials are left.
        least = self.expected_seconds / self.trials if left else 0.0
        by_estimate = max(least, self.expected_seconds - elapsed)
        # Until as many have ended as run at once, the rate says little.
        by_rate = left * elapsed / done if done > len(view.running) else by_estimate
        return max(0.0, min(by_rate, self.budget.remaining))


class Display:
    """The observer of a search: a live table of it where stderr is a terminal, lines otherwise."""

    def __init__(self, console: Console, budget: Budget) -> None:
        self._console, self._budget = console, budget
        self._session: SearchSession | None = None
        self._told_epochs: dict[int, int] = {}

    @contextmanager
    def shown(self, session: SearchSession, clock: Clock) -> Iterator[None]:
        """Show a session for the block."""
        self._session = session
        if not self._console.is_terminal:
            yield
            self.tick()
            return
        with Live(
            console=self._console,
            get_renderable=lambda: render(session.view(), session.trials, clock),
            refresh_per_second=4,
            transient=True,
        ):
            yield

    def say(self, text: str) -> None:
        """Print a line, also on a terminal."""
        self._console.print(printable(text), markup=False, highlight=False, soft_wrap=True)

    def note(self, number: int, text: str) -> None:
        """Print what a worker has to say of its trial, also on a terminal."""
        self._print_timed(f"trial {number}: {text}")

    def trial_ended(self, ended: EndedTrial) -> None:
        """Print how a trial ended; nothing on a terminal."""
        if not self._console.is_terminal:
            self._print_timed(_ended_line(ended))

    def tick(self) -> None:
        """Print the epochs that are new, a line each; nothing on a terminal."""
        if self._console.is_terminal or self._session is None:
            return
        for live in self._session.view().running:
            if live.last and live.last.epoch > self._told_epochs.get(live.number, 0):
                self._told_epochs[live.number] = live.last.epoch
                self._print_timed(_epoch_line(live, live.last))

    def _print_timed(self, text: str) -> None:
        elapsed = duration(self._budget.elapsed)
        self._console.print(f"[{elapsed}] {printable(text)}", markup=False, soft_wrap=True)


def _name(live: LiveTrial) -> str:
    """The number of a trial, and of the one that it repeats or goes on from."""
    repeats = live.chain.repeats
    return f"{live.number} (after {repeats[0]})" if repeats else str(live.number)


def _elsewhere(view: SearchView) -> str:
    return f" and {view.elsewhere} elsewhere" if view.elsewhere else ""


def _epoch_line(live: LiveTrial, last: EpochMetrics) -> str:
    return (
        f"trial {_name(live)} epoch {last.epoch}/{live.config.epochs}: "
        f"validation {percent(last.val_accuracy)}, {last.images_per_second:,.0f} images/s"
    )


def _ended_line(ended: EndedTrial) -> str:
    value = f" {percent(ended.value)}" if ended.value is not None else ""
    reason = ended.reason.splitlines()[0]
    return f"trial {ended.number} {ended.state}{value} after epoch {ended.epochs}: {reason}"


def render(view: SearchView, trials: int, clock: Clock) -> RenderableType:
    """The live table: totals, running trials, and the last that ended."""
    return Group(_header(view, trials, clock), _running(view), _ended(view))


def _header(view: SearchView, trials: int, clock: Clock) -> Text:
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
        f"   {duration(clock.budget.elapsed)} elapsed, about {duration(clock.remaining(view))} left"
    )
    return text


def _running(view: SearchView) -> Table:
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
            Text(describe(live.config.model_dump(mode="json"))),
        )
    return table


def _ended(view: SearchView) -> Text:
    styles = {"COMPLETE": "green", "PRUNED": "yellow", "FAIL": "red"}
    text = Text(overflow="ellipsis", no_wrap=True)
    for ended in view.ended[-LAST_ENDED:]:
        text.append(printable(_ended_line(ended)) + "\n", style=styles[ended.state])
    return text
