"""The Gaussian process against plain formulas: its density's gradient, its posterior, beliefs."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from search.samplers.gaussian_process import (
    BLOCK,
    JITTER,
    Data,
    GaussianProcess,
    Kernel,
    _group_squares,
    fit_kernel,
    negative_density,
)

GROUPS = np.array([0, 1, 1, 2])


def made_up(count: int = 30, seed: int = 0) -> Data:
    """Observations of ten trials of which most were seen half trained as well."""
    rng = np.random.RandomState(seed)
    trials = rng.randint(10, size=count)
    inputs = rng.uniform(size=(10, len(GROUPS)))[trials]
    targets = np.sin(3 * inputs[:, 0]) + inputs[:, 3] + 0.1 * rng.normal(size=count)
    return Data(inputs, rng.choice([0.0, 0.5, 1.0], size=count), targets, trials)


def plain_covariance(left: Data, right: Data, kernel: Kernel) -> np.ndarray:
    """The covariances as the top of the file has them, one by one, without noise."""
    signal, drift, wobble, _ = np.exp(kernel.log_variances)
    scales = np.exp(kernel.log_scales)[kernel.groups]
    result = np.empty((len(left), len(right)))
    for i in range(len(left)):
        for j in range(len(right)):
            r = np.sqrt((((left.inputs[i] - right.inputs[j]) / scales) ** 2).sum())
            matern = (1 + 5**0.5 * r + 5 / 3 * r**2) * np.exp(-(5**0.5) * r)
            w, v = left.shortfalls[i], right.shortfalls[j]
            shown = (1 + kernel.stretch * w) * (1 + kernel.stretch * v)
            same = left.trials[i] == right.trials[j]
            result[i, j] = matern * (signal * shown + drift * w * v) + wobble * same * w * v
    return result


def some_kernel() -> Kernel:
    return Kernel(GROUPS, np.log([0.4, 0.9, 2.0]), np.log([1.3, 0.4, 0.05, 0.02]), 0.4)


def test_the_gradient_is_that_of_finite_differences() -> None:
    data, kernel = made_up(), some_kernel()
    squares = _group_squares(data.inputs, GROUPS)
    _, gradient = negative_density(kernel.vector, squares, data)
    numeric = approx_fprime(kernel.vector, lambda v: negative_density(v, squares, data)[0], 1e-6)
    np.testing.assert_allclose(gradient, numeric, rtol=1e-3, atol=1e-3)


def test_the_posterior_is_that_of_the_textbook() -> None:
    data, kernel = made_up(), some_kernel()
    rng = np.random.RandomState(1)
    new = Data(rng.uniform(size=(7, 4)), np.zeros(7), np.zeros(7), np.arange(100, 107))
    noise = np.exp(kernel.log_variances[3]) + JITTER
    inverse = np.linalg.inv(plain_covariance(data, data, kernel) + noise * np.eye(len(data)))
    cross = plain_covariance(new, data, kernel)
    mean, deviation = GaussianProcess(data, kernel).predict(new.inputs)
    variance = np.diag(plain_covariance(new, new, kernel) - cross @ inverse @ cross.T)
    np.testing.assert_allclose(mean, cross @ inverse @ data.targets, atol=1e-8)
    np.testing.assert_allclose(deviation, np.sqrt(variance), atol=1e-6)


def test_many_points_have_what_each_has_alone() -> None:
    process = GaussianProcess(made_up(), some_kernel())
    points = np.random.RandomState(1).uniform(size=(2 * BLOCK + 1, 4))
    alone = np.array([process.predict(point[None]) for point in points])[:, :, 0]
    np.testing.assert_allclose(np.transpose(process.predict(points)), alone, atol=1e-9)


def test_to_believe_is_to_observe_the_mean() -> None:
    data, kernel = made_up(), some_kernel()
    points = np.random.RandomState(2).uniform(size=(3, 4))
    process = GaussianProcess(data, kernel)
    before = process.mean(points)
    process.believe(points)
    longer = Data(
        np.concatenate([data.inputs, points]),
        np.concatenate([data.shortfalls, np.zeros(3)]),
        np.concatenate([data.targets, before]),
        np.concatenate([data.trials, [100, 101, 102]]),
    )
    new = np.random.RandomState(3).uniform(size=(9, 4))
    for found, wanted in zip(
        process.predict(new), GaussianProcess(longer, kernel).predict(new), strict=True
    ):
        np.testing.assert_allclose(found, wanted, atol=1e-7)


def test_the_fit_finds_which_columns_matter() -> None:
    rng = np.random.RandomState(0)
    inputs = rng.uniform(size=(60, 3))
    targets = np.sin(6 * inputs[:, 1])
    data = Data(inputs, np.zeros(60), targets, np.arange(60))
    scales = fit_kernel(data, Kernel.prior(np.arange(3))).log_scales
    assert scales[1] < min(scales[0], scales[2]) - 0.5


def test_half_trained_values_tell_of_the_last_ones() -> None:
    """They are off by a smooth function, which is learned from the few that went on."""
    rng = np.random.RandomState(0)
    inputs = rng.uniform(size=(60, 2))
    final, departure = np.sin(5 * inputs[:, 0]), 0.5 * inputs[:, 1]
    went_on = np.arange(0, 60, 5)
    data = Data(
        np.concatenate([inputs, inputs[went_on]]),
        np.concatenate([np.ones(60), np.zeros(len(went_on))]),
        np.concatenate([final - departure, final[went_on]]),
        np.concatenate([np.arange(60), went_on]),
    )
    prior = Kernel.prior(np.arange(2))
    both = GaussianProcess(data, fit_kernel(data, prior)).mean(inputs)
    few = data.take(np.arange(60, len(data)))
    alone = GaussianProcess(few, fit_kernel(few, prior)).mean(inputs)
    assert np.abs(both - final).mean() < 0.7 * np.abs(alone - final).mean()
    assert np.abs(both - final).mean() < 0.12


@pytest.mark.parametrize("share", [0.5, 1.5])
def test_it_learns_by_how_much_early_values_differ_less_or_more(share: float) -> None:
    """And so tells the last values of those that were stopped, which it has never seen."""
    rng = np.random.RandomState(0)
    inputs = rng.uniform(size=(40, 1))
    final = np.sin(6 * inputs[:, 0])
    went_on = np.arange(0, 40, 5)
    data = Data(
        np.concatenate([inputs, inputs[went_on]]),
        np.concatenate([np.ones(40), np.zeros(len(went_on))]),
        np.concatenate([share * final, final[went_on]]),
        np.concatenate([np.arange(40), went_on]),
    )
    kernel = fit_kernel(data, Kernel.prior(np.array([0])))
    assert (kernel.stretch > 0) == (share > 1)
    shrunken = np.abs(share * final - final).mean()
    assert np.abs(GaussianProcess(data, kernel).mean(inputs) - final).mean() < 0.5 * shrunken


@pytest.mark.parametrize("count", [1, 2])
def test_hardly_any_data_is_enough(count: int) -> None:
    data = Data(np.zeros((count, 1)), np.zeros(count), np.zeros(count), np.arange(count))
    kernel = fit_kernel(data, Kernel.prior(np.array([0])))
    mean, deviation = GaussianProcess(data, kernel).predict(np.array([[0.0], [1.0]]))
    assert np.all(np.isfinite(mean)) and deviation[0] < deviation[1]
