"""The limits of a container, read from files laid out as the kernel lays them out."""

from pathlib import Path

import psutil
import pytest

from search.planning.container_limits import available_cpus, available_memory

GB = 10**9


def write(root: Path, files: dict[str, str]) -> tuple[Path, Path]:
    """Lay out control groups below `root`; the folder of the groups and the membership file."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")
    return root / "cgroup", root / "self"


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({"cgroup/cpu.max": "100000 100000"}, 1),
        ({"cgroup/cpu.max": "50000 100000"}, 1),
        (
            {"self": "0::/a/b", "cgroup/a/cpu.max": "100000 100000", "cgroup/a/b/cpu.max": "max 1"},
            1,
        ),
        ({"cgroup/cpu/cpu.cfs_quota_us": "100000", "cgroup/cpu/cpu.cfs_period_us": "100000"}, 1),
        (
            {
                "self": "4:cpu,cpuacct:/docker/x\n1:name=systemd:/docker/x",
                "cgroup/cpu/docker/x/cpu.cfs_quota_us": "100000",
                "cgroup/cpu/docker/x/cpu.cfs_period_us": "100000",
            },
            1,
        ),
    ],
)
def test_cores_of_a_container(tmp_path: Path, files: dict[str, str], cpus: int) -> None:
    assert available_cpus(*write(tmp_path, files)) == cpus


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"cgroup/cpu.max": "max 100000"},
        {"cgroup/cpu.max": "9900000 100000"},
        {"cgroup/cpu/cpu.cfs_quota_us": "-1", "cgroup/cpu/cpu.cfs_period_us": "100000"},
        {"cgroup/cpu.max": "nonsense", "self": "nonsense"},
    ],
)
def test_cores_without_a_limit(tmp_path: Path, files: dict[str, str]) -> None:
    everything = available_cpus(tmp_path / "none", tmp_path / "none")
    assert available_cpus(*write(tmp_path, files)) == min(everything, 99)


@pytest.mark.parametrize(
    ("files", "room"),
    [
        ({"cgroup/memory.max": str(GB), "cgroup/memory.current": str(GB // 4)}, 3 * GB // 4),
        (
            {
                "cgroup/memory.max": str(GB),
                "cgroup/memory.current": str(GB),
                "cgroup/memory.stat": f"anon 5\ninactive_file {GB // 2}",
            },
            GB // 2,
        ),
        (
            {
                "cgroup/memory/memory.limit_in_bytes": str(GB),
                "cgroup/memory/memory.usage_in_bytes": str(GB // 2),
            },
            GB // 2,
        ),
    ],
)
def test_memory_of_a_container(tmp_path: Path, files: dict[str, str], room: int) -> None:
    assert available_memory(*write(tmp_path, files)) == room


def test_memory_without_a_limit(tmp_path: Path) -> None:
    files = {"cgroup/memory.max": "max", "cgroup/memory.current": "1"}
    found = available_memory(*write(tmp_path, files))
    assert found == pytest.approx(psutil.virtual_memory().available, rel=0.2)
