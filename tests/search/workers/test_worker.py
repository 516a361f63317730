"""A worker without Ray: real training, real faults, and the next trial always starts."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from fmnist_models.compute.memory import give_back_memory, resident_bytes
from fmnist_models.config.registry import FAMILIES
from fmnist_models.config.trial import TrialConfig
from fmnist_models.families.quick import QuickConfig
from fmnist_models.training.metrics import EpochMetrics
from search.workers.checkpoints import CheckpointStore
from search.workers.messages import (
    LONGEST_LINE,
    LONGEST_REASON,
    EpochDone,
    Failed,
    Failure,
    Resumed,
    StartedTrial,
    WorkerMessage,
    WorkerSettings,
    parse_message,
)
from search.workers.worker import UnfitError, Worker, failure_of
from tests.faulty import ENTRY, FaultyNet, faulty
from tests.search.workers.test_checkpoints import flip, full_disk

TIMES = {"seconds", "images_per_second", "peak_memory_bytes"}
Curve = list[dict[str, Any]]


@pytest.fixture(autouse=True)
def _faults(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The faulty family is known, and torch has its threads back afterwards."""
    monkeypatch.setitem(FAMILIES, *ENTRY)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def settings(small_data: Path, tmp_path: Path) -> WorkerSettings:
    return WorkerSettings(
        data_dir=str(small_data),
        train_samples=1000,
        device="cpu",
        precision="fp32",
        threads=1,
        checkpoint_dir=str(tmp_path / "checkpoints"),
    )


def store_of(settings: WorkerSettings) -> CheckpointStore:
    assert settings.checkpoint_dir
    return CheckpointStore(Path(settings.checkpoint_dir))


def start(
    worker: Worker, settings: WorkerSettings, config: TrialConfig, number: int = 0, **more: Any
) -> None:
    trial = StartedTrial(number=number, config=config, **more)
    worker.start(settings.model_dump_json(), trial.model_dump_json())


def step(worker: Worker) -> WorkerMessage:
    """A step's message, which comes to the driver as it was sent."""
    message = worker.step()
    assert parse_message(message.model_dump_json()) == message
    return message


def figures(metrics: EpochMetrics) -> dict[str, Any]:
    return metrics.model_dump(exclude=TIMES)


def trained(worker: Worker, epochs: int) -> Curve:
    """Step so many epochs, none of which may fail or have anything to note."""
    found = []
    for _ in range(epochs):
        message = step(worker)
        assert isinstance(message, EpochDone), message
        assert not message.note
        found.append(figures(message.metrics))
    return found


def resumed_epochs(worker: Worker) -> Curve:
    message = step(worker)
    assert isinstance(message, Resumed), message
    return [figures(metrics) for metrics in message.epochs]


def failure(worker: Worker) -> Failure:
    message = step(worker)
    assert isinstance(message, Failed), message
    return message.failure


def tiny(**changes: Any) -> TrialConfig:
    return faulty().model_copy(
        update={"model": QuickConfig(width=4, depth=1, dropout=0.3), **changes}
    )


def test_one_trial_after_another(settings: WorkerSettings) -> None:
    worker, config = Worker(), tiny()
    start(worker, settings, config, 0)
    first = trained(worker, 3)
    start(worker, settings, tiny(seed=1), 1)
    assert trained(worker, 3) != first
    start(worker, settings, config, 2)
    assert trained(worker, 3) == first
    assert store_of(settings).numbers() == {0, 1, 2}


def test_a_resumed_trial_reports_its_epochs_and_goes_on_its_curve(settings: WorkerSettings) -> None:
    config = tiny()
    start(unbroken := Worker(), settings, config, 0)
    curve = trained(unbroken, 3)
    start(broken := Worker(), settings, config, 1)
    trained(broken, 2)
    start(resumed := Worker(), settings, config, 5, resume_from=(4, 1))
    assert resumed_epochs(resumed) == curve[:2]
    assert trained(resumed, 1) == curve[2:]
    start(again := Worker(), settings, config, 6, resume_from=(5, 4, 1))
    assert resumed_epochs(again) == curve


@pytest.mark.parametrize("damage", ["flip", "gone", "cut", "both"])
def test_a_damaged_checkpoint_costs_an_epoch_and_no_more(
    settings: WorkerSettings, damage: str
) -> None:
    import random

    config, store = tiny(), store_of(settings)
    start(worker := Worker(), settings, config, 0)
    curve = trained(worker, 3)
    match damage:
        case "flip":
            flip(store.path(0), random.Random(1))
        case "gone":
            store.path(0).unlink()
        case "cut":
            store.path(0).write_bytes(store.path(0).read_bytes()[:-7])
        case "both":
            flip(store.path(0), random.Random(2))
            flip(store.previous_path(0), random.Random(3))
    start(worker, settings, config, 1, resume_from=(0,))
    if damage == "both":
        assert trained(worker, 3) == curve
    else:
        assert resumed_epochs(worker) == curve[:2]
        assert trained(worker, 1) == curve[2:]


@pytest.mark.parametrize("change", [{"seed": 1}, {"batch_size": 50}, {"epochs": 4}])
def test_the_checkpoint_of_another_configuration_is_not_used(
    settings: WorkerSettings, change: dict[str, Any]
) -> None:
    start(worker := Worker(), settings, tiny(), 0)
    trained(worker, 1)
    start(worker, settings, tiny(**change), 1, resume_from=(0,))
    trained(worker, 1)


def test_the_checkpoint_of_other_images_is_not_used(settings: WorkerSettings) -> None:
    start(worker := Worker(), settings, tiny(), 0)
    trained(worker, 1)
    fewer = settings.model_copy(update={"train_samples": 900})
    start(worker, fewer, tiny(), 1, resume_from=(0,))
    trained(worker, 1)


def test_a_checkpoint_that_does_not_fit_is_told_of_once(settings: WorkerSettings) -> None:
    start(worker := Worker(), settings, tiny(), 0)
    curve = trained(worker, 3)
    store = store_of(settings)
    state = store.load([0])
    assert state is not None
    del state["trainer"]["optimizer"]
    from fmnist_models.data.dataset import load_search_data
    from fmnist_models.data.idx import read_data_files
    from search.workers.trial_run import mark_of

    files = read_data_files(Path(settings.data_dir))
    mark = mark_of(tiny(), load_search_data(files, settings.train_samples))
    store.save(0, state, mark)
    start(worker, settings, tiny(), 1, resume_from=(0,))
    first = step(worker)
    assert isinstance(first, EpochDone)
    assert "does not fit" in first.note
    assert [figures(first.metrics), *trained(worker, 2)] == curve


def test_a_run_goes_on_in_the_number_format_that_it_began_in(settings: WorkerSettings) -> None:
    bf16 = settings.model_copy(update={"precision": "bf16"})
    start(worker := Worker(), bf16, tiny(), 0)
    curve = trained(worker, 3)
    start(worker, bf16, tiny(), 1)
    trained(worker, 1)
    start(worker, settings, tiny(), 2, resume_from=(1,))
    assert len(resumed_epochs(worker)) == 1
    assert trained(worker, 2) == curve[1:]


def test_without_room_for_checkpoints_a_trial_goes_on_and_says_so_once(
    settings: WorkerSettings,
) -> None:
    start(worker := Worker(), settings, tiny(), 0)
    with full_disk(500):
        first = step(worker)
        trained(worker, 1)
    assert isinstance(first, EpochDone)
    assert first.note.startswith("it goes on without a checkpoint: cannot write ")
    trained(worker, 1)  # there is room again
    assert store_of(settings).numbers() == {0}
    start(worker, settings, tiny(), 1)
    with full_disk(500):
        told = step(worker)
    assert isinstance(told, EpochDone)
    assert told.note, "the next trial says it for itself"


def test_without_a_folder_nothing_is_kept(settings: WorkerSettings) -> None:
    start(
        worker := Worker(),
        settings.model_copy(update={"checkpoint_dir": None}),
        tiny(),
        resume_from=(1,),
    )
    trained(worker, 2)
    assert not store_of(settings).folder.exists()


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
    from fmnist_models.families.wrn import WrnConfig

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
