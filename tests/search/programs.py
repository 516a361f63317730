"""The whole program started as its user starts it, and what is left of it afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path

import psutil

from storage import open_database
from tests.conftest import ROOT
from tests.search.checker import check_no_repeats, check_study

MARK = "FMNIST_TEST_RUN"
"""Ray's processes inherit the environment of the search that started them."""
STUDY = "quick"
OPTIONS = ["--space", STUDY, "--epochs", "2", "--json"]
AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
"""When Ray is killed these try for a minute to tell it so, without computing, and end."""


def start(
    folder: Path, *options: str, extra: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start a search in `folder` with no PYTHONPATH, as a user would."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return subprocess.Popen(
        [sys.executable, str(ROOT / "run_search.py"), *OPTIONS, *options],
        cwd=folder,
        env={**environment, MARK: str(folder), **(extra or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(search: subprocess.Popen[str], words: str) -> str:
    """Read what a search says on stderr until `words` come; all that was read."""
    assert search.stderr is not None
    said = ""
    while words not in (line := search.stderr.readline()):
        assert line, f"it ended too early: {said}"
        said += line
    return said + line


def signal_twice(search: subprocess.Popen[str], kind: signal.Signals) -> None:
    """Send a search the same signal twice at once, as whoever is impatient does."""
    search.send_signal(kind)
    search.send_signal(kind)


def finish_signalled(search: subprocess.Popen[str], kind: signal.Signals) -> tuple[str, str]:
    """Signal a search, which ends in order; what it said, as of `finish`."""
    signal_twice(search, kind)
    out, err = finish(search, 128 + kind, timeout=600)
    assert err.splitlines()[-1] == f"run_search.py: {kind.name}: stopped, everything is saved"
    return out, err


def finish(search: subprocess.Popen[str], status: int, timeout: float = 1200) -> tuple[str, str]:
    """Wait for the end of a search; what it said on stdout and, since `wait_for`, on stderr."""
    out, err = search.communicate(timeout=timeout)
    assert search.returncode == status, err
    assert "Traceback" not in err
    return out, err


def processes_of(folder: Path, apart_from: tuple[str, ...] = ()) -> list[psutil.Process]:
    """The living processes of the searches that were started in `folder`, but for some names.

    Ray's agents overwrite their environment with their title: their working folder tells.
    """
    found = []
    for process in psutil.process_iter():
        try:
            ours = process.environ().get(MARK) == str(folder) or process.cwd() == str(folder)
            gone = process.status() == psutil.STATUS_ZOMBIE or process.pid == os.getpid()
            if ours and not gone and process.name() not in apart_from:
                found.append(process)
        except psutil.Error:
            continue
    return found


def assert_nothing_runs(
    folder: Path, seconds: float = 60, apart_from: tuple[str, ...] = ()
) -> None:
    """Assert that within `seconds` no process of a search in `folder` is left."""
    deadline = time.monotonic() + seconds
    while left := processes_of(folder, apart_from):
        assert time.monotonic() < deadline, left
        time.sleep(0.2)


def is_loopback(ip: str) -> bool:
    """Also ::ffff:127.0.0.1, as a socket for both versions of IP shows that address."""
    address = ip_address(ip)
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def check_rest(folder: Path, url: str, trials: int | None = None, *, killed: bool = False) -> int:
    """Check the study of searches in `folder`, at rest; how many of its trials are finished.

    `killed`: one of its launches was, so that it never ended, and its agents may not have yet.
    """
    assert_nothing_runs(folder, apart_from=AGENTS if killed else ())
    with open_database(url, create=False) as database:
        found = check_study(database, STUDY, trials)
        launches = database.open_study(STUDY).launches.all()
    assert killed or all(launch.ended_at for launch in launches)
    check_no_repeats(found)
    return sum(t.state.name in ("COMPLETE", "PRUNED") for t in found)


def outcomes(url: str) -> list[str | None]:
    """How each launch of the study ended."""
    with open_database(url) as database:
        return [launch.outcome for launch in database.open_study(STUDY).launches.all()]
