"""The least-squares solver in a box, and the covariance beside its walls."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import least_squares, lsq_linear

from hrxrd_ml.inference.covariance import bounded_covariance, draw_inside
from hrxrd_ml.inference.levenberg import minimise_in_box


def solve(residual, jacobian, start, lower, upper, **options):
    lower, upper = np.array(lower, dtype=float), np.array(upper, dtype=float)
    calls = []

    def recorded(y, likely):
        calls.append(y.copy())
        return residual(y)

    found = minimise_in_box(recorded, jacobian, np.array(start, dtype=float), lower, upper, **options)
    assert all((lower <= y).all() and (y <= upper).all() for y in calls)
    return found, len(calls)


def rosenbrock(y):
    return np.array([10.0 * (y[1] - y[0] ** 2), 1.0 - y[0]])


def rosenbrock_jacobian(y):
    return np.array([[-20.0 * y[0], 10.0], [-1.0, 0.0]])


@pytest.mark.parametrize(
    ("lower", "upper"),
    [
        ([-np.inf, -np.inf], [np.inf, np.inf]),
        ([-2.0, -2.0], [2.0, 2.0]),
        ([-2.0, -2.0], [0.5, 2.0]),
        ([0.0, 1.5], [2.0, 2.0]),
        ([-2.0, -np.inf], [np.inf, 0.3]),
    ],
)
def test_rosenbrock_in_a_box(lower, upper):
    found, calls = solve(rosenbrock, rosenbrock_jacobian, [0.3, 0.2], lower, upper, edm=0.0)
    start = np.array([0.3, 0.2 if lower[1] < 0.2 else 1.6])
    reference = least_squares(rosenbrock, start, rosenbrock_jacobian, bounds=(lower, upper), xtol=1e-12, ftol=1e-12)
    np.testing.assert_allclose(found.x, reference.x, atol=1e-4)
    assert found.cost <= reference.cost + 1e-8
    assert calls < 80
    assert found.success


@given(st.integers(0, 10_000))
def test_linear_problems_in_a_box_have_their_unique_minimum(seed):
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((12, 5)) * 10.0 ** rng.uniform(-4, 4, 5)
    data = rng.standard_normal(12)
    free = np.linalg.lstsq(matrix, data, rcond=None)[0]
    lower = free - rng.uniform(-0.5, 2.0, 5) * np.abs(free)
    upper = lower + rng.uniform(0.1, 3.0, 5) * np.abs(free)
    found, _ = solve(lambda y: data - matrix @ y, lambda y: -matrix, 0.5 * (lower + upper), lower, upper, edm=0.0)
    reference = lsq_linear(matrix, data, (lower, upper), method="bvls", tol=1e-12)
    assert found.cost == pytest.approx(reference.cost, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize(("wall", "cost"), [(-100.0, 42911.10081), (-10.0, 44430.22449)])
@pytest.mark.parametrize("start", [(25.0, 5.0, -5.0, -1.0), (-5.0, 10.0, 0.0, 0.0)])
def test_large_residuals_take_few_evaluations(start, wall, cost):
    """Brown and Dennis's problem, whose residuals stay large: the Jacobian alone takes hundreds of evaluations.

    Minimum: J. J. Moré, B. S. Garbow and K. E. Hillstrom, ACM Trans. Math. Softw. 7 (1981) 17, number 16 (their sum of
    squares is twice the cost); with a wall at -10, by SciPy.
    """
    t = np.arange(1, 21) / 5.0

    def parts(y):
        return y[0] + t * y[1] - np.exp(t), y[2] + y[3] * np.sin(t) - np.cos(t)

    def residual(y):
        return parts(y)[0] ** 2 + parts(y)[1] ** 2

    def jacobian(y):
        first, second = parts(y)
        return 2.0 * np.stack([first, first * t, second, second * np.sin(t)], axis=1)

    start = np.maximum(start, wall)
    found, calls = solve(residual, jacobian, start, [wall] * 4, [100.0] * 4, edm=1e-6)
    assert found.cost == pytest.approx(cost, rel=1e-8)
    assert calls < 50


def test_start_at_the_minimum_costs_one_evaluation():
    found, calls = solve(lambda y: np.r_[y - 3.0, 5.0, 5.0], lambda y: np.eye(3, 1), [3.0], [0.0], [9.0])
    assert (calls, found.njev, found.x[0]) == (1, 1, 3.0)


def test_search_ends_where_the_noise_hides_the_rest():
    """The sum of squares may then exceed its minimum by a tenth of a thousandth of the variance, no more."""
    rng = np.random.default_rng(0)
    x = np.linspace(0.0, 3.0, 200)
    data = np.exp(-1.3 * x) + 0.01 * rng.standard_normal(200)

    def residual(y):
        return data - np.exp(-y[0] * x) * y[1]

    def jacobian(y):
        return np.stack([x * np.exp(-y[0] * x) * y[1], -np.exp(-y[0] * x)], axis=1)

    exact, _ = solve(residual, jacobian, [0.3, 2.0], [0.0, 0.0], [9.0, 9.0], edm=0.0, ftol=1e-15)
    quick, _ = solve(residual, jacobian, [0.3, 2.0], [0.0, 0.0], [9.0, 9.0])
    assert 0.0 <= 2.0 * (quick.cost - exact.cost) < 1e-4 * 2.0 * exact.cost / 198
    assert "noise" in quick.message


def test_variables_without_effect_and_perfect_data_are_no_trouble():
    def jacobian(y):
        return np.array([[1.0, 0.0], [2.0, 0.0], [0.5, 0.0]])

    found, _ = solve(lambda y: jacobian(y)[:, 0] * (y[0] - 2.0), jacobian, [0.0, 1.0], [-5.0, 0.0], [5.0, 2.0])
    np.testing.assert_allclose(found.x, [2.0, 1.0], atol=1e-6)


# --- covariance -----------------------------------------------------------------------------------------------------


def test_covariance_inside_the_box_is_the_inverse_information():
    rng = np.random.default_rng(1)
    jacobian = rng.standard_normal((30, 4)) * [1e-3, 1.0, 1e3, 1e6]
    found = bounded_covariance(jacobian.T @ jacobian, np.zeros(4), np.zeros(4), np.full(4, -1e9), np.full(4, 1e9))
    np.testing.assert_allclose(found.matrix, np.linalg.inv(jacobian.T @ jacobian), rtol=1e-8)
    assert (found.at_lower, found.at_upper, found.undetermined) == ((), (), ())


@pytest.mark.parametrize("push", [0.3, 2.0, 30.0])
def test_at_a_wall_it_is_the_second_moment_of_the_truncated_normal_distribution(push):
    """By drawing from the quadratic form beside the wall; errors are about the minimum, where the fit ends."""
    information = np.array([[4.0, 3.0], [3.0, 9.0]])
    found = bounded_covariance(
        information, np.array([0.0, -push]), np.array([0.0, 1.0]), np.full(2, -50.0), np.array([50.0, 1.0])
    )
    assert found.at_upper == (1,)
    rng = np.random.default_rng(7)
    centre = -np.linalg.solve(information, [0.0, -push])  # of the form without the wall, from the minimum
    drawn = rng.multivariate_normal(centre, np.linalg.inv(information), 400_000)
    if push > 5.0:  # hardly a draw falls inside: draw the distance, which is exponential, and let the other follow
        left = 9.0 - 3.0**2 / 4.0
        d = rng.exponential(1.0 / push, 400_000)
        d = d[rng.random(len(d)) < np.exp(-0.5 * left * d**2)]
        drawn = np.column_stack([0.75 * d + 0.5 * rng.standard_normal(len(d)), -d])
    inside = drawn[drawn[:, 1] <= 0.0]
    moments = inside.T @ inside / len(inside)
    noise = np.std(inside[:, :, None] * inside[:, None, :], axis=0) / np.sqrt(len(inside))
    assert (np.abs(found.matrix - moments) < 4.0 * noise).all()


def test_variable_near_a_wall_that_does_not_hold_it_is_free():
    information = np.diag([4.0, 9.0])
    found = bounded_covariance(information, np.zeros(2), np.array([0.5, 1.0]), np.zeros(2), np.ones(2))
    np.testing.assert_allclose(found.matrix, np.diag([0.25, 1.0 / 9.0]))


def test_undetermined_directions_have_the_width_of_the_box():
    information = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 25.0]])  # only a sum is known
    found = bounded_covariance(information, np.zeros(3), np.full(3, 0.5), np.zeros(3), np.ones(3))
    assert found.undetermined == (0, 1)
    assert found.matrix[2, 2] == pytest.approx(1.0 / 25.0, rel=0.5)
    assert found.matrix[0, 0] + found.matrix[1, 1] - 2.0 * found.matrix[0, 1] == pytest.approx(2.0 / 12.0, rel=0.1)


def test_an_error_is_no_wider_than_the_box():
    information = np.array([[1e-6, 0.0], [0.0, 25.0]])
    found = bounded_covariance(information, np.zeros(2), np.full(2, 0.5), np.zeros(2), np.ones(2))
    assert found.matrix[0, 0] == pytest.approx(1.0)
    assert found.matrix[1, 1] == pytest.approx(1.0 / 25.0)


def test_draws_have_the_covariance_and_stay_in_the_box():
    rng = np.random.default_rng(0)
    covariance = np.array([[1.0, 0.5], [0.5, 2.0]])
    wide = draw_inside(rng, np.zeros(2), covariance, np.full(2, -np.inf), np.full(2, np.inf), 20_000)
    np.testing.assert_allclose(np.cov(wide.T), covariance, atol=0.06)
    lower, upper = np.array([-0.1, -np.inf]), np.array([0.3, 0.0])
    narrow = draw_inside(rng, np.zeros(2), covariance, lower, upper, 1000)
    assert (narrow >= lower).all()
    assert (narrow <= upper).all()
    assert narrow[:, 0].std() > 0.08
