"""Trials of equal time: how many images each configuration trains on, and what that leaves out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fmnist_models.config.optimizers import SgdConfig
from fmnist_models.config.trial import TrialConfig
from fmnist_models.families.quick import QuickConfig
from fmnist_models.training.cost import CostModel, model_cost
from search.errors import UsageError
from search.planning.cost_estimate import (
    Machine,
    affordable_context,
    estimate,
    refuse_short_trials,
)
from search.planning.plan import LEAST_PASSES, Node, of_study, set_up_trials
from search.planning.trial_time import MOST_PASSES, MOST_WHERE_FEW, Allotment
from search.settings import make_settings
from spaces import get_space
from tests.search.planning.test_plan import machine, plan_of

__all__ = ["machine"]

SECONDS_PER_MAC = 1e-9


def allotment(
    trial_seconds: float, train: int = 50_000, validation: int = 10_000, early: int = 0
) -> Allotment:
    return Allotment(
        early_validation_images=early,
        trial_seconds=trial_seconds,
        epochs=9,
        train_images=train,
        validation_images=validation,
        seconds_per_mac=SECONDS_PER_MAC,
        seconds_per_pass=0.0,
        seconds_per_image=0.0,
    )


def config(width: int = 16, **values: object) -> TrialConfig:
    return TrialConfig.model_validate(
        {"model": QuickConfig(width=width), "optimizer": SgdConfig(lr=0.1), "epochs": 9, **values}
    )


def seconds(config: TrialConfig, images: int) -> float:
    """What all epochs over so many images each take, validation included."""
    each = SECONDS_PER_MAC * model_cost(config.model).macs
    return 9 * each * (images + 10_000 / 3)


@pytest.mark.parametrize("width", [16, 24, 32])
def test_every_network_gets_as_many_images_as_its_time_buys(width: int) -> None:
    images = allotment(2000.0).epoch_images(config(width))
    assert images % 100 == 0
    assert seconds(config(width), images) <= 2000.0 < seconds(config(width), images + 100)


def test_what_early_validations_save_is_trained_on() -> None:
    model = config().model
    full, early = allotment(200.0), allotment(200.0, early=2_500)
    saved = 8 * 7_500 / 3
    more = 9 * (early.epoch_images(config()) - full.epoch_images(config()))
    assert more == pytest.approx(saved, abs=2 * 9 * 100)
    each = SECONDS_PER_MAC * model_cost(model).macs
    assert full.seconds_needed(model) - early.seconds_needed(model) == pytest.approx(saved * each)


def test_trials_are_told_of_early_validations_and_their_time_is_foretold(machine: Machine) -> None:
    machine = Machine(machine.dataset, machine.precision, CostModel(SECONDS_PER_MAC, 0.0))
    train, validation = len(machine.dataset.train), len(machine.dataset.validation)
    time = 2.0 * allotment(1.0, train, validation).seconds_needed(config(32).model)
    plan = plan_of(trial_seconds=time)

    def foretold(early: int) -> tuple[TrialConfig, float]:
        given = allotment(time, train, validation, early)
        told = affordable_context(machine, plan, 0, given).allotted(config(batch_size=16))
        return told, 9 * machine.trial_epoch_seconds(told)

    for early in (0, validation // 4):
        told, seconds = foretold(early)
        assert told.early_validation_images == early
        assert seconds == pytest.approx(time, rel=0.05)


def test_two_passes_a_step_get_half_of_the_images() -> None:
    with_sam = config(regularization={"sam_rho": 0.05})
    plain, sam = (allotment(2000.0).epoch_images(c) for c in (config(), with_sam))
    assert sam == pytest.approx((plain - 10_000 / 3) / 2, abs=100)


def test_no_image_is_seen_too_often_and_a_batch_is_the_least() -> None:
    assert allotment(1e9).epoch_images(config()) == pytest.approx(MOST_PASSES / 9 * 50_000, abs=100)
    assert allotment(1e-9).epoch_images(config(batch_size=512)) == 512


def test_few_images_are_seen_oftener() -> None:
    images = allotment(1e9, train=800, validation=200).epoch_images(config())
    assert images == pytest.approx(MOST_WHERE_FEW / 9, abs=100)


def test_networks_that_would_not_see_all_images_twice_are_left_out() -> None:
    model = config().model
    images = LEAST_PASSES * 50_000 + 9 * 10_000 / 3
    needed = images * SECONDS_PER_MAC * model_cost(model).macs
    assert allotment(1.0).seconds_needed(model) == pytest.approx(needed)
    assert allotment(1.01 * needed).allows(model)
    assert not allotment(0.99 * needed).allows(model)
    assert not allotment(1.01 * needed).allows(model, passes=2)
    epoch = (50_000 + 10_000 / 3) * SECONDS_PER_MAC * model_cost(model).macs
    assert allotment(1.0).least_seconds(epoch) == pytest.approx(needed)


def test_a_time_that_is_too_short_for_any_network_is_refused(machine: Machine) -> None:
    machine = replace(machine, least_epoch_seconds=10.0)  # so 20 s and nine validations
    with pytest.raises(UsageError) as error:
        refuse_short_trials(get_space("quick"), machine, allotment(20.0))
    assert str(error.value).startswith(
        "a trial of 20 s is too short: the smallest network of quick"
    )
    assert "about 24 s here" in str(error.value)
    assert "--time-budget of 98 s" in str(error.value)
    refuse_short_trials(get_space("quick"), machine, allotment(25.0))


def test_a_search_by_time_is_foretold_by_its_time(machine: Machine) -> None:
    machine = Machine(machine.dataset, machine.precision, CostModel(SECONDS_PER_MAC, 0.0))
    train, validation = len(machine.dataset.train), len(machine.dataset.validation)
    space = get_space("wrn")
    small = space.configure("wrn-10-1", affordable_context(machine, plan_of(epochs=9)))
    time = 1.5 * allotment(1.0, train, validation).seconds_needed(small.model)
    plan = plan_of(trial_seconds=time)
    context = affordable_context(machine, plan, 0, allotment(time, train, validation))
    expected = estimate(space, machine, plan, context, 100, points=1, early_stopping=True)
    assert expected.mean_epoch_seconds == pytest.approx(time / 9, rel=0.1)
    assert list(space.affordable_points(context)) == ["wrn-10-1"]


def test_a_study_keeps_the_time_of_its_trials() -> None:
    def trial_seconds(known: dict[str, object] | None, **options: object) -> float | None:
        settings = make_settings(space="quick", trials=1, study="s", **options)
        node = Node(name="n", cpus=2, gpus=0, memory_bytes=2**34)
        space = get_space("quick")
        setup = set_up_trials(settings, space, device="cpu", nodes=[node])
        return of_study(setup, known, settings, space).trial_seconds

    assert trial_seconds(None) == 170.0
    assert trial_seconds({"epochs": 9, "trial_seconds": 60.0}) == 60.0
    assert trial_seconds({"epochs": 9, "trial_seconds": 60.0}, time_budget_seconds=9.0) == 60.0
    assert trial_seconds({"epochs": 9}) is None, "of before there were trials of equal time"
    assert trial_seconds({"epochs": 9}, trial_seconds=5.0) == 5.0, "which the study will refuse"
    assert trial_seconds({"epochs": 9, "trial_seconds": 60.0}, epochs=9) is None
