"""What a study has come to, in four sentences made of numbers, and how to come to it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import JsonValue

from fmnist_models.cli.arguments import written
from search.quantities import describe, duration, percent
from search.report.findings import budget_shares
from search.report.study_data import StudyData
from search.results.final_training import search_seconds
from search.results.significance import simultaneous_interval
from search.settings import OPTIONS, SearchSettings
from search.trials.retry_chain import KNOWN_GOOD

NOT_SAID_AGAIN = ("study", "storage", "data_dir", "checkpoint_dir", "address")
"""Settings that are of one machine, or said apart."""
FATES = (("complete", "ran to their end"), ("stopped", "were stopped"), ("failed", "failed"))

Row = tuple[str, str]


def answer(data: StudyData) -> list[Row]:
    """Best, how sure, what it cost, what it beat: a heading and a sentence each."""
    return [
        ("Best", _best(data)),
        ("How sure", _how_sure(data)),
        ("Cost", _cost(data)),
        ("What it beat", _beaten(data)),
    ]


def _finished(data: StudyData) -> int:
    return data.summary.trials.get("COMPLETE", 0) + data.summary.trials.get("PRUNED", 0)


def _best(data: StudyData) -> str:
    best = data.summary.best
    if best is None:
        return (
            f"No trial has run to its end yet: {_finished(data)} finished, all of them stopped "
            f"early, of {len(data.trials)}."
        )
    return (
        f"{percent(best.validation_accuracy)} validation accuracy by trial {best.number}, the best "
        f"of {len(data.complete):,} that ran to their end and {_finished(data):,} finished ones: "
        f"{describe(best.config)}."
    )


def _how_sure(data: StudyData) -> str:
    best = data.summary.best
    images = environment(data, best.number).get("validation_images") if best else None
    if best is None or not isinstance(images, int):
        return "There is no best value yet to be sure of."
    low, high = best.interval
    correct = round(best.validation_accuracy * images)
    least, most = simultaneous_interval(correct, images, _finished(data))
    return (
        f"Measured on {images:,} images, so this model is truly between {percent(low)} and "
        f"{percent(high)} (95 % interval), or between {percent(least)} and {percent(most)} once "
        f"the luck of being the best of {_finished(data):,} is allowed for."
    )


def _cost(data: StudyData) -> str:
    shares = budget_shares(data)
    total = sum(share.seconds for share in shares)
    parts = []
    for kind, words in FATES:
        seconds = sum(share.seconds for share in shares if share.kind == kind)
        if seconds:
            parts.append(f"{100 * seconds / total:.0f} % in trials that {words}")
    clock = search_seconds(data.launches)
    device = data.launches[-1].environment.get("device_name", "an unknown device")
    return (
        f"{duration(total)} of training in {data.summary.epochs_trained:,} epochs over "
        f"{duration(clock)} by the clock, on {device}{': ' if parts else ''}{', '.join(parts)}."
    )


def _beaten(data: StudyData) -> str:
    best, taken = data.summary.best, data.summary.recommended
    if best is None or not data.points:
        return "No known-good starting point has run to its end, to compare it with."
    point = data.points[0]
    name, value = point.user_attrs[KNOWN_GOOD], percent(point.value)
    others = f"the best of {len(data.points)} starting points"
    if point.number == best.number:
        return f"Nothing: it is itself {others}, {name} ({value}), and no sample did better."
    gain = 100 * (best.validation_accuracy - (point.value or 0.0))
    sure = ""
    if taken and taken.probability is not None:
        sure = f"; a sample is truly better with a probability of {100 * taken.probability:.0f} %"
    return f"It is {gain:.2f} points above {others}, {name} ({value}, trial {point.number}){sure}."


def environment(data: StudyData, number: int) -> Mapping[str, JsonValue]:
    """Hardware, versions and data of the launch that ran a trial."""
    launches = {launch.id: launch.environment for launch in data.launches}
    return launches.get(data.record(number).launch_id or 0, {})


def commands(data: StudyData) -> list[str]:
    """What to type to search again as the last launch did, and to train the best configuration."""
    name, file = data.name, f"{data.name}.best.json"
    lines = (
        ["run_search.py", *_options(data.launches[-1].settings), "--study", name],
        ["-m", "search", "export", "--study", name, "--out", file],
        ["-m", "fmnist_models", "train", file, "--out", f"models/{name}"],
    )
    return [shlex.join(["python", *line]) for line in lines]


def _options(settings: Mapping[str, JsonValue]) -> Iterator[str]:
    for field, option in OPTIONS.items():
        value: Any = settings.get(field)
        about = SearchSettings.model_fields[field]
        if field in NOT_SAID_AGAIN or value is None or value == about.default:
            continue
        if isinstance(value, float) and not value.is_integer():
            text = str(value)
        elif isinstance(value, dict):
            text = "around.json"
        else:
            text = written(value, option.parse or str)
        yield from (option.name, text)


def environment_rows(data: StudyData) -> list[Row]:
    """What the last launch ran on and with, a name and a value each."""
    found = data.launches[-1].environment
    rows = [(name.replace("_", " "), value) for name, value in found.items()]
    plain = [(name, value) for name, value in rows if not isinstance(value, dict | list)]
    packages = found.get("packages")
    versions = packages.items() if isinstance(packages, dict) else ()
    return [(name, str(value)) for name, value in (*plain, *versions) if value is not None]
