"""The commands that tell others of a study: its tables and pages, each one file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from search.cli.commands import load_study
from search.errors import UsageError
from search.report.columns import COMPARISON_ENDINGS, TABLE_ENDINGS
from search.report.comparison import Arm
from search.report.comparison import compare as compare_arms
from search.report.output_file import check_output, write_output
from search.report.study_data import StudyData, read_runs, read_study
from search.report.tables import Table, epoch_table, table_bytes, trial_table
from storage import Database, open_database

TABLES: dict[str, Callable[[StudyData], Table]] = {"trials": trial_table, "epochs": epoch_table}


def table(command: str, storage: str, study: str | None, path: Path, *, force: bool) -> int:
    """Write the table that the command is called for; exit status 0."""
    check_output(path, TABLE_ENDINGS, force=force)
    data = _study_data(storage, study)
    write_output(path, table_bytes(TABLES[command](data), path))
    return 0


def report(storage: str, study: str | None, path: Path, *, force: bool) -> int:
    """Write the page of a study; exit status 0."""
    check_output(path, [".html"], force=force)
    data = _study_data(storage, study)
    from search.report.page import study_page

    write_output(path, study_page(data).encode())
    return 0


def compare(storage: str, sides: Sequence[str], path: Path, *, force: bool) -> int:
    """Write how studies compare; exit status 0.

    A side is a study, or studies that differ in their seeds: `A1,A2,A3`, or `NAME=A1,A2,A3`.
    """
    check_output(path, COMPARISON_ENDINGS, force=force)
    named = [_side(side) for side in sides]
    names = [name for _, studies in named for name in studies]
    if len(named) < 2:
        raise UsageError(f"{sides[0]}: with what shall it be compared? Name another study too")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"{', '.join(twice)}: named twice; name each study once")
    with open_database(storage, create=False) as database:
        arms = [
            Arm.of(label, [read_runs(load_study(database, name)) for name in studies])
            for label, studies in named
        ]
    found = compare_arms(arms)
    from search.report.comparison_files import FORMATS, verdicts

    write_output(path, FORMATS[path.suffix.lower()](found).encode())
    print("\n".join(verdicts(found)))
    return 0


def _side(text: str) -> tuple[str, list[str]]:
    label, equals, listed = text.partition("=")
    studies = [name for name in (listed if equals else label).split(",") if name]
    if not studies or not label:
        raise UsageError(f"{text!r} names no study; write A, or A1,A2,A3, or NAME=A1,A2,A3")
    return label, studies


def _study_data(storage: str, study: str | None) -> StudyData:
    with open_database(storage, create=False) as database:
        return read_study(load_study(database, study or only_study(database)))


def only_study(database: Database) -> str:
    """The name of the one study in the database; raises UsageError where there is not one."""
    names = database.study_names()
    if len(names) == 1:
        return names[0]
    there = f"one of {', '.join(names)}" if names else "none is there yet"
    raise UsageError(f"which study in {database.url}? Give --study, {there}")
