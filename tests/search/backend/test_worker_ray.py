"""Workers that train as real processes of one real Ray, and what goes wrong in them.

They are driven as Tune does: train, reset, train, stop.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from fmnist_models.config.registry import FAMILIES
from fmnist_models.config.trial import TrialConfig
from fmnist_models.training.metrics import EpochMetrics
from search.backend.ray_session import ray_alone
from search.workers.messages import (
    MESSAGE,
    EpochDone,
    Failed,
    Resumed,
    StartedTrial,
    WorkerMessage,
    WorkerSettings,
    parse_message,
)
from tests.faulty import ENTRY, faulty
from tests.search.programs import is_loopback
from tests.search.ray_loop import NODE
from tests.search.workers.driven import TIMES, settings_for


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    import ray  # before it is told to keep to this machine, as whatever ran before may have done

    with ray_alone(NODE):
        yield ray


@pytest.fixture(autouse=True)
def _faults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAMILIES, *ENTRY)


@pytest.fixture
def settings(small_data: Path, tmp_path: Path) -> WorkerSettings:
    return settings_for(small_data, tmp_path)


class Process:
    """A worker in a process of its own."""

    settings: WorkerSettings

    def __init__(self, ray: Any) -> None:
        self.ray = ray
        self.actor: Any = None

    def start(self, config: TrialConfig, number: int = 0, **more: Any) -> None:
        trial = StartedTrial(number=number, config=config, **more)
        order = {
            "settings": self.settings.model_dump_json(),
            "trial": trial.model_dump_json(),
            "number": number,
        }
        if self.actor is None:
            from tests.search.backend.ray_faults import FaultyWorker

            self.actor = self.ray.remote(num_cpus=1)(FaultyWorker).remote(order)
        else:
            assert self.ray.get(self.actor.reset.remote(order))

    def step(self) -> WorkerMessage:
        return parse_message(self.ray.get(self.actor.train.remote())[MESSAGE])

    def trained(self, epochs: int) -> list[dict[str, Any]]:
        messages = [self.step() for _ in range(epochs)]
        assert all(isinstance(message, EpochDone) for message in messages), messages
        return [figures(message.metrics) for message in messages]

    def resumed(self) -> list[dict[str, Any]]:
        message = self.step()
        assert isinstance(message, Resumed), message
        return [figures(metrics) for metrics in message.epochs]

    @property
    def pid(self) -> int:
        _, pid = self.ray.get(self.actor.get_current_ip_pid.remote())
        return int(pid)


@pytest.fixture(scope="module")
def only_process(ray: Any) -> Process:
    """Give the one worker of this module: to start a process takes seconds."""
    return Process(ray)


@pytest.fixture
def process(only_process: Process, settings: WorkerSettings) -> Process:
    """Give that worker, warm or not, with the settings of this test."""
    only_process.settings = settings
    return only_process


def figures(metrics: EpochMetrics) -> dict[str, Any]:
    return metrics.model_dump(exclude=TIMES)


def test_ray_keeps_to_this_machine(ray: Any) -> None:
    found = [
        connection.laddr.ip
        for process in psutil.Process().children(recursive=True)
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert found
    assert all(is_loopback(ip) for ip in found)


def test_ray_has_no_process_that_nobody_needs(ray: Any) -> None:
    running = [" ".join(p.cmdline()) for p in psutil.Process().children(recursive=True)]
    assert any("gcs_server" in line for line in running)
    assert [line for line in running if "monitor.py" in line] == []


def test_a_worker_has_imported_all_before_it_is_given_anything(ray: Any) -> None:
    def missing() -> list[str]:
        import sys

        needed = ("search.backend.ray_actor", "ray.tune", "fmnist_models.compute.kernels")
        return [name for name in needed if name not in sys.modules]

    assert ray.get(ray.remote(num_cpus=1)(missing).remote()) == []


def test_a_killed_worker_loses_its_epoch_and_another_goes_on_the_curve(
    ray: Any, process: Process
) -> None:
    process.start(faulty(epochs=4))
    curve = process.trained(4)
    process.start(faulty(epochs=4), 1)
    assert process.trained(2) == curve[:2]
    pid = process.pid
    process.actor.train.remote()
    psutil.Process(pid).kill()
    with pytest.raises(ray.exceptions.RayActorError):
        process.trained(1000)
    process.actor = None
    process.start(faulty(epochs=4), 2, resume_from=(1,))
    epochs = process.resumed()
    assert len(epochs) >= 2
    assert epochs + process.trained(4 - len(epochs)) == curve


def test_a_trial_that_ends_its_process_is_gone_on_from_where_it_was(
    ray: Any, process: Process, tmp_path: Path
) -> None:
    config = faulty("leave", at=15, once=str(tmp_path / "struck"))  # in the second of three epochs
    process.start(config)
    first = process.trained(1)
    with pytest.raises(ray.exceptions.RayActorError):
        process.step()
    process.actor = None
    process.start(config, 1, resume_from=(0,))
    assert process.resumed() == first
    process.trained(2)


def test_one_warm_process_survives_whatever_leaves_it_alive(process: Process) -> None:
    process.start(faulty())
    curve = process.trained(3)
    pid = process.pid
    process.settings = process.settings.model_copy(
        update={"memory_limit_bytes": psutil.Process(pid).memory_info().rss + 400_000_000}
    )
    kinds = []
    for number, fault in enumerate(("raise", "mute", "exit", "nan", "cuda", "crowd", "hoard"), 1):
        process.start(faulty(fault, at=3, amount=100e6 if fault == "hoard" else 0.0), number)  # type: ignore[arg-type]
        message = process.step()
        assert isinstance(message, Failed), message
        kinds.append(message.failure.kind)
    assert kinds == ["raised"] * 3 + ["diverged"] + ["out_of_memory"] * 3
    for number in (8, 9, 10):  # of which each takes a second to be torn down
        began = time.monotonic()
        process.start(faulty("linger", amount=1.0), number)
        assert number == 8 or time.monotonic() - began > 0.9
        process.trained(1)
    process.start(faulty(), 11)
    assert process.trained(3) == curve
    assert process.pid == pid
