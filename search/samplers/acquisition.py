"""Which candidate to try: the highest logarithm of the expected improvement (arXiv:2310.20708)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfcx, ndtr

from search.samplers.gaussian_process import GaussianProcess
from search.samplers.space_encoding import Encoding

Array = NDArray[np.float64]
RANDOM, NEIGHBOURS, BEST = 1000, 20, 6
"""Candidates: at random, and around each of so many of the best trials."""
ROUNDS, CHILDREN = 2, 400
"""Times that the best candidates are moved on, and how many neighbours of theirs are looked at."""
WIDTHS, RATES = (0.3, 0.1, 0.03, 0.01), (1.0, 2.0, 4.0)
"""How far values move, in parts of their range, and how many of them at once."""


def maximize(
    process: GaussianProcess,
    encoding: Encoding,
    known: Array,
    inputs: Array,
    rng: np.random.RandomState,
    *,
    trust: float = 0.0,
    everywhere: bool = False,
) -> Array:
    """The best point found, (names,); `known` (n, names) were tried and encode as `inputs`.

    Gains are weighed by the prior to the power of `trust`. With `everywhere` it is the
    best of random ones, which may lie far from all that is known.
    """
    means = process.mean(inputs)
    incumbent = float(means.max())

    def gains_of(points: Array) -> Array:
        prior = trust * encoding.log_prior(points) if trust else 0.0
        return _gains(process, encoding, points, incumbent) + prior

    if everywhere:
        anywhere = encoding.draw(RANDOM, rng)
        found: Array = anywhere[int(np.argmax(gains_of(anywhere)))]
        return found
    best = known[np.argsort(-means, kind="stable")[:BEST]]
    points = np.concatenate(
        [encoding.draw(RANDOM, rng), _neighbours(encoding, best, NEIGHBOURS * len(best), rng)]
    )
    gains = gains_of(points)
    for _ in range(ROUNDS):
        order = np.argsort(-gains, kind="stable")[:BEST]
        children = _neighbours(encoding, points[order], CHILDREN, rng)
        points = np.concatenate([points[order], children])
        gains = np.concatenate([gains[order], gains_of(children)])
    best_point: Array = points[int(np.argmax(gains))]
    return best_point


def log_expected_improvement(scaled: Array) -> Array:
    """Of a standard normal variable over minus `scaled` (m,), without loss of digits far below."""
    density = -0.5 * scaled**2 - 0.5 * np.log(2 * np.pi)
    plain = np.log(np.maximum(np.exp(density) + scaled * ndtr(scaled), 1e-300))
    # phi(z) + z Phi(z) = phi(z) (1 + z Phi(z) / phi(z)), and Phi / phi = sqrt(pi/2) erfcx(-z/sqrt2)
    below = np.minimum(scaled, -1.0)
    ratio = 1 + below * np.sqrt(np.pi / 2) * erfcx(-below / np.sqrt(2))
    far = density + np.log(np.maximum(ratio, 1e-300))
    farther = density - 2 * np.log(-below)
    values: Array = np.where(scaled > -1, plain, np.where(scaled > -1e3, far, farther))
    return values


def _gains(process: GaussianProcess, encoding: Encoding, points: Array, incumbent: float) -> Array:
    """The logarithms of the points' expected improvements (m,) on the mean `incumbent`."""
    means, deviations = process.predict(encoding.encode(points))
    return log_expected_improvement((means - incumbent) / deviations) + np.log(deviations)


def _neighbours(encoding: Encoding, points: Array, count: int, rng: np.random.RandomState) -> Array:
    """`count` neighbours of the points, near and far; the points take turns."""
    turns = np.arange(count)
    widths = np.array(WIDTHS)[turns % len(WIDTHS)]
    rates = np.array(RATES)[turns // len(WIDTHS) % len(RATES)]
    return encoding.mutate(points[turns % len(points)], widths, rates, rng)
