"""How many trials share a card, from what was measured: made-up cards and measurements."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from fmnist_models.config.optimizers import SgdConfig
from fmnist_models.config.trial import TrialConfig
from fmnist_models.families.wrn import WrnConfig
from fmnist_models.training.cost import CostModel, fit_memory, model_cost
from fmnist_models.training.metrics import EpochMetrics
from search.errors import UsageError
from search.planning.cost_estimate import (
    GPU_PROBE_RANGE,
    PROBE_BATCH,
    PROBE_RANGE,
    candidates,
    choose_probes,
)
from search.planning.plan import CARD_SHARES, Node, SearchPlan, make_plan, set_up_trials
from search.planning.trial_needs import CARD_BYTES, TrialNeeds, expected_memory, needed_shares
from search.settings import make_settings
from search.time_budget import Budget
from search.workers.messages import StartedTrial, WorkerSettings
from spaces import get_space

WRN = get_space("wrn")
CARD = 80 * 10**9
SMALL, LARGE = WrnConfig(depth=10, width=1), WrnConfig(depth=28, width=10)


def config(model: WrnConfig = SMALL, batch_size: int = PROBE_BATCH) -> TrialConfig:
    return TrialConfig(model=model, optimizer=SgdConfig(lr=0.1), batch_size=batch_size, epochs=1)


def started(model: WrnConfig = SMALL, batch_size: int = PROBE_BATCH) -> StartedTrial:
    return StartedTrial(number=0, config=config(model, batch_size))


def cost(busy: float, bytes_per_activation: float = 6.0) -> CostModel:
    """A card that is busy for so much of the time of the small network's step."""
    macs = model_cost(SMALL).macs
    return CostModel(busy * 1e-6 / macs, 0.0, (1 - busy) * 1e-6, bytes_per_activation)


def node(cpus: float = 16, gpus: float = 1, card: int = CARD) -> Node:
    return Node(name="n", cpus=cpus, gpus=gpus, memory_bytes=64 * 10**9, card_memory_bytes=card)


def plan_for(
    shares: Sequence[float], nodes: list[Node] | None = None, **options: object
) -> SearchPlan:
    settings = make_settings(**{"space": "wrn", "trials": 100, "study": "s", **options})
    nodes = nodes or [node()]
    setup = set_up_trials(settings, WRN, device="cuda", nodes=nodes)
    return make_plan(settings, setup, nodes=nodes, shares=shares, budget=Budget())


@pytest.mark.parametrize(
    ("shares", "nodes", "smallest", "at_once"),
    [
        ([0.1], [node()], 0.25, 4),
        ([0.26], [node()], 0.5, 2),
        ([0.51], [node()], 1.0, 1),
        ([7.0], [node()], 1.0, 1),
        ([0.1, 7.0], [node()], 0.25, 2),
        ([0.1, 0.1, 0.1, 7.0], [node()], 0.25, 3),
        ([0.1], [node(cpus=3)], 0.25, 3),
        ([0.1], [node(gpus=2), node(), node(gpus=0)], 0.25, 12),
        ([], [node()], 1.0, 1),
    ],
)
def test_trials_share_a_card_as_they_need_it(
    shares: list[float], nodes: list[Node], smallest: float, at_once: int
) -> None:
    plan = plan_for(shares, nodes)
    assert (plan.gpus_per_trial, plan.concurrency) == (smallest, at_once)
    assert plan.sizes[0].gpus == smallest
    assert plan.sizes[-1].gpus == 1.0


def test_the_sizes_are_shares_of_time_and_of_the_smallest_cards_memory() -> None:
    plan = plan_for([0.1], [node(), node(card=40 * 10**9), node(gpus=0, card=0)])
    found = {size.name: (size.gpus, size.busy_share, size.memory_bytes) for size in plan.sizes}
    assert found == {n: (s, s, int(40e9 * s)) for n, s in CARD_SHARES.items()}
    assert {size.gpus for size in plan_for([0.4]).sizes} == {0.5, 1.0}


def test_what_the_user_says_rules() -> None:
    plan = plan_for([0.9], gpus_per_trial=0.5)
    assert (plan.gpus_per_trial, plan.concurrency) == (0.5, 2)
    assert plan.size_for(1.0, busy_share=0.9).gpus == 0.5
    assert plan_for([0.1], gpus_per_trial=1.0).concurrency == 1
    with pytest.raises(UsageError, match="--concurrency 2: 1 trials fit"):
        plan_for([0.1], gpus_per_trial=1.0, concurrency=2)
    with pytest.raises(UsageError, match="--concurrency 5: 4 trials fit"):
        plan_for([], concurrency=5)
    assert [plan_for(s, concurrency=3).concurrency for s in ([], [0.1], [0.9])] == [1, 3, 1]


@pytest.mark.parametrize(
    ("busy", "memory", "gpus"),
    [(0.2, 1e9, 0.25), (0.3, 1e9, 0.5), (0.6, 1e9, 1.0), (0.2, 30e9, 0.5), (0.2, 1e12, 1.0)],
)
def test_a_trial_gets_the_place_that_it_needs(busy: float, memory: float, gpus: float) -> None:
    assert plan_for([0.1]).size_for(memory, busy).gpus == gpus


def test_the_idle_time_of_a_card_is_that_which_work_does_not_explain() -> None:
    needs = TrialNeeds(cost(busy=0.2), "cuda")
    assert needs.busy_share(config()) == pytest.approx(0.2)
    # Twice the images a launch are twice the work: 0.4 of it to 0.8 of launches.
    assert needs.busy_share(config(batch_size=2 * PROBE_BATCH)) == pytest.approx(0.4 / 1.2)
    assert needs.busy_share(config(LARGE)) > 0.99
    assert TrialNeeds(CostModel(1e-9, 0.0), "cuda").busy_share(config()) == 1.0
    assert TrialNeeds(cost(busy=0.2), "cpu").busy_share(config()) == 0.0
    assert TrialNeeds().busy_share(config()) == 0.0


def test_the_share_is_that_of_time_or_of_memory() -> None:
    needs = TrialNeeds(cost(busy=0.2), "cuda")
    assert needs.share(config(), CARD) == pytest.approx(0.2)
    memory = needs.memory_bytes(config())
    assert memory == pytest.approx(expected_memory(config(), "cuda", 1, 6.0))
    assert needs.share(config(), int(memory)) == pytest.approx(1.0, rel=1e-6)


def test_memory_follows_the_measurement_and_falls_back_on_a_guess() -> None:
    measured, twice = (expected_memory(config(), "cuda", 1, each) for each in (6.0, 12.0))
    activations = model_cost(SMALL).activations * PROBE_BATCH
    assert twice - measured == pytest.approx(6.0 * activations)
    assert expected_memory(config(), "cuda") == expected_memory(config(), "cuda", 1, 10.0)
    assert expected_memory(config(), "cpu", 1, 99.0) == expected_memory(config(), "cpu")


def test_the_most_that_a_probe_took_counts() -> None:
    a, b = model_cost(SMALL), model_cost(LARGE)
    peaks = [
        (a, 10, int(5 * a.activations * 10 + 12 * a.parameters)),
        (b, 10, int(7 * b.activations * 10 + 12 * b.parameters)),
    ]
    assert fit_memory(peaks) == pytest.approx(7, rel=1e-6)
    assert fit_memory([(a, 10, 0)]) == 0


def epoch(peak: float) -> EpochMetrics:
    return EpochMetrics(
        epoch=1,
        train_loss=1.0,
        train_accuracy=0.5,
        val_loss=1.0,
        val_accuracy=0.5,
        lr=0.1,
        seconds=1.0,
        images_per_second=1.0,
        peak_memory_bytes=int(peak),
    )


def test_trials_that_took_more_than_expected_make_their_family_larger() -> None:
    needs = TrialNeeds(cost(busy=0.2), "cuda")
    before = needs.memory_bytes(config())
    needs.learn(started(), epoch((before - CARD_BYTES) / 2))
    assert needs.memory_bytes(config()) == before
    for _ in range(2):  # the same again changes nothing
        needs.learn(started(), epoch(3 * before - CARD_BYTES))
        assert needs.memory_bytes(config()) == pytest.approx(3 * before)
    ours = TrialNeeds(cost(busy=0.2), "cpu")
    expected = ours.memory_bytes(config())
    ours.learn(started(), epoch(1e12))
    assert ours.memory_bytes(config()) == expected


def settings_for(tmp_path: Path) -> WorkerSettings:
    return WorkerSettings(
        data_dir=str(tmp_path), train_samples=None, device="cuda", precision="bf16", threads=1
    )


def test_a_worker_is_asked_for_in_the_size_that_its_trial_needs(tmp_path: Path) -> None:
    from search.backend.ray_tune import config_of

    plan, needs = plan_for([0.1]), TrialNeeds(cost(busy=0.2), "cuda")

    def size(trial: StartedTrial) -> Any:
        return config_of(trial, plan, settings_for(tmp_path), needs)["size"]

    assert (size(started()), size(started(LARGE))) == ("small", "large")
    needs.learn(started(), epoch(0.4 * CARD))
    assert size(started()) == "medium"


def test_what_a_space_needs_is_asked_of_its_points_and_of_random_configurations() -> None:
    shares = needed_shares(WRN, TrialNeeds(cost(busy=0.1), "cuda"), [node(), node(card=2 * CARD)])
    assert len(shares) == len(candidates(WRN)) > len(WRN.points)
    assert 0 < min(shares) < 0.5 < max(shares)
    assert needed_shares(WRN, TrialNeeds(cost(busy=0.1), "cuda"), [node(card=0)]) == ()


def test_what_convolutions_cost_is_not_told_by_perceptrons() -> None:
    """In `all` the smallest dozen times are perceptrons: from those, they looked much slower."""
    largest = choose_probes(get_space("all"))[-1].model
    assert largest.family != "mlp"
    assert model_cost(largest).macs > 1e7


def test_a_gpu_is_tried_with_larger_networks_too() -> None:
    few, many = (choose_probes(WRN, span) for span in (PROBE_RANGE, GPU_PROBE_RANGE))
    assert few == choose_probes(WRN)
    assert few[0] == many[0]
    work = [model_cost(probes[-1].model).macs for probes in (few, many)]
    assert work[1] > 3 * work[0]
