"""How a command ends: signals, and errors turned into one line and an exit status."""

import errno
import os
import signal

import pytest

from fmnist_models.errors import DataError
from search.errors import (
    Interrupted,
    NoResultError,
    SurroundingsError,
    UsageError,
    as_search_error,
)
from search.signals import StopRequest, handlers_kept
from search.time_budget import Budget
from storage import StorageRefused, StorageUnavailable


@pytest.mark.parametrize(("kind", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_what_runs_at_once(kind: signal.Signals, status: int) -> None:
    before = signal.getsignal(kind)
    with StopRequest(Budget()).installed():
        with pytest.raises(Interrupted, match=f"{kind.name}: stopped") as error:
            os.kill(os.getpid(), kind)
        assert error.value.status == status
        os.kill(os.getpid(), kind)  # a second one must not break the clearing up
    assert signal.getsignal(kind) is before


def test_a_deferred_signal_is_only_noted() -> None:
    stop = StopRequest(Budget())
    with stop.installed(), stop.deferred():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
    assert stop.signal == signal.SIGTERM


def test_handlers_that_a_library_takes_are_taken_back() -> None:
    stop = StopRequest(Budget())
    with stop.installed(), stop.deferred():
        with handlers_kept():
            signal.signal(signal.SIGTERM, lambda number, frame: os._exit(1))
        os.kill(os.getpid(), signal.SIGTERM)
    assert stop.signal == signal.SIGTERM


@pytest.mark.parametrize(
    ("error", "kind", "status"),
    [
        (UsageError("x"), UsageError, 2),
        (NoResultError("x"), NoResultError, 1),
        (DataError("x"), UsageError, 2),
        (StorageRefused("x"), UsageError, 2),
        (StorageUnavailable("x"), SurroundingsError, 3),
        (OSError(errno.ENOSPC, "No space left on device", "f"), SurroundingsError, 3),
        (OSError(errno.EROFS, "Read-only file system", "f"), UsageError, 2),
    ],
)
def test_an_error_has_its_exit_status(error: Exception, kind: type, status: int) -> None:
    known = as_search_error(error)
    assert type(known) is kind
    assert known.status == status
    assert "\n" not in str(known)


@pytest.mark.parametrize("defect", [KeyError("x"), ZeroDivisionError(), KeyboardInterrupt()])
def test_a_defect_of_ours_is_not_dressed_up(defect: BaseException) -> None:
    assert as_search_error(defect) is None
