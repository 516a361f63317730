"""A Ray of our own that starts in the background, while the launch plans and opens its study."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

from search.backend.ray_session import ray_alone
from search.backend.ray_watch import RayWatch
from search.planning.plan import Node


@contextmanager
def ray_begun(node: Node) -> Iterator[Callable[[Callable[[], None]], RayWatch]]:
    """Begin to start Ray as `ray_alone` does; the block is given a function that waits for it.

    That function gives Ray's watch, or raises what starting raised; it calls what it is given every
    second while it waits. At the end of the block Ray is shut down, or first
    waited for where nobody has yet. Its thread lives as long as the block does: Linux kills Ray's
    processes when the thread that started them ends.
    """
    is_settled, is_over = Event(), Event()
    failures: list[BaseException] = []
    watches: list[RayWatch] = []

    def hold() -> None:
        try:
            with ray_alone(node) as watch:
                watches.append(watch)
                is_settled.set()
                is_over.wait()
        except BaseException as error:
            failures.append(error)
        finally:
            is_settled.set()

    def wait(meanwhile: Callable[[], None]) -> RayWatch:
        while not is_settled.wait(1.0):
            meanwhile()
        if failures:
            raise failures[0]
        return watches[0]

    thread = Thread(target=hold, name="ray")
    thread.start()
    try:
        yield wait
    finally:
        is_over.set()
        thread.join()
