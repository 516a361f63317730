"""What a study has come to: counts, the best configuration, how far to trust its value."""

from __future__ import annotations

from optuna import Study
from optuna.trial import FrozenTrial, TrialState
from pydantic import JsonValue

from fmnist_models.config import Config, Probability
from fmnist_models.metrics import wilson_interval
from search.study import KNOWN_GOOD
from search.text import percent
from storage import Database


class BestTrial(Config):
    """The study's best COMPLETE trial. `interval` is Wilson's at 95 %, for this one model alone:
    the best of many is too good by luck as well, which only fresh seeds or the test set show."""

    number: int
    validation_accuracy: Probability
    interval: tuple[float, float]
    config: dict[str, JsonValue]


class Summary(Config):
    """A study's state as `status` and the end of a search show it.

    `known_good` is the best value of the space's known-good points, with which the search is
    compared; None where none of them ran all its epochs.
    """

    study: str
    trials: dict[str, int]
    epochs_trained: int
    best: BestTrial | None
    known_good: float | None
    known_good_number: int | None


def summarize(database: Database, study: Study) -> Summary:
    """The summary of a study as its database stands now."""
    trials = study.get_trials(deepcopy=False)
    complete = [t for t in trials if t.state == TrialState.COMPLETE and t.value is not None]
    best = max(complete, key=lambda t: (t.value or 0.0, -t.number), default=None)
    points = [t for t in complete if KNOWN_GOOD in t.user_attrs]
    point = max(points, key=lambda t: t.value or 0.0, default=None)
    return Summary(
        study=study.study_name,
        trials={state.name: sum(t.state == state for t in trials) for state in TrialState},
        epochs_trained=database.epoch_count(study.study_name),
        best=_best(database, study.study_name, best) if best else None,
        known_good=point.value if point else None,
        known_good_number=point.number if point else None,
    )


def _best(database: Database, study_name: str, trial: FrozenTrial) -> BestTrial:
    accuracy = trial.value or 0.0
    images = _validation_images(database, study_name)
    record = database.trial_record(study_name, trial.number)
    return BestTrial(
        number=trial.number,
        validation_accuracy=accuracy,
        interval=wilson_interval(round(accuracy * images), images),
        config=record.config if record else {},
    )


def _validation_images(database: Database, study_name: str) -> int:
    """How many images the study's trials were validated on, by its last launch."""
    images = database.launches(study_name)[-1].environment["validation_images"]
    return int(str(images))


def summary_lines(summary: Summary) -> list[str]:
    """The summary for people, a sentence a line."""
    counts = {state.lower(): n for state, n in summary.trials.items() if n}
    lines = [
        f"Study {summary.study}: "
        + ", ".join(f"{n} {state}" for state, n in counts.items())
        + f"; {summary.epochs_trained} epochs trained."
    ]
    best = summary.best
    if best is None:
        return [*lines, "No trial has run all its epochs, so there is no best configuration yet."]
    low, high = best.interval
    lines += [
        f"Best: trial {best.number}, validation accuracy {percent(best.validation_accuracy)}, "
        f"95 % interval {percent(low)} to {percent(high)}.",
        "That interval is this one model's; as the best of many it flatters a little.",
    ]
    if summary.known_good is None:
        return [*lines, "No known-good starting point ran to its end, to compare it with."]
    if summary.known_good_number == best.number:
        return [*lines, "It is one of the known-good starting points: no sample beat it."]
    gain = 100 * (best.validation_accuracy - summary.known_good)
    lines.append(
        f"Compared with the best known-good starting point, trial {summary.known_good_number}: "
        f"{percent(summary.known_good)}, so {gain:+.2f} points."
    )
    return lines
