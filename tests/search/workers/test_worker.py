"""A worker without Ray: real training, one trial after another, and on from checkpoints."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from fmnist_models.data.dataset import load_search_data
from fmnist_models.data.idx import read_data_files
from search.workers.messages import EpochDone, WorkerSettings
from search.workers.trial_run import mark_of
from search.workers.worker import Worker
from tests.search.workers.driven import (
    figures,
    resumed_epochs,
    start,
    step,
    store_of,
    tiny,
    trained,
)
from tests.search.workers.test_checkpoints import flip, full_disk


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
