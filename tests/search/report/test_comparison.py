"""Studies side by side: what counts at a budget, which test is taken, and the files."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState, create_trial
from scipy.stats import ttest_ind, ttest_rel

import search.__main__ as search_main
from fmnist_models.training.metrics import wilson_interval
from search.errors import UsageError
from search.report.comparison import Arm, Standing, compare
from search.report.comparison_files import FORMATS, verdicts
from search.report.study_data import StudyRuns, read_runs
from search.results.significance import holm
from storage import Database, EpochRow, Launch, open_database
from tests.conftest import Refused
from tests.search.cli.test_options import run_all
from tests.search.loop import STUDY, drive, open_session, search
from tests.search.report.browser import CHROMIUM, look

BEGIN = datetime(2026, 1, 1)


def _runs(
    name: str, values: Sequence[float], seed: int = 0, seconds: float = 1.0, **more: object
) -> StudyRuns:
    """Give a study whose trials, of two epochs each, ended with these values in turn."""
    trials, epochs = [], {}
    for number, value in enumerate(values):
        trial = create_trial(state=TrialState.COMPLETE, value=value)
        trial.number, trial.datetime_complete = number, BEGIN + timedelta(minutes=number)
        trials.append(trial)
        epochs[number] = [_epoch(number, epoch, value, seconds) for epoch in (1, 2)]
    return StudyRuns(
        name=name,
        identity={"data_digest": "d", **more},
        launches=[_launch(seed)],
        trials=trials,
        retry_of={},
        epochs=epochs,
    )


def _epoch(number: int, epoch: int, value: float, seconds: float) -> EpochRow:
    figures = dict.fromkeys(("train_loss", "train_accuracy", "val_loss", "lr"), 0.5)
    return EpochRow(
        number=number,
        launch_id=1,
        epoch=epoch,
        val_accuracy=value,
        seconds=seconds,
        images_per_second=1.0,
        peak_memory_bytes=1,
        **figures,
    )


def _launch(seed: int) -> Launch:
    aware = BEGIN.astimezone()
    return Launch(
        id=1,
        settings={"seed": seed, "sampler": "tpe"},
        environment={"validation_images": 10_000, "packages": {"torch": "2"}},
        host="h",
        pid=1,
        process_started=0.0,
        started_at=aware,
        heartbeat_at=aware,
        ended_at=None,
        outcome=None,
    )


def _last(standings: Sequence[Standing], axis: str) -> list[Standing]:
    found = [one for one in standings if one.axis == axis]
    return [one for one in found if one.budget == found[-1].budget]


def test_only_what_all_have_trained_is_compared() -> None:
    slow = Arm.of("slow", [_runs("slow", [0.8, 0.9], seconds=10.0)])
    quick = Arm.of("quick", [_runs("quick", [0.7, 0.85, 0.95, 0.96])])
    found = compare([slow, quick])
    a, b = _last(found.standings, "epochs")
    assert (a.budget, a.accuracy, b.accuracy) == (4.0, 0.9, 0.85)
    a, b = _last(found.standings, "seconds")
    assert (a.budget, a.accuracy, b.accuracy) == (8.0, None, 0.96)
    assert (b.lead, b.p) == (None, None)
    early = [one for one in found.standings if (one.axis, one.budget) == ("epochs", 2.0)]
    assert [one.accuracy for one in early] == [0.8, 0.7]
    assert b.interval == wilson_interval(9600, 10_000)


def test_a_trial_that_others_have_ended_does_not_count(database: Database) -> None:
    search(database, 3)
    store = database.open_study(STUDY)
    before = [trial.number for trial in read_runs(store).complete]
    optuna.load_study(study_name=STUDY, storage=database.optuna_storage).add_trial(
        create_trial(state=TrialState.COMPLETE, value=0.99)
    )
    assert [trial.number for trial in read_runs(store).complete] == before


def test_seeds_are_paired_and_tested_as_the_textbook_does() -> None:
    ours, theirs = [0.90, 0.91, 0.93], [0.91, 0.93, 0.94]
    first = Arm.of("a", [_runs(f"a{i}", [v], seed=i) for i, v in reversed(list(enumerate(ours)))])
    second = Arm.of("b", [_runs(f"b{i}", [v], seed=i) for i, v in enumerate(theirs)])
    third = Arm.of("c", second.studies[:2])
    found = compare([first, second, third])
    _, b, c = _last(found.standings, "epochs")
    assert b.test == "paired t" and b.p == pytest.approx(ttest_rel(ours, theirs).pvalue)
    welch = ttest_ind(ours, theirs[:2], equal_var=False).pvalue
    assert c.test == "Welch" and c.p == pytest.approx(welch)
    assert [b.p_holm, c.p_holm] == holm([b.p, c.p])
    assert b.lead == pytest.approx(0.0133, abs=1e-4)
    assert b.interval and b.interval[0] < b.accuracy < b.interval[1]


def test_a_single_study_is_paired_by_its_validation_images() -> None:
    near = compare([Arm.of("a", [_runs("a", [0.9])]), Arm.of("b", [_runs("b", [0.901])])])
    far = compare([Arm.of("a", [_runs("a", [0.9])]), Arm.of("b", [_runs("b", [0.93])])])
    same = compare([Arm.of("a", [_runs("a", [0.9])]), Arm.of("b", [_runs("b", [0.9])])])
    p_values = [_last(one.standings, "epochs")[1].p for one in (same, near, far)]
    assert p_values[0] == 1.0
    assert 0.5 < p_values[1] < 1.0
    assert p_values[2] < 1e-6
    assert "p < 0.001" in verdicts(far)[0]


def test_settings_that_differ_are_listed() -> None:
    tpe, random = _runs("a", [0.9], epochs=9), _runs("b", [0.9], seed=1, epochs=9)
    found = compare([Arm.of("a", [tpe]), Arm.of("b", [random])])
    assert found.differences == [("seed", "0", "1")]


def test_what_cannot_be_compared_is_refused() -> None:
    other = StudyRuns(**{**vars(_runs("b", [0.9])), "identity": {"data_digest": "e"}})
    with pytest.raises(UsageError, match=r"differ in their data .*a d, b e"):
        compare([Arm.of("a", [_runs("a", [0.9])]), Arm.of("b", [other])])
    with pytest.raises(UsageError, match="'b' has no trial that has ended"):
        compare([Arm.of("a", [_runs("a", [0.9])]), Arm.of("b", [_runs("b", [])])])


@pytest.mark.parametrize("ending", FORMATS)
def test_names_are_only_text_in_every_format(ending: str) -> None:
    strange = "<b>|x_1&\\input{y}$"
    arms = [
        Arm.of(strange, [_runs("a", [0.9, 0.91])]),
        Arm.of("b", [_runs("b", [0.92, 0.93], seed=2)]),
    ]
    text = FORMATS[ending](compare(arms))
    if ending == ".html":
        assert "<b>|x" not in text and "&lt;b&gt;|x_1" in text
        assert text.count("<svg") == 2
    elif ending == ".md":
        assert r"\<b\>\|x\_1" in text
        rows = [line for line in text.splitlines() if line.startswith("| ")]
        assert {line.replace(r"\|", "").count("|") for line in rows[:4]} == {10}
    elif ending == ".tex":
        assert r"$<$b$>$|x\_1\&\textbackslash{}input\{y\}\$" in text
        code = [line for line in text.splitlines() if not line.startswith("%")]
        assert not any(r"\input{" in line for line in code)
    else:
        rows = list(csv.DictReader(text.splitlines()))
        assert len(rows) == 2 * 2 * 3
        assert rows[0]["arm"] == strange
        assert {"0.9", "0.91"} == {row["accuracy"] for row in rows if row["arm"] == strange} - {""}


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")
def test_a_browser_shows_the_comparison_on_a_telephone(tmp_path: Path) -> None:
    arms = [Arm.of("a", [_runs("a", [0.9, 0.91])]), Arm.of("b", [_runs("b", [0.92, 0.93])])]
    found = look(FORMATS[".html"](compare(arms)), tmp_path, 390, dark=True)
    assert (found["errors"], found["figures"], found["seen"], found["fits"]) == (0, 2, 2, True)


@pytest.fixture(scope="module")
def two_file(tmp_path_factory: pytest.TempPathFactory, empty_sqlite: Path) -> Path:
    """Give a SQLite file with the studies one, two and three."""
    path = tmp_path_factory.mktemp("two") / "search.db"
    shutil.copy(empty_sqlite, path)
    with open_database(f"sqlite:///{path}") as database:
        for name in ("one", "two", "three"):
            session = open_session(database, 4, "asha", "random", epochs=2, study=name)
            drive(session)
            session.close("done")
    return path


def test_the_command_compares_stored_studies(
    two_file: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = ["--storage", f"sqlite:///{two_file}"]
    assert search_main.main(["compare", "one", "both=two,three", "--out", "c.csv", *here]) == 0
    said = capsys.readouterr().out
    assert " epochs each, " in said and " s of training each, " in said
    rows = list(csv.DictReader(Path("c.csv").read_text().splitlines()))
    assert {(row["arm"], row["studies"]) for row in rows} == {("one", "1"), ("both", "2")}
    command = ["search", "compare", "one", "two", "--out", "c.html", *here]
    [done] = run_all(command, cwd=folder)
    assert (done[0], done[2]) == (0, ["optuna"])


def test_comparisons_are_refused_in_one_line(
    refused: Refused, two_file: Path, folder: Path
) -> None:
    main, more = search_main.main, ["--out", "c.md", "--storage", f"sqlite:///{two_file}"]
    refused(main, ["compare", "one", *more], "one: with what")
    refused(main, ["compare", "one", "two,one", *more], "one: named twice")
    refused(main, ["compare", "one", "A=", *more], "'A=' names no study")
    refused(main, ["compare", "one", "nope", *more], "'nope'", "three")
    refused(main, ["compare", "one", "two", "--out", "c.doc", *more[2:]], "c.doc", ".md")
    Path("c.md").write_text("mine")
    refused(main, ["compare", "one", "two", *more], "c.md exists", "--force")
    refused(main, ["compare", *more], "STUDY")
