"""What a trial is expected to need of its device."""

from __future__ import annotations

import pytest

from fmnist_models.config.optimizers import SgdConfig
from fmnist_models.config.trial import TrialConfig
from fmnist_models.families.wrn import WrnConfig
from search.planning.trial_needs import expected_memory


def test_larger_networks_and_batches_are_expected_to_take_more_memory() -> None:
    sgd = SgdConfig(lr=0.1)
    small = TrialConfig(model=WrnConfig(depth=10, width=1), optimizer=sgd, batch_size=64, epochs=1)
    wide = small.model_copy(update={"model": WrnConfig(depth=28, width=10)})
    batch = small.model_copy(update={"batch_size": 1024})
    for device in ("cpu", "cuda"):
        least = expected_memory(small, device)
        assert least < 1.5e9
        assert expected_memory(wide, device) > 2 * least
        assert expected_memory(batch, device) > 1.3 * least
        assert expected_memory(batch, device, micro_batches=16) == pytest.approx(least)
