"""What a worker is told of where it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from fmnist_models.config.registry import FAMILIES
from search.workers.messages import WorkerSettings
from tests.faulty import ENTRY
from tests.search.workers.driven import settings_for


@pytest.fixture
def settings(
    small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[WorkerSettings]:
    """On a CPU, 1,000 images; the faulty family is known, torch has its threads back afterwards."""
    monkeypatch.setitem(FAMILIES, *ENTRY)
    threads = torch.get_num_threads()
    yield settings_for(small_data, tmp_path)
    torch.set_num_threads(threads)
