"""Learning curves of a real space from its parameters, learned from curves that were recorded.

Extremely randomised trees (Geurts et al., 2006) over the parameters as they are, with a branch for
those that do not apply, fitted to log(1.02 - accuracy) of all epochs at once and to the seconds of
an epoch. A trial also draws a seed's luck. Needs scikit-learn (`pip install -e ".[benchmarks]"`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import optuna
from numpy.typing import NDArray

from benchmarks.samplers.recorded_curves import EPOCHS, affordable
from spaces import get_space

Array = NDArray[np.float64]
ABSENT = -10.0
CEILING = 1.02
NOISE = 0.006
"""Of an accuracy around 0.85 on 3,000 images."""
TREES = 300


class CurveForest:
    """The curves of one space: `files` of `recorded_curves.py`."""

    epochs = EPOCHS

    def __init__(self, files: Sequence[Path]) -> None:
        from sklearn.ensemble import ExtraTreesRegressor
        from sklearn.model_selection import cross_val_predict

        contents = [json.loads(path.read_text()) for path in files]
        self.trials = [trial for content in contents for trial in content["trials"]]
        self.space = get_space(contents[0]["space"])
        self._context = affordable(self.space.name)
        params = [trial["params"] for trial in self.trials]
        self._columns = _columns(params)
        inputs = np.stack([self._row(one) for one in params])
        curves = [_whole(trial["values"]) for trial in self.trials]
        seconds = [[np.log(np.mean(t["seconds"] or [1.0]))] for t in self.trials]
        targets = np.concatenate([np.log(CEILING - np.array(curves)), np.array(seconds)], axis=1)
        self._forest = ExtraTreesRegressor(TREES, max_features=0.5, random_state=0)
        unseen = cross_val_predict(self._forest, inputs, targets, cv=10)
        self.rank_correlation = _spearman(unseen[:, EPOCHS - 1], targets[:, EPOCHS - 1])
        """Of what the trees expect of a trial that they have not seen with its last value."""
        self._forest.fit(inputs, targets)

    def suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        """The parameters of a configuration of the space."""
        self.space.suggest(trial, self._context)
        return trial.params

    def curve(self, params: dict[str, Any]) -> tuple[Array, Array]:
        """Validation accuracy, with a seed's luck, and cumulative seconds: (9,) each."""
        expected, epoch = self._predicted([params])
        luck = np.random.RandomState(crc32(json.dumps(params, sort_keys=True).encode()))
        noise = NOISE * (luck.normal() + 0.5 * luck.normal(size=EPOCHS))
        return expected[0] + noise, epoch[0] * np.arange(1, EPOCHS + 1)

    def last_values(self, params: Sequence[dict[str, Any]]) -> Array:
        """What configurations reach after their last epoch, luck aside: (n,)."""
        return self._predicted(params)[0][:, -1]

    def _predicted(self, params: Sequence[dict[str, Any]]) -> tuple[Array, Array]:
        found = self._forest.predict(np.stack([self._row(one) for one in params]))
        return CEILING - np.exp(found[:, :EPOCHS]), np.exp(found[:, EPOCHS])

    def _row(self, params: dict[str, Any]) -> Array:
        """Numbers as they are; a column for each choice of the others."""
        row: list[float] = []
        for name, choices in self._columns.items():
            value = params.get(name)
            if choices:
                row += [float(str(value) == choice) for choice in choices]
            else:
                row.append(ABSENT if value is None else float(value))
        return np.array(row)


def _columns(params: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    """By name the choices of a parameter, none where it is a number."""
    found: dict[str, list[str]] = {}
    for name in sorted({name for one in params for name in one}):
        values = {one[name] for one in params if name in one}
        is_choice = any(isinstance(value, str | bool) for value in values)
        found[name] = sorted(map(str, values)) if is_choice else []
    return found


def _whole(values: list[float]) -> list[float]:
    """A curve of all epochs: what diverged guesses one in ten from then on."""
    return values + [0.1] * (EPOCHS - len(values))


def _spearman(ours: Array, theirs: Array) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr(ours, theirs).statistic)
