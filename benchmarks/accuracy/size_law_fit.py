"""The law of fmnist_models/training/size_law.py, fitted to what was recorded.

    python -m benchmarks.accuracy.size_law_fit

Reads the errors of `quick` in results/passes.json, whose logarithms weigh by a deviation of 2 %,
and how those in results/foretold.json came down with more passes, by one of 5 %; residuals of many
deviations count linearly (soft L1), so that one that is far off does not decide. Prints the error
of a network of a million multiply-accumulates, both powers, the small size in millions, and how
near they come; beside the constants in use and those of before. Trains nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from benchmarks.accuracy.commands import ROOT
from fmnist_models.config.trial import TrialConfig
from fmnist_models.training.cost import model_cost
from fmnist_models.training.size_law import GAIN_OF_SIZE, PASSES_OF_SIZE, SMALL

OF_ERRORS, OF_PAIRS = 0.02, 0.05
IMAGES = 50_000

Floats = NDArray[np.float64]


def runs(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(ROOT) / "results" / name).read_text())["runs"]
    return found


def recorded() -> Floats:
    """Rows of multiply-accumulates, passes and error."""
    rows = [
        (one["macs"], int(key.split(", ")[1].split()[0]), 1 - one["accuracy"])
        for key, one in runs("passes.json").items()
        if key.startswith("quick")
    ]
    return np.array(rows)


def pairs(times: float = 7.0) -> Floats:
    """Rows of multiply-accumulates, passes, more passes, and the errors after each."""
    rows = []
    for one in runs("foretold.json").values():
        config = TrialConfig.model_validate(one["config"])
        passes = config.epochs * config.epoch_images / IMAGES
        macs = model_cost(config.model).macs
        rows.append((macs, passes, times * passes, 1 - one["tried"], 1 - one["reached"]))
    return np.array(rows)


def log_error(law: Floats, macs: Floats, passes: Floats) -> Floats:
    """By `law`, the four numbers that are printed."""
    of_one, gain, power, small = law
    still = (macs / (1e6 * small)) ** power / np.sqrt(passes)
    found: Floats = np.log(of_one) - gain * np.log(macs / 1e6) + np.log1p(still)
    return found


def residuals(law: Floats) -> tuple[Floats, Floats]:
    """Of the logarithms of errors, and of those of their ratios."""
    errors, down = recorded(), pairs()
    of_errors = log_error(law, errors[:, 0], errors[:, 1]) - np.log(errors[:, 2])
    later, sooner = (log_error(law, down[:, 0], down[:, column]) for column in (2, 1))
    return of_errors, later - sooner - np.log(down[:, 4] / down[:, 3])


def weighed(law: Floats) -> Floats:
    of_errors, of_pairs = residuals(law)
    return np.concatenate([of_errors / OF_ERRORS, of_pairs / OF_PAIRS])


def line(name: str, law: Floats) -> str:
    rms = [100 * float(np.sqrt(np.mean(part**2))) for part in residuals(law)]
    numbers = ", ".join(f"{value:.3f}" for value in law)
    return f"{name}: {numbers}; errors within {rms[0]:.1f} %, pairs within {rms[1]:.1f} %"


def main() -> None:
    start = np.array([0.065, GAIN_OF_SIZE, PASSES_OF_SIZE, SMALL / 1e6])
    print(line("in use", start))
    print(line("before", np.array([0.066, 0.2, 0.3, 1.6])))
    print(line("fitted", least_squares(weighed, start, loss="soft_l1").x))


if __name__ == "__main__":
    main()
