"""Writing the best configuration of a study to a file that final training reads.

"Best" is the COMPLETE trial with the highest validation accuracy after its last epoch; of equals,
the earlier one.
"""

from __future__ import annotations

import json
from pathlib import Path

from optuna import Study
from pydantic import JsonValue

from fmnist_models.config import EXPORT_FORMAT
from fmnist_models.errors import OutputError
from fmnist_models.files import make_folder, write_atomically
from search.errors import NoResultError, UsageError
from search.summary import Summary, environment_of, summarize
from storage import Database


def export_beside(
    database: Database, study: Study, summary: Summary
) -> tuple[Path | None, str | None]:
    """Write `STUDY.best.json` to the working folder: its path, or None and why it was refused."""
    path = Path(f"{study.study_name}.best.json")
    try:
        export(database, study, path, summary=summary)
    except (UsageError, OutputError) as error:
        return None, str(error)
    return path, None


def export(
    database: Database,
    study: Study,
    path: Path,
    *,
    force: bool = False,
    summary: Summary | None = None,
) -> Summary:
    """Write the study's best configuration with its evidence to `path`, whole or not at all.

    Raises NoResultError when no trial is complete, UsageError when `path` holds something that is
    no export of ours and `force` is not given, OutputError when it cannot be written.
    """
    summary = summary or summarize(database, study)
    if summary.best is None:
        raise NoResultError(
            f"study {study.study_name!r} has no completed trial to export; search longer"
        )
    if path.exists() and not force and not _is_export(path):
        raise UsageError(f"{path} exists and is no export of ours; give --force or another --out")
    make_folder(path.parent)
    write_atomically(path, (json.dumps(_content(database, summary), indent=2) + "\n").encode())
    return summary


def _content(database: Database, summary: Summary) -> dict[str, JsonValue]:
    """An `ExportedConfig` as JSON values; the search does not need torch to write one."""
    best = summary.best
    assert best is not None
    identity = database.study_identity(summary.study) or {}
    trials: dict[str, JsonValue] = {state: n for state, n in summary.trials.items() if n}
    return {
        "format": EXPORT_FORMAT,
        "config": best.config,
        "study": summary.study,
        "trial": best.number,
        "validation_accuracy": best.validation_accuracy,
        "evidence": {
            "interval": list(best.interval),
            "interval_of": "this one model, 95 %, not corrected for being the best of many",
            "trials": trials,
            "epochs_trained": summary.epochs_trained,
            "study_identity": identity,
            "environment": dict(environment_of(database, summary.study, best.number)),
        },
    }


def _is_export(path: Path) -> bool:
    """Whether the file is one that this module has written."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("format") == EXPORT_FORMAT
