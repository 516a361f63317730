"""Real images to train sampled configurations on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from fmnist_models.data.dataset import Dataset, load_search_data
from fmnist_models.data.download import find_data


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """One thread, so that times do not depend on who else is at work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def few() -> Dataset:
    """512 real training images, 100 to validate."""
    data = load_search_data(find_data(), train_samples=512)
    return replace(data, validation=data.validation.subset(torch.arange(100)))
