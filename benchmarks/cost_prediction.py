"""How well the cost model of fmnist_models/cost.py predicts epochs it was not fitted to.

    python -m benchmarks.cost_prediction --out results/cost_prediction.json

Calibrates as a search of `wrn` and of `quick` does, then times each of a few other networks and
prints predicted and measured seconds of an epoch of 50,000 images, and their ratio.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from fmnist_models.config import ModelConfig, TrialConfig
from fmnist_models.cost import calibrate, measure_image_seconds, model_cost
from fmnist_models.data import load_search_data
from fmnist_models.fetch import find_data
from fmnist_models.precision import choose_precision, default_device, set_threads
from fmnist_models.quick import QuickConfig
from fmnist_models.wrn import WrnConfig
from search.estimate import choose_probes
from spaces import get_space

OTHERS: dict[str, list[ModelConfig]] = {
    "quick": [
        QuickConfig(
            width=width, depth=depth, batch_norm=norm, activation=activation, padding=padding
        )
        for width, depth, norm, activation, padding in [
            (8, 1, True, "relu", "zeros"),
            (8, 3, True, "silu", "zeros"),
            (16, 1, True, "relu", "reflect"),
            (16, 3, False, "relu", "zeros"),
            (32, 1, True, "gelu", "weighted"),
            (32, 3, True, "relu", "zeros"),
        ]
    ],
    "wrn": [
        WrnConfig(depth=depth, width=width, batch_norm=norm, activation=activation, padding=padding)
        for depth, width, norm, activation, padding in [
            (10, 2, True, "relu", "zeros"),
            (16, 1, False, "silu", "zeros"),
            (22, 1, True, "relu", "zeros"),
            (16, 2, True, "silu", "zeros"),
            (28, 1, True, "silu", "zeros"),
            (10, 4, True, "relu", "zeros"),
            (10, 1, True, "mish", "zeros"),
            (16, 2, True, "mish", "replicate"),
            (10, 2, True, "relu", "reflect"),
            (10, 2, True, "relu", "weighted"),
            (22, 1, True, "mish", "weighted"),
        ]
    ],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    set_threads(options.threads)
    rows = [row for space in OTHERS for row in predictions(space)]
    for row in rows:
        print(json.dumps(row))
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1) + "\n")


def predictions(name: str) -> list[dict[str, Any]]:
    """One row a network: its counts, predicted and measured seconds an epoch, and the ratio."""
    space, device = get_space(name), default_device()
    dataset = load_search_data(find_data().directory)
    precision = choose_precision(device)
    probes = choose_probes(space)
    start = time.perf_counter()
    cost = calibrate(probes, dataset, device=device, precision=precision)
    calibration = time.perf_counter() - start
    return [
        row(name, cost.image_seconds(model), probes[0], model, (dataset, device, precision))
        | {"calibration_seconds": round(calibration, 2)}
        for model in OTHERS[name]
    ]


def row(
    space: str, predicted: float, base: TrialConfig, model: ModelConfig, where: tuple[Any, ...]
) -> dict[str, Any]:
    dataset, device, precision = where
    config = base.model_copy(update={"model": model, "batch_size": 128})
    measured = measure_image_seconds(config, dataset, device=device, precision=precision)
    images = len(dataset.train)
    return {
        "space": space,
        "model": model.model_dump(),
        "macs": model_cost(model).macs,
        "passes": model_cost(model).passes,
        "predicted_epoch_seconds": round(predicted * images, 1),
        "measured_epoch_seconds": round(measured * images, 1),
        "ratio": round(predicted / measured, 2),
    }


if __name__ == "__main__":
    main()
