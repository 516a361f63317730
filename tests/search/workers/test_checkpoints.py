"""Checkpoints of trials: the newest sound one of the right trial, and nothing else, ever."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
import resource
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch

from fmnist_models.errors import NoSpaceError, OutputError
from fmnist_models.files import load_checkpoint, save_checkpoint
from search.workers.checkpoints import CheckpointStore

FLIPS = 300


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "database.checkpoints" / "study")


def state(epoch: int, size: int = 500) -> dict[str, Any]:
    draw = torch.Generator().manual_seed(epoch)
    return {"epoch": epoch, "trainer": {"weights": torch.randn(size, generator=draw)}}


def is_state(loaded: dict[str, Any] | None, epoch: int) -> bool:
    """Whether `loaded` is what was saved, to the last bit."""
    if loaded is None or loaded["epoch"] != epoch:
        return False
    return torch.equal(loaded["trainer"]["weights"], state(epoch)["trainer"]["weights"])


def test_the_newest_comes_back_and_the_one_before_is_kept(store: CheckpointStore) -> None:
    assert store.load([7]) is None
    for epoch in (1, 2, 3):
        store.save(7, state(epoch))
    assert is_state(store.load([7]), 3)
    store.path(7).unlink()
    assert is_state(store.load([7]), 2)
    store.previous_path(7).unlink()
    assert store.load([7]) is None
    assert list(store.folder.iterdir()) == []


def test_of_several_trials_the_first_that_has_one_is_taken(store: CheckpointStore) -> None:
    store.save(3, state(3))
    store.save(5, state(5))
    assert is_state(store.load([9, 5, 3]), 5)
    store.path(5).write_bytes(b"")
    assert is_state(store.load([9, 5, 3]), 3)
    assert store.load([]) is None


def flip(path: Path, draw: random.Random) -> bytes:
    """Turn one bit of a file around; what it was before."""
    content = path.read_bytes()
    place = draw.randrange(len(content))
    changed = content[place] ^ (1 << draw.randrange(8))
    path.write_bytes(content[:place] + bytes([changed]) + content[place + 1 :])
    return content


def test_no_flipped_bit_is_ever_loaded(store: CheckpointStore) -> None:
    store.save(1, state(1))
    store.save(1, state(2))
    draw = random.Random(297)
    for _ in range(FLIPS):
        newest = flip(store.path(1), draw)
        assert is_state(store.load([1]), 1), "the one before is used"
        previous = flip(store.previous_path(1), draw)
        assert store.load([1]) is None, "two damaged ones count as none"
        store.path(1).write_bytes(newest)
        assert is_state(store.load([1]), 2)
        store.previous_path(1).write_bytes(previous)


@pytest.mark.parametrize("kept", [0, 1, 31, 32, 33, 500, -1])
def test_a_truncated_file_counts_as_none(store: CheckpointStore, kept: int) -> None:
    store.save(1, state(1))
    store.save(1, state(2))
    content = store.path(1).read_bytes()
    store.path(1).write_bytes(content[:kept])
    assert is_state(store.load([1]), 1)


def test_another_trials_file_is_refused(store: CheckpointStore) -> None:
    store.save(1, state(1), "lr 0.1")
    store.save(2, state(2), "lr 0.2")
    store.path(2).write_bytes(store.path(1).read_bytes())
    assert store.load([2], "lr 0.2") is None
    assert is_state(store.load([2], "lr 0.1"), 1)
    assert is_state(store.load([2]), 1), "who asks for any gets any"
    store.save(2, state(3), "lr 0.2")  # the foreign one is the previous one now
    assert is_state(store.load([2], "lr 0.2"), 3)
    store.path(2).unlink()
    assert store.load([2], "lr 0.2") is None


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("evil",)


@pytest.mark.parametrize("content", [{"mark": "", "state": Evil()}, {"mark": ""}, {"state": {}}])
def test_what_is_no_checkpoint_of_ours_is_not_loaded_nor_run(
    store: CheckpointStore, content: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    store.save(1, state(1))
    save_checkpoint(store.path(1), content)  # with a checksum that is right
    assert store.load([1]) is None
    assert not Path("evil").exists()


def test_what_cannot_be_read_counts_as_none(store: CheckpointStore) -> None:
    store.save(1, state(1))
    store.path(1).unlink()
    store.path(1).mkdir()
    assert store.load([1]) is None
    with pytest.raises(OutputError, match="cannot read"):
        load_checkpoint(store.path(1))
    store.save(1, state(2))
    assert is_state(store.load([1]), 2)


def test_files_and_folders_are_their_owners_alone(store: CheckpointStore) -> None:
    before = os.umask(0)
    try:
        store.save(1, state(1))
        store.save(1, state(2))
    finally:
        os.umask(before)
    modes = {p: stat.S_IMODE(p.stat().st_mode) for p in (*store.folder.iterdir(), store.folder)}
    assert modes == {
        store.path(1): 0o600,
        store.previous_path(1): 0o600,
        store.folder: 0o700,
    }
    assert stat.S_IMODE(store.folder.parent.stat().st_mode) == 0o700


@contextmanager
def full_disk(free_bytes: int) -> Iterator[None]:
    """No file of this process can grow beyond `free_bytes`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (free_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_with_a_full_disk_the_old_ones_stay_and_nothing_is_left(store: CheckpointStore) -> None:
    store.save(1, state(1))
    store.save(1, state(2))
    before = {path: path.read_bytes() for path in store.folder.iterdir()}
    with full_disk(1_000), pytest.raises(NoSpaceError, match="make room"):
        store.save(1, state(3))
    assert {path: path.read_bytes() for path in store.folder.iterdir()} == before
    store.save(1, state(3))
    assert is_state(store.load([1]), 3)


def test_discarding_and_tidying_leave_nothing(store: CheckpointStore) -> None:
    for number in (1, 2, 11):
        store.save(number, state(number))
        store.save(number, state(number))
    for number in (1, 2):
        (store.folder / f".{store.path(number).name}.x7q.half").write_bytes(b"half")
    assert store.numbers() == {1, 2, 11}
    store.discard(1)
    assert store.numbers() == {2, 11}
    store.discard(1)  # not there any more: no harm done
    store.tidy(keep=[2])
    assert store.numbers() == {2}
    assert is_state(store.load([2]), 2)
    store.tidy()
    assert not store.folder.parent.exists()
    store.tidy()
    store.save(4, state(4))
    assert is_state(store.load([4]), 4)


def test_tidying_leaves_what_others_put_there(store: CheckpointStore) -> None:
    store.save(1, state(1))
    (store.folder / "notes.txt").write_text("mine")
    store.tidy()
    assert [path.name for path in store.folder.iterdir()] == ["notes.txt"]


def write_for_ever(store: CheckpointStore, told: Connection) -> None:
    for epoch in itertools.count(1):
        store.save(1, {"epoch": epoch, "weights": torch.full((200_000,), float(epoch))})
        told.send(epoch)


def test_killed_while_writing_old_or_new_is_there_but_never_half(store: CheckpointStore) -> None:
    draw = random.Random(time.time_ns())
    fork = multiprocessing.get_context("fork")  # which saves the imports of a fresh process
    for _ in range(5):
        ours, theirs = fork.Pipe(duplex=False)
        writer = fork.Process(target=write_for_ever, args=(store, theirs))
        writer.start()
        theirs.close()
        saved = [ours.recv()]
        deadline = time.monotonic() + draw.uniform(0.0, 0.3)
        while time.monotonic() < deadline:
            if ours.poll(0.001):
                saved.append(ours.recv())
        writer.kill()
        with suppress(EOFError):
            while True:
                saved.append(ours.recv())
        writer.join()
        loaded = store.load([1])
        assert loaded is not None
        assert loaded["epoch"] in (saved[-1], saved[-1] + 1), "what was acknowledged is there"
        assert torch.equal(loaded["weights"], torch.full((200_000,), float(loaded["epoch"])))
    store.discard(1)
    assert list(store.folder.iterdir()) == []
