"""Death between any two statements of a trial's life: nothing half is ever found afterwards."""

import itertools
import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine, event

from storage import open_database
from tests.search.checker import check_no_repeats, check_study
from tests.search.loop import STUDY, acknowledged, main

TRIALS = 4


def die_at(call: int, run: Callable[[], None], report: Path) -> None:
    """In a child: `run`, but end without a word before statement or commit number `call`."""
    pid = os.fork()
    if pid == 0:
        count = itertools.count(1)

        def step(*_: object) -> None:
            number = next(count)
            report.write_text(str(number))
            if number == call:
                os._exit(9)

        event.listen(Engine, "before_cursor_execute", step)
        event.listen(Engine, "commit", step)
        try:
            run()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


def check_deaths(new_url: Callable[[], str], folder: Path, deaths: int | None) -> None:
    """Die at `deaths` random calls (None: at each), each time in a new database, and go on."""
    report = folder / "calls"

    def run_to(call: int) -> None:
        url, place = new_url(), folder / f"search-{call}"
        die_at(call, lambda: main(url, TRIALS, place), report)
        main(url, TRIALS, place)
        with open_database(url) as database:
            found = check_study(database, STUDY, TRIALS, acknowledged=acknowledged(place))
            check_no_repeats(found)

    run_to(10**9)
    calls = range(1, int(report.read_text()) + 1)
    draw = random.Random(time.time_ns())
    for call in calls if deaths is None else draw.sample(calls, deaths):
        run_to(call)


def copies(empty: Path, folder: Path) -> Callable[[], str]:
    """Give a function that makes new SQLite databases that hold no study yet."""
    numbers = itertools.count()

    def make() -> str:
        path = folder / f"{next(numbers)}.db"
        shutil.copy(empty, path)
        return f"sqlite:///{path}"

    return make


def test_death_at_some_calls(empty_sqlite: Path, tmp_path: Path) -> None:
    check_deaths(copies(empty_sqlite, tmp_path), tmp_path, 6)


def test_death_at_some_calls_on_postgresql(
    new_postgresql_url: Callable[[], str], tmp_path: Path
) -> None:
    check_deaths(new_postgresql_url, tmp_path, 2)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_death_at_every_call(empty_sqlite: Path, tmp_path: Path) -> None:
    check_deaths(copies(empty_sqlite, tmp_path), tmp_path, None)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_death_at_every_call_on_postgresql(
    new_postgresql_url: Callable[[], str], tmp_path: Path
) -> None:
    check_deaths(new_postgresql_url, tmp_path, None)
