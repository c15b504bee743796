"""An objective of one curve and of two: residuals, Jacobian and likelihood through ties and nested constraints."""

import numpy as np
import pytest

from curve_stub import TRUTH, StubCurve
from hrxrd_ml import RockingCurveModel
from hrxrd_ml.inference.likelihood import GaussianLikelihood, PoissonLikelihood
from hrxrd_ml.inference.objective import MeasuredCurve, Objective
from hrxrd_ml.specimen.profile.implanted import implanted_space

AXES = np.linspace(-1400.0, 400.0, 181), np.linspace(-1000.0, 200.0, 90)


def joint(count):
    """Curves that share all parameters: counts, and an intensity with known errors; D02 is tied."""
    model = RockingCurveModel(simulation=StubCurve(), axis_kind="offset", unit="arcsec")
    params = model.make_params(**TRUTH)
    params["D02"].expr = "0.6*D01"
    rng, curves = np.random.default_rng(3), []
    for axis, counted in list(zip(AXES, (True, False), strict=True))[:count]:
        function = model.evaluator({"x": axis})
        expected = function.curve(params.valuesdict())
        data = rng.poisson(expected).astype(float)
        likelihood = PoissonLikelihood(data) if counted else GaussianLikelihood(data, 1.0 / np.sqrt(expected), None)
        curves.append(MeasuredCurve(function, function.names, likelihood))
    names = [name for name in params if name in ("Dmax1", "D01", "L1", "Rp1", "L2", "scale", "fwhm")]
    return Objective.of(curves, params, names, implanted_space().nested)


@pytest.mark.parametrize("count", [1, 2])
def test_derivatives_are_those_of_differences(count):
    objective = joint(count)
    y = objective.inward(objective.free(TRUTH) * 1.01)
    jacobian, about = objective.jacobian(y), objective.expand(y)
    for i, step in enumerate(np.diag(1e-6 * np.maximum(np.abs(y), 1e-3))):
        width = 2.0 * step[i]
        by_residual = (objective.residual(y + step) - objective.residual(y - step)) / width
        np.testing.assert_allclose(jacobian[:, i], by_residual, atol=1e-6 * np.abs(by_residual).max())
        by_likelihood = (objective.log_likelihood(y + step) - objective.log_likelihood(y - step)) / width
        assert about.gradient[i] == pytest.approx(by_likelihood, rel=1e-5, abs=1e-6 * np.abs(about.gradient).max())


def test_two_curves_say_what_each_says():
    both, alone = joint(2), joint(1)
    x = both.free(TRUTH)
    residual = both.residual_at(x)
    assert len(residual) == sum(map(len, AXES))
    np.testing.assert_array_equal(residual[: len(AXES[0])], alone.residual_at(x))
    y = both.inward(x)
    assert both.log_likelihood(y) == pytest.approx(-0.5 * residual @ residual)
    other = Objective(both.curves[1:], both.coordinates, both.held, both.ties)
    one, two, sum_ = (each.expand(y) for each in (alone, other, both))
    np.testing.assert_allclose(one.information + two.information, sum_.information)
    np.testing.assert_allclose(one.gradient + two.gradient, sum_.gradient)
    chosen = [np.abs(axis) > 300.0 for axis in AXES]
    np.testing.assert_array_equal(both.part(chosen).residual_at(x), residual[np.concatenate(chosen)])
