"""What a launch is told: durations, settings, and one-line messages about mistakes."""

from argparse import ArgumentTypeError
from collections.abc import Callable

import pytest

from fmnist_models.cli import arguments
from search.errors import UsageError
from search.quantities import duration, percent
from search.settings import DEFAULT_STORAGE, make_settings

GOOD = {"space": "quick", "trials": 3, "study": "s"}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("1.5", 1.5),
        ("90s", 90),
        ("30m", 1800),
        ("0.5m", 30),
        ("2h", 7200),
        ("1h30m", 5400),
        ("1h1m1s", 3661),
        ("0", 0),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert arguments.duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "m", "5d", "-5m", "5 m", "1h30", "h5", "nan", "inf", "1e3", "5mm ", "½h"]
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="no duration; write for example 90s, 30m or 1h30m"):
        arguments.duration(text)


def test_defaults() -> None:
    settings = make_settings(**GOOD)
    assert settings.storage == DEFAULT_STORAGE
    assert (settings.sampler, settings.scheduler, settings.seed) == ("curves", "quota", 0)
    assert settings.data_path is None


def test_a_third_of_the_total_time_is_for_the_search() -> None:
    settings = make_settings(**GOOD, total_seconds=900.0)
    assert settings.budget_seconds == pytest.approx(300.0)
    assert make_settings(**GOOD, time_budget_seconds=90.0).budget_seconds == 90.0


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"space": "quik"}, ["'quik'", "did you mean 'quick'", "wrn"]),
        ({"trials": 0}, ["--trials", "greater than or equal to 1", "0"]),
        ({"trials": "5"}, ["--trials", "'5'"]),
        ({"trials": True}, ["--trials", "True"]),
        ({"trials": 10**7}, ["--trials", "10000000"]),
        ({"epochs": -1}, ["--epochs", "-1"]),
        ({"grace_period": 0}, ["--grace-period", "0"]),
        ({"reduction_factor": 1}, ["--reduction-factor", "1"]),
        ({"sampler": "tpee"}, ["--sampler", "'tpee'", "qmc"]),
        ({"scheduler": "pbt"}, ["--scheduler", "'pbt'", "median"]),
        ({"seed": -1}, ["--seed", "-1"]),
        ({"study": "../x"}, ["--study", "'../x'"]),
        ({"study": ""}, ["--study", "''"]),
        ({"study": "a\n"}, ["--study", r"'a\n'"]),
        ({"study": "x" * 101}, ["--study", "xxx"]),
        ({"time_budget_seconds": 0.0}, ["--time-budget", "0.0"]),
        ({"max_epoch_seconds": float("inf")}, ["--max-epoch", "inf"]),
        ({"concurrency": 0}, ["--concurrency", "0"]),
        ({"cpus_per_trial": 0.0}, ["--cpus-per-trial", "0.0"]),
        ({"gpus_per_trial": float("nan")}, ["--gpus-per-trial", "nan"]),
        ({"train_samples": 10}, ["--train-samples", "1000", "10"]),
        ({"trails": 5}, ["--trails", "5"]),
        ({"total_seconds": 2.0}, ["--total-time", "2"]),
        (
            {"total_seconds": 90.0, "final_seconds": 9.0},
            ["leave out --final-time"],
        ),
        (
            {"total_seconds": 90.0, "time_budget_seconds": 9.0},
            ["leave out --time-budget"],
        ),
        ({"trials": 0, "seed": -1}, ["--trials", "1 more"]),
    ],
)
def test_a_mistake_is_named_in_one_line(wrong: dict[str, object], says: list[str]) -> None:
    with pytest.raises(UsageError) as error:
        make_settings(**{**GOOD, **wrong})
    message = str(error.value)
    assert "\n" not in message
    assert [part for part in says if part not in message] == []
    assert error.value.status == 2


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        make_settings(**GOOD).trials = 5  # type: ignore[misc]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.6, "60 s"),
        (99.4, "99 s"),
        (99.6, "1 min 40 s"),
        (725, "12 min 5 s"),
        (1200, "20 min"),
        (5999, "99 min"),
        (6000, "1 h 40 min"),
        (12_000, "3 h 20 min"),
    ],
)
def test_durations_are_written_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("share", "text"), [(None, "-"), (0.0, "0.00 %"), (0.93456, "93.46 %"), (1, "100.00 %")]
)
def test_per_cent(share: float | None, text: str) -> None:
    assert percent(share) == text


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("5000", 5000),
        ("1KB", 1000),
        ("100MB", 10**8),
        ("1.5GB", 1_500_000_000),
        ("2 TB", 2 * 10**12),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert arguments.size(text) == size


@pytest.mark.parametrize("text", ["", "MB", "-1", "1GiB", "1mb", "1e9", "nan", "1 2MB", "9" * 20])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="is no size; write for example 500MB or 2GB"):
        arguments.size(text)


@pytest.mark.parametrize(
    "address", ["auto", "127.0.0.1:6379", "head.cluster.local:1", "[::1]:6379", "h:65535"]
)
def test_addresses_of_clusters(address: str) -> None:
    assert make_settings(**GOOD, address=address).address == address


@pytest.mark.parametrize(
    ("value", "parse", "text"),
    [
        (300.0, arguments.duration, "5m"),
        (90.0, arguments.duration, "90s"),
        (10**8, arguments.size, "100MB"),
        (3, int, "3"),
        ("curves", str, "curves"),
    ],
)
def test_defaults_are_written_as_they_are_read(
    value: object, parse: Callable[[str], object], text: str
) -> None:
    assert arguments.written(value, parse) == text
    assert parse(text) == value
