"""How good the best configurations really are: trained again on fresh seeds, and compared.

The best of many trials owes some of its value to luck: to its seed, and to the validation images.
Fresh seeds take the first away; `significance.corrected_best` takes away what picking among the top
configurations adds by the second. What remains is that the top themselves were picked on the same
validation images: only images never used, the test set's, are free of that.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING

from pydantic import JsonValue

from fmnist_models.config.base import Config, Probability
from fmnist_models.config.trial import TrialConfig
from search.errors import UsageError
from search.results.rerun_store import RerunStore
from search.results.significance import SeedNoise, corrected_best, holm, paired_p_value, seed_noise
from search.results.summary import no_result
from storage import StudyStore

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fmnist_models.data.dataset import Dataset


FIRST_SEED = 2**30
"""Fresh seeds start here: trials have the search's seed plus their number, far below."""
SIGNIFICANT = 0.05

METHOD = (
    "each configuration was trained again on the search's split with seeds that no trial had; "
    "the winner has the highest mean validation accuracy; p: two-sided paired test on the same "
    "validation images (McNemar 1947, extended to means over seeds, with the seeds' pooled "
    "variance), p_holm: adjusted for several (Holm 1979); corrected: bootstrap bias correction for "
    "picking the best of these (BBC-CV, Tsamardinos et al. 2018), its 95 % interval widened by the "
    "seeds' variance"
)

Say = Callable[[str], None]


class Candidate(Config):
    """A configuration on fresh seeds; `first_accuracy` is what its trial reached in the search.

    `p` and `p_holm` are of the difference to the winner; None of the winner itself. `deviation` of
    the accuracies is None with one seed.
    """

    trial: int
    first_accuracy: Probability
    accuracies: tuple[Probability, ...]
    mean: Probability
    deviation: float | None
    p: Probability | None = None
    p_holm: Probability | None = None


class Evidence(Config):
    """What `rescore_on_fresh_seeds` found; `candidates` by falling mean, the winner first."""

    method: str = METHOD
    seeds: tuple[int, ...]
    train_images: int
    validation_images: int
    candidates: tuple[Candidate, ...]
    corrected_accuracy: Probability
    corrected_interval: tuple[float, float]
    seconds: float
    environment: dict[str, JsonValue]

    @property
    def winner(self) -> Candidate:
        """The candidate with the highest mean."""
        return self.candidates[0]

    @property
    def is_clear(self) -> bool:
        """Whether the winner differs from all others by more than chance explains."""
        others = [one.p_holm for one in self.candidates[1:]]
        return all(p is not None and p < SIGNIFICANT for p in others)


@dataclass(frozen=True, eq=False)
class _Scored:
    """A candidate with its images: scores (N,), the share of runs that got each right."""

    candidate: Candidate
    scores: NDArray[np.float64]


def rescore_on_fresh_seeds(
    store: StudyStore,
    *,
    top: int,
    seeds: int,
    data_dir: Path | None,
    runs: Path,
    say: Say,
) -> Evidence:
    """Train the `top` configurations of a study again, on `seeds` fresh seeds each.

    Finished runs are kept in the file `runs`, so that a second start goes on after a kill. `say`
    gets a line a run. Raises NoResultError when no trial is complete, UsageError when the data are
    not the study's, and what training raises.
    """
    import time

    import numpy as np

    from fmnist_models.compute.precision import choose_precision, default_device

    start = time.perf_counter()
    chosen = top_trials(store, top)
    dataset = _search_data(store, data_dir)
    device = default_device()
    reruns = RerunStore(runs, dataset, device, choose_precision(device))
    fresh = tuple(FIRST_SEED + i for i in range(seeds))
    scored = []
    for number, value, config in chosen:
        say(f"trial {number}, {100 * value:.2f} % in the search, on {seeds} fresh seeds:")
        scored.append(_rescore(reruns, number, value, config, fresh, say))
    ranked = sorted(scored, key=lambda one: (-one.candidate.mean, one.candidate.trial))
    noise = seed_noise([one.candidate.accuracies for one in ranked])
    accuracy, interval = corrected_best(np.stack([one.scores for one in ranked]), noise)
    return Evidence(
        seeds=fresh,
        train_images=len(dataset.train),
        validation_images=len(dataset.validation),
        candidates=_compared(ranked, noise),
        corrected_accuracy=accuracy,
        corrected_interval=interval,
        seconds=time.perf_counter() - start,
        environment=reruns.environment,
    )


def top_trials(store: StudyStore, top: int) -> list[tuple[int, float, TrialConfig]]:
    """The best COMPLETE trials with different configurations: number, value, configuration."""
    found: dict[str, tuple[int, float, TrialConfig]] = {}
    for number, value in store.complete():
        if len(found) == top:
            break
        record = store.trial_record(number)
        if record is None:
            continue
        key = json.dumps({**record.config, "seed": None}, sort_keys=True)
        config = TrialConfig.model_validate_json(json.dumps(record.config))
        found.setdefault(key, (number, value, config))
    if not found:
        raise no_result(store)
    return list(found.values())


def _search_data(store: StudyStore, data_dir: Path | None) -> Dataset:
    """The data set that the study searched on, split as it was there."""
    from fmnist_models.data.dataset import load_search_data
    from fmnist_models.data.download import find_data

    identity = store.identity
    source = find_data(data_dir)
    wanted = identity.get("data_digest")
    if source.digest != wanted:
        raise UsageError(
            f"study {store.name!r} searched on another data set than {source.directory} "
            f"holds (digest {str(wanted)[:12]} against {source.digest[:12]}); give its --data-dir"
        )
    samples = identity.get("train_samples")
    return load_search_data(source, samples if isinstance(samples, int) else None)


def _rescore(
    store: RerunStore,
    number: int,
    value: float,
    config: TrialConfig,
    seeds: Sequence[int],
    say: Say,
) -> _Scored:
    """One configuration on all seeds."""
    import numpy as np

    runs = []
    for i, seed in enumerate(seeds, 1):
        run = store.run(config.model_copy(update={"seed": seed}))
        runs.append(run)
        say(f"    seed {i} of {len(seeds)}: {100 * run.accuracy:.2f} % in {run.seconds:.0f} s")
    accuracies = [run.accuracy for run in runs]
    candidate = Candidate(
        trial=number,
        first_accuracy=value,
        accuracies=tuple(accuracies),
        mean=mean(accuracies),
        deviation=stdev(accuracies) if len(accuracies) > 1 else None,
    )
    return _Scored(candidate, np.mean([run.correct for run in runs], axis=0))


def _compared(ranked: Sequence[_Scored], noise: SeedNoise) -> tuple[Candidate, ...]:
    """The candidates with the p-values of their differences to the first."""
    first, *others = ranked
    p_values = [paired_p_value(first.scores, other.scores, noise) for other in others]
    adjusted = holm(p_values)
    compared = [
        other.candidate.model_copy(update={"p": p, "p_holm": p_holm})
        for other, p, p_holm in zip(others, p_values, adjusted, strict=True)
    ]
    return (first.candidate, *compared)


def evidence_lines(evidence: Evidence) -> list[str]:
    """The evidence for people."""
    winner = evidence.winner
    low, high = evidence.corrected_interval
    lines = []
    for one in evidence.candidates:
        spread = "" if one.deviation is None else f" +- {100 * one.deviation:.2f}"
        p = "best" if one.p_holm is None else f"p {one.p_holm:.3f}"
        lines.append(
            f"trial {one.trial}: {100 * one.mean:.2f}{spread} % on fresh seeds, "
            f"{100 * one.first_accuracy:.2f} % in the search, {p}"
        )
    lines.append(
        f"Best: trial {winner.trial}; corrected for being the best of "
        f"{len(evidence.candidates)}: {100 * evidence.corrected_accuracy:.2f} %, "
        f"95 % interval {100 * low:.2f} to {100 * high:.2f} %."
    )
    if not evidence.is_clear:
        lines.append("Chance explains its lead over at least one of the others (p >= 0.05).")
    return lines
