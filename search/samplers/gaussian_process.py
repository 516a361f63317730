"""A Gaussian process over configurations and how far they were trained, fitted with priors.

An observation is a point of the unit cube (a row of `inputs`), a shortfall w from 0 (trained to
the end) to 1 (hardly trained) and a target. Its covariance with another is

    matern(x, x') (signal (1 + stretch w) (1 + stretch w') + drift w w')
        +  [same trial] wobble w w'  +  [same] noise

that is, a smooth function of the last value, which half-trained values show larger or smaller than
it is; a smooth function of how they depart from it besides; what a trial's curve departs by itself;
and noise. Matern-5/2; columns of one group share a length scale. Hyperparameters have log-normal
priors, the stretch a normal one, and the highest posterior density. Sources:
Rasmussen & Williams, Gaussian Processes for Machine Learning (2006), chapters 2 and 5; departures
that vanish with training: Swersky et al., arXiv:1406.3896; length scales that grow with the square
root of the dimension: Hvarfner et al., arXiv:2402.02229.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve, solve_triangular
from scipy.optimize import minimize

Array = NDArray[np.float64]
Indices = NDArray[np.intp]
SQRT5 = 5**0.5
JITTER = 1e-8
MOST_STEPS = 30
BLOCK = 128
"""So many points are predicted at once: what is between then stays in a core's cache."""
SCALE_SPREAD, SCALE_RANGE = 1.0, 4.0
CENTRES = np.log([1.0, 0.3, 0.03, 1e-3])
SPREADS = np.array([1.0, 1.0, 1.0, 1.5])
LOWER, UPPER = np.log([0.05, 1e-3, 1e-4, 1e-6]), np.log([20.0, 10.0, 3.0, 0.3])
"""Normal priors on the logarithms of signal, drift, wobble and noise (variances), and bounds."""
STRETCH_SPREAD, STRETCH_RANGE = 0.3, (-0.8, 3.0)
OTHERS = len(CENTRES) + 1
"""Hyperparameters that are not length scales: the last ones of a vector of all; stretch last."""


@dataclass(frozen=True)
class Data:
    """What is observed: inputs (n, d), shortfalls (n,), targets (n,), trials (n,) by any number."""

    inputs: Array
    shortfalls: Array
    targets: Array
    trials: Indices

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, rows: Indices) -> Data:
        """These rows only."""
        return Data(
            inputs=self.inputs[rows],
            shortfalls=self.shortfalls[rows],
            targets=self.targets[rows],
            trials=self.trials[rows],
        )


@dataclass(frozen=True)
class Kernel:
    """Logarithms of the groups' length scales, and of the variances in the order of `CENTRES`.

    `groups` (d,) says which length scale a column has.
    """

    groups: Indices
    log_scales: Array
    log_variances: Array
    stretch: float = 0.0

    @staticmethod
    def prior(groups: Indices) -> Kernel:
        """What is believed before any data."""
        count = int(groups.max()) + 1
        return Kernel(groups, np.full(count, scale_centre(count)), CENTRES.copy())

    @property
    def variances(self) -> Array:
        """Signal, drift, wobble and noise: (4,)."""
        values: Array = np.exp(self.log_variances)
        return values

    @property
    def vector(self) -> Array:
        """All hyperparameters: (g + OTHERS,)."""
        return np.concatenate([self.log_scales, self.log_variances, [self.stretch]])

    def shrunk(self, inputs: Array) -> Array:
        """Inputs (n, d) in units of the length scales."""
        return inputs * np.exp(-self.log_scales)[self.groups]


class GaussianProcess:
    """The posterior given data and a kernel; raises LinAlgError for data of no use."""

    def __init__(self, data: Data, kernel: Kernel) -> None:
        self.kernel = kernel
        self._inputs = kernel.shrunk(data.inputs)
        self._sizes = 1 + kernel.stretch * data.shortfalls
        smooth = _matern(_distances(self._inputs, self._inputs))
        self._factor = np.linalg.cholesky(
            _covariance(smooth, self._sizes, _same_trial(data), _products(data), kernel.variances)
        )
        self._weights = cho_solve((self._factor, True), data.targets)

    def mean(self, inputs: Array) -> Array:
        """Mean (m,) of the last value at `inputs` (m, d)."""
        values: Array = self._cross(inputs) @ self._weights
        return values

    def predict(self, inputs: Array) -> tuple[Array, Array]:
        """Mean and standard deviation (m,) of the last value at `inputs` (m, d), without noise."""
        means, variances = np.empty(len(inputs)), np.empty(len(inputs))
        for start in range(0, len(inputs), BLOCK):
            block = slice(start, start + BLOCK)
            cross = self._cross(inputs[block])
            half = solve_triangular(self._factor, cross.T, lower=True, check_finite=False)
            means[block] = cross @ self._weights
            variances[block] = self.kernel.variances[0] - np.einsum("nm,nm->m", half, half)
        return means, np.sqrt(np.maximum(variances, 1e-10))

    def believe(self, inputs: Array) -> None:
        """Take last values at `inputs` (m, d) to be known, and to be the means.

        So the means stay as they are, and only deviations shrink.
        """
        signal, _, _, noise = self.kernel.variances
        points = self.kernel.shrunk(inputs)
        half = solve_triangular(self._factor, self._cross(inputs).T, lower=True)
        own = signal * _matern(_distances(points, points)) - half.T @ half
        own[np.diag_indices(len(own))] += noise + JITTER
        corner = np.zeros((len(half), len(own)))
        self._factor = np.block([[self._factor, corner], [half.T, np.linalg.cholesky(own)]])
        self._inputs = np.concatenate([self._inputs, points])
        self._sizes = np.concatenate([self._sizes, np.ones(len(own))])
        self._weights = np.concatenate([self._weights, np.zeros(len(own))])

    def _cross(self, inputs: Array) -> Array:
        """Covariances (m, n) of last values at `inputs` with what is known."""
        values = _matern(_distances(self.kernel.shrunk(inputs), self._inputs))
        values *= self.kernel.variances[0] * self._sizes
        return values


def fit_kernel(data: Data, start: Kernel) -> Kernel:
    """The kernel of the highest posterior density, sought from `start`."""
    squares = _group_squares(data.inputs, start.groups)
    bounds = _bounds(len(start.log_scales))
    result = minimize(
        negative_density,
        np.clip(start.vector, *np.transpose(bounds)),
        args=(squares, data),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": MOST_STEPS, "maxfun": 2 * MOST_STEPS},
    )
    if result.fun >= 1e9:
        return start
    scales, variances, stretch = _parts(result.x)
    return Kernel(start.groups, scales, variances, stretch)


def scale_centre(count: int) -> float:
    """The centre of the prior of the logarithm of one of `count` length scales."""
    return float(np.log(0.5) + 0.5 * np.log(count))


def negative_density(vector: Array, squares: Array, data: Data) -> tuple[float, Array]:
    """Minus the logarithm of the posterior density, up to a constant, and its gradient.

    `vector` is a kernel's; `squares` (n, n, g) are squared distances by group.
    """
    scales, log_variances, stretch = _parts(vector)
    variances = np.exp(log_variances)
    sizes = 1 + stretch * data.shortfalls
    inverse = np.exp(-2 * scales)
    scaled = SQRT5 * np.sqrt(np.maximum(squares @ inverse, 1e-20))
    decay = np.exp(-scaled)
    smooth = (1 + scaled + scaled**2 / 3) * decay
    same, products = _same_trial(data), _products(data)
    try:
        factor = cho_factor(_covariance(smooth, sizes, same, products, variances), lower=True)
    except LinAlgError:
        return 1e10, np.zeros_like(vector)
    weights = cho_solve(factor, data.targets)
    density = 0.5 * data.targets @ weights + np.log(np.diag(factor[0])).sum()
    # d density / d covariance, (n, n)
    outer = 0.5 * (cho_solve(factor, np.eye(len(data))) - np.outer(weights, weights))
    shown = np.outer(sizes, sizes)
    amplitude = variances[0] * shown + variances[1] * products
    # d matern / d (log of one scale) = 5/3 (1 + sqrt5 r) exp(-sqrt5 r) * squares_g / scale_g^2
    common = outer * amplitude * (5 / 3) * (1 + scaled) * decay
    gradient = np.empty_like(vector)
    gradient[:-OTHERS] = (common.ravel() @ squares.reshape(-1, len(scales))) * inverse
    smoothly = outer * smooth
    gradient[-OTHERS:-1] = variances * [
        (smoothly * shown).sum(),
        (smoothly * products).sum(),
        (outer * same * products).sum(),
        np.trace(outer),
    ]
    gradient[-1] = 2 * variances[0] * (data.shortfalls @ smoothly @ sizes)
    penalty, slope = _prior_terms(vector)
    return float(density + penalty), gradient + slope


def _parts(vector: Array) -> tuple[Array, Array, float]:
    """Logarithms of length scales and of variances, and the stretch."""
    return vector[:-OTHERS], vector[-OTHERS:-1], float(vector[-1])


def _group_squares(inputs: Array, groups: Indices) -> Array:
    """Squared distances (n, n, g) along each group of columns."""
    count = int(groups.max()) + 1
    squares = np.empty((len(inputs), len(inputs), count))
    for group in range(count):
        columns = inputs[:, groups == group]
        norms = (columns**2).sum(1)
        squares[:, :, group] = norms[:, None] + norms[None, :] - 2 * columns @ columns.T
    np.maximum(squares, 0.0, out=squares)
    return squares


def _distances(left: Array, right: Array) -> Array:
    """Euclidean distances (n, m) between the rows of (n, d) and (m, d)."""
    distances: Array = (left**2).sum(1)[:, None] + (right**2).sum(1)[None, :]
    distances -= 2 * left @ right.T
    np.maximum(distances, 0.0, out=distances)
    return np.sqrt(distances, out=distances)


def _matern(distances: Array) -> Array:
    """Matern-5/2 of distances, with two arrays only: to fill more takes longer than the sums."""
    scaled = SQRT5 * distances
    values = scaled / 3
    values += 1
    values *= scaled
    values += 1
    values *= np.exp(np.negative(scaled, out=scaled), out=scaled)
    return values


def _same_trial(data: Data) -> Array:
    same: Array = np.equal.outer(data.trials, data.trials).astype(np.float64)
    return same


def _products(data: Data) -> Array:
    products: Array = np.outer(data.shortfalls, data.shortfalls)
    return products


def _covariance(
    smooth: Array, sizes: Array, same: Array, products: Array, variances: Array
) -> Array:
    signal, drift, wobble, noise = variances
    smoothly = signal * np.outer(sizes, sizes) + drift * products
    covariance: Array = smooth * smoothly + wobble * same * products
    covariance[np.diag_indices(len(smooth))] += noise + JITTER
    return covariance


def _bounds(count: int) -> list[tuple[float, float]]:
    centre = scale_centre(count)
    scales = [(centre - SCALE_RANGE, centre + SCALE_RANGE)] * count
    return scales + list(zip(LOWER.tolist(), UPPER.tolist(), strict=True)) + [STRETCH_RANGE]


def _prior_terms(vector: Array) -> tuple[float, Array]:
    """Minus the logarithm of the priors' density, up to a constant, and its gradient."""
    count = len(vector) - OTHERS
    centres = np.concatenate([np.full(count, scale_centre(count)), CENTRES, [0.0]])
    spreads = np.concatenate([np.full(count, SCALE_SPREAD), SPREADS, [STRETCH_SPREAD]])
    scaled = (vector - centres) / spreads
    return float(0.5 * scaled @ scaled), scaled / spreads
