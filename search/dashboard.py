"""optuna-dashboard over a search's database, served to this machine alone."""

from __future__ import annotations

from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from search.errors import UsageError
from storage import Database

HOST = "127.0.0.1"


class _Server(ThreadingMixIn, WSGIServer):
    """A page asks for several things at once, and a slow one must not hold up the rest."""

    daemon_threads = True


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing of each request."""


def serve(database: Database, port: int) -> None:
    """Serve until interrupted; port 0 takes any free one. Raises UsageError if it is taken."""
    import optuna_dashboard  # type: ignore[import-untyped]

    application = optuna_dashboard.wsgi(database.optuna_storage)
    try:
        server = make_server(HOST, port, application, _Server, _Handler)
    except (OSError, OverflowError) as error:
        raise UsageError(f"--port {port}: {error}; choose another, or 0 for any") from None
    with server:
        print(
            f"optuna-dashboard: http://{HOST}:{server.server_port}/  (Ctrl-C ends it)", flush=True
        )
        server.serve_forever()
