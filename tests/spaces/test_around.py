"""Configurations turned back into parameters, and what a search around them believes."""

from __future__ import annotations

import pytest
from optuna.trial import FixedTrial

from fmnist_models.errors import ConfigError
from spaces import SPACES, SpaceContext, get_space
from spaces.around import AROUND, centred, likeness
from tests.spaces.test_spaces import sample

CONTEXT = SpaceContext(epochs=9)


@pytest.mark.parametrize("name", [name for name in SPACES if name != "all"])
def test_every_point_is_found_again(name: str) -> None:
    space = get_space(name)
    for point in space.points:
        config = space.configure(point, CONTEXT)
        found = likeness(space, config)
        assert found.differences == {}, point
        assert space.suggest(FixedTrial(dict(found.params)), CONTEXT) == config


@pytest.mark.parametrize("name", ["quick", "mlp"])
def test_random_samples_are_found_again(name: str) -> None:
    space = get_space(name)
    for _, config in sample(space, 5):
        assert likeness(space, config).differences == {}


def test_what_a_space_cannot_have_is_told() -> None:
    quick = get_space("quick")
    wide = quick.configure("quick-2-32", CONTEXT)
    wider = wide.model_copy(update={"model": wide.model.model_copy(update={"width": 48})})
    found = likeness(quick, wider)
    assert found.differences == {"model.width": (48, 32)}
    with pytest.raises(ConfigError, match="'quick' is none of the space 'mlp'"):
        likeness(get_space("mlp"), wide)


def test_a_search_around_a_configuration_believes_in_it_and_has_it_as_a_point() -> None:
    quick = get_space("quick")
    config = quick.configure("quick-2-16", CONTEXT)
    params = {**likeness(quick, config).params, "quick.sgd.lr": 0.05, "quick.activation": "silu"}
    around = centred(quick, params)
    assert around.configure(AROUND, CONTEXT).optimizer.lr == 0.05
    belief = around.believed(CONTEXT)
    assert belief.axes["quick.sgd.lr"].default == 0.05
    assert belief.axes["quick.activation"].default == "silu"
    assert belief.axes["quick.activation"].trust == quick.belief.axes["quick.activation"].trust
    assert quick.belief.axes["quick.activation"].default == "relu"
