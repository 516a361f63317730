"""optuna-dashboard over a search's database, served to whom it was started for alone.

The dashboard knows no users: another user of the machine could read and, with a foreign page that
is open in the same browser, delete a study. So it listens on loopback, answers only who has the
secret of the address that it prints, from its own pages, under a name of loopback (through a tunnel
on any port), and only reads, unless it is started as writable. It is shown in no frame. Artifacts
may be pages that somebody uploaded: they are saved, not shown.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Callable, Iterable
from http.cookies import CookieError, SimpleCookie
from socketserver import ThreadingMixIn
from typing import Any
from urllib.parse import parse_qs
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from search.errors import UsageError
from storage import Database

HOST = "127.0.0.1"
READING = ("GET", "HEAD", "OPTIONS")
LOOPBACK = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d+)?")
TOKEN = "token"
"""Of the printed address: its part after the question mark."""
NO_FRAME = "frame-ancestors 'none'"
ALWAYS = (("X-Content-Type-Options", "nosniff"), ("X-Frame-Options", "DENY"))
"""Headers of every answer."""
AS_A_FILE = (
    ("Content-Disposition", "attachment"),
    ("Content-Security-Policy", f"sandbox; {NO_FRAME}"),
)
"""Headers of artifacts, so that a browser saves them."""
AS_A_PAGE = (("Content-Security-Policy", NO_FRAME),)
Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class _Server(ThreadingMixIn, WSGIServer):
    """Answers in threads: of the many things that a page asks for a slow one delays no other."""

    daemon_threads = True


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing of each request."""


def guarded(application: Application, secret: str, port: int, *, writable: bool) -> Application:
    """`application` behind the rules at the top of the file; what breaks one gets a 403.

    Who comes with the secret in the address is sent on without it, and keeps it as a cookie.
    """
    cookie = f"fmnist-search-{port}"  # a browser sends the cookies of all ports of a host

    def guard(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        refused, path = _refusal(environ, writable=writable), environ.get("PATH_INFO", "/")
        if refused is None and _is(secret, _in_address(environ)):
            kept = f"{cookie}={secret}; HttpOnly; SameSite=Strict; Path=/"
            # One slash at the start: two would name another host.
            headers = [("Location", "/" + str(path).lstrip("/")), ("Set-Cookie", kept)]
            start_response("303 See Other", [*headers, ("Referrer-Policy", "no-referrer"), *ALWAYS])
            return []
        if refused is None and not _is(secret, _in_cookie(environ, cookie)):
            refused = "open the address that was printed when the dashboard was started"
        if refused is not None:
            start_response("403 Forbidden", [("Content-Type", "text/plain"), *ALWAYS])
            return [f"{refused}\n".encode()]
        is_artifact = str(path).startswith("/artifacts/")
        added = [*ALWAYS, *(AS_A_FILE if is_artifact else AS_A_PAGE)]
        names = {name.lower() for name, _ in added}

        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            kept = [header for header in headers if header[0].lower() not in names]
            return start_response(status, [*kept, *added], *more)

        return application(environ, start)

    return guard


def _refusal(environ: dict[str, Any], *, writable: bool) -> str | None:
    """Why a request is refused, whoever sends it, or None."""
    host, origin = str(environ.get("HTTP_HOST", "")), environ.get("HTTP_ORIGIN")
    if not LOOPBACK.fullmatch(host):
        return "this server is reached as 127.0.0.1 or localhost only"
    is_foreign = environ.get("HTTP_SEC_FETCH_SITE", "none") not in ("same-origin", "none")
    if is_foreign or (origin is not None and origin != f"http://{host}"):
        return "requests from other pages are refused"
    if environ["REQUEST_METHOD"] not in READING and not writable:
        return "read-only: start the dashboard with --writable"
    return None


def _in_address(environ: dict[str, Any]) -> str:
    return parse_qs(str(environ.get("QUERY_STRING", ""))).get(TOKEN, [""])[-1]


def _in_cookie(environ: dict[str, Any], name: str) -> str:
    try:
        found = SimpleCookie(environ.get("HTTP_COOKIE", "")).get(name)
    except CookieError:
        return ""
    return found.value if found else ""


def _is(secret: str, given: str) -> bool:
    return hmac.compare_digest(secret.encode(), given.encode())


def pages(database: Database) -> Application:
    """optuna-dashboard over `database`, which reads a trial that has ended but once.

    While it reads, others who ask wait for the same trials.
    """
    import optuna_dashboard  # type: ignore[import-untyped]
    from optuna.storages import get_storage

    application: Application = optuna_dashboard.wsgi(get_storage(database.optuna_storage))
    return application


def serve(database: Database, port: int, *, page: str = "", writable: bool = False) -> None:
    """Serve until interrupted; port 0 takes any free one. Raises UsageError if it is taken.

    `page` is what the printed address points at, with a secret that is made for this start.
    """
    try:
        server = make_server(HOST, port, _nothing, _Server, _Handler)
    except (OSError, OverflowError) as error:
        raise UsageError(f"--port {port}: {error}; choose another, or 0 for any") from None
    application, secret = pages(database), secrets.token_urlsafe(32)
    with server:
        server.set_app(guarded(application, secret, server.server_port, writable=writable))
        address = f"http://{HOST}:{server.server_port}/{page or 'dashboard/'}?{TOKEN}={secret}"
        print(f"optuna-dashboard: {address}  (Ctrl-C ends it)", flush=True)
        server.serve_forever()


def _nothing(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """What is served before the port, and with it the rules, are known."""
    start_response("503 Service Unavailable", [])
    return []
