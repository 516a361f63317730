"""The commands of `python -m search`: they read a database that a search has made."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from fmnist_models.config.base import shortened
from fmnist_models.files import make_folder
from fmnist_models.output import command_line
from search.errors import UsageError
from search.results import export as exporting
from search.results.drivers import drivers_of
from search.results.export_formats import format_of
from search.results.fresh_seeds import evidence_lines, rescore_on_fresh_seeds
from search.results.summary import summarize, summary_lines
from search.settings import STUDY_NAME
from storage import Database, OptunaAlone, StorageRefused, StudyStore, open_database


def status(storage: str, study: str | None, *, as_json: bool) -> int:
    """Print the summary of one study, or of all; exit status 0.

    Raises StorageRefused for an unknown study, and where there is no such database.
    """
    try:
        opened = open_database(storage, create=False)
    except OptunaAlone as alone:
        if study or as_json:
            raise
        print(alone)
        return 0
    with opened as database:
        names = [study] if study else database.study_names()
        if not names and not as_json:
            print(f"{database.url} holds no study yet")
        for name in names:
            try:
                found = load_study(database, name)
            except (StorageRefused, UsageError) as error:
                if study:
                    raise
                print(error, file=sys.stderr)
                continue
            summary, drivers = summarize(found), drivers_of(found.launches)
            if as_json:
                about = {"drivers": [driver.model_dump(mode="json") for driver in drivers]}
                print(json.dumps({**summary.model_dump(mode="json"), **about}))
            else:
                lines = [*summary_lines(summary), *(driver.line for driver in drivers)]
                print("\n".join(lines))
    return 0


def export(
    storage: str,
    study: str,
    path: Path,
    force: bool,
    *,
    form: str | None = None,
    top: int = 1,
    seeds: int = 0,
    data_dir: Path | None = None,
) -> int:
    """Write the best configuration of a study to `path`; exit status 0.

    With `seeds` the `top` configurations are trained again on so many fresh seeds first.
    """
    chosen = format_of(path, form)
    if top > 1 and not seeds:
        raise UsageError(f"--top {top} needs fresh seeds to compare by: give --seeds 3, say")
    with open_database(storage, create=False) as database:
        found = load_study(database, study)
        exporting.check_place(path, force)
        evidence = None
        runs = path.with_name(f".{path.name}.runs")
        if seeds:
            make_folder(path.parent)
            evidence = rescore_on_fresh_seeds(
                found, top=top, seeds=seeds, data_dir=data_dir, runs=runs, say=_say
            )
        summary = exporting.export(found, path, force=force, evidence=evidence, form=chosen)
        runs.unlink(missing_ok=True)
    if evidence:
        print("\n".join(evidence_lines(evidence)))
        print(f"Written: {path}")
    else:
        taken = summary.recommended
        assert taken is not None
        print(f"{path}: trial {taken.trial.number}; {taken.reason}")
    if chosen != "python":
        out = Path("models", study)
        print(f"Next: {command_line('fmnist_models', 'train', path, '--out', out)}")
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def dashboard(storage: str, study: str | None, port: int, *, writable: bool) -> int:
    """Serve optuna-dashboard over the database on 127.0.0.1 until interrupted."""
    from search.display.dashboard import serve

    with open_database(storage, create=False) as database:
        page = f"dashboard/studies/{load_study(database, study).study_id}" if study else ""
        if writable and database.is_read_only:
            raise UsageError(f"--writable: {database.path} can only be read; leave --writable out")
        serve(database, port, page=page, writable=writable)
    return 0


def load_study(database: Database, name: str) -> StudyStore:
    """The study called `name`; raises StorageRefused where there is none.

    Raises UsageError for a name that no search gives: others write to databases too.
    """
    if not re.fullmatch(STUDY_NAME, name):
        raise UsageError(f"study {shortened(name)}: a search gives no such name; rename the study")
    return database.open_study(name)
