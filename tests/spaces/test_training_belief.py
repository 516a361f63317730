"""What spaces believe of training: few departures a sample, and batches that leave enough steps."""

from __future__ import annotations

import optuna
import pytest

from benchmarks.accuracy.belief_tables import distributions, is_away
from search.samplers.prior_sampler import PriorSampler
from spaces import SPACES, SpaceContext, get_space
from spaces.belief import Belief

SAMPLES = 100
each_space = pytest.mark.parametrize("name", [name for name in SPACES if name != "all"])


def sampled(name: str, belief: Belief, context: SpaceContext) -> list[optuna.Trial]:
    study = optuna.create_study(sampler=PriorSampler(belief, seed=0))
    trials = [study.ask() for _ in range(SAMPLES)]
    for trial in trials:
        get_space(name).suggest(trial, context)
    return trials


@each_space
def test_a_sample_departs_from_few_defaults_and_all_samples_from_many(name: str) -> None:
    context = SpaceContext(epochs=9)
    belief = get_space(name).believed(context)
    departures = [
        parameter
        for trial in sampled(name, belief, context)
        for parameter, value in trial.params.items()
        if parameter in belief.axes
        and is_away(belief.axes[parameter], distributions(name)[parameter], value)
    ]
    # Also where both sides are as good: flips, linear or cosine, and the sizes of `cnn`.
    assert 1.5 < len(departures) / SAMPLES < 5.0
    assert len(set(departures)) > 20, "what is improbable is tried too"


@pytest.mark.parametrize(
    ("epochs", "images", "batch"),
    [(6, 2_000, 64), (1, 63_999, 64), (2, 32_000, 128), (9, 50_000, 128)],
)
def test_with_few_steps_small_batches_are_believed_in(epochs: int, images: int, batch: int) -> None:
    context = SpaceContext(epochs, train_images=images)
    for name in SPACES:
        space = get_space(name)
        believed = space.believed(context).axes
        assert {believed[axis].default for axis in believed if axis.endswith("batch_size")} == {
            batch
        }
        changed = {axis for axis in believed if believed[axis] != space.belief.axes[axis]}
        assert all(axis.endswith(".batch_size") for axis in changed)


def test_few_samples_have_a_batch_that_leaves_few_steps() -> None:
    context = SpaceContext(6, train_images=2_000)
    trials = sampled("quick", get_space("quick").believed(context), context)
    sizes = [trial.params["quick.batch_size"] for trial in trials]
    assert sum(size == 64 for size in sizes) > 0.8 * SAMPLES
    assert 0 < sum(size >= 256 for size in sizes) < 0.15 * SAMPLES
