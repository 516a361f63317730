"""Fresh runs of configurations, each kept in a file as soon as it is done.

The file stands beside the export until that is written, so that `export --seeds` goes on where it
was broken off.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, JsonValue, ValidationError

from fmnist_models.config.trial import TrialConfig
from fmnist_models.files import write_atomically
from search.results.provenance import code_digest, versions

if TYPE_CHECKING:
    from fmnist_models.compute.precision import Precision
    from fmnist_models.data.dataset import Dataset
    from fmnist_models.training.rerun import Rerun


class _Kept(BaseModel):
    """The file: by configuration, as JSON, which images its run got right, and its seconds."""

    made_with: dict[str, JsonValue]
    runs: dict[str, tuple[list[bool], float]] = {}


class RerunStore:
    """Runs configurations on a data set, and remembers their results in `path`."""

    def __init__(self, path: Path, dataset: Dataset, device: str, precision: Precision) -> None:
        from fmnist_models.compute.precision import device_name

        self._path, self._dataset = path, dataset
        self._device, self._precision = device, precision
        self.environment: dict[str, JsonValue] = {
            "device": device,
            "device_name": device_name(device),
            "precision": precision,
            "code_digest": code_digest(),
            **versions(),
        }
        data: dict[str, JsonValue] = {"digest": dataset.digest, "train_images": len(dataset.train)}
        self._kept = _read(path, {"environment": self.environment, "data": data})

    def run(self, config: TrialConfig) -> Rerun:
        """The run of `config`: done now, or remembered."""
        import numpy as np

        from fmnist_models.training.rerun import Rerun

        key = config.model_dump_json()
        if key not in self._kept.runs:
            run = self._train(config)
            self._kept.runs[key] = run.correct.tolist(), run.seconds
            write_atomically(self._path, self._kept.model_dump_json().encode())
        correct, seconds = self._kept.runs[key]
        return Rerun(np.array(correct, dtype=bool), seconds)

    def _train(self, config: TrialConfig) -> Rerun:
        """A new run; one whose loss stops being finite got no image right."""
        import numpy as np

        from fmnist_models.errors import DivergedError
        from fmnist_models.training.rerun import Rerun, rerun

        try:
            return rerun(config, self._dataset, device=self._device, precision=self._precision)
        except DivergedError:
            return Rerun(np.zeros(len(self._dataset.validation), dtype=bool), 0.0)


def _read(path: Path, made_with: dict[str, JsonValue]) -> _Kept:
    """What was kept; nothing where it is damaged or of other code, data or hardware."""
    try:
        kept = _Kept.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return _Kept(made_with=made_with)
    return kept if kept.made_with == made_with else _Kept(made_with=made_with)
