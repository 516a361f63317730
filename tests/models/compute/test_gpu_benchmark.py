"""The benchmark for a GPU as far as it goes without one: its arithmetic, its files, its refusal."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.speed.gpu import PLAN, arguments, begun, peak_of, report, training_flops
from benchmarks.speed.gpu_work import LARGE_BATCH, NETWORKS, Stand
from fmnist_models.families.wrn import WrnConfig
from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H200", 989.4e12),
        ("NVIDIA H100 80GB HBM3", 989.4e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("a processor", None),
    ],
)
def test_a_card_is_known_by_its_name(name: str, peak: float | None) -> None:
    assert peak_of(name) == peak


def test_work_is_counted_forward_and_backward() -> None:
    # 5.2 billion multiply-accumulates at 32x32 pixels (arXiv:1605.07146): here it is 28x28.
    assert training_flops(WrnConfig(depth=28, width=10)) == pytest.approx(
        6 * 5.2e9 * (28 / 32) ** 2, rel=0.03
    )


def test_what_was_not_measured_is_left_empty() -> None:
    row = {"images_per_second": 12_345, "peak_memory_bytes": 2.5e9, "share": 0.25}
    lines = report({"peak WRN-16-4": row}).splitlines()[2:]
    assert len(lines) == len(PLAN)
    assert [line for line in lines if not line.endswith("|  |")] == [
        "| share of the dense bf16 peak, WRN-16-4, batch 512; images/s; peak memory "
        "| 20 % | 25.0 %; 12,345; 2.50 GB |"
    ]


def test_it_goes_on_only_from_figures_of_the_same_card_and_versions(tmp_path: Path) -> None:
    out, here = tmp_path / "gpu", {"card": "a", "torch": "2"}
    assert begun(out, here, fresh=False) == {"about": here, "rows": {}}
    content = {"about": here, "rows": {"peak WRN-16-4": {}}}
    out.with_suffix(".json").write_text(json.dumps(content))
    assert begun(out, here, fresh=False) == content
    assert begun(out, here, fresh=True)["rows"] == {}
    assert begun(out, {"card": "b"}, fresh=False)["rows"] == {}


@pytest.mark.parametrize("data_dir", [None, "nowhere"])
def test_it_trains_on_what_data_there_is(data_dir: str | None, tmp_path: Path) -> None:
    words = ["--device", "cpu", "--steps", "2"]
    words += ["--data-dir", str(tmp_path / data_dir)] if data_dir else []
    stand = Stand(arguments().parse_args(words))
    assert stand.origin == ("random" if data_dir else "real")
    trainer = stand.trainer("quick-2-32", LARGE_BATCH)
    assert trainer.steps_per_epoch == 2
    assert len(trainer.dataset.validation) == 0
    assert set(NETWORKS) == {network for kind, network in PLAN if kind == "peak"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card to measure")
def test_without_a_card_it_says_so_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.speed.gpu", "--out", str(tmp_path / "gpu")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "benchmarks.speed.gpu: there is no CUDA device here, so nothing was measured"
    )
    assert list(tmp_path.iterdir()) == []
