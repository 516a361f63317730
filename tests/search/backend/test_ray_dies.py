"""Ray dies under a search: another one is started, no trial is lost, and nobody waits for the dead.

On one Ray after another, with workers that train nothing, and without any.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from search.backend import sites, tune_run
from search.backend.ray_watch import JOINED_PATIENCE_SECONDS, RayDied, RayWatch
from search.backend.sites import MOST_RESTARTS, LocalSite
from search.backend.tune_run import TuneRun, run_watched
from search.trials.live_trial import SearchView
from storage import Database
from tests.search.checker import check_study
from tests.search.loop import STUDY, Listener
from tests.search.ray_loop import plan_of, search_session

TRIALS = 10


class Killer(Listener):
    """Kills a server of Ray, each once, as soon as trials have had an epoch on it."""

    def __init__(self) -> None:
        super().__init__()
        self.victims = ["raylet", "gcs_server"]
        self.is_armed = True
        self.view: Any = None
        self.seen: set[psutil.Process] = set()
        self.running: list[SearchView] = []

    def say(self, text: str) -> None:
        super().say(text)
        self.is_armed = True

    def tick(self) -> None:
        view = self.view()
        if (
            self.is_armed
            and self.victims
            and len(view.running) == 2
            and all(t.last for t in view.running)
        ):
            about = psutil.Process().children(recursive=True)
            self.seen |= {p for p in about if p.name() != "python"}
            victims = [p for p in about if p.name() == self.victims[0]]
            self.running.append(view)
            self.victims.pop(0)
            self.is_armed = False
            for process in victims:
                process.kill()


@pytest.mark.filterwarnings("default")
def test_another_ray_is_started_and_no_trial_is_lost(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    monkeypatch.setenv("RAY_preload_python_modules", "")
    killer, plan, beats = Killer(), plan_of(TRIALS), []
    with ExitStack() as begun, search_session(database, TRIALS, listener=killer) as (session, run):
        killer.view = session.view
        site = LocalSite("cpu", begun)
        site.begin(plan)
        site.run(
            lambda watch, _: run(plan, watch, "Steady"),
            None,  # type: ignore[arg-type]
            meanwhile=lambda: beats.append(1),
            say=killer.say,
        )
    died = [f"Ray died: its {name} is gone" for name in ("raylet", "gcs_server")]
    assert killer.said == [f"{words}; starting another one" for words in died]
    assert beats, "while another one starts the session goes on noting heartbeats"
    found = check_study(database, STUDY, TRIALS)
    store = database.open_study(STUDY)
    for words, view in zip(died, killer.running, strict=True):
        for live in view.running:
            assert store.trial_record(live.number).reason == f"{words}; queued again"
            assert any(t.user_attrs.get("retry_of") == live.number for t in found)
    assert len(killer.seen) >= 8, "two servers and two workers each time"
    assert [p for p in killer.seen if p.is_running() and p.status() != "zombie"] == []
    assert capfd.readouterr().out == ""


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """Give a process that stands for one of Ray's."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as started:
        yield started
        started.kill()


def test_a_server_that_has_ended_is_named_though_nobody_collected_it(
    process: subprocess.Popen[bytes],
) -> None:
    watch = RayWatch([psutil.Process(process.pid)])
    assert watch.death() is None
    name = psutil.Process(process.pid).name()
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert watch.death() == f"its {name} is gone"
    process.wait()
    assert watch.death() == f"its {name} is gone"


def test_a_cluster_may_be_away_for_a_while() -> None:
    now = 0.0
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        watch = RayWatch([], joined=f"127.0.0.1:{port}", clock=lambda: now)
        assert watch.death() is None
    now = 1000.0  # a machine that has slept does not take that time for the cluster's silence
    assert watch.death() is None
    now += JOINED_PATIENCE_SECONDS - 1
    assert watch.death() is None
    with socket.create_server(("127.0.0.1", port)):
        assert watch.death() is None
    assert watch.death() is None
    now += JOINED_PATIENCE_SECONDS
    assert watch.death() == f"127.0.0.1:{port} no longer answers"


def test_where_one_ray_after_another_dies_the_search_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []

    @contextmanager
    def ray_begun(node: object) -> Iterator[Any]:
        begun.append("begun")
        yield lambda meanwhile: RayWatch([])
        begun.append("ended")

    def trials(watch: RayWatch, worker: Any) -> None:
        raise RayDied("Ray died: its raylet is gone")

    monkeypatch.setattr(sites, "ray_begun", ray_begun)
    said: list[str] = []
    with ExitStack() as stack:
        site = LocalSite("cpu", stack)
        site.begin(plan_of(1))
        with pytest.raises(RayDied, match="again and again; start again to go on") as error:
            site.run(trials, None, meanwhile=lambda: None, say=said.append)  # type: ignore[arg-type]
    assert error.value.status == 3
    assert len(said) == MOST_RESTARTS
    assert begun[: 2 * MOST_RESTARTS] == ["begun", "ended"] * MOST_RESTARTS
    assert begun.count("begun") == 1 + MOST_RESTARTS


class Supervised:
    """What a run asks of a supervisor."""

    def turn(self, workers: Any) -> bool:
        return False


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give a run of Ray Tune that never was, whose times are short."""
    monkeypatch.setattr(tune_run, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(tune_run, "LEAVE_SECONDS", 0.01)
    return TuneRun(Supervised(), None, None, RayWatch([]))  # type: ignore[arg-type]


def test_a_call_that_never_returns_is_left_alone(
    run: Any, process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs, is_out = threading.Event(), threading.Event()

    def hanging_tune() -> None:
        try:
            run.turn()
            process.kill()
            hangs.wait()
            run.turn()  # finds that nobody wants it any more
        except BaseException:
            is_out.set()
            raise

    run.watch = RayWatch([psutil.Process(process.pid)])
    with pytest.raises(RayDied, match="is gone"):
        run_watched(run, hanging_tune)
    assert not is_out.is_set()
    hangs.set()
    assert is_out.wait(60)


def test_a_ray_that_does_nothing_for_too_long_is_dead_but_not_to_who_slept(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = run._looked
    monkeypatch.setattr(tune_run.time, "monotonic", lambda: now)

    def pass_seconds(seconds: float, *, awake: bool = True) -> str | None:
        nonlocal now
        for _ in range(int(seconds) if awake else 1):
            now += 1 if awake else seconds
            found = run.standstill()
        return found  # type: ignore[no-any-return]

    assert pass_seconds(299) is None
    assert "nothing came from it" in str(pass_seconds(3))
    run.turn()
    assert pass_seconds(10_000, awake=False) is None

    class Waiting:
        def __getattr__(self, name: str) -> Any:
            return None if name == "ray_actor" else (lambda: False) if "is_" in name else self

    run.trials = {1: Waiting()}
    for _ in range(301):
        run.turn()
        found = pass_seconds(1)
    assert "no trial was given a worker" in str(found)
    run.watch.joined = "a busy cluster's"
    run.turn()
    assert run.standstill() is None
    with run.session():
        assert pass_seconds(400) is None, "it waits for the database"
    assert pass_seconds(1) is None
