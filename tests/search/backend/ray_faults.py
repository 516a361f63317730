"""A TrialWorker in whose process the faulty family is known."""

from __future__ import annotations

from typing import Any

from search.backend.ray_actor import TrialWorker


class FaultyWorker(TrialWorker):
    def setup(self, config: dict[str, Any]) -> None:
        from tests.faulty import register

        register()
        super().setup(config)
