r"""Does it help training in two threads, alone or beside other work, if idle threads don't spin?

    python -m benchmarks.omp_wait --out results/omp_wait.json [--runs 3]

Each run is a process of its own, as OpenMP reads its environment once: quick width 16, depth 2 and
wrn 10-1, batch 256, two threads, images/s of a timed stretch, alone and with one busy process more.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from statistics import mean, stdev
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
POLICIES: dict[str, dict[str, str]] = {
    "default": {},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
    "spin 1,000": {"GOMP_SPINCOUNT": "1000"},
    "spin 10,000": {"GOMP_SPINCOUNT": "10000"},
}
RUN = """
import sys, time, torch
torch.set_num_threads(int(sys.argv[2]))
from fmnist_models.families import build_model
from fmnist_models.quick import QuickConfig
from fmnist_models.wrn import WrnConfig
config = {"quick": QuickConfig(width=16, depth=2), "wrn": WrnConfig(depth=10, width=1)}[sys.argv[1]]
net = build_model(config, 10).to(memory_format=torch.channels_last)
optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, fused=True)
images = torch.randn(256, 1, 28, 28).to(memory_format=torch.channels_last)
labels = torch.randint(10, (256,))
def step():
    with torch.autocast("cpu", torch.bfloat16):
        loss = torch.nn.functional.cross_entropy(net(images), labels)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
for _ in range(3):
    step()
steps, start = 0, time.perf_counter()
while time.perf_counter() - start < float(sys.argv[3]):
    step()
    steps += 1
print(256 * steps / (time.perf_counter() - start))
"""
BUSY = "while True: pass"


def images_per_second(net: str, threads: int, policy: dict[str, str], seconds: float) -> float:
    """Of one process that trains."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, net, str(threads), str(seconds)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **policy},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0, help="timed stretch of a run")
    options = parser.parse_args()
    speeds: dict[str, list[float]] = {}
    for _ in range(options.runs):  # the policies take turns, so that all see the same weather
        for busy in (0, 1):
            others = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(busy)]
            try:
                for net in ("quick", "wrn"):
                    for name, policy in POLICIES.items():
                        for threads in (2, 1) if name == "default" else (2,):
                            case = f"{net}, {threads} threads, {busy} busy, {name}"
                            speed = images_per_second(net, threads, policy, options.seconds)
                            speeds.setdefault(case, []).append(round(speed))
                            print(case, round(speed), flush=True)
            finally:
                for other in others:
                    other.kill()
                    other.wait()
    result: dict[str, Any] = {
        "command": f"python -m benchmarks.omp_wait --runs {options.runs}",
        "images_per_second": {
            case: {"mean": round(mean(s)), "deviation": round(stdev(s)), "runs": s}
            for case, s in speeds.items()
        },
        "machine": {
            "cpus": os.cpu_count(),
            "python": platform.python_version(),
            "torch": version("torch"),
        },
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
