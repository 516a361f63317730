"""What was measured is kept for the next search, and measured anew when it can't be believed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fmnist_models.compute.precision import set_threads
from fmnist_models.compute.speed_facts import sample_seconds
from fmnist_models.config.optimizers import SgdConfig
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.dataset import Dataset, load_search_data
from fmnist_models.data.idx import read_data_files
from fmnist_models.families.quick import QuickConfig
from search.planning.measured import (
    FOLDER_VARIABLE,
    KEPT_SECONDS,
    Figures,
    KeptFile,
    Probed,
    kept_or_measured,
    key_of,
    measured_folder,
    measured_here,
)

STEP = 0.01


def figures(*seconds: float | None, age: float = 0.0, **changes: Any) -> Figures:
    """Figures with so many seconds an image, measured `age` seconds ago."""
    values: dict[str, Any] = {
        "measured_at": time.time() - age,
        "step_seconds": STEP,
        "precision": "fp32",
        "probed": tuple(s and Probed(image_seconds=s, peak_bytes=0) for s in seconds),
    }
    return Figures(**{**values, **changes})


@pytest.fixture
def file(tmp_path: Path) -> KeptFile:
    return KeptFile(tmp_path / "cache" / "measured", {"torch": "2.14", "version": 1})


def take(file: KeptFile, new: Figures, step: float = STEP) -> tuple[Figures, bool]:
    """What a search would go by that measures `new` if it measures."""
    return kept_or_measured(file, len(new.probed), measure=lambda: new, step_seconds=lambda: step)


OLD, NEW = (1e-3, 4e-3), (2e-3, 3e-3)


def test_what_was_measured_is_kept_and_used(file: KeptFile) -> None:
    first = figures(*OLD)
    assert take(file, first) == (first, False)
    assert take(file, figures(*NEW)) == (first, True)
    assert take(file, figures(*NEW), step=3 * STEP) == (first, True), "busy now, not then"
    assert [path.suffix for path in file.folder.iterdir()] == [".json"]


def test_another_key_is_measured_for_itself(file: KeptFile) -> None:
    first, second = figures(*OLD), figures(*NEW)
    take(file, first)
    newer = KeptFile(file.folder, {**file.key, "torch": "2.15"})
    assert take(newer, second) == (second, False)
    assert take(file, second) == (first, True)
    newer.path.replace(file.path)  # by somebody who copied files about
    assert take(file, second) == (second, False)


def edited(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    def edit(content: bytes) -> bytes:
        values = json.loads(content)
        change(values["figures"])
        return json.dumps(values).encode()

    return edit


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "cut short": lambda content: content[:-20],
    "no text": lambda content: b"\xff\x00\xfe",
    "no figures": lambda content: b"[]",
    "deep": lambda content: b"[" * 100_000,
    "negative": edited(lambda f: f["probed"][0].update(image_seconds=-1.0)),
    "infinite": edited(lambda f: f["probed"][0].update(image_seconds=float("inf"))),
    "zero": edited(lambda f: f.update(step_seconds=0.0)),
    "another format": edited(lambda f: f.update(precision="fp8")),
    "too few": edited(lambda f: f["probed"].pop()),
    "a gap": edited(lambda f: f["probed"].__setitem__(0, None)),
    "unknown": edited(lambda f: f.update(more=1)),
    "too old": edited(lambda f: f.update(measured_at=time.time() - KEPT_SECONDS - 1)),
    "of the future": edited(lambda f: f.update(measured_at=time.time() + 3600)),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_what_cannot_be_believed_is_measured_anew_and_replaced(file: KeptFile, kind: str) -> None:
    take(file, figures(*OLD))
    file.path.write_bytes(DAMAGE[kind](file.path.read_bytes()))
    new = figures(*NEW)
    assert take(file, new) == (new, False)
    assert take(file, figures(*OLD)) == (new, True)


def test_a_folder_that_cannot_be_made_or_read_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "in the way").write_text("")
    new = figures(*NEW)
    file = KeptFile(tmp_path / "in the way" / "measured", {})
    assert [take(file, new) for _ in range(2)] == [(new, False)] * 2
    file = KeptFile(tmp_path, {})
    file.path.mkdir()
    assert [take(file, new) for _ in range(2)] == [(new, False)] * 2
    assert not list(tmp_path.glob(".*"))


def test_figures_of_a_busy_machine_mend_themselves(file: KeptFile) -> None:
    busy = figures(*OLD, age=86400.0)
    take(file, busy)
    quiet = figures(*NEW, step_seconds=STEP / 2)
    found, is_kept = take(file, quiet, step=STEP / 2)
    assert not is_kept
    assert [p and p.image_seconds for p in found.probed] == [1e-3, 3e-3]
    assert (found.measured_at, found.step_seconds) == (busy.measured_at, STEP / 2)
    assert take(file, busy, step=STEP / 2) == (found, True)


def test_another_number_format_replaces_all(file: KeptFile) -> None:
    take(file, figures(*OLD))
    other = figures(*NEW, precision="bf16")
    assert take(file, other, step=STEP / 2) == (other, False)


def test_with_too_little_memory_for_a_probe_nothing_is_kept(file: KeptFile) -> None:
    part = figures(1e-3, None)
    assert [take(file, part) for _ in range(2)] == [(part, False)] * 2
    assert not file.path.exists()


@pytest.fixture(scope="module")
def dataset(small_data: Path) -> Dataset:
    return load_search_data(read_data_files(small_data))


PROBE = TrialConfig(
    model=QuickConfig(width=8, depth=1), optimizer=SgdConfig(lr=0.1), batch_size=64, epochs=1
)


def test_this_machine_is_measured_once(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    first = measured_here([PROBE], dataset, "cpu")
    assert first.note == ""
    assert first.results[0]
    assert first.results[0].image_seconds > 0
    (path,) = tmp_path.iterdir()
    kept = Figures.model_validate(json.loads(path.read_text())["figures"], strict=False)
    slow = kept.model_copy(update={"step_seconds": kept.step_seconds / 100})  # none is faster
    KeptFile(tmp_path, key_of([PROBE], dataset, "cpu")).write(slow)
    again = measured_here([PROBE], dataset, "cpu")
    assert (again.precision, again.results) == (first.precision, first.results)
    assert f"(delete {path} to measure anew)" in again.note


def test_the_key_knows_versions_threads_settings_data_and_probes(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def key(probe: TrialConfig = PROBE, data: Dataset = dataset) -> str:
        return json.dumps(key_of([probe], data, "cpu"), sort_keys=True)

    keys = [key(), key(PROBE.model_copy(update={"batch_size": 32}))]
    few = dataset.train.subset(torch.arange(100))
    keys.append(key(data=type(dataset)(**{**vars(dataset), "train": few})))
    with monkeypatch.context() as patch:
        patch.setattr(torch, "__version__", "2.99")
        keys.append(key())
    with monkeypatch.context() as patch:
        patch.setenv("ATEN_CPU_CAPABILITY", "default")
        keys.append(key())
    set_threads(2)
    keys.append(key())
    set_threads(1)  # which the first ones were made with
    assert len(set(keys)) == len(keys)
    assert key() == keys[0]


def test_the_work_that_tells_a_busy_machine_takes_time() -> None:
    assert 0 < sample_seconds("cpu") < 5


def test_the_folder_is_the_users_unless_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    monkeypatch.delenv(FOLDER_VARIABLE)
    assert measured_folder() == Path("/somewhere/fmnist-search/measured")
