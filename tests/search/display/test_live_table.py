"""What is shown: plain lines where stderr is a file, a table on a terminal."""

import io
import re
import time

import pytest
from rich.console import Console

from search.display.live_table import Clock, Display, render
from search.time_budget import Budget
from search.trials.live_trial import EndedTrial, SearchView
from search.workers.messages import Failure
from storage import Database
from tests.search.loop import drive, metrics, open_session


def clock(expected: float = 100.0, before: int = 0, budget: float | None = None) -> Clock:
    ends = None if budget is None else 10 + budget
    return Clock(Budget(ends, time.monotonic() - 10), expected, before, 10)


def view(running: int = 0, complete: int = 0, pruned: int = 0) -> SearchView:
    counts = {"COMPLETE": complete, "PRUNED": pruned, "FAIL": 0}
    return SearchView((None,) * running, counts, None, ())  # type: ignore[arg-type]


def plain() -> tuple[Display, io.StringIO]:
    file = io.StringIO()
    return Display(Console(file=file, width=40), clock().budget), file


def test_without_a_terminal_each_epoch_and_end_is_a_line(database: Database) -> None:
    display, file = plain()
    session = open_session(database, 5, "fifo", epochs=2, observer=display)
    with display.shown(session, clock()):
        drive(session, at_once=1, told=lambda *_: display.tick())
        display.tick()
    session.close("done")
    lines = file.getvalue().splitlines()
    assert [line.partition("] ")[2].partition(":")[0] for line in lines[:2]] == [
        "trial 0 epoch 1/2",
        next(f"trial 0 COMPLETE {100 * e.value:.2f} % after epoch 2" for e in session.view().ended),
    ]
    assert len(lines) == 10
    assert re.match(r"\[1\d s\] ", lines[0])
    assert "1,000 images/s" in lines[0]


def test_a_line_is_told_once(database: Database) -> None:
    display, file = plain()
    session = open_session(database, 5, observer=display)
    number = session.next_trial().number
    session.report(number, metrics(1, 0.5))
    with display.shown(session, clock()):
        for _ in range(3):
            display.tick()
        session.fail(number, Failure(kind="diverged", reason="diverged: [red]nan[/red]\nTraceback"))
    session.close("done")
    first, second = file.getvalue().splitlines()
    assert "validation 50.00 %" in first
    assert second.endswith("trial 0 FAIL after epoch 1: diverged: [red]nan[/red]")


def test_the_table_has_totals_the_best_and_what_runs(database: Database) -> None:
    session = open_session(database, 9, "fifo", epochs=3)
    drive(session, at_once=3, epochs=12)  # three ended, three at their first epoch
    best = session.view().best
    console = Console(record=True, force_terminal=True, width=100, file=io.StringIO())
    console.print(render(session.view(), 9, clock()))
    text = console.export_text()
    counts, running = session.view().counts, session.view().running
    assert running
    assert counts["COMPLETE"] == 3
    assert "3/9 trials finished" in text
    assert "3 running, 3 complete, 0 pruned, 0 failed" in text
    assert f"best {100 * best[1]:.2f} % (trial {best[0]})" in text
    for live in running:
        assert f" {live.number} " in text
        assert f"{100 * live.last.val_accuracy:.2f} %" in text
    assert text.count(" 1/3 ") == 3
    assert "quick-" in text
    assert max(map(len, text.splitlines())) <= 100
    session.close("done")


def test_on_a_terminal_nothing_but_the_table_is_printed(database: Database) -> None:
    file = io.StringIO()
    display = Display(Console(file=file, force_terminal=True, width=100), clock().budget)
    session = open_session(database, 3, observer=display)
    with display.shown(session, clock()):
        drive(session, told=lambda *_: display.tick())
        time.sleep(0.6)
    session.close("done")
    assert "trials finished" in file.getvalue()
    assert "] trial" not in file.getvalue()


def test_a_wide_configuration_is_cut_and_reasons_stay_on_their_line() -> None:
    ended = tuple(EndedTrial(n, "FAIL", None, 0, "x" * 300 + "\ny") for n in range(9))
    shown = SearchView((), {"COMPLETE": 0, "PRUNED": 0, "FAIL": 9}, None, ended)
    console = Console(record=True, width=60, file=io.StringIO())
    console.print(render(shown, 9, clock()))
    text = console.export_text()
    lines = text.splitlines()
    assert sum("FAIL" in line for line in lines) == 5
    assert max(map(len, lines)) <= 60
    assert "no trial has run all its epochs yet" in text


def test_what_is_left_is_guessed_first_and_then_measured() -> None:
    assert round(clock().remaining(view(running=2))) == 90
    # Four of ten finished in ten seconds.
    assert round(clock().remaining(view(running=2, complete=1, pruned=3))) == 15
    # Two of them by an earlier launch: the rate is that of this one.
    assert round(clock(before=2).remaining(view(running=1, complete=4))) == 30
    assert round(clock(budget=7).remaining(view())) == 7
    assert clock(budget=-1).remaining(view()) == 0
    # A guess that has run out still leaves a trial's time.
    assert clock(expected=1).remaining(view()) == pytest.approx(0.1)
    assert clock(expected=1).remaining(view(complete=10)) == 0


def test_trials_that_go_on_after_others_and_those_elsewhere_are_shown(database: Database) -> None:
    session, other = open_session(database, 9), open_session(database, 9)
    first, _, _ = session.next_trial(), other.next_trial(), other.next_trial()
    session.fail(first.number, Failure(kind="raised", reason="boom"))
    again = session.next_trial().number
    session.report(again, metrics(1, 0.5))
    time.sleep(1.1)
    session.heartbeat()
    console = Console(record=True, force_terminal=True, width=100, file=io.StringIO())
    console.print(render(session.view(), 9, clock()))
    shown = console.export_text()
    assert "1 running and 2 elsewhere" in shown
    assert f"{again} (after {first.number})" in shown
    display, file = plain()
    with display.shown(session, clock()):
        display.tick()
    display.note(again, "it goes on without a checkpoint: [disk full]")
    said = file.getvalue()
    assert f"trial {again} (after {first.number}) epoch 1/9" in said
    assert f"trial {again}: it goes on without a checkpoint: [disk full]" in said
    for opened in (session, other):
        opened.close("done")
