"""The launches of one study: which drivers were started on it, live, and how they ended."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import insert, select, update

from storage import tables
from storage.connections import Connections
from storage.errors import StorageUnavailable
from storage.rows import Launch, LaunchStart
from storage.tables import columns_of


class Launches:
    """The launches of the study `study_name`; all times are by the database's clock, in UTC."""

    def __init__(self, connections: Connections, study_name: str) -> None:
        self._connections, self._study_name = connections, study_name

    def now(self) -> datetime:
        """The time by the clock that heartbeats are set by."""
        return self._connections.now()

    def start(self, start: LaunchStart) -> int:
        """Keep one start of a driver: its identifier, higher than those of earlier starts."""
        now = self._connections.clock()
        values = {"study_name": self._study_name, "started_at": now, "heartbeat_at": now}
        statement = insert(tables.launch).values(**start.model_dump(), **values)
        returning = statement.returning(tables.launch.c.id)
        # Exclusive, so that identifiers rise in the order in which they are seen.
        with self._connections.exclusive(), self._connections.transaction() as connection:
            launch_id: int = connection.execute(returning).scalar_one()
        return launch_id

    def heartbeat(self, launch_id: int) -> None:
        """Note that the driver of a launch lives; raises StorageUnavailable if it was deleted."""
        self._update(launch_id, heartbeat_at=self._connections.clock())

    def end(self, launch_id: int, outcome: str) -> None:
        """Note how a launch ended; raises StorageUnavailable if it was deleted."""
        self._update(launch_id, ended_at=self._connections.clock(), outcome=outcome)

    def all(self) -> list[Launch]:
        """All launches, the oldest first."""
        launch = tables.launch
        query = select(*columns_of(launch)).where(launch.c.study_name == self._study_name)
        rows = self._connections.rows(query.order_by(launch.c.id))
        return [Launch.model_validate(dict(row)) for row in rows]

    def open(self) -> list[Launch]:
        """Those that have not ended: their drivers live, or were killed."""
        return [launch for launch in self.all() if launch.ended_at is None]

    def _update(self, launch_id: int, **values: Any) -> None:
        statement = update(tables.launch).where(tables.launch.c.id == launch_id).values(**values)
        with self._connections.transaction() as connection:
            if connection.execute(statement).rowcount == 0:
                raise StorageUnavailable(
                    f"{self._connections.url} has no launch {launch_id} any more: somebody deleted"
                    f" it, or study {self._study_name!r} with it; start the search again"
                )
