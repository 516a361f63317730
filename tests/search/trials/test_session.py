"""A launch without Ray: states, records and totals of a search that trains nothing."""

from dataclasses import replace

import pytest
from optuna.trial import TrialState

from fmnist_models.config.files import parse_config
from fmnist_models.training.cost import model_cost
from fmnist_models.training.metrics import EpochMetrics
from fmnist_models.training.size_law import NetworkSize
from search.planning.plan import NETWORK
from search.results.summary import environment_of, summarize
from search.samplers.registry import make_sampler
from search.settings import SAMPLERS, SCHEDULERS, make_settings
from search.trials.epoch_recorder import RUNS_ON
from search.trials.retry_chain import KNOWN_GOOD, give_up
from search.trials.session import MOST_FAILURES
from search.trials.study import finished_trials, open_study
from search.workers.messages import Failure
from spaces import get_space
from storage import Database, open_database
from tests.search.checker import check_no_repeats, check_replay, check_study
from tests.search.loop import (
    ENVIRONMENT,
    EPOCHS,
    IDENTITY,
    STUDY,
    curve,
    drive,
    metrics,
    open_session,
    search,
)


def diverged(reason: str) -> Failure:
    return Failure(kind="diverged", reason=reason)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_the_total_is_exact_and_every_trial_is_recorded(database: Database, scheduler: str) -> None:
    session = search(database, 12, scheduler)
    trials = check_study(database, STUDY, 12)
    check_no_repeats(trials)
    assert (check_replay(session.store) > 0) == (scheduler != "fifo")
    states = {t.state for t in trials}
    assert TrialState.COMPLETE in states
    assert (TrialState.PRUNED in states) == (scheduler != "fifo")
    assert [t.params["quick.width"] for t in trials[:2]] == [16, 32]  # the known-good points


def test_a_pruned_trial_keeps_its_last_value_rung_and_reason_and_no_point_is_pruned(
    database: Database,
) -> None:
    session = search(database, 12)
    pruned = [t for t in check_study(database, STUDY, 12) if t.state == TrialState.PRUNED]
    last = {d.number: d for d in database.open_study(STUDY).decisions()}
    for trial in pruned:
        assert trial.value == curve(trial.number, trial.last_step)
        assert last[trial.number].rung == trial.last_step
        assert "others at rung" in database.open_study(STUDY).trial_record(trial.number).reason
    points = [t for t in session.study.get_trials() if KNOWN_GOOD in t.user_attrs]
    assert len(points) == get_space("quick").most_points
    assert {t.state for t in points} == {TrialState.COMPLETE}
    assert any(d.reason.startswith(RUNS_ON) for d in database.open_study(STUDY).decisions())


def test_patience_ends_a_trial_as_complete_with_its_last_value(database: Database) -> None:
    session = open_session(database, 3, scheduler="fifo")
    started = session.next_trial()
    patient = started.config.model_copy(update={"patience": 2})
    live = session._live[started.number]
    session._live[started.number] = replace(live, config=patient)
    told = [
        session.report(started.number, metrics(epoch, accuracy))
        for epoch, accuracy in enumerate([0.80, 0.85, 0.84, 0.85], start=1)
    ]
    assert [status.ended for status in told] == [None] * 3 + ["COMPLETE"]
    assert [status.unneeded_checkpoints for status in told] == [()] * 3 + [(started.number,)]
    ended = session.study.get_trials()[started.number]
    assert (ended.state, ended.value) == (TrialState.COMPLETE, 0.85)
    assert list(ended.intermediate_values) == [1, 2, 3, 4]
    reason = database.open_study(STUDY).trial_record(started.number).reason
    assert reason == "no better in the last 2 epochs (patience)"
    session.close("done")


def test_a_trial_counts_by_its_own_configuration(database: Database) -> None:
    session = open_session(database, 1)
    started = session.next_trial()
    assert started.config.epochs == EPOCHS
    record = database.open_study(STUDY).trial_record(started.number)
    assert record.config == started.config.model_dump(mode="json")
    assert session.next_trial() is None, "the one that runs may complete the total"
    session.close("done")


def test_each_trial_trains_with_a_seed_of_its_own(database: Database) -> None:
    session = open_session(database, 3)
    assert [session.next_trial().config.seed for _ in range(3)] == [0, 1, 2]
    session.close("done")


def test_a_second_launch_goes_on_to_the_new_total(url: str) -> None:
    for total in (5, 9):
        with open_database(url) as database:
            search(database, total)
            trials = check_study(database, STUDY, total)
    check_no_repeats(trials)
    with open_database(url) as database:
        assert [launch.outcome for launch in database.open_study(STUDY).launches.all()] == [
            "done",
            "done",
        ]


def test_a_rerun_of_a_finished_study_does_nothing(database: Database) -> None:
    search(database, 5)
    before = check_study(database, STUDY, 5)
    again = open_session(database, 4)
    assert again.is_done
    assert again.next_trial() is None
    again.close("done")
    assert [t for t in again.study.get_trials() if t.state.is_finished()] == before


def test_the_second_launch_knows_best_and_rungs_of_the_first(database: Database) -> None:
    first = search(database, 6)
    second = open_session(database, 8)
    assert second.view().best == first.view().best
    assert second.view().counts == first.view().counts
    first._recorder.rungs.refresh()
    assert second.scheduler.rungs == first.scheduler.rungs
    assert second.scheduler.rungs[1]
    second.close("done")


def test_a_failure_is_kept_with_its_reason_and_the_search_goes_on(database: Database) -> None:
    session = open_session(database, 4)
    bad = session.next_trial().number
    session.report(bad, metrics(1, 0.5))
    session.fail(bad, diverged("the loss became nan\nTraceback ..."))
    drive(session)
    session.close("done")
    trials = check_study(database, STUDY, 4)
    assert trials[bad].state == TrialState.FAIL
    assert database.open_study(STUDY).trial_record(bad).reason.startswith("diverged")
    assert not [t for t in trials if "retry_of" in t.user_attrs], "its own fault is not retried"


def test_ten_failures_in_a_row_end_the_search(database: Database) -> None:
    session = open_session(database, 50)
    for count in range(MOST_FAILURES):
        assert not session.is_done
        session.fail(session.next_trial().number, diverged(f"failure {count}"))
    assert session.is_hopeless
    assert session.is_done
    assert session.next_trial() is None
    assert session.first_failure == "diverged: failure 0"
    session.close("failed")
    check_study(database, STUDY, 0)


def test_a_success_between_them_forgives_failures(database: Database) -> None:
    session = open_session(database, 50, "fifo", epochs=1)
    for _ in range(MOST_FAILURES - 1):
        session.fail(session.next_trial().number, diverged("bad luck"))
    session.report(session.next_trial().number, metrics(1, 0.5))
    session.fail(session.next_trial().number, diverged("bad luck"))
    assert not session.is_done
    session.close("done")


def test_closing_gives_up_what_runs_and_queues_it_again(database: Database) -> None:
    session = open_session(database, 9, "fifo")
    drive(session, at_once=3, epochs=4)
    assert len(session.view().running) == 3
    session.close("interrupted")
    assert session.view().running == ()
    given_up = [t for t in check_study(database, STUDY, 0) if t.state == TrialState.FAIL]
    assert len(given_up) == 3
    assert "interrupted" in database.open_study(STUDY).trial_record(given_up[0].number).reason
    search(database, 5)
    trials = check_study(database, STUDY, 5)
    retries = {t.user_attrs["retry_of"]: t.params for t in trials if "retry_of" in t.user_attrs}
    assert retries == {t.number: t.params for t in given_up}
    check_no_repeats(trials)


def test_what_comes_for_a_trial_that_does_not_run_is_dropped(database: Database) -> None:
    session = search(database, 2)
    before = database.open_study(STUDY).epochs()
    late = session.report(0, metrics(3, 0.99))
    assert (late.ended, late.unneeded_checkpoints) == ("lost", ())
    session.fail(0, diverged("late"))
    assert database.open_study(STUDY).epochs() == before
    check_study(database, STUDY, 2)


def test_trials_that_another_driver_took_over_are_let_go(database: Database) -> None:
    session = open_session(database, 4)
    first, second, third = (session.next_trial().number for _ in range(3))
    for number in (first, second, third):
        give_up(session.store, session.study.trials[number]._trial_id, "its lease is over")
    assert session.report(first, metrics(1, 0.5)).ended == "lost"
    session.fail(second, diverged("late"))
    assert [live.number for live in session.view().running] == [third]
    session.close("done")
    trials = session.study.trials
    assert [t.user_attrs.get("retry_of") for t in trials] == [None] * 3 + [first, second, third]
    assert (
        database.open_study(STUDY).trial_record(second).reason == "its lease is over; queued again"
    )
    assert database.open_study(STUDY).epochs() == []


def test_figures_that_are_no_numbers_never_get_in() -> None:
    for wrong in (float("nan"), float("inf"), "0.9", True, None):
        with pytest.raises(ValueError, match="EpochMetrics"):
            EpochMetrics.model_validate({**metrics(1, 0.5).model_dump(), "train_accuracy": wrong})


def test_a_reopened_study_has_its_finished_trials(database: Database) -> None:
    search(database, 4)
    assert finished_trials(database.open_study(STUDY).counts()) == 4
    settings = make_settings(space="quick", trials=4, study=STUDY)
    assert finished_trials(open_study(database, settings, {**IDENTITY}).counts()) == 4


def test_a_queued_trial_that_is_too_slow_here_fails_and_the_next_is_taken(
    database: Database,
) -> None:
    session = open_session(database, 4)
    session.context = replace(session.context, affordable=lambda model: model.width < 32)
    started = [session.next_trial() for _ in range(2)]
    assert all(trial.config.model.width < 32 for trial in started)
    slow = session.study.get_trials()[1]
    assert slow.state == TrialState.FAIL
    assert "too slow" in database.open_study(STUDY).trial_record(1).reason
    session.close("done")


def test_a_queued_trial_may_be_allowed_more_than_what_is_sampled(database: Database) -> None:
    session = open_session(database, 8)
    small = replace(session.context, affordable=lambda model: model.width <= 8)
    session.context = replace(small, queued=session.context)
    widths = [session.next_trial().config.model.width for _ in range(6)]
    assert (widths[:2], set(widths[2:])) == ([16, 32], {8})
    for trial in session.study.get_trials():
        width = trial.params["quick.width"]
        assert trial.distributions["quick.width"].low <= width
        assert width <= trial.distributions["quick.width"].high
    session.close("done")


@pytest.mark.parametrize("seed", [0, 2**31 - 1])
def test_seeds_stay_in_their_range(database: Database, seed: int) -> None:
    session = open_session(database, 4)
    session.context = replace(session.context, seed=seed)
    configs = [session.next_trial().config for _ in range(3)]
    assert len({config.seed for config in configs}) == 3
    for config in configs:
        parse_config(config.model_dump_json())
    session.close("done")


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_takes_the_seed_of_a_long_study(name: str) -> None:
    make_sampler(name, 2**31 - 1 + 1_000_003 * 100_000)


def test_the_export_tells_of_the_machine_that_ran_the_best_trial(database: Database) -> None:
    session = search(database, 3)
    best = summarize(session.store).best
    assert best is not None
    open_session(database, 4).close("another machine")
    assert environment_of(session.store, best.number) == ENVIRONMENT


def test_of_a_trial_of_equal_time_it_is_kept_how_large_its_network_is(database: Database) -> None:
    session = open_session(database, 1)
    session.context = replace(session.context, epoch_images=lambda config: 500)
    started = session.next_trial()
    assert started is not None
    cost = model_cost(started.config.model)
    kept = session.store.attributes(NETWORK)[started.number]
    assert kept == {"macs": cost.macs, "passes": cost.passes}
    assert NetworkSize.of(kept) == NetworkSize(cost.macs, cost.passes)
    assert NetworkSize.of({"macs": "many"}) is None
