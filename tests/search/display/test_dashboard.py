"""The dashboard answers this machine's own pages, and only for reading."""

import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any
from wsgiref.simple_server import make_server

import optuna_dashboard
import pytest

from search.display.dashboard import HOST, _Handler, _Server, guarded
from storage import Database
from tests.search.loop import STUDY, search


@pytest.fixture(params=[False, True], ids=["read-only", "writable"])
def served(database: Database, request: pytest.FixtureRequest) -> Iterator[tuple[int, bool]]:
    search(database, 3)
    application = optuna_dashboard.wsgi(database.optuna_storage)
    with make_server(HOST, 0, application, _Server, _Handler) as server:
        server.set_app(guarded(application, server.server_port, writable=request.param))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port, request.param
        server.shutdown()


def ask(port: int, path: str, method: str = "GET", **headers: str) -> int:
    """The HTTP status of a request."""
    request = urllib.request.Request(f"http://{HOST}:{port}{path}", method=method, headers=headers)
    try:
        with urllib.request.urlopen(request) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_pages_are_served_and_strangers_are_not(served: tuple[int, bool]) -> None:
    port, _ = served
    own = f"http://127.0.0.1:{port}"
    assert ask(port, "/dashboard") == 200
    assert ask(port, "/api/studies", Origin=own) == 200
    assert ask(port, "/api/studies", Host="evil.example") == 403
    assert ask(port, "/api/studies", Origin="http://evil.example") == 403
    assert ask(port, "/api/studies", Origin="null") == 403


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
    guarded(pages, 80, writable=False)(environ, lambda status, headers: answered.update(headers))
    assert answered["X-Content-Type-Options"] == "nosniff"
    is_artifact = path.startswith("/artifacts")
    assert answered["Content-Disposition"] == ("attachment" if is_artifact else "inline")
    assert answered.get("Content-Security-Policy") == ("sandbox" if is_artifact else None)
