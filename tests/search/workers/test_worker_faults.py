"""A worker without Ray: whatever a trial does, it is told in a line, and the next one starts."""

from __future__ import annotations

import gc
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from fmnist_models.compute.memory import give_back_memory, resident_bytes
from fmnist_models.families.wrn import WrnConfig
from fmnist_models.training.metrics import EpochMetrics
from search.workers.messages import LONGEST_LINE, LONGEST_REASON, Failure, WorkerSettings
from search.workers.worker import UnfitError, Worker, failure_of
from tests.faulty import FaultyNet, faulty
from tests.search.workers.driven import failure, start, tiny, trained


@pytest.mark.parametrize(
    ("fault", "kind", "says"),
    [
        ("raise", "raised", "RuntimeError: a bad ? trial ?, and"),
        ("mute", "raised", "Mute: a message that cannot be shown"),
        ("exit", "raised", "SystemExit: 3"),
        ("nan", "diverged", "diverged: the loss became nan with lr 0.05; lower the lr"),
        ("cuda", "out_of_memory", "out of memory: CUDA out of memory. Tried to allocate"),
        ("crowd", "out_of_memory", "out of memory: "),
    ],
)
def test_a_fault_in_the_second_epoch_ends_the_trial_alone(
    settings: WorkerSettings, fault: Any, kind: str, says: str
) -> None:
    worker = Worker()
    start(worker, settings, faulty(fault, at=11))  # ten passes an epoch
    trained(worker, 1)
    found = failure(worker)
    assert found.kind == kind
    assert found.reason.splitlines()[0].startswith(says)
    assert ("Traceback" in found.reason) == (kind == "raised")
    assert failure(worker) == found, "it stays so"
    start(worker, settings, faulty(), 1)
    trained(worker, 3)


@pytest.mark.parametrize(
    ("settings_text", "trial_text"),
    [("{}", "{}"), ("", ""), ('{"data_dir": 7}', "[1]"), ("null", "\0")],
)
def test_an_order_that_makes_no_sense_is_a_failure(
    settings: WorkerSettings, settings_text: str, trial_text: str
) -> None:
    worker = Worker()
    worker.start(settings_text, trial_text)
    assert failure(worker).kind == "raised"
    start(worker, settings, tiny())
    trained(worker, 1)


def test_without_a_trial_there_is_nothing_to_train() -> None:
    assert failure(Worker()).reason.startswith("RuntimeError: no trial was started")


def test_missing_data_are_one_line(settings: WorkerSettings, tmp_path: Path) -> None:
    start(worker := Worker(), settings.model_copy(update={"data_dir": str(tmp_path)}), tiny())
    found = failure(worker)
    assert found.kind == "raised"
    assert str(tmp_path) in found.reason
    assert "\n" not in found.reason


def test_a_batch_too_large_for_memory_fits_in_parts(settings: WorkerSettings) -> None:
    worker, config = Worker(), faulty("crowd", amount=40, epochs=2)
    start(worker, settings, config, 0)
    assert failure(worker).kind == "out_of_memory"
    start(worker, settings, config, 1, micro_batches=2)
    assert failure(worker).kind == "out_of_memory"
    start(worker, settings, config, 2, micro_batches=4)
    trained(worker, 2)


def networks() -> int:
    return sum(type(thing) is FaultyNet for thing in gc.get_objects())


@pytest.mark.parametrize("fault", ["raise", "cuda", "hoard"])
def test_a_failed_trial_leaves_nothing_in_memory(settings: WorkerSettings, fault: Any) -> None:
    start(worker := Worker(), settings, faulty(), 0)
    trained(worker, 1)
    start(worker, settings, faulty(), 1)
    give_back_memory("cpu")
    before, limit = resident_bytes(), 500_000_000
    strict = settings.model_copy(update={"memory_limit_bytes": before + limit})
    start(worker, strict, faulty(fault, at=3, amount=100e6), 2)
    found = failure(worker)
    assert networks() == 0
    assert resident_bytes() - before < 100_000_000
    if fault == "hoard":
        assert found.kind == "out_of_memory"
        assert "over its limit of" in found.reason
    start(worker, strict, faulty(), 3)
    trained(worker, 1)


def test_a_process_that_keeps_its_memory_asks_to_be_replaced(settings: WorkerSettings) -> None:
    strict = settings.model_copy(update={"memory_limit_bytes": 1_000_000})
    start(worker := Worker(), strict, faulty(), 0)
    assert failure(worker).kind == "out_of_memory"
    start(worker, strict, faulty(), 1)
    with pytest.raises(UnfitError, match="GB in memory, over the limit"):
        worker.step()


def test_a_slow_teardown_delays_the_next_trial_and_no_more(settings: WorkerSettings) -> None:
    start(worker := Worker(), settings, faulty("linger", amount=1.0), 0)
    trained(worker, 1)
    began = time.monotonic()
    start(worker, settings, faulty(), 1)
    assert time.monotonic() - began > 0.9
    trained(worker, 1)


def test_reasons_are_short_and_storable() -> None:
    long = Failure(kind="raised", reason=f"{'x' * 1000}\n{'y' * 100_000}\ud800\0")
    first, rest = long.reason.split("\n")
    assert (len(first), len(long.reason)) == (LONGEST_LINE, LONGEST_REASON)
    assert rest.startswith("yyy")
    assert Failure(kind="hung", reason=" \n ").reason == "no reason given"
    strange = Failure(kind="raised", reason="a\0b \ud800 é")
    assert strange.reason == "a?b ? é"
    strange.reason.encode()


def test_metrics_that_are_no_numbers_are_a_bad_report() -> None:
    good = {"epoch": 1, "train_loss": 0.5, "train_accuracy": 0.8, "val_loss": 0.4}
    more = {"lr": 0.1, "seconds": 2.0, "images_per_second": 100.0, "peak_memory_bytes": 5}
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        EpochMetrics.model_validate({**good, **more, "val_accuracy": "high"})
    found = failure_of(caught.value)
    assert found.kind == "bad_report"
    assert found.reason == (
        "impossible metrics: val_accuracy: Input should be a valid number, got 'high'"
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_a_full_card_fails_one_trial_and_not_the_next(settings: WorkerSettings) -> None:
    cuda = settings.model_copy(update={"device": "cuda"})
    large = tiny(model=WrnConfig(depth=16, width=8), batch_size=500)
    torch.cuda.set_per_process_memory_fraction(
        1e9 / torch.cuda.get_device_properties(0).total_memory
    )
    try:
        start(worker := Worker(), cuda, large, 0)
        assert failure(worker).kind == "out_of_memory"
        start(worker, cuda, large, 1, micro_batches=20)
        trained(worker, 1)
        start(worker, cuda, tiny(), 2)
        trained(worker, 3)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
