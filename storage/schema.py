"""Bringing a database to our schema, or refusing it unchanged."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, Engine, NullPool, create_engine, exc, inspect, select, text

from storage.engine import exclusive
from storage.error_translation import lost_table
from storage.errors import OptunaAlone, StorageRefused, StorageUnavailable
from storage.optuna_tables import NEEDED_TABLES, OPTUNA_TABLES, STUDIES
from storage.tables import SCHEMA_VERSION, VERSION_TABLE, launch, metadata
from storage.url import display_url, is_read_only, sqlite_path

MIGRATIONS = Path(__file__).parent / "migrations"

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Contents:
    tables: frozenset[str]
    version: str | None  # our revision; None where our tables never were

    @property
    def is_current(self) -> bool:
        return self.version == SCHEMA_VERSION


def ensure_schema(
    engine: Engine, *, create: bool, wait_seconds: float, migrations: Path = MIGRATIONS
) -> None:
    """Create or upgrade our tables; one process does it, others wait for it.

    With `create` false nothing is changed, whatever is there. Raises StorageRefused, with nothing
    changed, when the database holds something else, a schema newer than this code, or (with
    `create` false) no search at all or an older schema; OptunaAlone where it holds studies that
    Optuna itself has made; StorageUnavailable where somebody has dropped a table.
    """
    contents = _look(engine)
    _check_whole(engine, contents)
    if not create:
        _check_readable(engine, contents, migrations)
        return
    if not contents.is_current:
        with exclusive(engine, wait_seconds):
            contents = _look(engine)
            if not contents.is_current:
                _refuse_unfit(engine, contents, migrations)
                _upgrade(engine, contents, migrations)
    _use_wal(engine, wait_seconds)


def migrate(engine: Engine, migrations: Path = MIGRATIONS) -> None:
    """Run the migrations up to the newest, in one transaction."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            # Python's driver opens no transaction for DDL by itself.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _look(engine: Engine) -> _Contents:
    path = sqlite_path(engine.url)
    if path is not None and not path.exists():
        return _Contents(frozenset(), None)
    with _looked_at(engine) as connection:
        return _read_contents(connection)


@contextmanager
def _looked_at(engine: Engine) -> Iterator[Connection]:
    """A connection that only reads, and leaves nothing beside a file."""
    path = sqlite_path(engine.url)
    if path is None or is_read_only(path):
        with engine.connect() as connection:
            yield connection
        return
    with _read_only(path) as reader:
        try:
            with reader.connect() as connection:
                connection.exec_driver_sql("SELECT 1 FROM sqlite_master").fetchone()
                yield connection
                return
        except exc.OperationalError as error:
            if not getattr(error.orig, "sqlite_errorname", "").startswith("SQLITE_READONLY"):
                raise
    # A writer was killed half-way: who reads next has to undo what it began.
    with engine.connect() as connection:
        yield connection


def _read_contents(connection: Connection) -> _Contents:
    tables = frozenset(inspect(connection).get_table_names())
    query = text(f"SELECT version_num FROM {VERSION_TABLE}")
    return _Contents(tables, connection.scalar(query) if VERSION_TABLE in tables else None)


@contextmanager
def _read_only(path: Path) -> Iterator[Engine]:
    """An engine that cannot change the file, and leaves nothing beside it."""
    uri = f"file:{quote(str(path))}?mode=ro"
    wal = Path(f"{path}-wal")
    was_at_rest = not wal.exists()
    reader = create_engine(
        "sqlite://", creator=lambda: sqlite3.connect(uri, uri=True), poolclass=NullPool
    )
    try:
        yield reader
    finally:
        if was_at_rest and wal.exists():
            # A read-only connection makes the two files of WAL mode but cannot remove them.
            with suppress(sqlite3.Error), closing(sqlite3.connect(path)) as connection:
                connection.execute("SELECT 1 FROM sqlite_master").fetchone()


def _check_whole(engine: Engine, contents: _Contents) -> None:
    """Raise StorageUnavailable where tables are missing that were there once.

    Optuna would make its own anew, empty, as if there had been no trials.
    """
    ours = frozenset(metadata.tables)
    missing = set() if contents.version else {VERSION_TABLE} & contents.tables
    if contents.is_current or (not contents.version and not contents.tables.isdisjoint(ours)):
        missing |= {VERSION_TABLE, *ours} - contents.tables
    if contents.is_current and not missing:
        with _looked_at(engine) as connection:
            # A driver that dies as it makes the first study leaves only some of Optuna's tables.
            if connection.execute(select(launch.c.id).limit(1)).first():
                missing = set(NEEDED_TABLES - contents.tables)
    if missing:
        raise StorageUnavailable(lost_table(display_url(engine.url), min(missing)))


def _check_readable(engine: Engine, contents: _Contents, migrations: Path) -> None:
    """Raise StorageRefused where a command that only reads finds nothing of ours."""
    if contents.is_current:
        return
    _refuse_unfit(engine, contents, migrations)
    shown = display_url(engine.url)
    if VERSION_TABLE in contents.tables:
        raise StorageRefused(
            f"{shown} was written by an older fmnist-search (schema {contents.version}, this one"
            f" knows {SCHEMA_VERSION}): go on with a search in it, which brings it up to date and"
            " keeps a copy"
        )
    if not contents.tables >= OPTUNA_TABLES:
        raise StorageRefused(f"{shown}: no search has been stored there yet: check the URL")
    with _looked_at(engine) as connection:
        found = [f"{name!r} ({count} trials)" for name, count in connection.execute(STUDIES)]
    raise OptunaAlone(
        f"{shown} has no search of fmnist-search in it, but studies made by Optuna itself:"
        f" {', '.join(found) or 'none yet'}; look at them with optuna-dashboard"
    )


def _refuse_unfit(engine: Engine, contents: _Contents, migrations: Path) -> None:
    shown = display_url(engine.url)
    ours = VERSION_TABLE in contents.tables
    optuna = contents.tables >= OPTUNA_TABLES
    if contents.tables and engine.dialect.name == "sqlite" and not ours and not optuna:
        raise StorageRefused(f"{shown} belongs to another program: name another file")
    if contents.version is not None and contents.version not in _known_versions(migrations):
        raise StorageRefused(
            f"{shown} was written by a newer fmnist-search (schema {contents.version}, this one"
            f" knows {SCHEMA_VERSION}): upgrade fmnist-search or name another database"
        )


def _known_versions(migrations: Path) -> set[str]:
    from alembic.script import ScriptDirectory

    return {script.revision for script in ScriptDirectory(migrations).walk_revisions()}


def _upgrade(engine: Engine, contents: _Contents, migrations: Path) -> None:
    path = sqlite_path(engine.url)
    if path is None:
        migrate(engine, migrations)
        return
    if VERSION_TABLE in contents.tables:
        _back_up(path, contents.version)
    is_new = not path.exists()
    if is_new:  # its owner's alone, and with it what SQLite puts beside it
        path.touch(mode=0o600)
    try:
        migrate(engine, migrations)
    except BaseException:
        if is_new:
            engine.dispose()
            for suffix in ("", "-journal"):
                Path(f"{path}{suffix}").unlink(missing_ok=True)
        raise


def _back_up(path: Path, version: str | None) -> None:
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
    backup = path.with_name(f"{path.name}.schema-{version or 'none'}-{now}.backup")
    try:
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(backup)) as target:
            source.backup(target)
    except BaseException:
        backup.unlink(missing_ok=True)  # half a backup is worse than none
        raise
    _logger.warning("%s gets a newer schema; the old database is kept as %s", path, backup)


def _use_wal(engine: Engine, wait_seconds: float) -> None:
    if engine.dialect.name != "sqlite":
        return
    with engine.connect() as connection:
        if connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal":
            return
        with exclusive(engine, wait_seconds):
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")
