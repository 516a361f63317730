"""Writing the recommended configuration of a study, with how that is known, for final training.

recommendation.py says which COMPLETE trial that is: the best sample, or the known-good point that
it may have beaten by luck. With evidence from fresh seeds (see fresh_seeds.py) it is the one of the
top trials with the highest mean validation accuracy on those.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import JsonValue

from fmnist_models.config.files import EXPORT_FORMAT
from fmnist_models.errors import OutputError
from fmnist_models.files import make_folder, write_atomically
from search.errors import UsageError
from search.results.export_formats import Format, as_text, is_export
from search.results.final_training import final_training
from search.results.fresh_seeds import Evidence
from search.results.larger_networks import wider_network
from search.results.provenance import code_digest
from search.results.significance import simultaneous_interval
from search.results.summary import (
    Recommendation,
    ScoredTrial,
    Summary,
    environment_of,
    no_result,
    summarize,
)
from storage import StudyStore

CORRECTION = (
    "corrected_interval: Wilson's, wide enough for all finished trials at once (Bonferroni; Dunn, "
    "JASA 56:52, 1961), so that it holds for whichever of them came out best"
)


def best_path(study: str) -> Path:
    """Where a search leaves the best configuration of a study: in the working folder."""
    return Path(f"{study}.best.json")


def traces_of(study: str, checkpoints: Path) -> list[Path]:
    """What is left in the working folder, and beside the database, by an earlier search of `study`.

    `checkpoints` is the folder of its checkpoints.
    """
    best = best_path(study)
    kept = checkpoints.is_dir() and any(checkpoints.iterdir())
    return [*([best] if is_export(best) else []), *([checkpoints] if kept else [])]


def export_beside(store: StudyStore, summary: Summary) -> tuple[Path | None, str | None]:
    """Write `STUDY.best.json` to the working folder: its path, or None and why it was refused."""
    path = best_path(store.name)
    try:
        export(store, path, summary=summary)
    except (UsageError, OutputError) as error:
        return None, str(error)
    return path, None


def export(
    store: StudyStore,
    path: Path,
    *,
    force: bool = False,
    summary: Summary | None = None,
    evidence: Evidence | None = None,
    form: Format = "json",
) -> Summary:
    """Write the study's best configuration with its evidence to `path`, whole or not at all.

    Raises NoResultError when no trial is complete, UsageError when `path` holds something that is
    no export of ours and `force` is not given, OutputError when it cannot be written.
    """
    summary = summary or summarize(store)
    if summary.recommended is None:
        raise no_result(store)
    check_place(path, force)
    make_folder(path.parent)
    content = _content(store, summary, summary.recommended, evidence)
    write_atomically(path, as_text(content, form).encode())
    return summary


def check_place(path: Path, force: bool) -> None:
    """Raises UsageError when `path` holds something of somebody else's."""
    if path.exists() and not force and not is_export(path):
        raise UsageError(f"{path} exists and is no export of ours; give --force or another --out")


def _content(
    store: StudyStore, summary: Summary, taken: Recommendation, evidence: Evidence | None
) -> dict[str, JsonValue]:
    """An `ExportedConfig` as JSON values; the search does not need torch to write one."""
    identity, recommended = store.identity, taken.trial
    trials: dict[str, JsonValue] = {state: n for state, n in summary.trials.items() if n}
    number = evidence.winner.trial if evidence else recommended.number
    accuracy = evidence.winner.mean if evidence else recommended.validation_accuracy
    environment = dict(environment_of(store, number))
    final = final_training(store)
    record = store.trial_record(number)
    config: Any = record.config if record else recommended.config
    # What fresh seeds were evidence of is handed over as it was.
    wide = None if evidence else wider_network(config["model"], taken.wider)
    return {
        "format": EXPORT_FORMAT,
        "config": {**config, "model": wide} if wide else config,
        "study": summary.study,
        "trial": number,
        "validation_accuracy": accuracy,
        "evidence": {
            **_how_sure(summary, recommended, environment),
            "recommendation": taken.reason,
            "trials": trials,
            "epochs_trained": summary.epochs_trained,
            "study_identity": identity,
            "environment": environment,
            "digests": {"data": identity.get("data_digest"), "code": code_digest()},
            **({"fresh_seeds": evidence.model_dump(mode="json")} if evidence else {}),
        },
        **({"final_seconds": final.seconds} if final else {}),
        **({"wider": taken.wider} if wide else {}),
    }


def _how_sure(
    summary: Summary, trial: ScoredTrial, environment: dict[str, JsonValue]
) -> dict[str, JsonValue]:
    """The intervals of the exported trial's value in the search."""
    images = int(str(environment["validation_images"]))
    finished = summary.trials.get("COMPLETE", 0) + summary.trials.get("PRUNED", 0)
    correct = round(trial.validation_accuracy * images)
    return {
        "best_trial": trial.number,
        "interval": list(trial.interval),
        "interval_of": "this one model, 95 %, not corrected for being the best of many",
        "corrected_interval": list(simultaneous_interval(correct, images, finished)),
        "corrected_for": finished,
        "correction": CORRECTION,
    }
