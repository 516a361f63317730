"""Two real Ray nodes on this machine's loopback, asking for a token, a core each."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.search.programs import MARK

OBJECT_STORE_BYTES = 100_000_000


@dataclass
class Cluster:
    """The address, what a driver's environment needs, and the process of each node."""

    address: str
    environment: dict[str, str]
    nodes: list[psutil.Process] = field(default_factory=list)

    def workers(self) -> list[set[int]]:
        """The processes of trials on each node, by their titles."""
        return [
            {p.pid for p in node.children(recursive=True) if _title(p).startswith("ray::Trial")}
            for node in self.nodes
        ]


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@contextmanager
def two_nodes(folder: Path) -> Iterator[Cluster]:
    """Start a head and a second node below `folder` (a short path), in folders of their own.

    Neither knows anything of our code or data: no PYTHONPATH, an empty home.
    """
    token, home = folder / "token", folder / "home"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    home.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    environment = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        "HOME": str(home),
        "TMPDIR": str(folder),
    }
    cluster = Cluster(
        f"127.0.0.1:{port}", {**environment, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    )
    head = ["--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={folder}/ray"]
    started = []
    try:
        for options in (head, [f"--address={cluster.address}"]):
            started.append(_start_node(options, home, environment))
            cluster.nodes.append(psutil.Process(started[-1].pid))
            _wait_for_node(started[-1])
        yield cluster
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            process.wait(30)


def _start_node(
    options: list[str], home: Path, environment: dict[str, str]
) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", *options]
    common = ["--num-cpus=1", "--num-gpus=0", "--node-ip-address=127.0.0.1", "--block"]
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", MARK)}
    return subprocess.Popen(
        [*command, *common, f"--object-store-memory={OBJECT_STORE_BYTES}"],
        cwd=home,
        env={**clean, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _wait_for_node(node: subprocess.Popen[bytes]) -> None:
    """Until the node's raylet is there; a head's control store then answers too."""
    deadline = time.monotonic() + 120
    while not any("raylet" in p.name() for p in psutil.Process(node.pid).children(recursive=True)):
        assert node.poll() is None, "a node did not start"
        assert time.monotonic() < deadline, "a node took too long to start"
        time.sleep(0.2)
    time.sleep(1.0)
