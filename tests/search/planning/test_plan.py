"""From what was asked to what will run: defaults, limits, and the expected cost."""

from collections.abc import Sequence
from dataclasses import replace

import optuna
import pytest

from fmnist_models.config.base import ModelConfig
from fmnist_models.config.optimizers import SgdConfig
from fmnist_models.config.training import RegularizationConfig
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.dataset import load_search_data
from fmnist_models.data.idx import read_data_files
from fmnist_models.families.wrn import WrnConfig
from fmnist_models.training.cost import CostModel
from search.errors import UsageError
from search.planning.cost_estimate import (
    BESIDE_OTHERS,
    START_SECONDS,
    Machine,
    affordable_context,
    epoch_timeout,
    estimate,
    expected_epochs,
    longest_epoch,
    measure_machine,
)
from search.planning.plan import WORKER_MEMORY_BYTES, Node, SearchPlan, make_plan, set_up_trials
from search.settings import make_settings
from search.time_budget import Budget
from search.trials.study import study_identity
from spaces import SpaceContext, get_space

WRN = get_space("wrn")


def node(cpus: float = 8, gpus: float = 0, memory: float = 64, card: float = 0) -> Node:
    """A machine with so many GB of memory, and of memory on each GPU."""
    return Node(
        name="n",
        cpus=cpus,
        gpus=gpus,
        memory_bytes=int(memory * 1e9),
        card_memory_bytes=int(card * 1e9),
    )


def plan_on(nodes: list[Node], shares: Sequence[float] = (), **options: object) -> SearchPlan:
    settings = make_settings(**{"space": "wrn", "trials": 100, "study": "s", **options})
    on_gpu = any(n.gpus for n in nodes) and settings.gpus_per_trial != 0
    device = "cuda" if on_gpu else "cpu"
    setup = set_up_trials(settings, WRN, device=device, nodes=nodes)
    budget = Budget(settings.budget_seconds)
    return make_plan(settings, setup, nodes=nodes, shares=shares, budget=budget)


def plan_of(cpus: float = 8, gpus: float = 0, **options: object) -> SearchPlan:
    return plan_on([node(cpus, gpus)], **options)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"epochs": 9, "grace_period": 1, "cpus_per_trial": 1.0, "gpus_per_trial": 0.0}),
        ({"gpus": 1}, {"epochs": 27, "grace_period": 3, "gpus_per_trial": 1.0, "concurrency": 1}),
        ({"epochs": 1}, {"epochs": 1, "grace_period": 1}),
        ({"epochs": 100, "reduction_factor": 4}, {"grace_period": 6, "reduction_factor": 4}),
        ({"epochs": 9, "grace_period": 9}, {"grace_period": 9}),
        ({"cpus": 1}, {"concurrency": 1}),
        ({"cpus": 2, "cpus_per_trial": 2.0}, {"concurrency": 1}),
        ({"cpus": 2, "trials": 1}, {"concurrency": 1}),
        ({"gpus": 1, "gpus_per_trial": 0.5}, {"concurrency": 2, "cpus_per_trial": 1.0}),
        ({"gpus": 1, "gpus_per_trial": 0.0, "cpus": 1}, {"concurrency": 1}),
        ({"concurrency": 2, "cpus": 4}, {"concurrency": 2}),
        ({}, {"device": "cpu", "max_epoch_seconds": None, "trial_seconds": 600.0}),
        ({"epochs": 9}, {"max_epoch_seconds": WRN.max_epoch_seconds_cpu, "trial_seconds": None}),
        ({"epochs": 5, "trial_seconds": 60.0}, {"epochs": 5, "trial_seconds": 60.0}),
        ({"time_budget_seconds": 1200.0}, {"trial_seconds": 300.0, "budget_epoch_seconds": None}),
        ({"time_budget_seconds": 3600.0}, {"trial_seconds": 600.0}),
        ({"time_budget_seconds": 36000.0}, {"trial_seconds": 3600.0}),
        ({"gpus": 1, "time_budget_seconds": 1200.0}, {"trial_seconds": None}),
        ({"gpus": 1, "trial_seconds": 60.0}, {"trial_seconds": 60.0}),
        ({"gpus": 1}, {"device": "cuda", "max_epoch_seconds": None}),
        ({"max_epoch_seconds": 0.0}, {"max_epoch_seconds": None}),
        ({"gpus": 1, "max_epoch_seconds": 5.0}, {"max_epoch_seconds": 5.0}),
        ({"time_budget_seconds": 1800.0, "epochs": 9}, {"budget_epoch_seconds": 1800 / 27}),
        (
            {"time_budget_seconds": 9.0, "max_epoch_seconds": 5.0, "epochs": 9},
            {"budget_epoch_seconds": None},
        ),
    ],
)
def test_defaults_fit_the_machine(options: dict[str, float], expected: dict[str, object]) -> None:
    plan = plan_of(**options)
    assert {name: getattr(plan, name) for name in expected} == expected


def test_workers_fit_into_the_memory() -> None:
    plan = plan_on([node(cpus=10_000, memory=15)], trials=100_000)
    assert plan.concurrency == 15 * 10**9 // WORKER_MEMORY_BYTES


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"cpus_per_trial": 9.0}, "--cpus-per-trial 9: there are 8; lower it"),
        ({"gpus_per_trial": 1.0}, "--gpus-per-trial 1: there are 0; lower it"),
        ({"gpus": 1, "gpus_per_trial": 2.0}, "--gpus-per-trial 2: there are 1; lower it"),
        ({"grace_period": 10}, "--grace-period 10 is longer than the 9 epochs; lower it"),
        ({"final_seconds": 60.0}, "--final-time 60s needs --time-budget"),
        ({"final_seconds": 60.0, "time_budget_seconds": 60.0, "epochs": 9}, "not of equal epochs"),
        ({"total_seconds": 60.0, "epochs": 9}, "--total-time 60s is for trials of equal time"),
    ],
)
def test_what_does_not_fit_is_refused(options: dict[str, float], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        plan_of(**options)


def test_a_study_is_one_of_space_epochs_and_data() -> None:
    settings = make_settings(space="wrn", trials=1, study="s", train_samples=2000)
    identity = study_identity(settings, WRN, plan_of(epochs=5), "d1ge57")
    assert identity == {
        "space": "wrn",
        "space_version": WRN.version,
        "epochs": 5,
        "data_digest": "d1ge57",
        "train_samples": 2000,
    }
    by_time = study_identity(settings, WRN, plan_of(epochs=5, trial_seconds=60.0), "d1ge57")
    assert by_time == {**identity, "trial_seconds": 60.0}


@pytest.mark.parametrize(
    ("epochs", "grace", "factor", "mean"),
    [
        (9, 1, 3, 1 + 2 / 3 + 6 / 9),
        (27, 3, 3, 3 + 6 / 3 + 18 / 9),
        (10, 2, 4, 2 + 6 / 4 + 2 / 16),
        (9, 9, 3, 9),
        (1, 1, 3, 1),
    ],
)
def test_expected_epochs_by_hand(epochs: int, grace: int, factor: int, mean: float) -> None:
    plan = plan_of(epochs=epochs, grace_period=grace, reduction_factor=factor)
    assert expected_epochs(plan, early_stopping=True) == pytest.approx(mean)
    assert expected_epochs(plan, early_stopping=False) == epochs


@pytest.fixture(scope="module")
def machine(small_data) -> Machine:
    """Give a machine that takes a nanosecond for a multiply-accumulate."""
    return Machine(load_search_data(read_data_files(small_data)), "fp32", CostModel(1e-9, 0.0))


def macs_seconds(machine: Machine, model: ModelConfig) -> float:
    images = len(machine.dataset.train) + len(machine.dataset.validation) / 3
    return machine.cost.image_seconds(model) * images


def test_what_an_epoch_takes_decides_what_is_affordable(machine: Machine) -> None:
    small, large = WrnConfig(depth=10, width=1), WrnConfig(depth=28, width=10)
    assert machine.epoch_seconds(small) == pytest.approx(macs_seconds(machine, small))
    limit = machine.epoch_seconds(small)
    fits = affordable_context(machine, plan_of(max_epoch_seconds=limit)).affordable
    assert (fits(small), fits(large)) == (True, False)
    unlimited = affordable_context(machine, plan_of(max_epoch_seconds=0.0))
    assert unlimited.affordable(large)
    assert unlimited.train_images == len(machine.dataset.train)


def test_three_trials_fit_into_a_time_budget_but_the_smallest_always_runs(machine: Machine) -> None:
    small, large = WrnConfig(depth=10, width=1), WrnConfig(depth=10, width=2)
    least = machine.epoch_seconds(small)
    machine = replace(machine, least_epoch_seconds=least)
    for smallest_epochs, large_fits in ((27.1 * 5, True), (27.1, False), (1, False)):
        fits = affordable_context(
            machine, plan_of(time_budget_seconds=smallest_epochs * least, epochs=9)
        ).affordable
        assert (fits(small), fits(large)) == (True, large_fits)
    plan = plan_of(time_budget_seconds=1e9, epochs=9)
    assert longest_epoch(machine, plan) == WRN.max_epoch_seconds_cpu


def test_a_known_good_point_may_take_most_of_a_time_budget(machine: Machine) -> None:
    point = WrnConfig(depth=16, width=1)
    whole = 9 * machine.epoch_seconds(point)
    for budget, is_tried in ((whole / 0.79, True), (whole / 0.81, False)):
        context = affordable_context(machine, plan_of(time_budget_seconds=budget, epochs=9))
        assert not context.affordable(point)
        assert ("wrn-16-1" in WRN.affordable_points(context)) is is_tried
    least = machine.epoch_seconds(WrnConfig(depth=10, width=1))
    hurried = affordable_context(
        replace(machine, least_epoch_seconds=least), plan_of(time_budget_seconds=1, epochs=9)
    )
    assert hurried.of_queued.affordable(WrnConfig(depth=10, width=1))  # as a trial tried again
    limited = plan_of(time_budget_seconds=1e6, max_epoch_seconds=whole / 9.1, epochs=9)
    assert "wrn-16-1" not in WRN.affordable_points(affordable_context(machine, limited))


def test_a_space_samples_only_what_is_affordable(machine: Machine) -> None:
    limit = machine.epoch_seconds(WrnConfig(depth=16, width=2))
    plan = plan_of(max_epoch_seconds=limit)
    context = affordable_context(machine, plan)
    assert context.affordable_twice(WrnConfig(depth=10, width=1))
    assert not context.affordable_twice(WrnConfig(depth=16, width=2))
    costs = estimate(WRN, machine, plan, context, 100, points=2, early_stopping=True)
    assert 0 < costs.mean_epoch_seconds <= limit
    points = [machine.epoch_seconds(WrnConfig(depth=depth)) for depth in (10, 16)]
    sampled = 98 * expected_epochs(plan, True) * costs.mean_epoch_seconds
    expected = (plan.epochs * sum(points) + sampled) / plan.concurrency
    alone = 7 / 8 * plan.epochs * costs.mean_epoch_seconds / 2
    assert plan.concurrency == 8
    assert costs.total_seconds == pytest.approx(START_SECONDS + BESIDE_OTHERS * (expected + alone))


def test_one_trial_is_expected_to_run_to_its_end(machine: Machine) -> None:
    plan = plan_of(trials=1)
    costs = estimate(WRN, machine, plan, SpaceContext(9), 1, points=2, early_stopping=True)
    assert costs.total_seconds == pytest.approx(START_SECONDS + 9 * costs.mean_epoch_seconds)
    assert costs.reference.model == WrnConfig(depth=10, width=1)


def test_more_at_once_than_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="--concurrency 7: 1 trials fit"):
        plan_of(concurrency=7, cpus=1)


def test_a_limit_under_the_smallest_network_is_refused(machine: Machine) -> None:
    plan, quick = plan_of(max_epoch_seconds=0.001), get_space("quick")
    with pytest.raises(UsageError, match=r"--max-epoch-time 0.001s: .* smallest network of quick"):
        measure_machine(quick, plan, machine.dataset)


def test_quick_is_bounded_in_width_and_depth() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    context = SpaceContext(1, affordable=lambda model: model.width <= 16 and model.depth <= 2)
    models = [get_space("quick").suggest(study.ask(), context).model for _ in range(50)]
    assert {model.width for model in models} == {8, 16}
    assert {model.depth for model in models} == {1, 2}


@pytest.mark.parametrize(
    ("nodes", "options", "concurrency"),
    [
        ([node(cpus=2), node(cpus=3)], {}, 5),
        ([node(cpus=3), node(cpus=3)], {"cpus_per_trial": 2.0}, 2),
        ([node(cpus=4, gpus=1), node(cpus=64)], {}, 1),
        ([node(cpus=4, gpus=1), node(cpus=64, gpus=8), node(cpus=64)], {}, 9),
        ([node(cpus=4, gpus=1), node(cpus=64, gpus=8)], {"gpus_per_trial": 0.5}, 18),
        ([node(cpus=4, gpus=1), node(cpus=64, gpus=8)], {"gpus_per_trial": 2.0}, 4),
        ([node(cpus=1, gpus=4)], {}, 1),
        ([node(cpus=4, gpus=1), node(cpus=4)], {"gpus_per_trial": 0.0}, 8),
        ([node(cpus=8, memory=3), node(cpus=8, memory=6)], {}, 6),
    ],
)
def test_what_fits_on_a_cluster(
    nodes: list[Node], options: dict[str, object], concurrency: int
) -> None:
    assert plan_on(nodes, **options).concurrency == concurrency


def test_no_node_has_both() -> None:
    with pytest.raises(UsageError, match="no node has both"):
        plan_on([node(cpus=1, gpus=1), node(cpus=8)], cpus_per_trial=4.0)


@pytest.mark.parametrize(
    ("nodes", "options", "sizes"),
    [
        ([node(cpus=8, memory=64)], {}, {"small": 8, "medium": 32, "large": 64}),
        ([node(cpus=2, memory=24)], {}, {"small": 12, "large": 24}),
        ([node(cpus=1, memory=24)], {}, {"small": 24}),
        ([node(cpus=8, memory=64)], {"concurrency": 1}, {"small": 64}),
        (
            [node(cpus=8, memory=16), node(cpus=2, memory=40)],
            {},
            {"small": 2, "medium": 8, "large": 40},
        ),
        ([node(gpus=1, card=80)], {}, {"small": 80}),
        ([node(gpus=1, card=80)], {"gpus_per_trial": 0.25}, {"small": 20, "large": 80}),
        ([node(gpus=1)], {"gpus_per_trial": 0.25}, {"small": 0}),
        ([node(gpus=2, card=80)], {"gpus_per_trial": 2.0}, {"small": 80}),
    ],
)
def test_sizes_of_trials(
    nodes: list[Node], options: dict[str, object], sizes: dict[str, float]
) -> None:
    plan = plan_on(nodes, **options)
    assert {size.name: size.memory_bytes / 1e9 for size in plan.sizes} == sizes
    whole = [size for size in plan.sizes if size.name == "large" and size.gpus]
    assert all(size.gpus == 1 for size in whole)


def test_a_trial_gets_the_smallest_size_with_room() -> None:
    plan = plan_on([node(cpus=8, memory=64)])
    wanted = [1e9, 8e9, 9e9, 32e9, 33e9, 1e12]
    assert [plan.size_for(n).name[0] for n in wanted] == ["s", "s", "m", "m", "l", "l"]


def test_an_epoch_has_stalled_after_ten_times_its_estimate(machine: Machine) -> None:
    sgd = SgdConfig(lr=0.1)
    small = TrialConfig(model=WrnConfig(depth=10, width=1), optimizer=sgd, epochs=1)
    large = small.model_copy(update={"model": WrnConfig(depth=28, width=10)})
    slow = replace(machine, cost=CostModel(1e-6, 0.0))
    expected = slow.trial_epoch_seconds(large)
    assert epoch_timeout(machine, small) == 600
    assert epoch_timeout(slow, large) == 10 * expected > 600


def test_an_epoch_with_sam_takes_twice_as_long(machine: Machine) -> None:
    plain = TrialConfig(model=WrnConfig(depth=10), optimizer=SgdConfig(lr=0.1), epochs=1)
    sam = plain.model_copy(update={"regularization": RegularizationConfig(sam_rho=0.05)})
    seconds = machine.epoch_seconds(plain.model)
    assert machine.trial_epoch_seconds(plain) == seconds
    assert machine.trial_epoch_seconds(sam) == 2 * seconds
    slow = replace(machine, cost=CostModel(1e-6, 0.0))
    assert epoch_timeout(slow, sam) == 2 * epoch_timeout(slow, plain) > 600
