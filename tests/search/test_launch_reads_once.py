"""A launch reads the data set once: what `find_data` read is what the search is split from."""

from pathlib import Path
from typing import Any

import pytest

from fmnist_models.data import idx
from search import SearchSettings, launch
from search.signals import StopRequest
from search.time_budget import Budget


class _Reached(Exception):
    """The launch has its data."""


def test_a_launch_reads_each_file_once(
    small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names, read = [], idx.read_contents

    def counted(path: Path, *rest: Any, **options: Any) -> Any:
        names.append(path.name.removesuffix(".gz"))
        return read(path, *rest, **options)

    def stop(address: str | None, *, on_cpu: bool) -> None:
        raise _Reached

    monkeypatch.setattr(idx, "read_contents", counted)
    monkeypatch.setattr(launch, "open_site", stop)
    storage = f"sqlite:///{tmp_path / 'one.db'}"
    settings = SearchSettings(
        space="mlp", trials=1, study="one", storage=storage, data_dir=str(small_data)
    )
    with pytest.raises(_Reached):
        launch._search(settings, StopRequest(Budget()), as_json=False)
    assert sorted(names) == sorted(idx.FILE_NAMES)
