"""Expected improvement on a logarithmic scale, against numbers of high precision."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from search.samplers.acquisition import log_expected_improvement


@pytest.mark.parametrize("scaled", [-6.0, -3.0, -1.0, 0.0, 0.5, 4.0])
def test_it_is_the_logarithm_of_the_integral(scaled: float) -> None:
    wanted, _ = quad(lambda x: (x + scaled) * norm.pdf(x), -scaled, 40, epsabs=0)
    found = log_expected_improvement(np.array([scaled]))[0]
    assert found == pytest.approx(np.log(wanted), rel=1e-6)


def test_it_falls_without_a_break_however_far_below() -> None:
    scaled = -np.geomspace(0.01, 1e6, 2000)
    values = log_expected_improvement(scaled)
    assert np.all(np.isfinite(values)) and np.all(np.diff(values) < 0)
