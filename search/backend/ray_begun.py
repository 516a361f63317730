"""A Ray of our own that starts in the background, while the launch plans and opens its study."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

from search.backend.ray_session import ray_alone
from search.planning.plan import Node


@contextmanager
def ray_begun(node: Node) -> Iterator[Callable[[], None]]:
    """Begin to start Ray as `ray_alone` does; the block is given a function that waits for it.

    That function raises what starting raised. At the end of the block Ray is shut down, or first
    waited for where nobody has yet. Its thread lives as long as the block does: Linux kills Ray's
    processes when the thread that started them ends.
    """
    is_settled, is_over = Event(), Event()
    failures: list[BaseException] = []

    def hold() -> None:
        try:
            with ray_alone(node):
                is_settled.set()
                is_over.wait()
        except BaseException as error:
            failures.append(error)
        finally:
            is_settled.set()

    def wait() -> None:
        is_settled.wait()
        if failures:
            raise failures[0]

    thread = Thread(target=hold, name="ray")
    thread.start()
    try:
        yield wait
    finally:
        is_over.set()
        thread.join()
