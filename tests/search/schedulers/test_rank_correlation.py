"""The rank correlation of rungs: estimated in spite of those stopped, warned of when low."""

import json

import numpy as np
import pytest
from scipy.stats import spearmanr

import search.__main__ as search_main
from search.results.summary import summarize
from search.schedulers.rank_correlation import (
    FEWEST,
    LOW,
    Curve,
    correlation_line,
    grace_period_warning,
    rung_correlations,
)
from search.schedulers.rules import Asha
from search.trials.session import SearchSession
from storage import Database, open_database
from tests.search.loop import EPOCHS, STUDY, Listener, metrics, open_session


def searched(correlation: float, seed: int, trials: int = 80) -> list[Curve]:
    """Curves of an ASHA search whose first rung has this correlation with all that comes later."""
    rng = np.random.default_rng(seed)
    asha = Asha(1, 3, 9)
    curves: list[Curve] = []
    for number, early in enumerate(rng.normal(size=trials)):
        late = correlation * early + np.sqrt(1 - correlation**2) * rng.normal()
        curve = {}
        for epoch, value in ((1, early), (3, late), (9, late)):
            curve[epoch] = float(value)
            decision = asha.decide(number, epoch, value)
            asha.observe(number, epoch, value)
            if decision.action == "stop":
                break
        curves.append(curve)
    return curves


@pytest.mark.parametrize("true", [0.0, 0.3, 0.6, 0.85])
def test_the_estimate_is_of_all_trials_though_most_were_stopped(true: float) -> None:
    found = [rung_correlations(searched(true, seed), [1, 3])[0] for seed in range(120)]
    assert np.mean([f.went_on / f.reached for f in found]) < 0.5
    # Spearman's of a bivariate normal distribution: 6 / pi asin(rho / 2).
    wanted = 6 / np.pi * np.arcsin(true / 2)
    assert np.median([f.estimate for f in found]) == pytest.approx(wanted, abs=0.06)
    assert np.mean([wanted < f.upper for f in found]) > 0.85
    if true > 0.5:
        assert np.median([f.observed for f in found]) < wanted - 0.15, "why it is corrected"


def test_it_warns_of_rungs_that_tell_little_and_of_hardly_any_other() -> None:
    warned = {
        true: np.mean(
            [
                bool(grace_period_warning(rung_correlations(searched(true, s), [1, 3])))
                for s in range(60)
            ]
        )
        for true in (0.0, 0.3, 0.7, 0.85)
    }
    assert warned[0.0] > 0.75 and warned[0.3] > 0.45
    assert warned[0.7] < 0.15 and warned[0.85] < 0.02


def test_it_says_nothing_of_few_trials_nor_of_equal_values() -> None:
    few = [{1: 0.1 * n, 3: -0.1 * n} for n in range(FEWEST - 1)]
    others = [{1: -0.1 * n} for n in range(50)]
    assert rung_correlations([*few, *others], [1, 3]) == []
    assert rung_correlations([{1: 0.5, 3: 0.1 * n} for n in range(50)], [1, 3]) == []
    assert rung_correlations([{1: 0.1 * n, 3: 0.5} for n in range(50)], [1, 3]) == []
    assert rung_correlations([], [1, 3]) == []


def test_equal_values_share_their_rank() -> None:
    early, late = [1.0, 2, 2, 3, 3, 3, 4, 5, 6, 6], [2.0, 1, 4, 4, 3, 6, 5, 5, 9, 8]
    curves = [{1: a, 3: b} for a, b in zip(early, late, strict=True)]
    [found] = rung_correlations(curves, [1, 3])
    assert found.observed == pytest.approx(spearmanr(early, late).statistic)
    assert found.estimate == pytest.approx(found.observed), "none was stopped"
    assert correlation_line(found).endswith("over 10 trials.")


def test_the_warning_names_figures_and_remedy() -> None:
    curves = [{1: n % 7, 3: n % 5, 9: n % 3, 27: n % 3} for n in range(40)]
    found = rung_correlations([*curves, {1: 9.0}, {1: -1.0}], [1, 3, 9, 27])
    assert [f.is_low for f in found] == [True, True, False]
    first, second = found[:2]
    assert first.upper < LOW
    said = grace_period_warning([first]) or ""
    assert f"epoch 1 with epoch 3 is {first.observed:.2f} over 40 trials" in said
    assert said.endswith("raise --grace-period to 3.")
    assert "had all 42 gone on" in correlation_line(first)
    assert (grace_period_warning([first, second]) or "").endswith("to 9."), "one remedy for both"
    assert grace_period_warning(found[2:]) is None


def run(session: SearchSession, *, slow_starters: bool) -> None:
    """Trials one after another; of slow starters early values tell nothing of later ones."""
    while (started := session.next_trial()) is not None:
        early, late = np.random.default_rng(started.number).uniform(0.3, 0.9, 2)
        for epoch in range(1, EPOCHS + 1):
            value = late if slow_starters and epoch > 1 else early
            status = session.report(started.number, metrics(epoch, round(float(value), 4)))
            if status.ended:
                break
    session.close("done")


@pytest.mark.parametrize("slow_starters", [True, False])
def test_a_search_warns_once_and_its_summary_again_to_people_and_programs(
    url: str, slow_starters: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    listener = Listener()
    said = listener.said
    with open_database(url) as database:
        session = open_session(database, 60, sampler="random", observer=listener)
        run(session, slow_starters=slow_starters)
        summary = summarize(session.store)
    first, *others = summary.rung_correlations
    assert (first.rung, first.later, first.reached) == (1, 3, 60)
    assert first.is_low == slow_starters
    assert not any(f.is_low for f in others)
    assert len(said) == slow_starters
    assert all(text.startswith("Warning: the rank correlation of epoch 1") for text in said)
    if slow_starters:
        check_status(url, capsys)


def check_status(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`status` shows it too."""
    assert search_main.main(["status", "--storage", url]) == 0
    *_, early, late, warned = capsys.readouterr().out.splitlines()
    assert early.startswith("Rank correlation of epoch 1 with epoch 3: ")
    assert late.startswith("Rank correlation of epoch 3 with epoch 9: 1.00 over ")
    assert "raise --grace-period to 3" in warned
    assert search_main.main(["status", "--storage", url, "--json"]) == 0
    [first, _] = json.loads(capsys.readouterr().out)["rung_correlations"]
    assert first["is_low"] and first["rung"] == 1 and first["later"] == 3


def test_rungs_are_those_of_the_last_launch(database: Database) -> None:
    run(open_session(database, 20, sampler="random"), slow_starters=True)
    assert database.open_study(STUDY).rungs() == [1, 3]
    run(open_session(database, 24, "fifo"), slow_starters=True)
    assert database.open_study(STUDY).rungs() == [1, 3], "fifo compares nothing"
    session = open_session(database, 30)
    session.scheduler.rungs.pop(1)
    run(session, slow_starters=True)
    assert database.open_study(STUDY).rungs() == [3]
    other = open_session(database, 4, study="another")
    assert other.store.rungs() == []
    other.close("done")
