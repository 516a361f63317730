"""Searches by Tune itself on real Ray, with workers that train nothing and go wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from search.backend.ray_session import ray_alone
from search.backend.ray_watch import RayWatch
from storage import Database
from tests.search.checker import check_study
from tests.search.loop import STUDY
from tests.search.made_up_faults import faults_taken
from tests.search.ray_loop import NODE, search_on_ray


@pytest.fixture(scope="module")
def only_ray() -> Iterator[tuple[Any, RayWatch]]:
    """Give one Ray for all and its watch; its workers import no torch: many die and start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_preload_python_modules", "")
        import ray

        with ray_alone(NODE) as watch:
            yield ray, watch


@pytest.fixture
def watch(only_ray: tuple[Any, RayWatch]) -> Iterator[RayWatch]:
    """Give the watch of a Ray that a search has whole; what the search leaves of it is freed."""
    from ray.util.placement_group import (
        PlacementGroup,
        PlacementGroupID,
        placement_group_table,
        remove_placement_group,
    )

    yield only_ray[1]
    for group, about in placement_group_table().items():
        if about["state"] != "REMOVED":
            remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(group))))


@pytest.mark.filterwarnings("default")
def test_trials_go_wrong_and_the_others_do_not_notice(
    watch: RayWatch, database: Database, tmp_path: Path
) -> None:
    search_on_ray(database, 24, "Faulty", watch)
    failed = [t.number for t in check_study(database, STUDY, 24) if t.state.name == "FAIL"]
    reasons = faults_taken(tmp_path / "faults")
    assert failed == sorted(reasons)
    for number, reason in reasons.items():
        assert reason in database.open_study(STUDY).trial_record(number).reason


@pytest.mark.filterwarnings("default")
def test_a_slow_teardown_loses_no_trial(watch: RayWatch, database: Database) -> None:
    search_on_ray(database, 8, "SlowToLetGo", watch)
    assert len(check_study(database, STUDY, 8)) == 8
