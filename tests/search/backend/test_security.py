"""What a search opens to others and leaves behind: nothing that it need not."""

import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import sqlalchemy

import run_search
from search.backend.ray_session import NO_TOKEN, _check_port, _token_environment
from search.backend.session_folder import SESSION_PREFIX, _short_place, session_folder
from search.errors import SurroundingsError, UsageError
from search.settings import make_settings
from storage import open_database
from tests.conftest import ROOT, Refused
from tests.search.programs import (
    OPTIONS,
    STUDY,
    check_rest,
    finish_signalled,
    is_loopback,
    outcomes,
    processes_of,
    start,
    wait_for,
)

CANARY = "canary-0f3b9c-pass"


@pytest.fixture(scope="module")
def short_folder() -> Iterator[Path]:
    """Give a folder for temporary files with a short path, as Ray's sockets need it."""
    with tempfile.TemporaryDirectory(prefix="t-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@pytest.fixture(scope="module")
def canary_url(postgresql_server: str) -> str:
    """Give the URL of a database whose user has a password that must turn up nowhere."""
    engine = sqlalchemy.create_engine(
        postgresql_server.replace("postgresql://", "postgresql+psycopg://"),
        isolation_level="AUTOCOMMIT",
    )
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE ROLE canary SUPERUSER LOGIN PASSWORD '{CANARY}'")
        connection.exec_driver_sql("CREATE DATABASE canary OWNER canary")
    engine.dispose()
    host = postgresql_server.partition("?")[2]
    return f"postgresql://canary:{CANARY}@/canary?{host}"


@pytest.mark.timeout(1800)
def test_a_running_search_shows_itself_to_nobody_terminated_or_out_of_time(
    tmp_path: Path, small_data: Path, short_folder: Path, canary_url: str
) -> None:
    extra = {
        "FMNIST_SEARCH_STORAGE": canary_url,
        "PGPASSWORD": CANARY,
        "TMPDIR": str(short_folder),
        "RAY_TMPDIR": str(short_folder / "ray"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "HOME": str(tmp_path / "home"),
        "RAY_ADDRESS": "127.0.0.1:1",  # joins no cluster that it was not told to
        "FMNIST_SEARCH_RAY_OUTPUT": "1",
    }
    (tmp_path / "home").mkdir()
    options = ["--data-dir", str(small_data), "--trials", "2000", "--concurrency", "1"]
    search = start(tmp_path, *options, extra=extra)
    said = wait_for(search, ": validation ")
    processes = processes_of(tmp_path)
    check_sockets(processes)
    assert_strangers_are_refused(check_session(short_folder), processes)
    titles = [" ".join(p.cmdline()) for p in processes] + [p.name() for p in processes]
    assert not [title for title in titles if CANARY in title]
    assert [p.name() for p in processes if p.pid != search.pid and CANARY in environment(p)] == []
    assert_no_canary(tmp_path, short_folder)
    assert CANARY not in said + "".join(finish_signalled(search, signal.SIGTERM))
    before = check_rest(tmp_path, canary_url)
    check_out_of_time(start(tmp_path, *options, "--time-budget", "30s", extra=extra), canary_url)
    assert check_rest(tmp_path, canary_url) >= before
    assert_no_canary(tmp_path, short_folder)
    assert not list(short_folder.glob(f"{SESSION_PREFIX}*"))
    assert_not_in_database(canary_url)


def environment(process: psutil.Process) -> str:
    """What a process was started with, where it has not written its title over it."""
    try:
        return str(process.environ())
    except psutil.Error:
        return ""


def check_out_of_time(search: subprocess.Popen[str], url: str) -> None:
    """A search that was interrupted before ends by its time budget, in order."""
    out, err = search.communicate(timeout=1200)
    # 1: on a machine that is very busy no trial may be through all its epochs in that time.
    with open_database(url) as database:
        done = database.open_study(STUDY).counts().get("COMPLETE", 0)
    assert search.returncode == (0 if done else 1), err
    assert "Traceback" not in err
    assert CANARY not in out + err
    assert outcomes(url) == ["interrupted", "time budget spent"]


def check_sockets(processes: list[psutil.Process]) -> None:
    """Ray listens, on loopback alone, and its dashboard is off."""
    assert len(processes) > 4
    names = [" ".join(p.cmdline()) for p in processes]
    # What Ray starts under that name in any case serves no pages.
    assert all("--disable-frontend" in name for name in names if "dashboard.py" in name)
    listening = [
        connection.laddr
        for process in processes
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN or connection.type == socket.SOCK_DGRAM
    ]
    assert listening
    assert [address for address in listening if not is_loopback(address.ip)] == []


def check_session(place: Path) -> str:
    """Ray's session and its token are their owner's alone; the token."""
    folder = next(f for f in place.glob(f"{SESSION_PREFIX}*") if (f / "token").exists())
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "token").stat().st_mode) == 0o600
    assert (folder / "r" / "session_latest" / "logs").is_dir()
    return (folder / "token").read_text()


STRANGER = """
import ray, sys
from ray._raylet import GcsClient
try:
    client = GcsClient(address=sys.argv[1])
    client.get_all_node_info(timeout=300)
except Exception as error:
    print(type(error).__name__, error)
    sys.exit(7)
"""


def assert_strangers_are_refused(known: str, processes: list[psutil.Process]) -> None:
    """Without the token Ray's control store answers nothing, with it it does."""
    flag = "--gcs-address="
    words = [word for p in processes for word in p.cmdline() if word.startswith(flag)]
    address = words[0].removeprefix(flag)
    for token, status in ((None, 7), ("f" * 64, 7), (known, 0)):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
        if token:
            environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
        else:
            environment |= {"RAY_AUTH_MODE": "disabled"}
        done = subprocess.run(
            [sys.executable, "-c", STRANGER, address],
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == status, (token, done.stdout, done.stderr)


def assert_no_canary(*folders: Path) -> None:
    found = []
    for folder in folders:
        for path in folder.rglob("*"):
            try:
                if path.is_file() and CANARY.encode() in path.read_bytes():
                    found.append(path)
            except OSError:  # gone meanwhile
                continue
    assert found == []


def assert_not_in_database(url: str) -> None:
    engine = sqlalchemy.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        names = sqlalchemy.inspect(connection).get_table_names()
        assert "search_launch" in names
        for name in names:
            assert CANARY not in str(connection.exec_driver_sql(f'SELECT * FROM "{name}"').all())
    engine.dispose()


def test_a_cluster_is_joined_with_its_token_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UsageError, match=r"needs the cluster's token in .*auth_token"):
        _token_environment({})
    with pytest.raises(UsageError, match="none-such"):
        _token_environment({"RAY_AUTH_TOKEN_PATH": str(tmp_path / "none-such")})
    token = tmp_path / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("")
    with pytest.raises(UsageError, match="needs the cluster's token"):
        _token_environment({})
    token.write_text("secret")
    token.chmod(0o644)
    with pytest.raises(UsageError, match=f"can be read by others; chmod 600 {token}"):
        _token_environment({})
    token.chmod(0o600)
    for environment in ({}, {"RAY_AUTH_TOKEN": "secret"}, {"RAY_AUTH_TOKEN_PATH": str(token)}):
        assert _token_environment(environment) == {"RAY_AUTH_MODE": "token"}
    assert _token_environment({NO_TOKEN: "1"}) == {}


def test_the_user_can_insist_on_a_cluster_without_a_token(
    tmp_path: Path, small_data: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    options = ["--trials", "1", "--data-dir", str(small_data), "--address", "127.0.0.1:9"]
    refused(run_search.main, [*OPTIONS, *options], "--address needs the cluster's token")
    monkeypatch.setenv(NO_TOKEN, "1")
    unreachable = "no Ray cluster answers at --address 127.0.0.1:9"
    refused(run_search.main, [*OPTIONS, *options], unreachable, status=3)
    assert [path.name for path in tmp_path.iterdir()] == ["working"]


def test_nothing_answers_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        _check_port(f"127.0.0.1:{port}")
    with pytest.raises(SurroundingsError, match=f"127.0.0.1:{port}"):
        _check_port(f"127.0.0.1:{port}")


def test_sessions_of_killed_drivers_are_swept_and_those_of_others_are_not(
    short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(short_folder))
    dead, foreign = short_folder / f"{SESSION_PREFIX}dead", short_folder / f"{SESSION_PREFIX}other"
    for folder in (dead, foreign):
        folder.mkdir()
    (dead / "lock").touch()
    with session_folder() as first, session_folder() as second:
        assert first.is_dir() and second.is_dir()
        assert not dead.exists()
        assert foreign.exists(), "it may be just about to be locked"
    assert not first.exists()


def test_the_session_finds_a_place_with_a_short_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 90)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    assert _short_place() in (Path("/tmp"), Path("/var/tmp"))


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "a/b",
        "",
        ".x",
        "-x",
        "a b",
        "a\n",
        "a\0",
        "é",
        "x" * 101,
        "a;b",
        "$(x)",
        "a\\b",
        "~",
    ],
)
def test_names_of_studies_match_a_strict_pattern(name: str) -> None:
    with pytest.raises(UsageError, match="--study"):
        make_settings(space="quick", trials=1, study=name)


def test_our_rooms_travel_to_a_cluster_and_nothing_else() -> None:
    from search.workspace import ROOMS

    assert all((ROOT / room / "__init__.py").is_file() for room in ROOMS)
    assert sum(f.stat().st_size for room in ROOMS for f in (ROOT / room).rglob("*.py")) < 2e6


@pytest.mark.parametrize("mode", [0o640, 0o620, 0o604, 0o644])
def test_a_token_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    token = tmp_path / "auth_token"
    token.write_text("secret")
    token.chmod(mode)
    with pytest.raises(UsageError, match=f"can be read by others; chmod 600 {token}"):
        _token_environment({"RAY_AUTH_TOKEN_PATH": str(token)})
