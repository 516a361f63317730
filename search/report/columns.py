"""The columns of a study's tables in files, pandas frames and `--help`. No heavy imports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

DTYPES = {
    "whole number": "Int64",
    "number": "Float64",
    "text": "string",
    "time": "datetime64[us, UTC]",
}
"""The type of a pandas column, by the kind of a column: each knows a missing value."""
TABLE_ENDINGS = (".csv", ".parquet")
COMPARISON_ENDINGS = (".html", ".md", ".csv", ".tex")
PARAMETER = "params_"


@dataclass(frozen=True)
class Column:
    """A column: its name, its kind (see `DTYPES`), and a sentence on what is in it."""

    name: str
    kind: str
    help: str


TRIAL_COLUMNS = (
    Column("number", "whole number", "Optuna's number of the trial, from 0"),
    Column("state", "text", "COMPLETE (all its epochs), PRUNED (stopped), FAIL, RUNNING, WAITING"),
    Column("value", "number", "validation accuracy after its last epoch, a fraction"),
    Column("epochs", "whole number", "epochs that it has, with those taken over from retry_of"),
    Column("seconds", "number", "what training and validating took it, without those taken over"),
    Column("datetime_start", "time", "when it began (UTC)"),
    Column("datetime_complete", "time", "when it ended (UTC)"),
    Column("reason", "text", "why it was stopped or failed, or ended; the first line"),
    Column("failure", "text", "class of a failure: raised, diverged, out_of_memory, hung, ..."),
    Column("known_good", "text", "name of the space's starting point that it is"),
    Column("retry_of", "whole number", "number of the trial that it repeats"),
    Column("launch_id", "whole number", "start of the driver that ran it"),
    Column("images_per_second", "number", "mean over its epochs, of training alone"),
    Column("peak_memory_bytes", "whole number", "the device's on a GPU, else the process's"),
    Column("config", "text", "the configuration as JSON, as `train` takes it"),
)
"""The columns of trials, before one for each parameter of the space."""
EPOCH_COLUMNS = (
    Column("number", "whole number", "number of the trial"),
    Column("epoch", "whole number", "from 1"),
    Column("launch_id", "whole number", "start of the driver that trained it"),
    Column("train_loss", "number", "mean over the epoch, of augmented images"),
    Column("train_accuracy", "number", "likewise, a fraction"),
    Column("val_loss", "number", "of the averaged (EMA) weights"),
    Column("val_accuracy", "number", "likewise, a fraction"),
    Column("lr", "number", "learning rate of the last step"),
    Column("seconds", "number", "what training and validating took"),
    Column("images_per_second", "number", "of training alone"),
    Column("peak_memory_bytes", "whole number", "the device's on a GPU, else the process's"),
    Column("action", "text", "the scheduler's word after it: continue, or stop; none at the end"),
    Column("rung", "whole number", "epoch of the rung that it was compared at"),
    Column(
        "compared", "number", "its accuracy; where trials have equal time, that expected at last"
    ),
    Column("cutoff", "number", "compared value below which it would be stopped there"),
    Column("reason", "text", "why it was stopped or not"),
    Column("created_at", "time", "when that was decided (UTC), by the database's clock"),
)


def column_lines(columns: Sequence[Column]) -> list[str]:
    """What each column is, for a terminal."""
    width = max(len(column.name) for column in columns)
    return [f"  {column.name:<{width}}  {column.help}" for column in columns]
