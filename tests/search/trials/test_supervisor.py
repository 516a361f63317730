"""What stands between a runner and a session: no result of a worker can end a search."""

import json
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from fmnist_models.training.cost import CostModel
from search.planning.trial_needs import TrialNeeds
from search.signals import StopRequest
from search.time_budget import Budget
from search.trials.retry_chain import MOST_DEATHS, Chain
from search.trials.supervisor import Supervisor
from search.workers.checkpoints import CheckpointStore
from search.workers.messages import EpochDone, Failed, Failure, Resumed
from storage import Database
from tests.search.loop import STUDY, Listener, metrics, open_session

GOOD = metrics(1, 0.8).model_dump()
DONE = EpochDone(metrics=metrics(1, 0.8)).model_dump_json()
BOOM = Failure(kind="raised", reason="RuntimeError: boom\nTraceback ...")


def epoch_done(**changes: Any) -> str:
    """The message of an epoch, right or wrong."""
    return json.dumps({"type": "epoch_done", "metrics": {**GOOD, **changes}})


class Clock:
    """A clock that goes as it is told."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Supervised(Supervisor):
    """A supervisor of three trials at most, and what it did."""

    def __init__(
        self, database: Database, timeout_seconds: float = 60.0, needs: TrialNeeds | None = None
    ) -> None:
        self.listener, self.killed, self.clock = Listener(), list[Any](), Clock()
        self.store = CheckpointStore(Path(str(database.path)).parent / "checkpoints")
        super().__init__(
            open_session(database, 3, observer=self.listener),
            observer=self.listener,
            stop=StopRequest(Budget()),
            needs=needs or TrialNeeds(),
            checkpoints=self.store,
            epoch_timeout=lambda started: timeout_seconds,
            kill=self.killed.append,
            clock=self.clock,
        )


def state_of(supervisor: Supervisor, number: int) -> TrialState:
    return supervisor.session.study.get_trials()[number].state


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("", "impossible metrics"),
        ("{}", "impossible metrics"),
        (json.dumps(GOOD), "impossible metrics"),
        (epoch_done(val_accuracy=7.0), "impossible metrics"),
        (epoch_done(val_accuracy=float("nan")), "impossible metrics"),
        (epoch_done(val_accuracy=float("inf")), "impossible metrics"),
        (epoch_done(val_accuracy="high"), "impossible metrics"),
        (epoch_done(val_accuracy=True), "impossible metrics"),
        (epoch_done(val_accuracy=None), "no validation accuracy"),
        (Failed(failure=BOOM).model_dump_json(), "boom"),
        ('{"type": "failed", "failure": {"kind": "fire", "reason": "x"}}', "impossible metrics"),
        ('{"type": "resumed", "epochs": []}', "impossible metrics"),
        ('{"type": "resumed", "epochs": "all"}', "impossible metrics"),
        ('{"type": "resumed", "more": 1}', "impossible metrics"),
    ],
)
def test_a_bad_result_fails_its_trial_alone(database: Database, message: str, reason: str) -> None:
    supervisor = Supervised(database)
    bad, good = supervisor.next_trial(), supervisor.next_trial()
    assert not supervisor.result(bad.number, message)
    assert supervisor.result(good.number, DONE)
    assert supervisor.error is None
    assert reason in database.open_study(STUDY).trial_record(bad.number).reason
    assert state_of(supervisor, bad.number) == TrialState.FAIL
    supervisor.session.close("done")


def test_the_epochs_of_a_checkpoint_become_the_trials_own(database: Database) -> None:
    supervisor = Supervised(database)
    number = supervisor.next_trial().number
    epochs = [metrics(epoch, 0.5) for epoch in (1, 2)]
    assert supervisor.result(number, Resumed(epochs=epochs).model_dump_json())
    assert [row.epoch for row in database.open_study(STUDY).epochs(number)] == [1, 2]
    assert [row.seconds for row in database.open_study(STUDY).epochs(number)] == [
        m.seconds for m in epochs
    ]
    supervisor.session.close("done")


def test_what_an_epoch_took_is_told_to_the_needs_of_trials_to_come(database: Database) -> None:
    needs = TrialNeeds(CostModel(1e-9, 0.0, 1e-6, 6.0), "cuda")
    supervisor = Supervised(database, needs=needs)
    started = supervisor.next_trial()
    before = needs.memory_bytes(started.config)
    assert supervisor.result(started.number, epoch_done(peak_memory_bytes=int(3 * before)))
    assert needs.memory_bytes(started.config) > 3 * before
    supervisor.session.close("done")


def test_an_exception_in_the_session_stops_the_search_and_is_kept(database: Database) -> None:
    supervisor = Supervised(database)
    number = supervisor.next_trial().number
    supervisor._epoch_timeout = lambda started: 1 // 0
    assert supervisor.next_trial() is None
    assert isinstance(supervisor.error, ZeroDivisionError)
    assert supervisor.turn({})
    assert not supervisor.result(number, DONE)
    assert database.open_study(STUDY).epochs() == []
    supervisor.session.close("failed")


def test_a_stalled_worker_is_ended_and_what_it_said_last_is_dropped(database: Database) -> None:
    supervisor, worker = Supervised(database, timeout_seconds=4.0), object()
    clock = supervisor.clock
    number = supervisor.next_trial().number
    supervisor.turn({number: worker})
    clock.now += 3
    supervisor.turn({number: worker})
    assert supervisor.result(number, DONE)
    clock.now += 3
    supervisor.turn({number: worker})  # an epoch ended meanwhile
    assert supervisor.killed == []
    clock.now += 2
    supervisor.turn({number: worker})
    assert supervisor.killed == [worker]
    assert (
        "longer than 4 s (--trial-timeout)"
        in database.open_study(STUDY).trial_record(number).reason
    )
    assert state_of(supervisor, number) == TrialState.FAIL
    assert not supervisor.result(number, DONE)
    supervisor.lost(number, "worker died")
    clock.now += 9
    supervisor.turn({number: worker})
    assert supervisor.killed == [worker]
    supervisor.session.close("done")


def test_waiting_for_a_worker_is_no_silence(database: Database) -> None:
    supervisor = Supervised(database, timeout_seconds=2.0)
    clock = supervisor.clock
    number = supervisor.next_trial().number
    for worker in (None, object(), object()):
        supervisor.turn({number: worker})
        clock.now += 3
    assert supervisor.killed == []
    supervisor.session.close("done")


def test_when_the_driver_was_held_up_nobody_else_was_silent(database: Database) -> None:
    supervisor, worker = Supervised(database, timeout_seconds=8.0), object()
    clock = supervisor.clock
    number = supervisor.next_trial().number
    supervisor.turn({number: worker})
    for pause in (100, 4, 4):  # at first as long as a database is gone, say
        clock.now += pause
        supervisor.turn({number: worker})
        assert supervisor.killed == []
    clock.now += 1
    supervisor.turn({number: worker})
    assert supervisor.killed == [worker]
    supervisor.session.close("done")


def test_at_the_end_all_workers_are_ended(database: Database) -> None:
    supervisor, worker = Supervised(database), object()
    number, _ = supervisor.next_trial().number, supervisor.next_trial()
    supervisor.turn({number: worker})
    supervisor.kill_all()
    assert supervisor.killed == [worker]
    supervisor.session.close("done")


def test_all_trials_of_a_broken_runner_are_lost_one_by_one(database: Database) -> None:
    supervisor = Supervised(database)
    numbers = [supervisor.next_trial().number for _ in range(2)]
    supervisor.lose_all("Ray Tune broke down")
    assert [state_of(supervisor, number) for number in numbers] == [TrialState.FAIL] * 2
    assert supervisor.error is None
    supervisor.session.close("done")


def test_where_ray_dies_no_trial_is_blamed_unless_it_dies_with_it_again_and_again(
    database: Database,
) -> None:
    supervisor = Supervised(database)
    numbers = []
    for _ in range(MOST_DEATHS):
        numbers += [supervisor.next_trial().number for _ in range(2)]
        supervisor.interrupt_all("Ray died")
        supervisor.lost(numbers[-1], "late news")
    assert supervisor.error is None
    assert [state_of(supervisor, number) for number in numbers] == [TrialState.FAIL] * 6
    reasons = [ended.reason for ended in supervisor.listener.ended]
    assert reasons == ["Ray died"] * 6
    chains = [Chain.of(supervisor.session.study.get_trials()[n].user_attrs) for n in numbers]
    assert [chain.retries for chain in chains] == [0] * 6
    assert [len(chain.repeats) for chain in chains] == [0, 0, 1, 1, 2, 2]
    assert supervisor.next_trial().number == 6
    assert Chain.of(supervisor.session.study.get_trials()[6].user_attrs).repeats == ()
    supervisor.session.close("done")


def test_notes_of_a_worker_are_passed_on(database: Database) -> None:
    supervisor = Supervised(database)
    number = supervisor.next_trial().number
    message = EpochDone(metrics=metrics(1, 0.8), note="no room for \udcff: it goes on")
    supervisor.result(number, message.model_dump_json())
    assert supervisor.listener.notes == [(number, "no room for ?: it goes on")]
    supervisor.session.close("done")


def test_the_checkpoints_of_a_finished_trial_are_discarded(database: Database) -> None:
    supervisor = Supervised(database)
    first, other = supervisor.next_trial(), supervisor.next_trial()
    for number in (first.number, other.number):
        supervisor.store.save(number, {"epochs": []})
    supervisor.lost(first.number, "worker died")
    again = supervisor.next_trial()
    assert again.resume_from == (first.number,)
    for epoch in range(1, again.config.epochs + 1):
        assert supervisor.store.numbers() == {first.number, other.number}
        goes_on = supervisor.result(again.number, epoch_done(epoch=epoch, val_accuracy=0.9))
    assert not goes_on
    assert supervisor.store.numbers() == {other.number}
    assert [ended.state for ended in supervisor.listener.ended] == ["FAIL", "COMPLETE"]
    supervisor.session.close("done")
