"""What people do with a model in their scripts: other operators, lmfit's functions, odd coordinates, second fits."""

import datetime
import math
import operator

import lmfit
import numpy as np
import pytest
from lmfit.models import GaussianModel, LinearModel

import fit_results
import hrxrd_ml as hx
from differences import derivatives
from hrxrd_ml import ParameterSpec, make_curve
from hrxrd_ml.errors import CurveError, ParameterError
from hrxrd_ml.inference.sampling.probability import LogPosterior
from hrxrd_ml.model.composite import CurveComposite
from hrxrd_ml.specimen.profile.function import FunctionProfile
from hrxrd_ml.specimen.profile.implanted import ImplantedProfile

X = np.linspace(-1150.0, 250.0, 281)


def measured(model=None, **values):
    model = model or fit_results.model()
    params = fit_results.parameters(model, **values)
    return params, np.random.default_rng(5).poisson(model.eval(params, x=X)).astype(float)


def few(params, *names):
    for par in params.values():
        par.vary = par.name in names
    return params


def differenced(evaluator, params, name):
    step = 1e-5 * abs(params[name].value)
    sides = []
    for sign in (-1.0, 1.0):
        moved = params.copy()
        moved[name].value += sign * step
        sides.append(evaluator.curve(moved.valuesdict()))
    return (sides[1] - sides[0]) / (2.0 * step)


# --- composites -----------------------------------------------------------------------------------------------------


def smeared(curve, kernel):
    return np.convolve(curve, kernel / kernel.sum(), mode="same")


@pytest.mark.parametrize("op", [smeared, np.maximum, operator.pow])
def test_any_operator_has_right_derivatives(op):
    model = fit_results.model()
    both = CurveComposite(model, GaussianModel(prefix="g_"), op)
    centre = {"g_center": -450.0, "g_sigma": 12.0, "g_amplitude": 2.0 if op is operator.pow else 3e4}
    params = both.make_params(**(fit_results.TRUTH | centre))
    evaluator = both.evaluator({"x": X})
    names = ["Dmax1", "scale", "g_sigma"]
    _, exact = evaluator.jacobian(params.valuesdict(), names)
    for i, name in enumerate(names):
        by_difference = differenced(evaluator, params, name)
        assert np.linalg.norm(exact[:, i] - by_difference) < 2e-3 * np.linalg.norm(by_difference), name


def test_a_labelled_axis_is_converted_for_all_components():
    model = fit_results.model()
    both = model + LinearModel(prefix="l_")
    params = both.make_params(**(fit_results.TRUTH | {"l_slope": 0.5, "l_intercept": 700.0}))
    axis = make_curve(X / 3600.0, np.ones(len(X)), kind="offset", unit="deg")["x"]
    plain, labelled = both.eval(params, x=X), both.eval(params, x=axis)
    np.testing.assert_allclose(labelled, plain, rtol=1e-9)
    np.testing.assert_allclose(both.eval_components(params=params, x=axis)["l_"], 0.5 * X + 700.0)


@pytest.mark.parametrize("prefix", ["s", "b", "L", "D0"])
def test_a_prefix_may_be_the_beginning_of_a_name(prefix):
    model = fit_results.model(prefix=prefix)
    assert model.param_names == [prefix + name for name in fit_results.model().param_names]
    params = model.make_params(scale=5e4, **{f"{prefix}background": 3.0})
    assert (params[f"{prefix}scale"].value, params[f"{prefix}background"].value) == (5e4, 3.0)
    model.set_param_hint("step", vary=True)
    assert model.make_params()[f"{prefix}step"].vary
    assert np.isfinite(model.eval(params, x=X)).all()


# --- lmfit's own functions on a result ------------------------------------------------------------------------------


def test_lmfits_functions_leave_a_result_that_can_be_sampled():
    model = fit_results.model()
    params, counts = measured(model)
    result = model.fit(counts, few(params, "Dmax1", "L1", "scale", "background"), x=X)
    best = {name: result.params[name].value for name in result.var_names}
    lmfit.conf_interval2d(result, result, "Dmax1", "scale", 2, 2)
    target = LogPosterior(result, {}, None)
    assert target.names == tuple(result.var_names) == ("Dmax1", "L1", "scale", "background")
    assert {name: result.params[name].value for name in result.var_names} == pytest.approx(best, rel=1e-12)
    assert result.objective.linear(result.best)[1].shape == (len(X), 4)


def test_weights_and_errors_stay_in_a_second_fit():
    model = fit_results.model()
    params, counts = measured(model)
    few(params, "scale", "background")
    mask = (np.abs(X) > 40.0).astype(float)
    result = model.fit(counts, params, x=X, sigma=np.sqrt(counts + 1.0))
    result.fit(weights=mask)
    assert (result.observation.likelihood.name, result.scale_covar) == ("sigma", False)
    assert result.ndata == mask.sum()
    result.fit(counts + 1.0)
    assert result.ndata == mask.sum()
    assert result.observation.likelihood.name == "sigma"
    result.fit(sigma=np.full(len(X), 1e3))
    np.testing.assert_array_equal(result.observation.sigma[mask > 0.0], 1e3)
    with pytest.raises(CurveError, match="give weights for them"):
        result.fit(counts[:-1], x=X[:-1])


def test_given_errors_reach_the_guess():
    class Asked:
        def guess(self, model, curve):
            self.likelihood = model.observe(curve).likelihood.name
            return fit_results.parameters(model)

    asked, model = Asked(), fit_results.model(statistics="sigma")
    _, counts = measured(model)
    seen = model.observe(counts, X, sigma=np.sqrt(counts + 1.0))
    asked.guess(model, seen.to_guess())
    assert asked.likelihood == "sigma"


def test_masked_points_are_not_in_rsquared():
    model = fit_results.model()
    params, counts = measured(model)
    counts[100] = 1e9
    mask = np.ones(len(X))
    mask[100] = 0.0
    assert model.fit(counts, few(params, "scale"), x=X, weights=mask).rsquared > 0.99


def test_a_guess_refuses_values_outside_their_bounds(monkeypatch):
    model = fit_results.model()
    _, counts = measured(model)

    class Known:
        def guess(self, model, curve):
            return fit_results.parameters(model)

    with pytest.raises(ParameterError, match=r"Dmax1 = 0.5 lies outside"):
        model.guess(counts, X, provider=Known(), Dmax1=0.5)


# --- curves ---------------------------------------------------------------------------------------------------------


def test_an_attenuated_intensity_is_corrected():
    model = fit_results.model()
    params, _ = measured(model)
    expected = model.eval(params, x=X)
    factors = np.where(np.abs(X) < 60.0, 100.0, 1.0)
    curve = make_curve(
        X, expected / factors, kind="offset", unit="arcsec", data_kind="intensity", attenuation=factors,
        sigma=0.01 * expected / factors, counting_time=np.where(X < 0.0, 4.0, 1.0),
    )  # fmt: skip
    seen = model.observe(curve)
    np.testing.assert_allclose(seen.values, expected)
    np.testing.assert_allclose(seen.sigma, 0.01 * expected)


def test_scalar_and_other_coordinates_do_no_harm(tmp_path):
    model = fit_results.model()
    params, counts = measured(model)
    curve = make_curve(X, counts, kind="offset", unit="arcsec", data_kind="counts")
    curve = curve.assign_coords(temperature=300.0, start=np.datetime64(datetime.datetime(2026, 1, 2), "ns"))
    curve = curve.assign_coords(attenuation=10.0)
    result = model.fit(curve, few(params, "scale"))
    np.testing.assert_allclose(result.data, 10.0 * counts)
    assert (hx.to_dataset(result)["attenuation"] == 10.0).all()
    result.save(tmp_path / "fit.json")
    again = hx.load_result(tmp_path / "fit.json")
    assert float(again.curve.coords["temperature"]) == 300.0
    assert again.chisqr == pytest.approx(result.chisqr)


def test_what_lies_along_omitted_points_is_omitted_too():
    def tilt(x, monitor, t_size):
        return t_size * monitor

    both = fit_results.model() + lmfit.Model(tilt, independent_vars=["x", "monitor"])
    params = few(both.make_params(**(fit_results.TRUTH | {"t_size": 1.0})), "t_size")
    monitor = np.linspace(1.0, 2.0, len(X))
    data = both.eval(params, x=X, monitor=monitor)
    data[7] = np.nan
    result = both.fit(data, params, x=X, monitor=monitor, nan_policy="omit")
    assert result.params["t_size"].value == pytest.approx(1.0, rel=1e-3)


def test_one_angle_is_an_axis():
    model = fit_results.model()
    params, _ = measured(model)
    whole = model.eval(params, x=X)
    assert model.eval(params, x=X[200]) == pytest.approx(whole[200], rel=2e-3)
    assert model.eval(params, x=X[200:201]).shape == (1,)


@pytest.mark.parametrize("step", [0.95, 1.05])
def test_the_end_of_a_wide_scan_follows_the_scale_of_the_axis(step):
    model = fit_results.model()
    x = np.arange(-3000.0, 300.0, 10.0)
    params, _ = measured(model)
    stretched = fit_results.parameters(model, step=step)
    expected = model.eval(params, x=step * x)
    np.testing.assert_allclose(model.eval(stretched, x=x), expected, rtol=5e-3)


# --- profiles -------------------------------------------------------------------------------------------------------


def test_derivatives_of_an_own_profile_stay_inside_its_limits():
    def cusp(z, top, depth):
        return top * np.exp(-np.sqrt(z / 1000.0)) * (1.0 - z / depth) ** 2

    specs = (
        ParameterSpec("top", "", 0.005, 0.0, math.inf, True, "strain at the surface"),
        ParameterSpec("depth", "Å", 3000.0, 500.0, math.inf, True, "end"),
    )
    profile = FunctionProfile(cusp, specs)
    values = {"top": 0.005, "depth": 3000.0}
    z = np.linspace(0.0, 3000.0, 50)[1:]
    strain, gradient, slopes = derivatives(profile, z, values)
    np.testing.assert_allclose(slopes["top"], strain / 0.005, rtol=1e-8)
    exact = cusp(z, **values) * 2.0 * z / 3000.0**2 / np.maximum(1.0 - z / 3000.0, 1e-300)
    np.testing.assert_allclose(slopes["depth"][:-1], exact[:-1], rtol=1e-5)
    inner = slice(2, -2)
    by_z = cusp(z, **values) * (-0.5 / np.sqrt(1000.0 * z) - 2.0 / 3000.0 / np.maximum(1.0 - z / 3000.0, 1e-300))
    np.testing.assert_allclose(gradient[inner], by_z[inner], rtol=1e-6)
    assert np.isfinite(derivatives(profile, np.array([0.0, 3000.0]), values)[1]).all()


def test_the_second_gaussian_can_be_switched_off():
    model = fit_results.model()
    model.set_param_hint("D02", min=0.0, value=0.0, vary=False)
    params, _ = measured(fit_results.model())
    params = model.make_params(**{name: par.value for name, par in params.items() if name != "D02"})
    z = np.linspace(0.0, 5000.0, 200)
    values = params.valuesdict()
    strain, _, slopes = derivatives(ImplantedProfile(), z, values)
    front = values["Dmax1"] * (values["D01"] / values["Dmax1"]) ** ((1.0 - z / values["Rp1"]) ** 2)
    np.testing.assert_allclose(strain[z < values["Rp1"]], front[z < values["Rp1"]])
    assert not any(slopes[name].any() for name in ("D02", "L2", "Rp2"))
    counts = np.random.default_rng(1).poisson(model.eval(params, x=X)).astype(float)
    result = model.fit(counts, few(params, "Dmax1", "L1", "scale"), x=X)
    assert result.redchi < 1.3
    with pytest.raises(ParameterError, match="D01 and Dmax1 must be positive"):
        ImplantedProfile().evaluate(z, values | {"D01": 0.0})


def test_bounds_of_a_film_may_be_widened():
    reflection = hx.Reflection("GaAs", (0, 0, 4), "CuKa1")
    film = hx.Film("f", "AlGaAs", 2000.0, x=0.5, relaxation=0.0)
    model = hx.RockingCurveModel(reflection, films=[film], axis_kind="offset", unit="arcsec")
    params = model.make_params()
    params["f_relaxation"].set(min=-0.3, value=-0.05, vary=True)
    params["f_density"].set(max=3.0, value=1.8, vary=True)
    x = np.linspace(-800.0, 400.0, 300)
    _, derivatives = model.evaluator({"x": x}).jacobian(params.valuesdict(), ["f_relaxation", "f_density", "f_x"])
    assert np.isfinite(derivatives).all()
    for i, name in enumerate(["f_relaxation", "f_density"]):
        by_difference = differenced(model.evaluator({"x": x}), params, name)
        assert np.linalg.norm(derivatives[:, i] - by_difference) < 2e-2 * np.linalg.norm(by_difference)


def test_a_posterior_has_a_parameter_called_as_an_axis_of_its_bands():
    model = fit_results.model(profile="pseudo_voigt", damage="none", diffuse="none")
    params = model.make_params(scale=2e5, fwhm=14.0)
    counts = np.random.default_rng(2).poisson(model.eval(params, x=X)).astype(float)
    result = model.fit(counts, few(params, "depth", "scale"), x=X)
    post = hx.sample(result, 20, walkers=4, burn=20, seed=1, progress=False, workers=1)
    assert post["posterior/depth"].dims == ("chain", "draw")
    assert post["bands/strain_band"].dims == ("quantile", "depth")


def test_counts_whose_covariance_is_scaled_are_sampled_as_counts():
    model = fit_results.model()
    params, counts = measured(model)
    result = model.fit(counts, few(params, "scale", "background"), x=X, scale_covar=True)
    post = hx.sample(result, 20, walkers=4, burn=20, seed=1, progress=False, workers=1)
    assert "noise_factor" not in post["posterior"]


@pytest.mark.parametrize("values", [{"fwhm": 200.0}, {"fwhm": 12.0, "curvature": 300.0}])
def test_a_wide_resolution_reaches_beyond_the_scan(values):
    model = fit_results.model(resolution="gaussian")
    common = {k: v for k, v in fit_results.TRUTH.items() if k in model.param_names} | values | {"Dmax1": 0.012}
    part, whole = np.arange(-700.0, 401.0, 5.0), np.arange(-2500.0, 2501.0, 5.0)
    inside = (whole >= -700.0) & (whole <= 400.0)
    params = model.make_params(**common)
    np.testing.assert_allclose(model.eval(params, x=part), model.eval(params, x=whole)[inside], rtol=3e-3)
