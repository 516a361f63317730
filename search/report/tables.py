"""A study as two tables, of its trials and of their epochs, and their files: CSV or Parquet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import isnan
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from optuna.distributions import CategoricalDistribution, IntDistribution

from search.errors import UsageError
from search.report.columns import DTYPES, EPOCH_COLUMNS, PARAMETER, TRIAL_COLUMNS, Column
from search.report.study_data import StudyData, failure_kind, in_utc
from search.trials.retry_chain import KNOWN_GOOD

if TYPE_CHECKING:
    from pandas import DataFrame

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """Rows by columns; a value is missing where it is None."""

    columns: Sequence[Column]
    rows: Sequence[Row]


def trial_table(data: StudyData) -> Table:
    """A row for each trial, by number."""
    return Table([*TRIAL_COLUMNS, *_parameter_columns(data)], list(_trial_rows(data)))


def _parameter_columns(data: StudyData) -> Iterator[Column]:
    """By the order in which trials have them; a parameter's kind never changes in a study."""
    distributions = {name: d for trial in data.trials for name, d in trial.distributions.items()}
    for name, distribution in distributions.items():
        kind = "number"
        if isinstance(distribution, CategoricalDistribution):
            kind = "text"
        elif isinstance(distribution, IntDistribution):
            kind = "whole number"
        yield Column(f"{PARAMETER}{name}", kind, f"parameter {name}")


def _trial_rows(data: StudyData) -> Iterator[Row]:
    for trial in data.trials:
        record, epochs = data.record(trial.number), data.epochs.get(trial.number, [])
        yield {
            "number": trial.number,
            "state": trial.state.name,
            "value": trial.value,
            "epochs": len(epochs),
            "seconds": data.seconds(trial.number),
            "datetime_start": in_utc(trial.datetime_start),
            "datetime_complete": in_utc(trial.datetime_complete),
            "reason": record.reason.partition("\n")[0] if record.reason else None,
            "failure": failure_kind(trial, record),
            "known_good": _text(trial.user_attrs.get(KNOWN_GOOD)),
            "retry_of": record.retry_of,
            "launch_id": record.launch_id,
            "images_per_second": fmean(e.images_per_second for e in epochs) if epochs else None,
            "peak_memory_bytes": max((e.peak_memory_bytes for e in epochs), default=None),
            "config": json.dumps(record.config) if record.config else None,
            **{
                f"{PARAMETER}{name}": str(value)
                if isinstance(trial.distributions[name], CategoricalDistribution)
                else value
                for name, value in trial.params.items()
            },
        }


def _text(value: object) -> str | None:
    """Anybody may have written what is to be a text."""
    return None if value is None else str(value)


def epoch_table(data: StudyData) -> Table:
    """A row for each epoch of each trial, by trial and epoch, with what was decided after it."""
    rows = []
    for (number, epoch), row in _epochs(data):
        decision = data.decisions.get((number, epoch))
        told = decision.model_dump(exclude={"value"}) if decision else {}
        rows.append({**told, "compared": decision.value if decision else None, **row})
    return Table(EPOCH_COLUMNS, rows)


def _epochs(data: StudyData) -> Iterator[tuple[tuple[int, int], dict[str, Any]]]:
    for number, epochs in data.epochs.items():
        for row in epochs:
            yield (number, row.epoch), row.model_dump()


def as_frame(table: Table) -> DataFrame:
    """The table as a pandas frame; raises UsageError where pandas is not installed."""
    try:
        import pandas
    except ImportError:
        raise _missing("pandas") from None
    return pandas.DataFrame(
        {
            column.name: pandas.Series(_values(table, column), dtype=DTYPES[column.kind])
            for column in table.columns
        }
    )


def _values(table: Table, column: Column) -> list[Any]:
    return [_known(row.get(column.name)) for row in table.rows]


def _known(value: Any) -> Any:
    """None for what is not a number."""
    return None if isinstance(value, float) and isnan(value) else value


def table_bytes(table: Table, path: Path) -> bytes:
    """The table as the contents of the file at `path`, by its ending, one of `TABLE_ENDINGS`.

    Raises UsageError where a Parquet file is asked for and what writes it is not installed.
    """
    if path.suffix.lower() == ".csv":
        return _as_csv(table).encode()
    buffer = io.BytesIO()
    try:
        as_frame(table).to_parquet(buffer, engine="pyarrow", index=False)
    except ImportError:
        raise _missing("pyarrow") from None
    return buffer.getvalue()


def _as_csv(table: Table) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([column.name for column in table.columns])
    columns = [_values(table, column) for column in table.columns]
    writer.writerows([_cell(value) for value in row] for row in zip(*columns, strict=True))
    return text.getvalue()


def _cell(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _missing(package: str) -> UsageError:
    return UsageError(f"{package} is not installed: pip install {package}, or write a .csv")
