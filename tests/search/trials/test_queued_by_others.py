"""Trials that somebody else has queued, and trials that take their drivers down with them."""

from __future__ import annotations

from typing import Any

import pytest
from optuna.trial import TrialState

from search.trials.driver_leases import DIED
from search.trials.retry_chain import MOST_DEATHS, Chain, give_up
from spaces import get_space
from storage import Database, trial_id_of
from tests.search.loop import STUDY, open_session, search

POINT = dict(get_space("quick").points["quick-2-16"])
NONSENSE: dict[str, dict[str, Any]] = {
    "unknown choice": {**POINT, "quick.activation": "sine"},
    "text": {**POINT, "quick.width": "wide"},
    "nan": {**POINT, "quick.sgd.lr": float("nan")},
    "infinity": {**POINT, "quick.sgd.lr": float("inf")},
    "none": {**POINT, "quick.batch_size": None},
    "list": {**POINT, "quick.width": [16, 32]},
    "negative": {**POINT, "quick.width": -16},
}


@pytest.mark.parametrize("what", NONSENSE)
def test_a_queued_trial_that_makes_no_configuration_fails_once(
    database: Database, what: str
) -> None:
    session = open_session(database, 3)
    session.study.enqueue_trial(NONSENSE[what])
    session.close("interrupted")
    search(database, 3)
    trials = database.open_study(STUDY).trials()
    refused = [t for t in trials if t.system_attrs.get("fixed_params") == NONSENSE[what]]
    if what == "nan":  # which is not equal to itself
        refused = [t for t in trials if str(t.system_attrs.get("fixed_params")).find("nan") >= 0]
    assert [t.state for t in refused] == [TrialState.FAIL]
    reason = database.open_study(STUDY).trial_record(refused[0].number).reason
    assert reason.startswith("no configuration: ")
    assert "\n" not in reason
    finished = [t for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    assert len(finished) == 3


FOREIGN: dict[str, Any] = {"retry_of": "x", "repeats": [{}], "retries": "many", "deaths": None}


def test_attributes_that_are_no_chain_count_for_nothing(either_database: Database) -> None:
    assert Chain.of(FOREIGN) == Chain()
    assert Chain.of({"repeats": 7, "micro_batches": 0, "known_good": ["x"]}) == Chain()
    session = open_session(either_database, 3)
    session.study.enqueue_trial(POINT, user_attrs=FOREIGN)
    started = session.next_trial()
    while started.number != 2:  # after the two known-good points
        started = session.next_trial()
    trial = session.study.trials[2]
    assert give_up(session.store, trial_id_of(trial), DIED, died=True) == 2
    assert session.store.trial_record(2).reason == f"{DIED}; queued again"


def test_a_trial_with_which_drivers_die_is_given_up(database: Database) -> None:
    session = open_session(database, 20)
    first, reasons = session.next_trial().number, []
    number = first
    for _ in range(MOST_DEATHS):
        trial = session.study.trials[number]
        assert give_up(session.store, trial_id_of(trial), DIED, died=True) == number
        reasons.append(session.store.trial_record(number).reason)
        repeats = [t.number for t in session.study.trials if t.user_attrs.get("retry_of") == number]
        for number in repeats:
            while session.next_trial().number != number:
                pass
    assert reasons[:-1] == [f"{DIED}; queued again"] * (MOST_DEATHS - 1)
    assert reasons[-1] == f"{DIED}, {MOST_DEATHS} times without another epoch: not tried again"
    assert repeats == []


def test_deaths_count_only_while_there_is_no_new_epoch() -> None:
    chain = Chain()
    for epochs in (0, 0, 2, 2):
        assert (chain := chain.after_death(1, epochs))
        assert Chain.of(chain.attributes()) == chain
    assert chain.after_death(1, 2) is None  # the third with two epochs
    assert chain.after_death(1, 3)
    assert chain.after(1, None, 0), "an orderly end is no death"
