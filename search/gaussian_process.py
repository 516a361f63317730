"""A Gaussian process on the unit cube, fitted by its marginal likelihood with priors.

Matern-5/2 kernel with one length scale a column. Shapes: inputs (n, d) float64, targets (n,).
Sources: Rasmussen & Williams, Gaussian Processes for Machine Learning (2006), chapters 2 and 5;
length scales that grow with the square root of the dimension: Hvarfner et al., arXiv:2402.02229.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.optimize import minimize

Array = NDArray[np.float64]
SQRT5 = 5**0.5
JITTER = 1e-8
MOST_STEPS = 40
SCALE_SPREAD, NOISE_CENTRE, NOISE_SPREAD = 1.0, np.log(1e-2), 1.5
"""Of the normal priors on the logarithms of length scales and of the noise's variance."""


@dataclass(frozen=True)
class Kernel:
    """Logarithms of the length scales (d,), of the signal's variance and of the noise's."""

    log_scales: Array
    log_signal: float
    log_noise: float

    @staticmethod
    def prior(columns: int) -> Kernel:
        """What is believed before any data."""
        centre = _scale_centre(columns)
        return Kernel(np.full(columns, centre), 0.0, float(NOISE_CENTRE))

    def vector(self) -> Array:
        """All of it as one vector, to be optimized."""
        return np.concatenate([self.log_scales, [self.log_signal, self.log_noise]])

    @staticmethod
    def of(vector: Array) -> Kernel:
        """The inverse of `vector`."""
        return Kernel(vector[:-2], float(vector[-2]), float(vector[-1]))

    def __call__(self, left: Array, right: Array) -> Array:
        """Covariances (n, m) of the noiseless function."""
        return _matern(_distances(left, right, self.log_scales)) * np.exp(self.log_signal)


class GaussianProcess:
    """A fitted process: `inputs` (n, d), standardized `targets` (n,).

    `extra_noise` (n,) is added to the noise's variance, target by target.
    """

    def __init__(self, inputs: Array, targets: Array, extra_noise: Array, kernel: Kernel) -> None:
        self.inputs, self.kernel = inputs, kernel
        covariance = kernel(inputs, inputs)
        covariance[np.diag_indices(len(inputs))] += np.exp(kernel.log_noise) + extra_noise + JITTER
        self._factor = cho_factor(covariance, lower=True)
        self._weights = cho_solve(self._factor, targets)

    def predict(self, inputs: Array) -> tuple[Array, Array]:
        """Mean and standard deviation (m,) of the noiseless function at `inputs` (m, d)."""
        cross = self.kernel(inputs, self.inputs)
        half = solve_triangular(self._factor[0], cross.T, lower=True)
        variance = np.exp(self.kernel.log_signal) - (half**2).sum(0)
        return cross @ self._weights, np.sqrt(np.maximum(variance, 1e-12))


def fit(inputs: Array, targets: Array, extra_noise: Array, start: Kernel | None = None) -> Kernel:
    """The kernel with the highest posterior density; `start` is a first guess."""
    columns = inputs.shape[1]
    first = start if start is not None else Kernel.prior(columns)
    squares = (inputs[:, None, :] - inputs[None, :, :]) ** 2  # (n, n, d)
    centre = _scale_centre(columns)
    bounds = [(centre - 4, centre + 4)] * columns + [(-3.0, 3.0), (np.log(1e-6), np.log(1.0))]
    result = minimize(
        _negative_density,
        first.vector(),
        args=(squares, targets, extra_noise),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": MOST_STEPS},
    )
    return Kernel.of(result.x) if np.isfinite(result.fun) else first


def _scale_centre(columns: int) -> float:
    return float(np.log(0.5) + 0.5 * np.log(max(columns, 1)))


def _distances(left: Array, right: Array, log_scales: Array) -> Array:
    """Scaled Euclidean distances (n, m)."""
    inverse = np.exp(-log_scales)
    left, right = left * inverse, right * inverse
    squares = (left**2).sum(1)[:, None] + (right**2).sum(1)[None, :] - 2 * left @ right.T
    distances: Array = np.sqrt(np.maximum(squares, 0.0))
    return distances


def _matern(distances: Array) -> Array:
    scaled = SQRT5 * distances
    values: Array = (1 + scaled + scaled**2 / 3) * np.exp(-scaled)
    return values


def _negative_density(
    vector: Array, squares: Array, targets: Array, extra_noise: Array
) -> tuple[float, Array]:
    """Minus the logarithm of the posterior density of a kernel, and its gradient."""
    kernel = Kernel.of(vector)
    inverse = np.exp(-2 * kernel.log_scales)
    distances = np.sqrt(np.maximum(squares @ inverse, 1e-20))
    signal, noise = np.exp(kernel.log_signal), np.exp(kernel.log_noise)
    smooth = signal * _matern(distances)
    covariance = smooth + np.diag(noise + extra_noise + JITTER)
    try:
        factor = cho_factor(covariance, lower=True)
    except np.linalg.LinAlgError:
        return 1e10, np.zeros_like(vector)
    weights = cho_solve(factor, targets)
    density = 0.5 * targets @ weights + np.log(np.diag(factor[0])).sum()
    # d density / d covariance, (n, n)
    outer = 0.5 * (cho_solve(factor, np.eye(len(targets))) - np.outer(weights, weights))
    # d matern / d (log of one scale) = 5/3 (1 + sqrt5 r) exp(-sqrt5 r) * squares_d / scale_d^2
    scaled = SQRT5 * distances
    common = outer * signal * (5 / 3) * (1 + scaled) * np.exp(-scaled)
    gradient = np.empty_like(vector)
    gradient[:-2] = np.einsum("nm,nmd->d", common, squares) * inverse
    gradient[-2] = (outer * smooth).sum()
    gradient[-1] = np.trace(outer) * noise
    penalty, slope = _prior_terms(kernel)
    return float(density + penalty), gradient + slope


def _prior_terms(kernel: Kernel) -> tuple[float, Array]:
    """Minus the logarithm of the priors' density, up to a constant, and its gradient."""
    centre = _scale_centre(len(kernel.log_scales))
    scales = (kernel.log_scales - centre) / SCALE_SPREAD
    noise = (kernel.log_noise - NOISE_CENTRE) / NOISE_SPREAD
    penalty = 0.5 * (scales @ scales + kernel.log_signal**2 + noise**2)
    slope = np.concatenate([scales / SCALE_SPREAD, [kernel.log_signal, noise / NOISE_SPREAD]])
    return float(penalty), slope
