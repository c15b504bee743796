"""Polynomials in place of a curve: exact where they can be, good enough to guide in a posterior of the real model."""

from dataclasses import replace

import numpy as np
import pytest

from curve_stub import TRUTH, StubCurve
from hrxrd_ml import Reflection, RockingCurveModel
from hrxrd_ml.inference.sampling.exploration import around, exact, explore
from hrxrd_ml.inference.sampling.hamiltonian import Metric, Position, leapfrog
from hrxrd_ml.inference.sampling.peaks import peaks_of
from hrxrd_ml.inference.sampling.polynomial import Polynomial
from hrxrd_ml.inference.sampling.probability import MODEL_ERROR, NOISE, LogPosterior
from hrxrd_ml.inference.sampling.quadratic import Scale
from hrxrd_ml.inference.sampling.surrogate import Surrogate

AXIS = np.linspace(-1400.0, 400.0, 181)


def cubic(z):
    a, b, c = z.T
    return np.column_stack([1.0 + a - 2.0 * a * b + c**3, 0.5 * b**2 * c - a * b * c, 3.0 + 0.0 * a])


def test_a_cubic_is_found_exactly():
    rng = np.random.default_rng(0)
    z = rng.standard_normal((400, 3))
    polynomial = Polynomial.fit(z, cubic(z), 3, np.ones(400))
    assert polynomial.coefficients.shape == (20, 3)
    for place in rng.standard_normal((5, 3)):
        np.testing.assert_allclose(polynomial(place), cubic(place[None])[0], atol=2e-3)


def fit_of(free, statistics="auto", simulation=None, seed=1):
    model = RockingCurveModel(
        Reflection("GGG", (4, 4, 4), "CuKa1") if simulation is None else None,
        simulation=simulation,
        axis_kind="offset",
        unit="arcsec",
        statistics=statistics,
    )
    params = model.make_params(**TRUTH)
    expected, rng = model.eval(params, x=AXIS), np.random.default_rng(seed)
    data = rng.poisson(expected).astype(float)
    if statistics == "relative":  # twice as much as it assumes
        data = expected * (1.0 + 0.1 * rng.standard_normal(len(AXIS)))
    for name in params:
        params[name].vary = name in free
    return model.fit(data, params, x=AXIS)


def target_of(free, extra=None, **options):
    result = fit_of(free, **options)
    return LogPosterior(result, {}, extra)


@pytest.mark.parametrize("error", [0.0, 0.2])
@pytest.mark.parametrize("statistics", ["poisson", "relative", "none"])
def test_the_scale_of_a_curve_can_be_undone(statistics, error):
    target = target_of(("scale", "fwhm"), simulation=StubCurve(), statistics=statistics)
    scale, mu = Scale.of(target, error), target.best_curve
    scaled = scale.inward(mu)
    back, slope = scale.outward(scaled)
    np.testing.assert_allclose(back, mu)
    step = 1e-6 * (1.0 + np.abs(scaled))
    np.testing.assert_allclose(slope, (scale.outward(scaled + step)[0] - mu) / step, rtol=1e-4, atol=1e-6)


FREE = ("scale", "Dmax1", "L1", "D01", "fwhm", "offset")


@pytest.mark.parametrize(
    ("extra", "statistics"),
    [(None, "poisson"), (MODEL_ERROR, "poisson"), (NOISE, "relative"), (MODEL_ERROR, "relative")],
)
def test_a_surrogate_follows_a_posterior_and_has_its_gradient(extra, statistics):
    target = target_of(FREE, extra, statistics=statistics)
    peaks, rng = peaks_of(target, ()), np.random.default_rng(2)
    places = around(target, peaks, 400, rng)
    curves = np.array([target.used_curve(place) for place in places])
    metric = Metric.of(peaks[0].place, peaks[0].covariance)
    surrogate = Surrogate.fit(target, metric, places[:300], curves[:300], np.ones(300), 100)
    off = exact(target, places[300:], curves[300:]) - np.array([surrogate(place) for place in places[300:]])
    # By counts, parameters are known ten times as well as by errors of 10 %: there, the polynomial has less to follow.
    assert np.sqrt(np.mean(off**2)) < (0.1 if statistics == "poisson" else 0.25)
    sigma = np.sqrt(np.diag(peaks[0].covariance))
    place = peaks[0].place + 0.3 * sigma * np.resize([1.0, -1.0, 0.5, -0.5, 0.2, 1.0], len(sigma))
    for i, step in enumerate(1e-4 * np.diag(sigma)):
        difference = (surrogate(place + step) - surrogate(place - step)) / (2e-4 * sigma[i])
        assert surrogate.slope(place)[1][i] == pytest.approx(difference, rel=1e-4, abs=1e-4 / sigma[i])
    assert surrogate(place + 1e9) == -np.inf


def test_compiled_trajectories_are_those_of_the_leapfrog():
    target = target_of(FREE)
    peaks, rng = peaks_of(target, ()), np.random.default_rng(2)
    places = around(target, peaks, 200, rng)
    metric = Metric.of(peaks[0].place, peaks[0].covariance)
    curves = np.array([target.used_curve(place) for place in places])
    surrogate = Surrogate.fit(target, metric, places, curves, np.ones(200), 100)
    surrogate = replace(surrogate, anchor=metric, hold=0.5, power=0.7)
    start, momentum = Position.at(peaks[0].place, target, surrogate), rng.standard_normal(len(FREE))
    one = surrogate.trajectory(metric, start, momentum, 0.2, 12)
    two = leapfrog(surrogate, metric, start, momentum, 0.2, 12)
    for found, expected in zip(one, two, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize("seed", [3, pytest.param(4, marks=pytest.mark.slow), pytest.param(5, marks=pytest.mark.slow)])
def test_exploring_finds_where_the_posterior_lies(seed: int) -> None:
    """Two strains that are strongly correlated: the covariance of the fit does not show how far they may."""
    target = target_of(("scale", "Dmax1", "D01", "D02", "L2", "Rp2"), seed=3)
    explored = explore(
        target,
        peaks_of(target, ()),
        lambda places: np.array([target.used_curve(place) for place in places]),
        np.random.default_rng(seed),
    )
    assert explored.guide is not None
    values = np.array([target(place) for place in explored.places])
    off = values - np.array([explored.guide(place) for place in explored.places])
    assert np.isfinite(values).all()
    low, high = np.quantile(off, [0.1, 0.9])
    assert high - low < 2.563 * 0.5  # as of a normal distribution with standard deviation 0.5
    for name in ("D01", "D02"):
        i = target.names.index(name)
        assert explored.places[:, i].std() > 0.5 * target.result.params[name].stderr
