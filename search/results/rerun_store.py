"""Fresh runs of configurations, each kept in a file as soon as it is done.

The file is ours alone and is removed once its export is written; a run of other code, data or
hardware is never taken for one of these.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from fmnist_models.config.trial import TrialConfig
from fmnist_models.files import write_atomically
from search.results.provenance import code_digest, versions

if TYPE_CHECKING:
    from fmnist_models.compute.precision import Precision
    from fmnist_models.data.dataset import Dataset
    from fmnist_models.training.rerun import Rerun


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
        self._kept = _read(path)

    def run(self, config: TrialConfig) -> Rerun:
        """The run of `config`: done now, or remembered."""
        key = self._key(config)
        kept = self._kept.get(key)
        if kept is not None:
            run = _unpack(kept, len(self._dataset.validation))
            if run is not None:
                return run
        run = self._fresh(config)
        self._kept[key] = _pack(run)
        write_atomically(self._path, json.dumps(self._kept).encode())
        return run

    def _fresh(self, config: TrialConfig) -> Rerun:
        """A new run; one whose loss stops being finite got no image right."""
        import numpy as np

        from fmnist_models.errors import DivergedError
        from fmnist_models.training.rerun import Rerun, rerun

        try:
            return rerun(config, self._dataset, device=self._device, precision=self._precision)
        except DivergedError:
            return Rerun(np.zeros(len(self._dataset.validation), dtype=bool), 0.0)

    def _key(self, config: TrialConfig) -> str:
        parts = [
            config.model_dump_json(),
            self._dataset.digest,
            str(len(self._dataset.train)),
            json.dumps(self.environment, sort_keys=True),
        ]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _read(path: Path) -> dict[str, Any]:
    """What was kept; nothing where the file is missing or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _pack(run: Rerun) -> dict[str, JsonValue]:
    import numpy as np

    bits = base64.b64encode(np.packbits(run.correct).tobytes()).decode()
    return {"correct": bits, "seconds": run.seconds}


def _unpack(kept: object, images: int) -> Rerun | None:
    """The run that was kept; None where it is not one of so many images."""
    import numpy as np

    from fmnist_models.training.rerun import Rerun

    try:
        assert isinstance(kept, dict)
        packed = np.frombuffer(base64.b64decode(kept["correct"]), dtype=np.uint8)
        correct = np.unpackbits(packed)[:images].astype(bool)
        seconds = float(kept["seconds"])
    except (AssertionError, KeyError, TypeError, ValueError):
        return None
    return Rerun(correct, seconds) if len(correct) == images else None
