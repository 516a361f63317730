"""What is believed of a space: places for uniform numbers, their density, and how it is trusted."""

from __future__ import annotations

import numpy as np
import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from spaces import SPACES, get_space
from spaces.belief import Axis, Belief
from tests.spaces.test_distributions import unlimited

UNIFORM = (np.arange(20_000) + 0.5) / 20_000
KINDS: dict[str, tuple[BaseDistribution, Axis]] = {
    "linear": (FloatDistribution(0.0, 2.0), Axis(0.5, 0.8)),
    "log": (FloatDistribution(1e-4, 1.0, log=True), Axis(1e-3, 0.6)),
    "at a bound": (IntDistribution(0, 10), Axis(0, 0.9)),
    "names": (CategoricalDistribution(["a", "b", "c"]), Axis("b", 0.9)),
    "unlikely": (CategoricalDistribution(["a", "b", "c", "d"]), Axis("b", 0.5, ("c",))),
    "sizes": (CategoricalDistribution([64, 128, 256, 512]), Axis(128, 0.5)),
}
every_kind = pytest.mark.parametrize(("distribution", "axis"), KINDS.values(), ids=KINDS)


def drawn(distribution: BaseDistribution, axis: Axis) -> np.ndarray:
    return Belief({"x": axis}).places("x", distribution, UNIFORM)


@every_kind
def test_density_is_that_of_what_is_drawn(distribution: BaseDistribution, axis: Axis) -> None:
    places, belief = drawn(distribution, axis), Belief({"x": axis})
    if isinstance(distribution, CategoricalDistribution):
        at = np.arange(len(distribution.choices), dtype=float)
        shares = np.array([np.mean(places == place) for place in at])
        expected = shares * len(at)
    else:
        assert 0 <= places.min() <= places.max() <= 1
        counts, edges = np.histogram(places, bins=40, range=(0, 1))
        at, expected = (edges[:-1] + edges[1:]) / 2, counts / len(places) * 40
    found = np.exp(belief.log_density("x", distribution, at))
    assert found == pytest.approx(expected, rel=0.1, abs=0.05)
    assert found.min() > 0, "what is improbable is not impossible"


def test_the_default_has_its_trust_and_sizes_lie_near_it() -> None:
    shares = [np.mean(drawn(*KINDS["sizes"]) == place) for place in range(4)]
    assert shares == pytest.approx([0.2, 0.5, 0.2, 0.1], abs=0.01)
    linear = drawn(*KINDS["linear"])
    assert np.mean(np.abs(linear - 0.25) < 0.2) == pytest.approx(0.8 * 0.954 + 0.2 * 0.4, abs=0.01)


def test_unlikely_choices_come_a_fifth_as_often() -> None:
    shares = [np.mean(drawn(*KINDS["unlikely"]) == place) for place in range(4)]
    assert shares == pytest.approx([5 / 22, 0.5, 1 / 22, 5 / 22], abs=0.001)


@pytest.mark.parametrize(
    ("trust", "share"), [("weak", 4 / 7), ("normal", 0.8), ("strong", 12 / 13)]
)
def test_trust_moves_the_odds(trust: str, share: float) -> None:
    belief = Belief({"x": Axis("b", 0.8)}).trusted(trust)
    assert belief.axes["x"].trust == pytest.approx(share)


def test_nothing_is_believed_of_what_has_no_axis_nor_of_another_default() -> None:
    distribution = CategoricalDistribution(["a", "b"])
    for belief in (Belief(), Belief({"x": Axis("c", 0.9)})):
        assert np.mean(belief.places("x", distribution, UNIFORM) == 0) == 0.5
        assert not belief.log_density("x", distribution, np.array([0.0, 1.0])).any()
    number = FloatDistribution(0, 1)
    assert (Belief().places("x", number, UNIFORM) == UNIFORM).all()
    assert not Belief().log_density("x", number, UNIFORM).any()


@pytest.mark.parametrize("name", [name for name in SPACES if name != "all"])
def test_every_axis_is_a_parameter_with_a_default_that_it_can_have(name: str) -> None:
    known = {key: d for trial in unlimited(name) for key, d in trial.items()}
    classical = ("adam.", "adamax.", "rmsprop.", "adagrad.", "adadelta.")
    for parameter, axis in get_space(name).belief.axes.items():
        if parameter not in known:  # not every space has the classical optimizers
            assert parameter.split(".", 1)[1].startswith(classical), parameter
            continue
        assert known[parameter]._contains(known[parameter].to_internal_repr(axis.default)), (
            parameter
        )
        assert 0 < axis.trust < 1
        assert axis.default not in axis.unlikely


def test_of_every_space_something_is_believed_and_all_believes_all_of_it() -> None:
    together = get_space("all").belief.axes
    for name in SPACES:
        axes = get_space(name).belief.axes
        assert axes and axes.items() <= together.items()
