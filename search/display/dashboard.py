"""optuna-dashboard over a search's database, served to this machine alone.

The dashboard knows no users, so a foreign page that is open in the same browser could have it
delete a study. So it listens on loopback, answers only requests that name it as their host and come
from its own pages, and only reads, unless it is started as writable. Artifacts may be pages that
somebody uploaded: they are saved, not shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from search.errors import UsageError
from storage import Database

HOST = "127.0.0.1"
READING = ("GET", "HEAD", "OPTIONS")
NO_SNIFFING = (("X-Content-Type-Options", "nosniff"),)
"""Headers of every answer."""
AS_A_FILE = (("Content-Disposition", "attachment"), ("Content-Security-Policy", "sandbox"))
"""Headers of artifacts, so that a browser saves them."""
Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class _Server(ThreadingMixIn, WSGIServer):
    """Answers in threads: of the many things that a page asks for a slow one delays no other."""

    daemon_threads = True


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing of each request."""


def guarded(application: Application, port: int, *, writable: bool) -> Application:
    """`application` behind the rules at the top of the file; what breaks one gets a 403."""
    hosts = {f"{name}:{port}" for name in (HOST, "localhost")}

    def guard(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        refused = _refusal(environ, hosts, writable=writable)
        if refused is not None:
            start_response("403 Forbidden", [("Content-Type", "text/plain"), *NO_SNIFFING])
            return [f"{refused}\n".encode()]
        is_artifact = str(environ.get("PATH_INFO", "")).startswith("/artifacts/")
        added = [*NO_SNIFFING, *(AS_A_FILE if is_artifact else ())]
        names = {name.lower() for name, _ in added}

        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            kept = [header for header in headers if header[0].lower() not in names]
            return start_response(status, [*kept, *added], *more)

        return application(environ, start)

    return guard


def _refusal(environ: dict[str, Any], hosts: set[str], *, writable: bool) -> str | None:
    """Why a request is refused, or None."""
    origin = environ.get("HTTP_ORIGIN")
    if environ.get("HTTP_HOST") not in hosts:
        return "this server is reached as 127.0.0.1 or localhost only"
    if origin is not None and origin.removeprefix("http://") not in hosts:
        return "requests from other pages are refused"
    if environ["REQUEST_METHOD"] not in READING and not writable:
        return "read-only: start the dashboard with --writable"
    return None


def serve(database: Database, port: int, *, page: str = "", writable: bool = False) -> None:
    """Serve until interrupted; port 0 takes any free one. Raises UsageError if it is taken.

    `page` is what the printed address points at.
    """
    import optuna_dashboard  # type: ignore[import-untyped]

    try:
        server = make_server(HOST, port, _nothing, _Server, _Handler)
    except (OSError, OverflowError) as error:
        raise UsageError(f"--port {port}: {error}; choose another, or 0 for any") from None
    application = optuna_dashboard.wsgi(database.optuna_storage)
    with server:
        server.set_app(guarded(application, server.server_port, writable=writable))
        address = f"http://{HOST}:{server.server_port}/{page}"
        print(f"optuna-dashboard: {address}  (Ctrl-C ends it)", flush=True)
        server.serve_forever()


def _nothing(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """What is served before the port, and with it the rules, are known."""
    start_response("503 Service Unavailable", [])
    return []
