"""LCBench's surrogate: learning curves of one task from seven hyperparameters, nothing trained.

YAHPO Gym's model of LCBench (Zimmer et al. 2021): 2,000 configurations of 52 epochs a task. Needs
onnxruntime.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import optuna
from numpy.typing import NDArray

EPOCHS = 52
REFERENCE_DRAWS = 100_000
Array = NDArray[np.float64]

BOX: dict[str, tuple[float, float, str]] = {
    "batch_size": (16, 512, "int log"),
    "learning_rate": (1e-4, 1e-1, "log"),
    "momentum": (0.1, 0.99, ""),
    "weight_decay": (1e-5, 1e-1, ""),
    "num_layers": (1, 5, "int"),
    "max_units": (64, 1024, "int log"),
    "max_dropout": (0.0, 1.0, ""),
}
"""In the order of the surrogate's inputs: bounds, whether whole and whether logarithmic."""


def suggest(trial: optuna.Trial) -> dict[str, float]:
    params: dict[str, float] = {}
    for name, (low, high, kind) in BOX.items():
        if "int" in kind:
            params[name] = trial.suggest_int(name, int(low), int(high), log="log" in kind)
        else:
            params[name] = trial.suggest_float(name, low, high, log="log" in kind)
    return params


class Surrogate:
    """The learning curves of one task."""

    def __init__(self, folder: Path, task: str) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options)
        encoding = json.loads((folder / "encoding.json").read_text())
        self._task = int(encoding["OpenML_task_id"][task])

    def _predict(self, inputs: NDArray[np.float32]) -> Array:
        tasks = np.full((len(inputs), 1), self._task, dtype=np.int32)
        (output,) = self._session.run(None, {"x_cat": tasks, "x_cont": inputs})
        return np.asarray(output, dtype=np.float64)

    def curve(self, params: dict[str, float]) -> tuple[Array, Array]:
        """Validation accuracy in per cent, and cumulative seconds, after each epoch: (52,) each."""
        epochs = np.arange(1, EPOCHS + 1, dtype=np.float32)[:, None]
        rest = np.tile(np.array(list(params.values()), dtype=np.float32), (EPOCHS, 1))
        output = self._predict(np.concatenate([epochs, rest], axis=1))
        return output[:, 1], np.maximum.accumulate(np.maximum(output[:, 0], 1e-3))

    def rank_correlation(self, epochs: tuple[int, ...], draws: int = 500) -> list[float]:
        """Spearman's, of the values after each of `epochs` and after the last: random draws."""
        from scipy.stats import spearmanr

        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        curves = np.array([self.curve(suggest(study.ask()))[0] for _ in range(draws)])
        return [float(spearmanr(curves[:, e - 1], curves[:, -1]).statistic) for e in epochs]

    def best_of_random(self, seed: int = 0) -> float:
        """The highest value after epoch 52 of 100,000 random configurations."""
        rng = np.random.RandomState(seed)
        columns = [np.full(REFERENCE_DRAWS, float(EPOCHS))]
        for low, high, kind in BOX.values():
            draws = rng.uniform(size=REFERENCE_DRAWS)
            log = "log" in kind
            values = low * (high / low) ** draws if log else low + (high - low) * draws
            columns.append(np.round(values) if "int" in kind else values)
        inputs = np.stack(columns, axis=1).astype(np.float32)
        return max(float(self._predict(part)[:, 1].max()) for part in np.array_split(inputs, 50))
