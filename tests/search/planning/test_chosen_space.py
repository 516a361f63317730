"""`--around`: a configuration of the user's is queued as a point and is what samples are near."""

from __future__ import annotations

from pathlib import Path

import pytest

from fmnist_models.config.trial import TrialConfig
from search.cli.search_options import settings_of
from search.errors import UsageError
from search.planning.chosen_space import chosen_space
from search.settings import SearchSettings, make_settings
from search.trials.study import enqueue_points, open_study, optuna_study, start_launch
from spaces import SpaceContext, get_space
from spaces.around import AROUND
from storage import Database
from tests.search.loop import IDENTITY, STUDY

CONTEXT = SpaceContext(epochs=9)


@pytest.fixture
def own() -> TrialConfig:
    """A configuration that is no point of a space."""
    point = get_space("quick").configure("quick-2-16", CONTEXT)
    slower = point.optimizer.model_copy(update={"lr": 0.03})
    return point.model_copy(update={"optimizer": slower, "batch_size": 256})


def test_it_is_queued_and_believed_in(database: Database, tmp_path: Path, own: TrialConfig) -> None:
    (tmp_path / "own.json").write_text(own.model_dump_json())
    given = ["--space", "quick", "--trials", "4", "--study", STUDY]
    settings, _ = settings_of([*given, "--around", str(tmp_path / "own.json")])
    space, remarks = chosen_space(settings)
    assert remarks == ["around the given configuration"]
    assert space.configure(AROUND, CONTEXT) == own
    assert space.believed(CONTEXT).axes["quick.sgd.lr"].default == 0.03

    store = open_study(database, settings, IDENTITY)
    start_launch(store, settings, {})
    assert enqueue_points(store, space, CONTEXT) == (3, 0)
    queued = optuna_study(store).trials
    assert queued[-1].system_attrs["fixed_params"]["quick.sgd.lr"] == 0.03
    kept = SearchSettings.model_validate(store.launches.all()[-1].settings)
    assert kept.around == own


def test_what_the_space_has_otherwise_is_said(own: TrialConfig) -> None:
    wider = own.model_copy(update={"model": own.model.model_copy(update={"width": 48})})
    settings = make_settings(space="quick", trials=4, study=STUDY, around=wider)
    assert chosen_space(settings)[1] == [
        "around the given configuration, as near as the space has it: model.width 32 for 48"
    ]


def test_another_family_is_refused(own: TrialConfig) -> None:
    settings = make_settings(space="mlp", trials=4, study=STUDY, around=own)
    with pytest.raises(UsageError, match=r"--around: .*'quick' is none of the space 'mlp'"):
        chosen_space(settings)
