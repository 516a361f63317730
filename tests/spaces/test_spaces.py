"""Every registered space: what it samples is valid, can be built and trained, and comes again."""

from __future__ import annotations

import functools
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
import torch
from optuna.trial import BaseTrial, FixedTrial

import spaces
from fmnist_models.config.base import ModelConfig
from fmnist_models.config.files import parse_config
from fmnist_models.config.registry import FAMILIES, build_model
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.dataset import Dataset
from fmnist_models.errors import ConfigError
from fmnist_models.families.wrn import WrnConfig
from fmnist_models.training.cost import model_cost
from fmnist_models.training.trainer import Trainer
from spaces import SPACES, Space, SpaceContext, get_space

ROOT = Path(__file__).parents[2]
CONTEXT = SpaceContext(epochs=7, seed=11)
STEP = 16  # images
NONE = torch.arange(0)
every_space = pytest.mark.parametrize("name", SPACES)


def new_study(seed: int = 0) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))


def sample(
    space: Space, count: int, context: SpaceContext = CONTEXT
) -> list[tuple[optuna.Trial, TrialConfig]]:
    """`count` random trials and their configurations, always the same ones."""
    study = new_study()
    trials = [study.ask() for _ in range(count)]
    return [(trial, space.suggest(trial, context)) for trial in trials]


@functools.cache
def samples(name: str) -> list[tuple[optuna.Trial, TrialConfig]]:
    return sample(get_space(name), 200)


@every_space
def test_a_space_is_registered_under_its_own_name_with_a_summary(name: str) -> None:
    space = get_space(name)
    assert space.name == name
    assert space.version >= 1
    assert min(space.epochs_cpu, space.epochs_gpu) >= 1
    assert space.points
    assert len(SPACES[name]) < 100


@every_space
def test_200_samples_are_valid_and_come_back_from_json(name: str) -> None:
    for _, config in samples(name):
        assert parse_config(config.model_dump_json()) == config
        assert (config.epochs, config.seed) == (7, 11)
        assert config.model.family in FAMILIES
    assert len({config for _, config in samples(name)}) == 200


@every_space
def test_20_samples_can_be_built(name: str) -> None:
    for i, (_, config) in enumerate(samples(name)[:20]):
        with torch.device("meta"):
            model = build_model(config.model, 10).eval()
            if i < 5:
                assert model(torch.empty(2, 1, 28, 28)).shape == (2, 10)


@every_space
def test_10_samples_of_the_smallest_sizes_train_a_step(name: str, few: Dataset) -> None:
    small = SpaceContext(epochs=1, affordable=lambda model: False)
    images = few.train.subset(torch.arange(STEP))
    step = replace(few, train=images, validation=images.subset(NONE))
    for _, config in sample(get_space(name), 10, small):
        one = config.model_copy(update={"batch_size": STEP})
        run = Trainer(one, step, device="cpu", precision="fp32")
        start = [p.clone() for p in run.model.parameters()]
        assert run.run_epoch().train_loss > 0
        ended = zip(start, run.model.parameters(), strict=True)
        assert not all(torch.equal(before, after) for before, after in ended)


@every_space
def test_equal_parameters_give_equal_configurations(name: str) -> None:
    space = get_space(name)
    for trial, config in samples(name):
        assert space.suggest(FixedTrial(trial.params), CONTEXT) == config


@every_space
def test_the_same_seed_of_the_sampler_gives_the_same_configurations(name: str) -> None:
    space = get_space(name)
    again = [config for _, config in sample(space, 5)]
    assert again == [config for _, config in samples(name)[:5]]


@every_space
def test_parameter_names_carry_the_prefix_of_the_space(name: str) -> None:
    for trial, config in samples(name):
        prefixes = (f"{name}.", f"{config.model.family}.")  # both, for `all`
        assert [n for n in trial.params if not n.startswith(prefixes)] == []


def suggest_point(space: Space, point: spaces.space.Params) -> tuple[BaseTrial, TrialConfig]:
    study = new_study()
    study.enqueue_trial(dict(point))
    trial = study.ask()
    return trial, space.suggest(trial, CONTEXT)


@every_space
def test_every_point_is_taken_as_it_is(name: str) -> None:
    space = get_space(name)
    for point in space.points.values():
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Optuna only warns of a value out of range
            trial, config = suggest_point(space, point)
        # Nothing is left to the sampler, and nothing in the point is of no use.
        assert trial.params == dict(point)
        assert parse_config(config.model_dump_json()) == config


def test_a_point_out_of_range_would_be_noticed() -> None:
    point = {**get_space("wrn").points["wrn-10-1"], "wrn.dropout": 0.5}
    with pytest.warns(UserWarning, match=r"wrn\.dropout .*out of range"):
        suggest_point(get_space("wrn"), point)


def test_the_points_of_wrn_are_the_networks_they_are_named_for() -> None:
    models = [get_space("wrn").configure(p, CONTEXT).model for p in get_space("wrn").points]
    sizes = [(m.depth, m.width) for m in models if isinstance(m, WrnConfig)]
    assert sizes == [(10, 1), (16, 1), (16, 4), (28, 10), (40, 4)]
    assert model_cost(models[3]).parameters == 36_478_906


def macs_of(model: ModelConfig) -> int:
    """Of the bare network: sampled dropout and activation would each be counted anew."""
    assert isinstance(model, WrnConfig)
    return macs_of_bare(WrnConfig(depth=model.depth, width=model.width, stem=model.stem))


@functools.cache
def macs_of_bare(model: WrnConfig) -> int:
    return model_cost(model).macs


@pytest.mark.parametrize("limit", [2e7, 1e8, 1e9])
def test_nothing_that_cannot_be_afforded_is_sampled(limit: float) -> None:
    context = SpaceContext(epochs=1, affordable=lambda model: macs_of(model) <= limit)
    sizes = set()
    for _, config in sample(get_space("wrn"), 60, context):
        assert macs_of(config.model) <= limit
        assert isinstance(config.model, WrnConfig)
        sizes.add((config.model.depth, config.model.width))
    possible = [WrnConfig(depth=d, width=w) for d in range(10, 41, 6) for w in range(1, 11)]
    allowed = [(m.depth, m.width) for m in possible if macs_of(m) <= limit]
    # The limit is used up: the deepest network is sampled, and the widest of the shallowest.
    assert max(sizes)[0] == max(allowed)[0]
    assert max(s for s in allowed if s[0] == 10) in sizes


def test_what_is_sampled_beside_the_size_does_not_change_the_arithmetic() -> None:
    for _, config in samples("wrn")[:10]:
        assert model_cost(config.model).macs == macs_of(config.model)


def test_with_nothing_affordable_wrn_falls_to_the_smallest() -> None:
    context = SpaceContext(epochs=1, affordable=lambda model: False)
    for _, config in sample(get_space("wrn"), 20, context):
        assert isinstance(config.model, WrnConfig)
        assert (config.model.depth, config.model.width) == (10, 1)


def test_an_unknown_space_gives_the_known_and_the_nearest() -> None:
    known = ", ".join(sorted(SPACES))
    for asked, hint in (("quik", "; did you mean 'quick'?"), ("xyz", "")):
        with pytest.raises(ConfigError) as caught:
            get_space(asked)
        assert str(caught.value) == f"unknown space {asked!r}: known are {known}{hint}"


def test_this_package_is_ours() -> None:
    """`spaces` is also what a package of Hugging Face is imported as."""
    assert Path(spaces.__file__).parent == ROOT / "spaces"


NOTHING_HEAVY = """
import sys
heavy = {"torch", "optuna", "ray"} & set(sys.modules)
assert not heavy, heavy
"""
LIST_SPACES = """
import runpy, sys
sys.argv = ["run_search.py", "--list-spaces"]
try:
    runpy.run_path("run_search.py", run_name="__main__")
except SystemExit as end:
    assert not end.code
else:
    raise AssertionError("it went on")
"""


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_spaces_imports_nothing_heavy() -> None:
    run_python(f"import spaces{NOTHING_HEAVY}")


def test_listing_the_spaces_imports_nothing_heavy() -> None:
    listed = run_python(LIST_SPACES + NOTHING_HEAVY)
    blocks = listed.split("\n\n")
    assert [block.split()[0] for block in blocks] == list(SPACES)
    for block in blocks:
        assert "parameters" in block
        assert "MFLOP" in block
        assert len(block.splitlines()) > 2
