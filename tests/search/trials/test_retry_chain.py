"""Trials that failed or were interrupted go on: how often, with what, and from where."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from optuna.trial import TrialState

from search.errors import SurroundingsError
from search.trials.retry_chain import KNOWN_GOOD, Chain, failure_reason
from search.trials.session import MOST_FAILURES, SearchSession
from search.workers.messages import Failure, FailureKind, StartedTrial
from search.workspace import space_check
from storage import Database
from tests.search.checker import check_study
from tests.search.loop import LIMITS, STUDY, Checkpoints, curve, drive, metrics, open_session


def failure(kind: FailureKind, reason: str = "told so") -> Failure:
    return Failure(kind=kind, reason=reason)


def until_it_is_not_retried(session: SearchSession, kind: FailureKind) -> list[StartedTrial]:
    """Let the first trial fail, and those that repeat it; give them all."""
    attempts = [session.next_trial()]
    session.report(attempts[0].number, metrics(1, 0.5))
    while True:
        session.fail(attempts[-1].number, failure(kind))
        following = [session.next_trial() for _ in range(2)]  # a known-good point may come first
        again = [t for t in following if attempts[-1].number in t.resume_from]
        if not again:
            return attempts
        attempts += again


@pytest.mark.parametrize("kind", ["raised", "hung", "worker_died"])
def test_what_may_be_bad_luck_is_tried_again_as_often_as_told(
    database: Database, kind: FailureKind
) -> None:
    session = open_session(database, 9, limits=LIMITS)
    first, second, third = until_it_is_not_retried(session, kind)
    assert first.resume_from == ()
    assert second.resume_from == (first.number,)
    assert third.resume_from == (second.number, first.number)
    assert first.config == second.config == third.config  # its seed as well
    assert third.micro_batches == 1
    session.close("done")
    trials = check_study(database, STUDY)
    assert {trials[t.number].state for t in (first, second, third)} == {TrialState.FAIL}
    reasons = [database.open_study(STUDY).trial_record(t.number).reason for t in (first, third)]
    assert reasons == [f"{kind}: told so; queued again", f"{kind}: told so"]


@pytest.mark.parametrize("kind", ["diverged", "bad_report"])
def test_what_would_happen_again_is_not_tried_again(database: Database, kind: FailureKind) -> None:
    session = open_session(database, 9)
    assert len(until_it_is_not_retried(session, kind)) == 1
    session.close("done")


def test_no_retries_at_all(database: Database) -> None:
    session = open_session(database, 9, limits=replace(LIMITS, retries=0))
    assert len(until_it_is_not_retried(session, "raised")) == 1
    session.close("done")


def test_out_of_memory_is_tried_with_smaller_micro_batches_twice(database: Database) -> None:
    session = open_session(database, 9)
    attempts = until_it_is_not_retried(session, "out_of_memory")
    assert [t.micro_batches for t in attempts] == [1, 2, 4]
    assert len({t.config.model_dump_json() for t in attempts}) == 1, "the batch size stays"
    session.close("done")
    assert database.open_study(STUDY).trial_record(attempts[0].number).reason == (
        "out_of_memory: told so; queued again, in 2 micro-batches"
    )
    assert (
        database.open_study(STUDY).trial_record(attempts[2].number).reason
        == "out_of_memory: told so"
    )
    check_study(database, STUDY)


def test_an_interruption_is_no_retry_and_changes_nothing(database: Database) -> None:
    chain = Chain((1,), retries=2, micro_batches=2, known_good="wide")
    again = chain.after(7, None, retries=2)
    assert again == Chain((7, 1), retries=2, micro_batches=2, known_good="wide")
    assert again.root(9) == 1
    assert Chain.of(again.attributes()) == again
    assert chain.after(7, failure("raised"), retries=2) is None
    assert chain.after(7, failure("out_of_memory"), retries=0).micro_batches == 4


def test_a_chain_of_an_earlier_version_is_understood() -> None:
    assert Chain.of({"retry_of": 3}) == Chain((3,))
    assert Chain.of({}) == Chain()


def test_a_reason_keeps_its_traceback() -> None:
    told = failure_reason(failure("raised", "ValueError: no\nTraceback ..."), Chain((1,)))
    assert told == "raised: ValueError: no; queued again\nTraceback ..."
    assert failure_reason(failure("diverged", "diverged: nan"), None) == "diverged: nan"


def test_a_known_good_point_stays_one_when_it_is_tried_again(database: Database) -> None:
    session = open_session(database, 9)
    attempts = until_it_is_not_retried(session, "raised")
    trials = session.study.get_trials()
    names = [trials[t.number].user_attrs[KNOWN_GOOD] for t in attempts]
    assert len(names) == 3
    assert len(set(names)) == 1
    session.close("done")


def interrupted(database: Database, epochs: int, checkpoints: Checkpoints) -> SearchSession:
    """Run two trials side by side for some epochs each, and interrupt them."""
    session = open_session(database, 2, "fifo")
    drive(session, epochs=2 * epochs, checkpoints=checkpoints)
    session.close("interrupted")
    return session


def test_an_interrupted_trial_goes_on_from_its_checkpoint(
    database: Database, tmp_path: Path
) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    interrupted(database, 4, checkpoints)
    session = open_session(database, 2, "fifo")
    drive(session, checkpoints=checkpoints)
    session.close("done")
    trials = check_study(database, STUDY, 2)
    retry = next(t for t in trials if t.state == TrialState.COMPLETE)
    number = retry.user_attrs["retry_of"]
    assert list(retry.intermediate_values) == list(range(1, 10))
    assert retry.intermediate_values == {e: curve(number, e) for e in range(1, 10)}
    # Four epochs were trained once, though two trials have them.
    assert database.open_study(STUDY).epoch_count() == 2 * 9
    decided = [d.epoch for d in database.open_study(STUDY).decisions() if d.number == retry.number]
    assert decided == list(range(4, 9))


def test_a_checkpoint_may_be_an_epoch_ahead_of_what_was_reported(database: Database) -> None:
    session = open_session(database, 2, "asha")
    first = session.next_trial()
    session.report(first.number, metrics(1, 0.51))
    session.close("interrupted")  # with epochs 2 and 3 trained and saved
    session = open_session(database, 2, "asha")
    second = [session.next_trial() for _ in range(2)][1]  # a known-good point comes first
    assert second.resume_from == (first.number,)
    told = session.resume(second.number, [metrics(e, 0.5 + e / 100) for e in (1, 2, 3)])
    assert told.ended is None
    assert (told.decision.epoch, told.decision.rung) == (3, 3)
    assert session.scheduler.rungs[3] == {}, "known to the scheduler by way of SQL alone"
    session._recorder.rungs.refresh()
    assert session.scheduler.rungs == {1: {first.number: 0.51}, 3: {first.number: 0.53}}
    session.close("done")
    check_study(database, STUDY)


def test_a_checkpoint_of_all_epochs_completes_the_trial_at_once(database: Database) -> None:
    session = open_session(database, 1, epochs=3)
    number = session.next_trial().number
    done = session.resume(number, [metrics(e, 0.5) for e in (1, 2, 3)])
    assert (done.ended, done.decision) == ("COMPLETE", None)
    assert session.is_done
    session.close("done")
    check_study(database, STUDY, 1)


def test_a_resumed_trial_without_accuracy_fails(database: Database) -> None:
    session = open_session(database, 2)
    number = session.next_trial().number
    wrong = metrics(2, 0.5).model_copy(update={"val_accuracy": None})
    assert session.resume(number, [metrics(1, 0.5), wrong]).ended == "FAIL"
    session.close("done")
    assert "bad_report" in database.open_study(STUDY).trial_record(number).reason
    assert database.open_study(STUDY).epochs() == []


def test_a_chain_counts_once_at_a_rung(database: Database, tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    for _ in range(3):
        interrupted(database, 3, checkpoints)
    session = open_session(database, 2, "asha")
    assert {rung: len(values) for rung, values in session.scheduler.rungs.items()} == {1: 2, 3: 2}
    session.close("done")


def test_when_every_trial_fails_the_search_ends_with_the_first_traceback(
    database: Database,
) -> None:
    session = open_session(database, 50, limits=replace(LIMITS, retries=1))
    started = 0
    while not session.is_done:
        trial = session.next_trial()
        session.fail(trial.number, failure("raised", f"KeyError: {started}\nTraceback {started}"))
        started += 1
    assert started == 2 * MOST_FAILURES
    assert session.is_hopeless
    assert session.next_trial() is None
    assert session.first_failure == "raised: KeyError: 0; queued again\nTraceback 0"
    session.close("ended by failures")
    check_study(database, STUDY, 0)


def test_no_trial_is_started_on_a_disk_that_is_nearly_full(
    database: Database, tmp_path: Path
) -> None:
    def refused(least_bytes: int) -> Callable[[], None]:
        return space_check([tmp_path / "not" / "yet" / "there"], least_bytes)

    session = open_session(database, 3, check_space=refused(10**18))
    with pytest.raises(SurroundingsError, match=r"only \d+ MB are free .* --min-free") as error:
        session.next_trial()
    assert "\n" not in str(error.value)
    session.close("failed")
    assert all(t.state == TrialState.WAITING for t in check_study(database, STUDY, 0))
    session = open_session(database, 3, check_space=refused(1))
    drive(session)
    session.close("done")
    check_study(database, STUDY, 3)
