"""What a search foretells of final training, beside what that comes to.

    python -m benchmarks.accuracy.foretold --out results/foretold --work DIR
        [--space quick] [--trials 16] [--trial-time 25s] [--times 7]

A search by time that stops no trial; then every configuration that came to its end is trained anew,
on so many TIMES the images, with another seed, as wide as it was, one thread each, as many at once
as there are cores, and scored by the 10,000 validation images, as it would be used. Beside that
stands what the search foretells by its law of network size and passes, as far as its own curves
bear it out, and what looking at their mirror images, too, brings each. DIR keeps the search;
OUT.json is written after every run and gone on from when started again. The test set is not
touched.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from multiprocessing import get_context
from os import cpu_count
from pathlib import Path
from statistics import fmean
from typing import Any

from pydantic import JsonValue
from scipy.stats import spearmanr

from benchmarks.accuracy.commands import run
from benchmarks.report import machine, table
from fmnist_models.compute.precision import choose_precision, set_threads
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.dataset import load_search_data
from fmnist_models.data.download import find_data
from fmnist_models.files import write_atomically
from fmnist_models.training.size_law import NetworkSize
from fmnist_models.training.trainer import Trainer
from search.planning.plan import NETWORK
from search.quantities import describe
from search.results.final_training import Tried, final_training
from search.results.law_check import as_borne_out
from search.trials.retry_chain import KNOWN_GOOD
from storage import open_database

OTHER_SEED = 1_000


def foretell(folder: Path, space: str, times: float) -> dict[str, dict[str, Any]]:
    """By number of the trial: what it reached, what is foretold, and its configuration."""
    with open_database(f"sqlite:///{folder / 'fmnist_search.db'}") as database:
        store = database.open_study(space)
        complete, configs = store.complete(), store.configs()
        sizes, points = store.attributes(NETWORK), store.attributes(KNOWN_GOOD)
        final = final_training(store)
        if final is None:
            raise SystemExit("the search is not one by time")
        final = replace(as_borne_out(final, store, complete), times=times)
    return {
        str(number): {
            "tried": value,
            "foretold": final.accuracy(
                Tried(value, configs[number], NetworkSize.of(sizes.get(number)))
            ),
            "point": points.get(number),
            "config": configs[number],
        }
        for number, value in complete
    }


def train(config: Mapping[str, JsonValue], times: float) -> dict[str, float]:
    """What a longer training reaches, and what looking at mirror images brings it."""
    set_threads(1)
    tried = TrialConfig.model_validate(config)
    images = int(times * tried.epoch_images)
    longer = tried.model_copy(update={"epoch_images": images, "seed": tried.seed + OTHER_SEED})
    data, precision = load_search_data(find_data()), choose_precision("cpu")
    trainer = Trainer(longer, data, device="cpu", precision=precision)
    last = list(trainer.epochs())[-1]
    plain, both = (
        trainer.evaluator.validate(trainer.averaged_model, mirrored=mirrored)
        for mirrored in (False, True)
    )
    assert plain and both
    return {
        "reached": last.val_accuracy or 0.0,
        "mirrored_too": both.accuracy - plain.accuracy,
    }


def report(runs: dict[str, dict[str, Any]]) -> str:
    """A row a configuration, the best first, and how near what was foretold came."""
    done = sorted((one for one in runs.values() if "reached" in one), key=lambda x: -x["reached"])
    rows = [
        [
            f"{one['point'] or 'sample'}: {describe(one['config'])}",
            *(f"{100 * one[name]:.2f}" for name in ("tried", "foretold", "reached")),
            f"{100 * (one['reached'] - one['foretold']):+.2f}",
            f"{100 * one['mirrored_too']:+.2f}",
        ]
        for one in done
    ]
    text = table(["", "tried", "foretold", "reached", "difference", "mirrored too"], rows) + "\n"
    if len(done) < 3:
        return text
    reached = [one["reached"] for one in done]
    errors = [100 * (one["reached"] - one["foretold"]) for one in done]
    by = {
        name: spearmanr([one[name] for one in done], reached).statistic
        for name in ("tried", "foretold")
    }
    return (
        f"{text}\nRank correlation with what was reached: {by['foretold']:.2f} of what was "
        f"foretold, {by['tried']:.2f} of what was tried. Mean error "
        f"{fmean(map(abs, errors)):.2f} points, bias {fmean(errors):+.2f}.\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--space", default="quick")
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--trial-time", default="25s")
    parser.add_argument("--times", type=float, default=7.0)
    options = parser.parse_args()
    kept = options.out.with_suffix(".json")
    options.work.mkdir(parents=True, exist_ok=True)
    search = ["run_search.py", "--space", options.space, "--trials", str(options.trials)]
    run([*search, "--trial-time", options.trial_time, "--scheduler", "fifo"], str(options.work))
    foretold = foretell(options.work, options.space, options.times)
    said = {"trial-time": options.trial_time, "times": f"{options.times:g}"}
    typed = [*search[1:], *(f"--{name} {value}" for name, value in said.items())]
    command = " ".join(["python -m benchmarks.accuracy.foretold", *typed])
    before = json.loads(kept.read_text())["runs"] if kept.exists() else {}
    runs = {number: {**before.get(number, {}), **one} for number, one in foretold.items()}
    left = [number for number, one in runs.items() if "reached" not in one]
    with ProcessPoolExecutor(cpu_count(), mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(train, runs[n]["config"], options.times): n for n in left}
        for future in as_completed(waiting):
            one = runs[waiting[future]]
            one.update(future.result())
            text = report(runs)
            print(text, flush=True)
            content = {"command": command, "machine": machine(), "runs": runs}
            write_atomically(kept, (json.dumps(content, indent=1) + "\n").encode())
            write_atomically(options.out.with_suffix(".md"), text.encode())


if __name__ == "__main__":
    main()
