"""The processes that train for another, found from outside, and whether they have ended."""

from __future__ import annotations

import time
from pathlib import Path

import psutil


def trainers_of(pid: int) -> list[int]:
    """The members or workers of process `pid`, which its fork server has started."""
    process = psutil.Process(pid)
    servers = [p for p in process.children() if "multiprocessing.forkserver" in str(p.cmdline())]
    return [child.pid for server in servers for child in server.children()]


def all_gone(pids: list[int]) -> bool:
    """Whether these processes end within half a minute."""
    until = time.monotonic() + 30
    while not all(map(_is_gone, pids)) and time.monotonic() < until:
        time.sleep(0.05)
    return all(map(_is_gone, pids))


def _is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
