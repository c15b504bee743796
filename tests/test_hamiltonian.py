"""Hamiltonian trajectories: reversible, energy kept, walls respected; the right distribution, with exact gradients."""

from dataclasses import dataclass, replace

import emcee
import numpy as np
import pytest
from scipy import stats

from curve_stub import TRUTH, StubCurve
from hrxrd_ml import RockingCurveModel
from hrxrd_ml.inference.sampling.convergence import bulk_ess, converged, rank_rhat
from hrxrd_ml.inference.sampling.hamiltonian import (
    HamiltonianMove,
    Metric,
    Position,
    Tempered,
    drift,
    integrate,
    leapfrog,
)
from hrxrd_ml.inference.sampling.peaks import climb
from hrxrd_ml.inference.sampling.probability import MODEL_ERROR, NOISE, LogPosterior, checked_priors

AXIS = np.linspace(-1400.0, 400.0, 181)


@dataclass
class NormalInBox:
    """A normal distribution, cut off at the walls of a box."""

    centre: np.ndarray
    covariance: np.ndarray
    lower: np.ndarray
    upper: np.ndarray

    def __post_init__(self):
        self.precision = np.linalg.inv(self.covariance)

    def slope(self, y):
        if (y < self.lower).any() or (y > self.upper).any():
            return -np.inf, np.zeros(len(y))
        off = y - self.centre
        return -0.5 * off @ self.precision @ off, -self.precision @ off

    def __call__(self, y):
        return self.slope(y)[0]

    def trajectory(self, *trajectory):
        return leapfrog(self, *trajectory)

    def drawn(self, count, rng):
        places = rng.multivariate_normal(self.centre, self.covariance, count)
        return places[((places >= self.lower) & (places <= self.upper)).all(axis=1)]


def in_box(lower=(-1.0, -np.inf, 0.0), upper=(0.5, 1.0, np.inf)):
    covariance = np.array([[1.0, 0.8, 0.0], [0.8, 1.0, 0.3], [0.0, 0.3, 2.0]])
    return NormalInBox(np.array([0.2, 0.3, 1.0]), covariance, np.array(lower), np.array(upper))


def test_a_trajectory_that_is_flown_back_ends_where_it_began():
    target, rng = in_box(), np.random.default_rng(0)
    metric = Metric.of(target.centre, target.covariance)
    for _ in range(20):
        start = Position.at(rng.uniform([-0.9, -1.0, 0.1], [0.4, 0.9, 2.0]), target, None)
        momentum = rng.standard_normal(3)
        there = integrate(target, None, metric, start, momentum, 0.2, 9)
        back = integrate(target, None, metric, there.end, -there.momentum, 0.2, 9)
        np.testing.assert_allclose(back.end.place, start.place, atol=1e-9)
        np.testing.assert_allclose(-back.momentum, momentum, atol=1e-9)
        assert back.gain == pytest.approx(-there.gain, abs=1e-9)


def test_the_error_of_the_energy_falls_with_the_square_of_the_step():
    target, momentum = in_box(lower=[-np.inf] * 3, upper=[np.inf] * 3), np.array([0.3, -1.0, 0.8])
    metric = Metric.of(target.centre, np.diag([0.7, 1.3, 1.0]))
    start = Position.at(np.array([0.0, 0.4, 1.5]), target, None)
    coarse, fine = (abs(integrate(target, None, metric, start, momentum, 1.0 / n, n).gain) for n in (10, 20))
    assert 0.0 < fine < 0.01
    assert coarse / fine == pytest.approx(4.0, rel=0.15)


def test_a_straight_line_is_reflected_like_a_ball():
    metric = Metric.of(np.zeros(2), np.array([[1.0, 0.6], [0.6, 1.0]]))
    lower, upper = np.array([-1.0, -np.inf]), np.array([1.0, 0.5])
    momentum = np.array([3.0, -2.0])
    z, y, after, arrived = drift(metric.centre, metric.root, np.zeros(2), momentum, 4.0, lower, upper)
    np.testing.assert_allclose(y, metric.outward(z))
    assert arrived
    assert (lower <= y + 1e-12).all()
    assert (y <= upper + 1e-12).all()
    assert np.linalg.norm(after) == pytest.approx(np.linalg.norm(momentum))
    home, _, _, _ = drift(metric.centre, metric.root, z, -after, 4.0, lower, upper)
    np.testing.assert_allclose(home, 0.0, atol=1e-9)


def run(target, steps, guide=None, step=0.2, adapts=False):
    move = HamiltonianMove.of(target, guide, Metric.of(target.centre, target.covariance), step, adapts)
    sampler = emcee.EnsembleSampler(8, len(target.centre), lambda y: target.slope(y)[0], moves=move)
    sampler._random.seed(5)
    rng = np.random.default_rng(2)
    sampler.run_mcmc(target.drawn(1000, rng)[:8], steps, skip_initial_state_check=True)
    return sampler, move


@pytest.mark.parametrize("guided", [False, True])
def test_a_normal_distribution_between_walls_is_found(guided):
    """Also where what guides the trajectories is another distribution."""
    target = in_box()
    wrong = replace(in_box(), centre=target.centre + 0.3, covariance=1.3 * target.covariance)
    sampler, _ = run(target, 1500, guide=wrong if guided else None, step=0.6)
    found = sampler.get_chain(flat=True)
    wanted = target.drawn(400_000, np.random.default_rng(3))
    np.testing.assert_allclose(found.mean(axis=0), wanted.mean(axis=0), atol=0.04)
    np.testing.assert_allclose(np.cov(found.T), np.cov(wanted.T), atol=0.06)
    for i in range(3):  # neighbours in a chain are alike: every fifth one
        assert stats.ks_2samp(found[::5, i], wanted[:20_000, i]).pvalue > 1e-3


def test_a_tempered_distribution_is_wider():
    target = in_box(lower=[-np.inf] * 3, upper=[np.inf] * 3)
    tempered, place = Tempered(target, 0.5), np.array([0.1, -0.3, 2.0])
    assert tempered(place) == 0.5 * target(place)
    np.testing.assert_allclose(tempered.slope(place)[1], 0.5 * target.slope(place)[1])


def test_the_step_adapts_to_the_share_of_accepted_trajectories():
    target = replace(in_box(), covariance=np.diag([1.0, 1.0, 0.04]))
    metric = Metric.of(target.centre, np.eye(3))
    for begin in (0.03, 0.85):
        move = HamiltonianMove.of(target, None, metric, begin, adapts=True)
        sampler = emcee.EnsembleSampler(8, 3, target, moves=move)
        sampler._random.seed(1)
        sampler.run_mcmc(target.drawn(1000, np.random.default_rng(2))[:8], 150, skip_initial_state_check=True)
        share = np.diff(sampler.get_chain(), axis=0).any(axis=2)[-50:].mean()
        assert 0.65 < share < 0.95
        assert 0.1 < move.step < 0.4  # a good part of the narrowest width, 0.2


# --- gradients ---


def target_of(extra=None, priors=None, tie=False, **options):
    model = RockingCurveModel(simulation=StubCurve(), axis_kind="offset", unit="arcsec", **options)
    params = model.make_params(**TRUTH)
    counts = np.random.default_rng(1).poisson(model.eval(params, x=AXIS)).astype(float)
    for name in params:
        params[name].vary = name in ("scale", "Dmax1", "D01", "D02", "L1", "Rp1", "L2", "fwhm")
    if tie:
        params["Rp1"].expr = "0.6 * L1"
    weights = np.where(np.abs(AXIS) < 300.0, 0.5, 1.0)
    result = model.fit(counts, params, weights, x=AXIS)
    return LogPosterior(result, checked_priors(priors, result.objective.names), extra)


@pytest.mark.parametrize(
    ("extra", "options"),
    [
        (None, {}),
        (None, {"tie": True}),
        (None, {"priors": {"fwhm": stats.norm(35.0, 3.0), "Dmax1": stats.norm(0.008, 0.001)}}),
        (NOISE, {"statistics": "relative"}),
        (NOISE, {"statistics": "none"}),
        (MODEL_ERROR, {}),
        (MODEL_ERROR, {"statistics": "relative"}),
    ],
)
def test_the_gradient_is_that_of_the_posterior(extra, options):
    target = target_of(extra, **options)
    start = target.start()
    sigma = np.sqrt(np.diag(climb(target, start)[2]))
    rng = np.random.default_rng(4)
    for _ in range(3):
        y = np.clip(start + 0.5 * sigma * rng.standard_normal(len(start)), target.lower, target.upper)
        inside = (y - 1e-4 * sigma > target.lower) & (y + 1e-4 * sigma < target.upper)
        value, gradient = target.slope(y)
        assert value == target(y)
        for i in np.flatnonzero(inside):
            step = np.zeros(len(y))
            step[i] = 1e-4 * sigma[i]
            difference = (target(y + step) - target(y - step)) / (2.0 * step[i])
            assert gradient[i] == pytest.approx(difference, rel=1e-3, abs=2e-3 / sigma[i]), target.names[i]


def test_climbing_ends_at_the_maximum_and_knows_its_width():
    target = target_of()
    best = target.start()
    sigma = np.sqrt(np.diag(climb(target, best)[2]))
    away = np.clip(best + 2.0 * sigma * np.resize([1.0, -1.0], len(best)), target.lower, target.upper)
    place, value, covariance = climb(target, away)
    # The fit is the maximum of the likelihood; the volume of the nested constraints moves that of the posterior a bit.
    assert value >= target(best) - 0.02
    np.testing.assert_allclose((place - best) / sigma, 0.0, atol=0.3)
    assert np.isfinite(covariance).all()


# --- long enough? ---


def test_rhat_is_one_for_chains_that_agree_and_large_for_those_that_do_not():
    rng = np.random.default_rng(1)
    same = rng.standard_normal((400, 10, 1))
    chain = np.concatenate([same, same + np.arange(10.0)[:, None], np.ones((400, 10, 1))], axis=2)
    one, apart, constant = rank_rhat(chain)
    assert one == pytest.approx(1.0, abs=0.01)
    assert apart > 2.0
    assert constant == 1.0
    assert np.isinf(rank_rhat(chain[:3])).all()


def test_a_chain_is_long_enough_by_its_effective_samples_and_by_rhat():
    rng = np.random.default_rng(2)
    chain = np.zeros((4000, 6, 2))
    for k in range(1, len(chain)):  # an autoregressive process: (1 - a) / (1 + a) of its samples count
        chain[k] = 0.8 * chain[k - 1] + rng.standard_normal((6, 2))
    samples, rhat = bulk_ess(chain), rank_rhat(chain)
    np.testing.assert_allclose(samples, 24000.0 / 9.0, rtol=0.15)
    assert converged(rhat, samples)
    assert not converged(rank_rhat(chain[:100]), bulk_ess(chain[:100]))
    assert not converged(np.array([1.02, 1.0]), samples)
    assert not converged(rhat, np.array([399.0, 4000.0]))
    # Both are of ranks: the same for any function of the parameters that grows.
    np.testing.assert_allclose(rank_rhat(chain**3), rhat, rtol=1e-3)
    np.testing.assert_allclose(bulk_ess(np.exp(chain)), samples, rtol=1e-9)


def test_rhat_and_effective_samples_are_those_of_arviz():
    arviz = pytest.importorskip("arviz_stats", reason="ArviZ is not installed")
    rng = np.random.default_rng(5)
    chain = np.cumsum(rng.standard_normal((300, 6, 1)), axis=0) * 0.1 + rng.standard_normal((300, 6, 1))
    array = chain[:, :, 0].T
    assert rank_rhat(chain)[0] == pytest.approx(float(arviz.rhat(array)), rel=1e-6)
    assert bulk_ess(chain)[0] == pytest.approx(float(arviz.ess(array)), rel=0.05)
