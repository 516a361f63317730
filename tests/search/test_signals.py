"""Which signals stop a search, and which one under nohup does not."""

from __future__ import annotations

import os
import signal

import pytest

from search.errors import Interrupted
from search.signals import StopRequest, handlers_kept
from search.time_budget import Budget


@pytest.mark.parametrize("kind", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_at_once_or_is_noted(kind: signal.Signals) -> None:
    with handlers_kept():
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        stop = StopRequest(Budget())
        with stop.installed(), pytest.raises(Interrupted) as error:
            os.kill(os.getpid(), kind)
        assert error.value.status == 128 + kind
        noted = StopRequest(Budget())
        with noted.installed(), noted.deferred():
            os.kill(os.getpid(), kind)
            assert noted.is_due()


def test_under_nohup_a_closed_terminal_stops_nothing() -> None:
    with handlers_kept():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        stop = StopRequest(Budget())
        with stop.installed():
            os.kill(os.getpid(), signal.SIGHUP)
        assert not stop.is_due()
