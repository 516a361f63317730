"""The page of a study: what it says is what is stored, it stands alone, and a browser shows it."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from statistics import fmean

import pytest
from matplotlib.figure import Figure

import search.__main__ as search_main
from search import open_study
from search.cli.search_options import settings_of
from search.errors import UsageError
from search.quantities import percent
from search.report.answer import answer, commands
from search.report.figures import FIGURES
from search.report.findings import budget_shares, importances, in_words, meaning, rung_counts
from search.report.page import study_page
from search.report.study_data import StudyData
from search.settings import make_settings
from tests.conftest import Refused
from tests.search.cli.test_options import run_all
from tests.search.loop import STUDY
from tests.search.report.browser import CHROMIUM, look


class _Page(HTMLParser):
    """What is in a page: its tags, identifiers, and what it would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.identifiers: list[str] = []
        self.unnamed: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        self.links += [v for k, v in attrs if k in ("src", "href", "xlink:href", "srcset") and v]
        self.identifiers += [found["id"] or ""] if "id" in found else []
        if tag == "svg" and not found.get("aria-label"):
            self.unnamed.append(tag)


@pytest.fixture(scope="module")
def page(told_fifo: StudyData) -> str:
    """Give the page of a study of which importances can be told."""
    return study_page(told_fifo)


def test_the_page_stands_alone_and_can_be_read_aloud(page: str) -> None:
    found = _Page(page)
    assert not {"script", "link", "iframe", "object", "base", "img"} & set(found.tags)
    assert found.links
    assert all(link.startswith("#") for link in found.links)
    assert {link[1:] for link in found.links} <= set(found.identifiers)
    assert not re.search(r"url\((?!#)|@import", page)
    assert found.tags.count("svg") == found.tags.count("figure") == 4 + 5
    assert found.unnamed == []
    assert len(found.identifiers) == len(set(found.identifiers))
    assert found.tags.count("h1") == 1
    assert found.tags.count("caption") == found.tags.count("table")
    assert "prefers-color-scheme: dark" in page and "@media print" in page
    assert "#2a6fb5" not in page.partition("</style>")[2], "a colour of its own, also when dark"


def test_the_answer_says_what_is_stored(told: StudyData) -> None:
    best = told.summary.best
    assert best
    said = dict(answer(told))
    assert list(said) == ["Best", "How sure", "Cost", "What it beat"]
    assert (
        percent(best.validation_accuracy) in said["Best"]
        and f"trial {best.number}," in said["Best"]
    )
    assert percent(best.interval[0]) in said["How sure"]
    assert f"{told.summary.epochs_trained} epochs" in said["Cost"]
    assert percent(told.points[0].value) in said["What it beat"]
    nothing = replace(
        told, summary=told.summary.model_copy(update={"best": None, "recommended": None})
    )
    assert "No trial has run to its end" in dict(answer(nothing))["Best"]
    assert "no best value" in dict(answer(nothing))["How sure"]
    point = told.points[0].number
    itself = told.summary.model_copy(update={"best": best.model_copy(update={"number": point})})
    assert "no sample did better" in dict(answer(replace(told, summary=itself)))["What it beat"]


def test_the_budget_adds_up_by_how_trials_ended(told: StudyData) -> None:
    shares = budget_shares(told)
    assert sum(share.trials for share in shares) == len(told.trials)
    stored = sum(e.seconds for epochs in told.epochs.values() for e in epochs)
    assert sum(share.seconds for share in shares) == pytest.approx(stored)
    assert {s.label for s in shares if s.kind == "failed"} == {"raised", "diverged"}
    assert {s.label for s in shares if s.kind == "stopped"} <= {
        "stopped after epoch 1",
        "stopped after epoch 3",
    }


def test_rungs_count_who_came_and_who_was_stopped(told: StudyData) -> None:
    first, second = rung_counts(told)
    pruned = [t.last_step for t in told.trials if t.state.name == "PRUNED"]
    assert (first.rung, second.rung) == (1, 3)
    assert (first.stopped, second.stopped) == (pruned.count(1), pruned.count(3))
    assert first.reached > second.reached > 0
    cutoffs = [d.cutoff for d in told.decisions.values() if d.rung == 1 and d.cutoff is not None]
    assert first.last_cutoff in cutoffs


def test_importances_do_not_depend_on_chance(told_fifo: StudyData, told: StudyData) -> None:
    found = importances(told_fifo)
    assert found == importances(told_fifo)
    assert 5 <= len(found) <= 10
    assert found == sorted(found, key=lambda one: -one.share)
    with pytest.raises(UsageError, match="need 20 complete trials"):
        importances(replace(told, trials=told.trials[:12]))


def test_what_a_parameter_means_is_told_by_the_better_trials(told_fifo: StudyData) -> None:
    width = meaning(told_fifo.complete, "quick.width")
    widths = [t.params["quick.width"] for t in told_fifo.complete]
    assert f"all are between {min(widths)} and {max(widths)}." in width
    choices = meaning(told_fifo.complete, "quick.optimizer")
    values: dict[str, list[float]] = {}
    for trial in told_fifo.complete:
        values.setdefault(trial.params["quick.optimizer"], []).append(trial.value or 0.0)
    best = max(values, key=lambda choice: fmean(values[choice]))
    said = f"choice: {best} {percent(fmean(values[best]))} in {len(values[best])}, "
    assert said in choices


@pytest.mark.parametrize("times", [{"time_budget_seconds": 90.0}, {"total_seconds": 90.0}])
def test_the_command_gives_back_the_settings(told: StudyData, times: dict[str, float]) -> None:
    first, export, train = commands(told)
    assert first.startswith("python run_search.py --space quick --trials 60 --sampler random")
    assert first.endswith(f"--study {STUDY}")
    assert STUDY in export and STUDY in train
    settings = make_settings(
        space="quick",
        trials=5,
        study="quick",
        trial_seconds=2.5,
        data_dir="mine",
        **times,
    )
    launch = told.launches[-1].model_copy(update={"settings": settings.model_dump(mode="json")})
    strange = replace(told, launches=[launch], name="a; rm -rf $HOME")
    words = shlex.split(commands(strange)[0])
    assert words[:2] == ["python", "run_search.py"]
    assert words[-2:] == ["--study", "a; rm -rf $HOME"]
    asked, _ = settings_of(words[2:-2])
    assert asked == settings.model_copy(update={"data_dir": None})


def test_what_comes_from_a_database_is_only_text(told: StudyData, told_fifo: StudyData) -> None:
    page = study_page(replace(told, name="<b>bold</b>"))
    assert "<script>" not in page and "&lt;script&gt;alert(1)" in page
    assert "<b>bold" not in page
    renamed = [_renamed(t, "quick.width", "$x_{<i>\0") for t in told_fifo.trials]
    page = study_page(replace(told_fifo, trials=renamed))
    assert "<i>" not in page
    assert in_words("a$b\nc\0") == r"a\$b?c?"


def _renamed(trial: object, old: str, new: str) -> object:
    import copy

    changed = copy.copy(trial)
    for field in ("params", "distributions"):
        kept = dict(getattr(trial, field))
        if old in kept:
            kept[new] = kept.pop(old)
        setattr(changed, field, kept)
    return changed


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_given_in_python(name: str, told_fifo: StudyData, told: StudyData) -> None:
    data = told if name == "rungs" else told_fifo
    figure = FIGURES[name](data)
    assert isinstance(figure, Figure)
    assert all(axes.lines or axes.patches for axes in figure.axes)


def test_a_figure_of_another_name_is_refused(told_url: str) -> None:
    study = open_study(STUDY, told_url)
    assert isinstance(study.figure("history"), Figure)
    with pytest.raises(UsageError, match="history, budget, importances, slices, rungs"):
        study.figure("pie")


def test_the_command_writes_the_page_without_torch_or_ray(told_url: str, folder: Path) -> None:
    [done] = run_all(["search", "report", "--storage", told_url, "--out", "r.html"], cwd=folder)
    assert (done[0], done[2]) == (0, ["optuna"])
    assert STUDY in (folder / "r.html").read_text()


def test_a_page_is_refused_in_one_line(refused: Refused, told_url: str, folder: Path) -> None:
    main, here = search_main.main, ["report", "--storage", told_url, "--out"]
    Path("mine.html").write_text("mine")
    refused(main, [*here, "mine.html"], "mine.html exists", "--force")
    refused(main, [*here, "r.pdf"], "r.pdf", ".html")
    refused(main, [*here, "r.html", "--study", "no"], "'no'", STUDY)


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")
@pytest.mark.parametrize(("width", "dark"), [(390, True), (1400, False)])
def test_a_browser_shows_every_figure_within_the_window(
    page: str, tmp_path: Path, width: int, dark: bool
) -> None:
    found = look(page, tmp_path, width, dark=dark)
    ground = "rgb(16, 22, 28)" if dark else "rgb(245, 247, 249)"
    assert found == {
        **{"errors": 0, "width": width, "figures": 9, "seen": 9},
        **{"fits": True, "ground": ground},
    }
