"""The dashboard answers this machine's own pages, and only for reading."""

import shutil
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import timedelta
from email.message import Message
from pathlib import Path
from typing import Any
from wsgiref.simple_server import make_server
from wsgiref.util import setup_testing_defaults

import pytest
from optuna.trial import FrozenTrial

from search.display.dashboard import HOST, Application, _Handler, _Server, guarded, pages
from storage import Database, open_database
from storage.optuna_reader import read_trials
from tests.conftest import Unprivileged
from tests.search.loop import STUDY, search

SECRET = "s3cret-of-this-start"


@pytest.fixture(params=[False, True], ids=["read-only", "writable"])
def served(database: Database, request: pytest.FixtureRequest) -> Iterator[tuple[int, bool]]:
    search(database, 3)
    application = pages(database)
    with make_server(HOST, 0, application, _Server, _Handler) as server:
        server.set_app(guarded(application, SECRET, server.server_port, writable=request.param))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port, request.param
        server.shutdown()


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Follow nothing."""


def asked(port: int, path: str, method: str = "GET", **headers: str) -> tuple[int, Message]:
    """The HTTP status and headers of a request; `Known="yes"` sends the cookie along."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    if given.pop("Known", None):
        given["Cookie"] = f"other=1; fmnist-search-{port}={SECRET}"
    url = f"http://{HOST}:{port}{path}"
    request = urllib.request.Request(url, method=method, headers=given)
    try:
        with urllib.request.build_opener(_Stay).open(request) as answer:
            return int(answer.status), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.headers


def ask(port: int, path: str, method: str = "GET", **headers: str) -> int:
    """The status of a request of somebody who has the cookie."""
    return asked(port, path, method, Known="yes", **headers)[0]


def test_pages_are_served_and_strangers_are_not(served: tuple[int, bool]) -> None:
    port, _ = served
    own = f"http://127.0.0.1:{port}"
    assert ask(port, "/dashboard") == 200
    assert ask(port, "/api/studies", Origin=own, Sec_Fetch_Site="same-origin") == 200
    assert ask(port, "/api/studies", Host="localhost:9000", Origin="http://localhost:9000") == 200
    for host in ("evil.example", "127.0.0.1.evil.example", f"{HOST}:80@evil.example"):
        assert ask(port, "/api/studies", Host=host) == 403
    for origin in ("http://evil.example", "null", f"127.0.0.1:{port}", f"https://127.0.0.1:{port}"):
        assert ask(port, "/api/studies", Origin=origin) == 403
    for site in ("cross-site", "same-site"):
        assert ask(port, "/api/studies", Sec_Fetch_Site=site) == 403


def test_only_who_has_the_secret_is_answered(served: tuple[int, bool]) -> None:
    port, _ = served
    assert asked(port, "/dashboard")[0] == 403
    assert asked(port, "/dashboard?token=wrong")[0] == 403
    assert asked(port, "/dashboard", Cookie=f"fmnist-search-{port}=wrong")[0] == 403
    assert asked(port, "/dashboard", Cookie='"\\";=')[0] == 403
    status, headers = asked(port, f"/dashboard?token={SECRET}")
    assert (status, headers["Location"]) == (303, "/dashboard")
    cookie = headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert asked(port, "/dashboard", Cookie=cookie.partition(";")[0])[0] == 200
    assert asked(port, f"//evil.example?token={SECRET}")[1]["Location"] == "/evil.example"


def test_no_page_is_shown_in_a_frame(served: tuple[int, bool]) -> None:
    port, _ = served
    for known in ("", "yes"):
        _, headers = asked(port, "/dashboard", Known=known)
        assert headers["X-Frame-Options"] == "DENY"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]


def test_a_study_is_changed_only_where_that_was_asked_for(
    served: tuple[int, bool], database: Database
) -> None:
    port, writable = served
    assert ask(port, "/api/studies/1", "DELETE", Origin="http://evil.example") == 403
    assert ask(port, "/api/studies/1", "DELETE") == (204 if writable else 403)
    left = [study.study_name for study in database.optuna_storage.get_all_studies()]
    assert left == ([] if writable else [STUDY])


@pytest.mark.parametrize("path", ["/artifacts/1/2/page", "/dashboard"])
def test_artifacts_are_saved_and_not_shown(path: str) -> None:
    def pages(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/html"), ("Content-Disposition", "inline")])
        return [b"<script>alert(1)</script>"]

    answered: dict[str, str] = {}
    environ = {"HTTP_HOST": "127.0.0.1:80", "REQUEST_METHOD": "GET", "PATH_INFO": path}
    environ["HTTP_COOKIE"] = f"fmnist-search-80={SECRET}"
    guarded(pages, SECRET, 80, writable=False)(
        environ, lambda status, headers: answered.update(headers)
    )
    assert answered["X-Content-Type-Options"] == "nosniff"
    is_artifact = path.startswith("/artifacts")
    assert answered["Content-Disposition"] == ("attachment" if is_artifact else "inline")
    assert ("sandbox" in answered["Content-Security-Policy"]) == is_artifact


def got(application: Application, page: str) -> bytes:
    environ: dict[str, Any] = {"PATH_INFO": page}
    setup_testing_defaults(environ)
    return b"".join(application(environ, lambda *_: None))


def test_a_trial_that_has_ended_is_read_once(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []

    def spy(*arguments: Any) -> list[FrozenTrial]:
        trials = read_trials(*arguments)
        read.append(len(trials))
        return trials

    search(database, 3)
    monkeypatch.setattr("storage.optuna_storage.read_trials", spy)
    monkeypatch.setattr("optuna_dashboard._storage.timedelta", lambda seconds: timedelta(0))
    application = pages(database)
    first = got(application, "/api/studies/1")
    assert got(application, "/api/studies/1") == first
    search(database, 5)
    assert got(application, "/api/studies/1") != first
    assert read[:2] == [3, 0]
    assert read[-1] == 2


def test_a_database_that_can_only_be_read_is_served(
    public_folder: Path, empty_sqlite: Path, unprivileged: Unprivileged
) -> None:
    path = Path(shutil.copy(empty_sqlite, public_folder / "search.db"))
    with open_database(f"sqlite:///{path}") as database:
        search(database, 3)
    path.chmod(0o444)
    public_folder.chmod(0o555)
    answers = []
    for rights in (nullcontext, unprivileged):  # at first by one who may import what it needs
        with rights(), open_database(f"sqlite:///{path}", create=False) as database:
            application = pages(database)
            for page in ("/api/studies", "/api/studies/1"):
                answers.append(got(application, page))
    assert answers[2:] == answers[:2]
    assert b"made-up" in answers[2]
