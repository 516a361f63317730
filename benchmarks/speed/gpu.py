r"""What a card reaches: share of its peak, CUDA graphs, trials that share it, a trial's start.

    python -m benchmarks.speed.gpu --out results/gpu
        [--rows peak,graphs,packed,start] [--peak FLOP/S]

Needs a CUDA device and, beside the packages of fmnist_models, nothing: no ray, no optuna. Each row
is saved as soon as it is measured, and one that is there is not measured again: start it anew to go
on (`--fresh` to begin from nothing). All of it takes some minutes. Rows:

peak    training (forward, backward, SGD, flip and shift) of each network at batch 512: images/s,
        peak memory, and 2 x 3 x multiply-accumulates an image over the card's dense bf16 peak
graphs  small networks at batch 128: images/s with CUDA graphs over those without
packed  four processes at once over the same four one after another, in images/s of all
start   seconds from making a `Trainer` in a warm process to the end of its first step

Speeds are medians of `--repeats` epochs of `--steps` steps after one that is not counted. Without
the data set, as on a machine without a network, pixels are random: the work is the same.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.report import machine, table
from benchmarks.speed.gpu_work import (
    LARGE_BATCH,
    NETWORKS,
    SMALL_BATCH,
    TOGETHER,
    Member,
    Stand,
    config_of,
    serve,
)
from fmnist_models.compute.memory import give_back_memory
from fmnist_models.compute.precision import device_name
from fmnist_models.config.base import ModelConfig
from fmnist_models.files import write_atomically
from fmnist_models.training.cost import model_cost
from fmnist_models.training.trainer import Trainer

SMALL = ("WRN-10-1", "quick-2-32")
PEAKS = {  # dense bf16 FLOP/s by the makers' data sheets; the first name that fits counts
    "H200 NVL": 835e12,
    "H200": 989.4e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989.4e12,
    "A100": 312e12,
    "L40S": 362e12,
}
ASKED = {"WRN-28-10": "40 %", "WRN-16-4": "20 %"}
MEASURED_SECONDS = 2.0
"""So long a packed process trains at a time, about."""
Row = dict[str, Any]


def peak_of(name: str) -> float | None:
    """Dense bf16 FLOP/s of a card by its name; None for one that is not known."""
    return next((peak for part, peak in PEAKS.items() if part in name), None)


def training_flops(model: ModelConfig) -> int:
    """Of an image: two a multiply-accumulate; the backward pass takes twice the forward one."""
    return 2 * 3 * model_cost(model).macs


class _EnoughError(Exception):
    """Ends an epoch after its first step."""


class Bench(Stand):
    """Measures the rows, one of a network at a time."""

    def speed(self, network: str, batch: int, graphs: bool | None = None) -> Row:
        """Images/s (median, least and most), peak memory, and whether a graph was replayed."""
        trainer = self.trainer(network, batch, graphs)
        trainer.run_epoch()
        epochs = [trainer.run_epoch() for _ in range(self.options.repeats)]
        speeds = sorted(epoch.images_per_second for epoch in epochs)
        graphs = trainer.step.graphs
        return {
            "images_per_second": round(median(speeds)),
            "range": [round(speeds[0]), round(speeds[-1])],
            "peak_memory_bytes": max(epoch.peak_memory_bytes for epoch in epochs),
            "graphs": sum(map(bool, graphs.passes.values())) if graphs else 0,
            "graphs_failure": graphs.failure if graphs else "",
        }

    def peak(self, network: str) -> Row:
        """Row `peak`; the share is of the bf16 peak and is None where that is not known."""
        found = self.speed(network, LARGE_BATCH)
        peak = self.options.peak or peak_of(device_name(self.device))
        flops = training_flops(NETWORKS[network])
        share = flops * found["images_per_second"] / peak if peak else None
        return {**found, "flops_per_image": flops, "peak": peak, "share": share}

    def graphs(self, network: str) -> Row:
        """Row `graphs`."""
        with_, without = (self.speed(network, SMALL_BATCH, graphs) for graphs in (True, False))
        ratio = with_["images_per_second"] / without["images_per_second"]
        return {"with": with_, "without": without, "ratio": ratio}

    def packed(self, network: str) -> Row:
        """Row `packed`: the same warm processes first take turns, then run together."""
        give_back_memory(self.device)
        members = [Member(network, self.options) for _ in range(TOGETHER)]
        try:
            for member in members:
                member.train(1)
            epochs = max(1, round(MEASURED_SECONDS / members[0].train(1)))
            turns = [member.train(epochs) for member in members]
            start = time.perf_counter()
            for member in members:
                member.begin(epochs)
            together = [member.end() for member in members]
            seconds = time.perf_counter() - start
        finally:
            for member in members:
                member.close()
        return {
            "processes": TOGETHER,
            "epochs": epochs,
            "turns_seconds": turns,
            "together_seconds": together,
            "ratio": sum(turns) / seconds,
        }

    def start(self, network: str) -> Row:
        """Row `start`: in this process, which is warm, once for a network it may not have seen."""
        self._first_step(SMALL[-1] if network != SMALL[-1] else SMALL[0])
        first = self._first_step(network)
        return {"first": first, "again": [self._first_step(network) for _ in range(3)]}

    def _first_step(self, network: str) -> float:
        give_back_memory(self.device)
        config = config_of(NETWORKS[network], SMALL_BATCH)
        start = time.perf_counter()
        trainer = Trainer(config, self.data, device=self.device, precision=self.precision)
        trainer.on_step = self._stop
        with suppress(_EnoughError):
            trainer.run_epoch()
        return time.perf_counter() - start

    def _stop(self, done: int, steps: int) -> None:
        if self.device != "cpu":
            torch.cuda.synchronize()
        raise _EnoughError


PLAN = [
    *(("peak", network) for network in NETWORKS),
    *(("graphs", network) for network in SMALL),
    *(("packed", network) for network in SMALL),
    *(("start", network) for network in NETWORKS),
]


def report(rows: dict[str, Row]) -> str:
    """The figures as Markdown; those that were not measured are left empty."""
    lines = []
    for kind, network in PLAN:
        row = rows.get(f"{kind} {network}")
        lines.append([_TITLES[kind].format(network), _asked(kind, network), _figure(kind, row)])
    return table(["", "asked", "measured"], lines) + "\n"


_TITLES = {
    "peak": "share of the dense bf16 peak, {}, batch 512; images/s; peak memory",
    "graphs": "{}, batch 128: with CUDA graphs over without",
    "packed": "{}, batch 128: four at once over one after another",
    "start": "{}, batch 128: from a trial's start to its first step's end, new and again",
}


def _asked(kind: str, network: str) -> str:
    wanted = {"graphs": "2 times", "packed": "2 times", "start": "under 1.5 s"}
    return wanted.get(kind, ASKED.get(network, ""))


def _figure(kind: str, row: Row | None) -> str:
    if row is None:
        return ""
    if kind == "peak":
        share = f"{100 * row['share']:.1f} %" if row["share"] is not None else "peak not known"
        memory = row["peak_memory_bytes"] / 1e9
        return f"{share}; {row['images_per_second']:,}; {memory:.2f} GB"
    if kind == "start":
        return f"{row['first']:.2f} s, {median(row['again']):.2f} s"
    return f"{row['ratio']:.2f}"


def measure(bench: Bench, wanted: list[str], content: dict[str, Any], out: Path) -> None:
    """Measure what is wanted and not there yet, and save after each row."""
    ways: dict[str, Callable[[str], Row]] = {
        "peak": bench.peak,
        "graphs": bench.graphs,
        "packed": bench.packed,
        "start": bench.start,
    }
    for kind, network in PLAN:
        name = f"{kind} {network}"
        if kind not in wanted or name in content["rows"]:
            continue
        content["rows"][name] = ways[kind](network)
        print(name, _figure(kind, content["rows"][name]), flush=True)
        text = json.dumps(content, indent=1) + "\n"
        write_atomically(out.with_suffix(".json"), text.encode())
        write_atomically(out.with_suffix(".md"), report(content["rows"]).encode())


def begun(out: Path, about: dict[str, Any], fresh: bool) -> dict[str, Any]:
    """What is there of the same card, versions and options; else nothing yet."""
    path = out.with_suffix(".json")
    if path.exists() and not fresh:
        content: dict[str, Any] = json.loads(path.read_text())
        if content["about"] == about:
            return content
    return {"about": about, "rows": {}}


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("results/gpu"))
    parser.add_argument("--rows", default="peak,graphs,packed,start")
    parser.add_argument(
        "--peak", type=float, help="the card's dense bf16 FLOP/s (default: by name)"
    )
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--cudnn-benchmark", action="store_true", help="let cuDNN try algorithms")
    parser.add_argument("--device", default="cuda", help="cpu tries the script out, no more")
    parser.add_argument("--serve", choices=NETWORKS, help=argparse.SUPPRESS)
    return parser


def main() -> None:
    options = arguments().parse_args()
    if options.device != "cpu" and not torch.cuda.is_available():
        raise SystemExit(
            "benchmarks.speed.gpu: there is no CUDA device here, so nothing was measured"
        )
    if options.serve:
        serve(options)
        return
    wanted = options.rows.split(",")
    bench = Bench(options)
    about = {
        "command": "python -m benchmarks.speed.gpu",
        "card": device_name(options.device),
        "machine": {**machine(["torch"]), "cuda": torch.version.cuda},
        "precision": bench.precision,
        "data": bench.origin,
        "steps": options.steps,
        "repeats": options.repeats,
        "cudnn_benchmark": options.cudnn_benchmark,
        "peak_given": options.peak,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    content = begun(options.out, about, options.fresh)
    measure(bench, wanted, content, options.out)
    print(report(content["rows"]))


if __name__ == "__main__":
    main()
