"""One study for all tests of what is told of one, with stopped, failed and repeated trials."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.report.study_data import StudyData, read_study
from search.workers.messages import Failure
from storage import open_database
from tests.search.loop import STUDY, drive, open_session

TRIALS, EPOCHS = 60, 4
HOSTILE = "raised: <script>alert(1)</script>\n'); DROP TABLE x"


@pytest.fixture(scope="session")
def told_file(tmp_path_factory: pytest.TempPathFactory, empty_sqlite: Path) -> Path:
    """Give the SQLite file of a study of 60 trials; not to be written."""
    path = tmp_path_factory.mktemp("told") / "search.db"
    path.write_bytes(empty_sqlite.read_bytes())
    with open_database(f"sqlite:///{path}") as database:
        session = open_session(database, TRIALS, sampler="random", epochs=EPOCHS)
        drive(session, epochs=40)
        for kind, reason in (("raised", HOSTILE), ("diverged", "the loss is not finite")):
            started = session.next_trial()
            assert started is not None
            session.fail(started.number, Failure(kind=kind, reason=reason))
        drive(session)
        session.close("done")
    return path


@pytest.fixture
def told_url(told_file: Path, tmp_path: Path) -> str:
    """Give the URL of a copy of that file."""
    copy = tmp_path / "told.db"
    copy.write_bytes(told_file.read_bytes())
    return f"sqlite:///{copy}"


@pytest.fixture(scope="session")
def told(told_file: Path) -> StudyData:
    """Give what was read of that study."""
    with open_database(f"sqlite:///{told_file}") as database:
        return read_study(database.open_study(STUDY))


@pytest.fixture(scope="session")
def told_fifo(tmp_path_factory: pytest.TempPathFactory, empty_sqlite: Path) -> StudyData:
    """Give what was read of a study of two launches: 26 trials ran to their end, then some not."""
    path = tmp_path_factory.mktemp("fifo") / "search.db"
    path.write_bytes(empty_sqlite.read_bytes())
    with open_database(f"sqlite:///{path}") as database:
        for trials, scheduler in ((26, "fifo"), (34, "asha")):
            session = open_session(database, trials, scheduler, "random", epochs=2)
            drive(session)
            session.close("done")
        return read_study(database.open_study(STUDY))
