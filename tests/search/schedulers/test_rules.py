"""Trial schedulers: by hand, against Ray's own ASHA, and rebuilt from what was reported."""

import functools
import random
from types import SimpleNamespace

import pytest

from search.schedulers.rules import (
    Asha,
    Decision,
    Fifo,
    Hyperband,
    MedianStopping,
    QuotaAsha,
    TrialScheduler,
    make_scheduler,
)
from search.settings import SCHEDULERS

EPOCHS = 27
Report = tuple[int, int, float]


def recorded_trace(seed: int, trials: int = 300, at_once: int = 8) -> list[Report]:
    """Give the epochs of trials that run side by side, as if none were ever stopped.

    Accuracies are of 10,000 images, so that equal ones occur.
    """
    draw = random.Random(seed)
    waiting, live, trace = iter(range(trials)), {}, []
    ends = [draw.uniform(0.85, 0.95) for _ in range(trials)]
    while True:
        while len(live) < at_once and (number := next(waiting, None)) is not None:
            live[number] = 0
        if not live:
            return trace
        number = draw.choice(list(live))
        live[number] += 1
        value = ends[number] - 0.1 / live[number] + draw.gauss(0, 0.003)
        trace.append((number, live[number], round(value, 3 + number % 2)))
        if live[number] == EPOCHS:
            del live[number]


def told(scheduler: TrialScheduler, number: int, epoch: int, value: float) -> Decision:
    """Let a scheduler decide, and then take the value in, as a session does by way of SQL."""
    decision = scheduler.decide(number, epoch, value)
    scheduler.observe(number, epoch, value)
    return decision


def actions(scheduler: TrialScheduler, trace: list[Report]) -> dict[tuple[int, int], str]:
    """Play a trace, leaving out what follows a trial's stop: the action at each epoch."""
    taken: dict[tuple[int, int], str] = {}
    stopped = set()
    for number, epoch, value in trace:
        if epoch < EPOCHS and number not in stopped:
            decision = told(scheduler, number, epoch, value)
            assert (decision.epoch, decision.value) == (epoch, value) or decision.rung is None
            taken[number, epoch] = decision.action
            stopped |= {number} if decision.action == "stop" else set()
    return taken


class RayAsha:
    """Ray Tune's scheduler behind our interface."""

    def __init__(self, grace_period: int, reduction_factor: int) -> None:
        from ray.tune.schedulers.async_hyperband import AsyncHyperBandScheduler

        self.scheduler = AsyncHyperBandScheduler(
            metric="accuracy",
            mode="max",
            max_t=EPOCHS,
            grace_period=grace_period,
            reduction_factor=reduction_factor,
        )
        self.trials: dict[int, SimpleNamespace] = {}

    def action(self, number: int, epoch: int, value: float) -> str:
        if number not in self.trials:
            self.trials[number] = SimpleNamespace(trial_id=str(number))
            self.scheduler.on_trial_add(None, self.trials[number])
        result = {"training_iteration": epoch, "accuracy": value}
        return {"CONTINUE": "continue", "STOP": "stop"}[
            self.scheduler.on_trial_result(None, self.trials[number], result)
        ]


@pytest.mark.parametrize(("grace", "factor"), [(1, 3), (3, 3), (1, 4), (2, 2)])
def test_asha_decides_as_rays_does(grace: int, factor: int) -> None:
    ours, rays = Asha(grace, factor, EPOCHS), RayAsha(grace, factor)
    stopped = set()
    for number, epoch, value in recorded_trace(seed=grace * 10 + factor):
        if epoch < EPOCHS and number not in stopped:
            action = told(ours, number, epoch, value).action
            assert action == rays.action(number, epoch, value), (number, epoch, value)
            stopped |= {number} if action == "stop" else set()
    assert 100 < len(stopped) < 300


def test_asha_by_hand() -> None:
    asha = Asha(grace_period=1, reduction_factor=3, epochs=9)
    assert list(asha.rungs) == [1, 3]
    first = told(asha, 0, 1, 0.5)
    assert (first.action, first.rung, first.cutoff) == ("continue", 1, None)
    # Of one other at the rung, its value is every quantile.
    assert told(asha, 1, 1, 0.4999).action == "stop"
    assert told(asha, 2, 1, 0.5).action == "continue"
    # Before: 0.4999, 0.5, 0.5: the 2/3 quantile is 0.5.
    third = told(asha, 3, 1, 0.6)
    assert (third.action, third.cutoff) == ("continue", pytest.approx(0.5))
    # Before: 0.4999, 0.5, 0.5, 0.6: at place 2 of 0..3 counted from below stands 0.5.
    assert told(asha, 4, 1, 0.55).action == "continue"
    # Before: 0.4999, 0.5, 0.5, 0.55, 0.6: place 8/3, so 0.5 + 2/3 * 0.05.
    stopped = told(asha, 5, 1, 0.533)
    assert (stopped.action, stopped.cutoff) == ("stop", pytest.approx(0.5 + 2 / 3 * 0.05))
    assert "0.5330 < 0.5333" in stopped.reason
    assert told(asha, 0, 2, 0.0).reason == "between rungs"


def test_asha_compares_no_trial_with_itself() -> None:
    asha = Asha(grace_period=1, reduction_factor=3, epochs=9)
    asha.observe(0, 1, 0.5)
    assert told(asha, 0, 1, 0.4).reason == "first at the rung"


def test_asha_never_compares_at_the_last_epoch() -> None:
    assert list(Asha(1, 3, 27).rungs) == [1, 3, 9]
    assert list(Asha(9, 3, 9).rungs) == []


def test_a_quota_holds_when_every_trial_is_better_than_most() -> None:
    """As with a sampler that learns: ASHA itself lets all pass that beat the first ones."""
    draw = random.Random(0)
    values = [0.5, 0.5, 0.5] + [0.7 + 0.01 * draw.random() for _ in range(60)]
    asha, quota = Asha(1, 3, 9), QuotaAsha(1, 3, 9)
    passed = {
        name: [told(scheduler, n, 1, v).action for n, v in enumerate(values)].count("continue")
        for name, scheduler in {"asha": asha, "quota": quota}.items()
    }
    assert passed["quota"] <= 0.5 * len(values) + 3
    assert passed["quota"] <= passed["asha"]


def test_a_quota_is_a_share_of_all_that_began() -> None:
    quota, passed = QuotaAsha(1, 3, 27, trials=48), {1: [], 3: [], 9: []}
    for number in range(12):  # one after the other, all equal: ASHA would let all pass
        for epoch, those in passed.items():
            if told(quota, number, epoch, 0.5).action == "stop":
                break
            those.append(number)
    # Of n that began int(n / 2) pass the first rung, int(n / 6) the second, int(n / 18) the third;
    # with the twelfth trial, the last of the first quarter, it is enough to be as good as the best.
    # The very first passes the first rung beyond that, as there is nothing to compare it with.
    assert passed == {1: [0, 1, 3, 5, 7, 9, 11], 3: [5, 11], 9: [11]}


def test_before_its_quota_only_the_very_first_passes_and_not_even_the_best() -> None:
    quota = QuotaAsha(1, 3, 9)
    first = told(quota, 0, 1, 0.5)
    assert (first.action, first.reason) == ("continue", "first at the rung")
    assert told(quota, 1, 1, 0.4).reason.startswith("0.4000 < 0.5000")
    assert told(quota, 2, 1, 0.6).action == "continue", "the first one's pass was beyond the quota"
    stopped = told(quota, 2, 3, 0.9)
    assert (stopped.action, stopped.rung, stopped.cutoff) == ("stop", 3, None)
    assert stopped.reason == "0 of 3 may pass rung 3, 0 have"


def test_a_quota_lets_the_best_so_far_pass() -> None:
    quota = QuotaAsha(1, 3, 9, trials=48)
    values = [0.5 + 0.01 * n for n in range(20)]
    told_so = [told(quota, n, 1, v).action for n, v in enumerate(values)]
    assert set(told_so[11:]) == {"continue"}
    stopped = told(quota, 20, 1, 0.685)
    assert (stopped.action, stopped.cutoff) == ("stop", 0.69)
    assert "the best, as 10 of 21 may pass rung 1, 14 have" in stopped.reason


@pytest.mark.parametrize("trials", [1, 3, 7])
def test_in_a_small_search_the_first_runs_to_its_end(trials: int) -> None:
    quota = make_scheduler("quota", grace_period=1, reduction_factor=3, epochs=9, trials=trials)
    assert {told(quota, 0, epoch, 0.1).action for epoch in range(1, 9)} == {"continue"}


def test_hyperband_of_one_bracket_is_asha() -> None:
    trace = recorded_trace(seed=7, trials=60)
    one = Hyperband(grace_period=9, reduction_factor=3, epochs=EPOCHS)
    assert len(one.brackets) == 1
    assert actions(one, trace) == actions(Asha(9, 3, EPOCHS), trace)


def test_hyperband_puts_a_trial_into_the_same_bracket_every_time() -> None:
    one, other = Hyperband(1, 3, 27), Hyperband(1, 3, 27)
    places = [one.brackets.index(one.bracket(n)) for n in range(1300)]
    assert places == [other.brackets.index(other.bracket(n)) for n in range(1300)]
    assert [places.count(s) for s in range(3)] == pytest.approx([900, 300, 100], abs=5)
    assert [list(b.rungs) for b in one.brackets] == [[1, 3, 9], [3, 9], [9]]


def test_hyperband_compares_within_a_bracket_only() -> None:
    hyperband = Hyperband(1, 3, 27)
    strict = [n for n in range(50) if hyperband.bracket(n) is hyperband.brackets[0]]
    lax = [n for n in range(50) if hyperband.bracket(n) is hyperband.brackets[2]]
    told(hyperband, strict[0], 1, 0.9)
    assert told(hyperband, lax[0], 1, 0.1).reason == "between rungs"
    assert told(hyperband, strict[1], 1, 0.1).action == "stop"


def test_median_by_hand() -> None:
    median = MedianStopping(grace_period=2)
    for number, start in enumerate((0.2, 0.4, 0.6)):
        assert told(median, number, 1, start).action == "continue"
        assert told(median, number, 2, start + 0.2).action == "continue"
    # Running means up to epoch 2: 0.3, 0.5, 0.7; their median is 0.5.
    assert told(median, 3, 1, 0.1).reason == "too early to compare"
    stopped = told(median, 3, 2, 0.49)
    assert (stopped.action, stopped.cutoff) == ("stop", pytest.approx(0.5))
    # The best value so far counts, not the last.
    told(median, 4, 1, 0.9)
    assert told(median, 4, 2, 0.1).action == "continue"


def test_fifo_never_stops() -> None:
    assert set(actions(Fifo(), recorded_trace(1, trials=5)).values()) == {"continue"}


@functools.cache
def traced(name: str) -> tuple[list[Report], dict[tuple[int, int], str]]:
    """A trace, and what the scheduler decides on it without a break."""
    trace = recorded_trace(seed=5, trials=200)
    fresh = make_scheduler(name, grace_period=1, reduction_factor=3, epochs=EPOCHS)
    return trace, actions(fresh, trace)


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("cut", [10, 1500, 4000])
def test_rebuilt_from_what_was_reported_it_decides_as_the_unbroken_one(name: str, cut: int) -> None:
    trace, unbroken = traced(name)
    rebuilt = make_scheduler(name, grace_period=1, reduction_factor=3, epochs=EPOCHS)
    trained = [report for report in trace if report[:2] in unbroken]
    before, after = trained[: cut * len(trained) // 5400], trained[cut * len(trained) // 5400 :]
    for number, epoch, value in before:
        rebuilt.observe(number, epoch, value)
    assert actions(rebuilt, after) == {r[:2]: unbroken[r[:2]] for r in after}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_trace_replayed_is_decided_alike(name: str) -> None:
    def decided() -> dict[tuple[int, int], str]:
        fresh = make_scheduler(name, grace_period=1, reduction_factor=3, epochs=EPOCHS)
        return actions(fresh, recorded_trace(seed=11, trials=100))

    assert decided() == decided()


def test_an_unknown_scheduler_is_a_defect() -> None:
    with pytest.raises(ValueError, match="'pbt'"):
        make_scheduler("pbt", grace_period=1, reduction_factor=3, epochs=9)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_to_decide_changes_nothing(name: str) -> None:
    scheduler = make_scheduler(name, grace_period=1, reduction_factor=3, epochs=EPOCHS)
    for number, epoch, value in recorded_trace(seed=3, trials=30):
        scheduler.observe(number, epoch, value)
    assert scheduler.decide(99, 3, 0.7) == scheduler.decide(99, 3, 0.7)
    others = scheduler.decide(99, 3, 0.7)
    scheduler.observe(99, 3, 0.7)
    assert scheduler.decide(99, 3, 0.7) == others, "a trial is not compared with itself"


@pytest.mark.parametrize("name", SCHEDULERS)
def test_what_no_decision_depends_on_need_not_be_in_order(name: str) -> None:
    def fresh() -> TrialScheduler:
        return make_scheduler(name, grace_period=3, reduction_factor=3, epochs=EPOCHS)

    whole, part = fresh(), fresh()
    for number, epoch, value in recorded_trace(seed=4, trials=40):
        assert whole.decide(number, epoch, value) == part.decide(number, epoch, value)
        whole.observe(number, epoch, value)
        if part.compares(number, epoch):
            part.observe(number, epoch, value)


def test_a_quota_does_not_count_a_trial_that_comes_again_against_itself() -> None:
    """As one does that goes on from a checkpoint, under the number of the first of its chain."""
    quota = QuotaAsha(1, 3, 27, trials=48)
    passed = [n for n in range(6) if told(quota, n, 1, 0.5).action == "continue"]
    assert passed == [0, 1, 3, 5], "the very first and all three that may pass of six"
    assert told(quota, 5, 1, 0.5).action == "continue"
    assert told(quota, 4, 1, 0.5).action == "stop", "who was stopped takes nobody's place"
