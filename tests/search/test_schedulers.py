"""Trial schedulers: by hand, against Ray's own ASHA, and rebuilt from what was reported."""

import random
from types import SimpleNamespace

import pytest

from search.schedulers import (
    Asha,
    Fifo,
    Hyperband,
    MedianStopping,
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


def actions(scheduler: TrialScheduler, trace: list[Report]) -> dict[tuple[int, int], str]:
    """Play a trace, leaving out what follows a trial's stop: the action at each epoch."""
    told: dict[tuple[int, int], str] = {}
    stopped = set()
    for number, epoch, value in trace:
        if epoch < EPOCHS and number not in stopped:
            decision = scheduler.decide(number, epoch, value)
            assert (decision.epoch, decision.value) == (epoch, value) or decision.rung is None
            told[number, epoch] = decision.action
            stopped |= {number} if decision.action == "stop" else set()
    return told


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
            action = ours.decide(number, epoch, value).action
            assert action == rays.action(number, epoch, value), (number, epoch, value)
            stopped |= {number} if action == "stop" else set()
    assert 100 < len(stopped) < 300


def test_asha_by_hand() -> None:
    asha = Asha(grace_period=1, reduction_factor=3, epochs=9)
    assert list(asha.rungs) == [1, 3]
    first = asha.decide(0, 1, 0.5)
    assert (first.action, first.rung, first.cutoff) == ("continue", 1, None)
    # Of one other at the rung, its value is every quantile.
    assert asha.decide(1, 1, 0.4999).action == "stop"
    assert asha.decide(2, 1, 0.5).action == "continue"
    # Before: 0.4999, 0.5, 0.5: the 2/3 quantile is 0.5.
    third = asha.decide(3, 1, 0.6)
    assert (third.action, third.cutoff) == ("continue", pytest.approx(0.5))
    # Before: 0.4999, 0.5, 0.5, 0.6: at place 2 of 0..3 counted from below stands 0.5.
    assert asha.decide(4, 1, 0.55).action == "continue"
    # Before: 0.4999, 0.5, 0.5, 0.55, 0.6: place 8/3, so 0.5 + 2/3 * 0.05.
    stopped = asha.decide(5, 1, 0.533)
    assert (stopped.action, stopped.cutoff) == ("stop", pytest.approx(0.5 + 2 / 3 * 0.05))
    assert "0.5330 < 0.5333" in stopped.reason
    assert asha.decide(0, 2, 0.0).reason == "between rungs"


def test_asha_compares_no_trial_with_itself() -> None:
    asha = Asha(grace_period=1, reduction_factor=3, epochs=9)
    asha.observe(0, 1, 0.5)
    assert asha.decide(0, 1, 0.4).reason == "first at the rung"


def test_asha_never_compares_at_the_last_epoch() -> None:
    assert list(Asha(1, 3, 27).rungs) == [1, 3, 9]
    assert list(Asha(9, 3, 9).rungs) == []


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
    hyperband.decide(strict[0], 1, 0.9)
    assert hyperband.decide(lax[0], 1, 0.1).reason == "between rungs"
    assert hyperband.decide(strict[1], 1, 0.1).action == "stop"


def test_median_by_hand() -> None:
    median = MedianStopping(grace_period=2)
    for number, start in enumerate((0.2, 0.4, 0.6)):
        assert median.decide(number, 1, start).action == "continue"
        assert median.decide(number, 2, start + 0.2).action == "continue"
    # Running means up to epoch 2: 0.3, 0.5, 0.7; their median is 0.5.
    assert median.decide(3, 1, 0.1).reason == "too early to compare"
    stopped = median.decide(3, 2, 0.49)
    assert (stopped.action, stopped.cutoff) == ("stop", pytest.approx(0.5))
    # The best value so far counts, not the last.
    median.decide(4, 1, 0.9)
    assert median.decide(4, 2, 0.1).action == "continue"


def test_fifo_never_stops() -> None:
    assert set(actions(Fifo(), recorded_trace(1, trials=5)).values()) == {"continue"}


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("cut", [10, 1500, 4000])
def test_rebuilt_from_what_was_reported_it_decides_as_the_unbroken_one(name: str, cut: int) -> None:
    def fresh() -> TrialScheduler:
        return make_scheduler(name, grace_period=1, reduction_factor=3, epochs=EPOCHS)

    trace = recorded_trace(seed=5, trials=200)
    told = actions(fresh(), trace)
    rebuilt = fresh()
    trained = [report for report in trace if report[:2] in told]
    before, after = trained[: cut * len(trained) // 5400], trained[cut * len(trained) // 5400 :]
    for number, epoch, value in before:
        rebuilt.observe(number, epoch, value)
    assert actions(rebuilt, after) == {r[:2]: told[r[:2]] for r in after}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_trace_replayed_is_decided_alike(name: str) -> None:
    def decided() -> dict[tuple[int, int], str]:
        fresh = make_scheduler(name, grace_period=1, reduction_factor=3, epochs=EPOCHS)
        return actions(fresh, recorded_trace(seed=11, trials=100))

    assert decided() == decided()


def test_an_unknown_scheduler_is_a_defect() -> None:
    with pytest.raises(ValueError, match="'pbt'"):
        make_scheduler("pbt", grace_period=1, reduction_factor=3, epochs=9)
