"""What this process may use of its machine: cores and memory, the limits of a container included.

psutil and os know the whole machine; a container's limits stand in the files of its control group
(https://docs.kernel.org/admin-guide/cgroup-v2.html, and version 1 before it).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psutil

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def available_cpus(cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP) -> int:
    """Cores that this process may use: by affinity and by its container's quota, at least one."""
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    quotas = [quota for folder in _groups(cgroups, membership) for quota in _cpu_quota(folder)]
    return max(1, int(min([cores, *quotas])))


def available_memory(cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP) -> int:
    """Bytes of host memory that can still be taken: by the machine and by the container."""
    free = [room for folder in _groups(cgroups, membership) for room in _memory_room(folder)]
    return min([psutil.virtual_memory().available, *free])


def _groups(cgroups: Path, membership: Path) -> Iterator[Path]:
    """The folders of our control groups and of those around them, in both versions' layouts.

    Inside a container its own group is often mounted as the root, whatever `membership` says.
    """
    yield from (cgroups, cgroups / "cpu", cgroups / "memory")
    for line in _text(membership).splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        parts = [part for part in path.split("/") if part not in ("", ".", "..")]
        roots = [cgroups / controller for controller in controllers.split(",")]
        for root in roots:  # of version 2, with no controllers: `cgroups` itself
            yield from (root.joinpath(*parts[:depth]) for depth in range(1, len(parts) + 1))


def _cpu_quota(folder: Path) -> Iterator[float]:
    """Cores by the group's quota, if it has one."""
    quota, period = [*_text(folder / "cpu.max").split(), "", ""][:2]
    if not quota:
        quota, period = _text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us")
    if quota.isdigit() and period.isdigit() and int(period):
        yield max(1.0, int(quota) / int(period))


def _memory_room(folder: Path) -> Iterator[int]:
    """Bytes to the group's limit, if it has one; what the kernel would drop counts as free."""
    version2 = (folder / "memory.max").exists()
    limit = _text(folder / ("memory.max" if version2 else "memory.limit_in_bytes"))
    used = _text(folder / ("memory.current" if version2 else "memory.usage_in_bytes"))
    if not (limit.isdigit() and used.isdigit()) or int(limit) >= psutil.virtual_memory().total:
        return
    statistics = dict(
        pair
        for line in _text(folder / "memory.stat").splitlines()
        if len(pair := line.split()) == 2
    )
    cached = statistics.get("inactive_file" if version2 else "total_inactive_file", "0")
    yield max(0, int(limit) - int(used) + int(cached))


def _text(path: Path) -> str:
    """The text of a file without its line end, or nothing where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
