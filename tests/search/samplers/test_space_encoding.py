"""Points of conditional spaces: there and back, who comes with whom, and what bounds do."""

import numpy as np
import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from search.samplers.space_encoding import Encoding, Table, nearest, value_at

KIND = CategoricalDistribution(["a", "b", "c"])
SPACES: list[dict[str, BaseDistribution]] = [
    {
        "kind": KIND,
        "lr": FloatDistribution(1e-4, 1.0, log=True),
        "a.depth": IntDistribution(10, 40, step=6),
    },
    {
        "kind": KIND,
        "lr": FloatDistribution(1e-4, 1.0, log=True),
        "b.rate": FloatDistribution(0.0, 0.5),
    },
]
PARAMS = [{"kind": "a", "lr": 1e-2, "a.depth": 16}, {"kind": "b", "lr": 1.0, "b.rate": 0.5}]


def encoded() -> Encoding:
    table = Table()
    for number, (space, params) in enumerate(zip(SPACES, PARAMS, strict=True)):
        table.take_in(number, space, params)
    return Encoding(table, [0, 1])


def test_a_trial_is_the_point_of_its_parameters() -> None:
    encoding = encoded()
    assert encoding.names == ["kind", "lr", "a.depth", "b.rate"]
    np.testing.assert_allclose(
        encoding.points, [[0, 0.5, 0.2, np.nan], [1, 1.0, np.nan, 1.0]], atol=1e-12
    )
    for point, params in zip(encoding.points, PARAMS, strict=True):
        found = encoding.params(point)
        assert found == pytest.approx(params) if "a.depth" not in params else True
        assert {name: type(value) for name, value in found.items()} == {
            name: type(value) for name, value in params.items()
        }


def test_choices_are_as_far_apart_as_the_ends_of_a_range() -> None:
    encoding = encoded()
    inputs = encoding.encode(np.array([[0, 0.0, np.nan, np.nan], [1, 0.0, np.nan, np.nan]]))
    assert inputs.shape == (2, 6)
    assert np.linalg.norm(inputs[0] - inputs[1]) == pytest.approx(1.0)
    assert encoding.groups().tolist() == [0, 0, 0, 1, 2, 3]


def test_what_is_drawn_belongs_together() -> None:
    encoding, rng = encoded(), np.random.RandomState(0)
    points = encoding.draw(200, rng)
    moved = encoding.mutate(points, np.full(200, 0.1), np.full(200, 2.0), rng)
    for point in [*points, *moved]:
        params = encoding.params(point)
        own = {"a": {"a.depth"}, "b": {"b.rate"}, "c": set()}[params["kind"]]
        assert params.keys() == {"kind", "lr"} | own
        assert params.get("a.depth", 10) in range(10, 41, 6)
        assert 1e-4 * 0.999 <= params["lr"] <= 1.0
    assert {encoding.params(point)["kind"] for point in points} == {"a", "b", "c"}


def test_a_child_of_a_child_goes_with_its_grandparent() -> None:
    flag, rate = CategoricalDistribution([True, False]), FloatDistribution(0, 1)
    seen: list[dict[str, object]] = [
        {"kind": "a", "a.drop": True, "a.drop.rate": 0.5},
        {"kind": "a", "a.drop": False},
        {"kind": "b", "b.drop": False},
        {"kind": "b", "b.drop": True, "b.drop.rate": 0.1},
    ]
    table = Table()
    for number, params in enumerate(seen):
        kinds = {
            "kind": KIND,
            "a.drop": flag,
            "b.drop": flag,
            "a.drop.rate": rate,
            "b.drop.rate": rate,
        }
        table.take_in(number, {name: kinds[name] for name in params}, params)
    encoding = Encoding(table, list(range(4)))
    wanted = {frozenset(params) for params in seen}
    drawn = {
        frozenset(encoding.params(point)) for point in encoding.draw(200, np.random.RandomState(0))
    }
    assert wanted <= drawn <= wanted | {frozenset({"kind"})}  # of c nothing is known


def test_the_widest_bounds_count() -> None:
    table = Table()
    table.take_in(0, {"x": IntDistribution(1, 10)}, {"x": 10})
    table.take_in(1, {"x": IntDistribution(0, 4)}, {"x": 4})
    encoding = Encoding(table, [0, 1])
    assert encoding.space == {"x": IntDistribution(0, 10)}
    assert encoding.points.ravel().tolist() == [1.0, 0.4]


@pytest.mark.parametrize(
    ("distribution", "value", "found"),
    [
        (IntDistribution(1, 4), 9, 4),
        (IntDistribution(10, 40, step=6), 17.5, 16),
        (FloatDistribution(0.1, 1.0), 0.0, 0.1),
        (FloatDistribution(0, 1, step=0.25), 0.3, 0.25),
    ],
)
def test_nearest(distribution: IntDistribution, value: float, found: float) -> None:
    assert nearest(distribution, value) == pytest.approx(found)
    assert type(nearest(distribution, value)) is type(found)


def test_value_at_keeps_within_bounds() -> None:
    assert value_at(IntDistribution(1, 100, log=True), 1.0) == 100
    assert value_at(FloatDistribution(1e-7, 10, log=True), 1.0) <= 10
    assert value_at(KIND, 2.0) == "c"
