"""A command reads, unzips and hashes each file of the data set once, however much it does."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from fmnist_models.__main__ import main
from fmnist_models.config.optimizers import SgdConfig
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data import idx
from fmnist_models.families.mlp import MlpConfig


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file was read."""
    counts: Counter[str] = Counter()
    read = idx.read_contents

    def counted(path: Path, *rest: Any, **options: Any) -> Any:
        counts[path.name.removesuffix(".gz")] += 1
        return read(path, *rest, **options)

    monkeypatch.setattr(idx, "read_contents", counted)
    return counts


def test_each_command_reads_each_file_once(
    tiny_folder: Path, tmp_path: Path, reads: Counter[str]
) -> None:
    config = TrialConfig(
        model=MlpConfig(depth=1, width=8), optimizer=SgdConfig(lr=0.1), batch_size=64, epochs=1
    )
    path, data = tmp_path / "config.json", ["--data-dir", str(tiny_folder)]
    path.write_text(config.model_dump_json())
    seeds, student = str(tmp_path / "seeds"), str(tmp_path / "student")
    one = f"{seeds}/seed-0"
    quiet = [*data, "--no-report", "--device", "cpu"]
    for command in (
        ["train", str(path), "--out", seeds, "--seeds", "2", "--max-minutes", "1", *quiet],
        ["distill", one, str(path), "--out", student, *quiet],
        ["evaluate", one, *quiet],
    ):
        reads.clear()
        assert main(command) == 0
        assert reads == dict.fromkeys(idx.FILE_NAMES, 1)
