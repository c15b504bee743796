"""The model as an lmfit user meets it: parameters, fits by every route, composites, labelled curves, errors."""

import copy
import inspect
import pickle

import lmfit
import numpy as np
import pytest
import xarray as xr
from lmfit.models import ConstantModel, ExponentialModel, GaussianModel, LinearModel

from curve_stub import TRUTH, StubCurve
from hrxrd_ml import RockingCurveModel, RockingCurveResult
from hrxrd_ml.errors import CurveError, ParameterError
from hrxrd_ml.model import composite
from hrxrd_ml.model.composite import CurveComposite

AXIS = np.linspace(-1400.0, 400.0, 451)
START = TRUTH | {"Dmax1": 0.0084, "D01": 0.0041, "D02": 0.0024, "offset": 2.0, "fwhm": 36.0, "scale": 1.8e4}


def stub_model(**options):
    return RockingCurveModel(simulation=StubCurve(), **{"axis_kind": "offset", "unit": "arcsec"} | options)


def problem(seed=1, **options):
    """Model, counts of the truth, and a start nearby; ``damage`` is fixed since it scales with two others."""
    model = stub_model(**options)
    prefix = model.prefix
    truth = model.make_params(**{prefix + name: value for name, value in TRUTH.items()})
    counts = np.random.default_rng(seed).poisson(model.eval(truth, x=AXIS))
    start = model.make_params(**{prefix + name: value for name, value in START.items()})
    start[prefix + "damage"].vary = False
    return model, counts, start


def assert_same_fit(one, two, rel=1e-4, stderr=0.02):
    """Same minimum, within a small part of the standard errors."""
    assert one.chisqr == pytest.approx(two.chisqr, rel=rel)
    for name in one.var_names:
        a, b = one.params[name], two.params[name]
        assert abs(a.value - b.value) < 0.02 * a.stderr
        assert a.stderr == pytest.approx(b.stderr, rel=stderr)


# --- an lmfit model -------------------------------------------------------------------------------------------------


def test_function_has_a_signature_from_which_lmfit_reads_names_and_defaults():
    model = stub_model(prefix="a_")
    assert model.independent_vars == ["x"]
    assert model.func.__name__ == "rocking_curve"
    parameters = inspect.signature(model.func).parameters
    assert list(parameters) == ["x", *model.space.names]
    assert parameters["L1"].default == model.space["L1"].value
    assert model.param_names == ["a_" + name for name in model.space.names]


def test_parameters_carry_values_bounds_and_vary_of_the_catalogue():
    model = stub_model()
    for spec, par in zip(model.space, model.make_params().values(), strict=True):
        assert (par.name, par.value, par.min, par.max, par.vary) == (
            spec.name,
            spec.value,
            spec.min,
            spec.max,
            spec.vary,
        )


def test_a_hint_for_a_misspelt_parameter_is_refused():
    model = stub_model(prefix="a_")
    model.set_param_hint("fwmh", value=1.0)
    with pytest.raises(ParameterError, match="did you mean fwhm"):
        model.make_params()
    model.set_param_hint("excess", value=1e-4, min=0.0)  # what another one depends on is wanted
    model.set_param_hint("D01", expr="a_Dmax1 - a_excess")
    assert model.make_params()["a_D01"].value == pytest.approx(model.make_params()["a_Dmax1"].value - 1e-4)


def test_values_and_hints_reach_the_parameters_with_and_without_prefix():
    model = stub_model(prefix="a_")
    model.set_param_hint("fwhm", value=20.0, min=10.0, max=90.0)
    model.set_param_hint("ratio", expr="a_D01/a_Dmax1")
    params = model.make_params(a_L1=4000.0, Rp1={"value": 1000.0, "vary": False})
    assert (params["a_fwhm"].value, params["a_fwhm"].max) == (20.0, 90.0)
    assert params["a_L1"].value == 4000.0
    assert (params["a_Rp1"].value, params["a_Rp1"].vary) == (1000.0, False)
    assert params["a_ratio"].value == pytest.approx(0.25)
    model.prefix = "b_"
    assert "b_L1" in model.make_params()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"Dmax": 0.01}, "did you mean Dmax1"),
        ({"Dmax1": 0.05}, r"Dmax1 = 0\.05 lies outside its bounds 0\.001 to 0\.03"),
        ({"L1": {"value": 900.0, "min": 1000.0}}, "outside its bounds"),
    ],
)
def test_wrong_values_are_refused_when_parameters_are_made(values, message):
    with pytest.raises(ParameterError, match=message):
        stub_model().make_params(**values)


def test_evaluation_takes_arrays_scalars_any_order_and_labelled_axes():
    model = stub_model()
    params = model.make_params(**TRUTH)
    curve = model.eval(params, x=AXIS)
    np.testing.assert_allclose(model.eval(params, x=AXIS[::-1]), curve[::-1])
    assert model.eval(params, x=AXIS[7]) == pytest.approx(curve[7])
    labelled = xr.DataArray(AXIS / 3600.0, dims="x", attrs={"kind": "offset", "units": "deg"})
    np.testing.assert_allclose(model.eval(params, x=labelled), curve, rtol=1e-9)
    doubled = model.eval(params, x=AXIS, scale=2.0 * TRUTH["scale"]) - TRUTH["background"]
    np.testing.assert_allclose(doubled, 2.0 * (curve - TRUTH["background"]), rtol=1e-9, atol=1e-9)
    with pytest.raises(ParameterError, match="missing parameters: Dmax1"):
        model.func(AXIS, D01=0.001)
    with pytest.raises(CurveError, match="finite"):
        model.eval(params, x=[0.0, np.nan])


def test_axis_that_is_changed_in_place_is_another_axis():
    model = stub_model()
    params = model.make_params(**TRUTH)
    x = AXIS.copy()
    first = model.eval(params, x=x)
    x += 37.0
    np.testing.assert_allclose(model.eval(params, x=x), model.eval(params, x=AXIS + 37.0))
    np.testing.assert_array_equal(model.eval(params, x=AXIS), first)
    for shift in range(30):
        model.eval(params, x=AXIS + shift)
    assert len(model._axes) <= 8


@pytest.mark.parametrize("make_copy", [copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))])
def test_models_results_and_composites_can_be_copied(make_copy):
    model, counts, start = problem()
    result = model.fit(counts, start, x=AXIS)
    other = make_copy(result)
    assert other.fit_report() == result.fit_report()
    np.testing.assert_array_equal(other.eval(), result.best_fit)
    other.fit()
    assert other.chisqr == pytest.approx(result.chisqr)
    params = make_copy(model).make_params(**TRUTH)
    np.testing.assert_array_equal(make_copy(model).eval(params, x=AXIS), model.eval(params, x=AXIS))
    composite = make_copy(model + LinearModel(prefix="l_"))
    values = composite.eval(composite.make_params(**TRUTH, l_slope=0.0, l_intercept=1.0), x=AXIS)
    np.testing.assert_allclose(values, model.eval(params, x=AXIS) + 1.0)


# --- fits -----------------------------------------------------------------------------------------------------------


def test_truth_is_found_within_the_errors_and_the_result_is_complete():
    model, counts, start = problem()
    result = model.fit(counts, start, x=AXIS)
    assert isinstance(result, RockingCurveResult)
    assert isinstance(result, lmfit.model.ModelResult)
    for name in result.var_names:
        assert abs(result.params[name].value - TRUTH[name]) < 4.0 * result.params[name].stderr
    assert 0.8 < result.redchi < 1.2
    assert result.success
    assert result.errorbars
    assert result.nfev < 30
    assert result.ndata - result.nvarys == result.nfree
    np.testing.assert_allclose(result.best_fit, model.eval(result.params, x=AXIS))
    np.testing.assert_allclose(result.init_fit, model.eval(start, x=AXIS))
    assert result.residual @ result.residual == pytest.approx(result.chisqr)
    assert result.init_values["D01"] == START["D01"]
    assert result.best_values["D01"] == result.params["D01"].value
    np.testing.assert_allclose(np.sqrt(np.diag(result.covar)), [result.params[n].stderr for n in result.var_names])
    assert result.uvars["D01"].std_dev == pytest.approx(result.params["D01"].stderr)
    assert result.params["D01"].correl["D02"] == pytest.approx(result.params["D02"].correl["D01"])
    assert "Fit Statistics" in result.fit_report()
    assert "poisson" in result.fit_report()
    assert start["D01"].value == START["D01"]  # the user's parameters stay as they were
    assert result.eval_uncertainty(x=AXIS).shape == AXIS.shape


def test_residual_is_data_minus_model():
    model, counts, start = problem()
    for statistics in ("poisson", "none", "relative"):
        model.statistics = statistics
        residual = model._residual(start, counts, None, x=AXIS)
        np.testing.assert_array_equal(np.sign(residual), np.sign(counts - model.eval(start, x=AXIS)))


def test_exact_jacobian_is_the_derivative_of_the_residual_through_expressions():
    """Ties between parameters, through a parameter of the user's own and a nonlinear function."""
    model, counts, start = problem()
    start.add("ratio", 0.5, min=0.1, max=0.9)
    start["D01"].expr = "ratio*Dmax1"
    start["D02"].expr = "sqrt(D01*Dmax1)/2.5"
    start["Rp2"].expr = "-200 - 0.1*L2"
    result = model.fit(counts, start, x=AXIS, max_nfev=3)
    params, names = result.params, result.var_names
    assert "ratio" in names
    assert "D01" not in names
    values = [params[name].value for name in names]
    jacobian = result.objective.jacobian_at(np.array(values))
    for i, name in enumerate(names):
        sides = []
        step = 1e-5 * abs(values[i]) + 1e-9
        for sign in (1.0, -1.0):
            moved = np.array(values)
            moved[i] += sign * step
            sides.append(result.objective.residual_at(moved))
        numeric = (sides[0] - sides[1]) / (2.0 * step)
        np.testing.assert_allclose(jacobian[:, i], numeric, atol=2e-5 * np.abs(numeric).max(), err_msg=name)


@pytest.mark.parametrize("method", ["least_squares", "leastsq"])
@pytest.mark.parametrize("tied", [False, True])
def test_fits_with_and_without_the_exact_jacobian_agree(method, tied):
    fits = []
    for analytic in (True, False):
        model, counts, start = problem(analytic_jacobian=analytic)
        if tied:
            start["D01"].expr = "1.65*D02"
        fits.append(model.fit(counts, start, x=AXIS, method=method))
    assert_same_fit(*fits)
    if tied:
        assert fits[0].params["D01"].stderr == pytest.approx(1.65 * fits[0].params["D02"].stderr, rel=1e-3)


@pytest.mark.parametrize("method", ["leastsq", "lbfgsb", "bfgs", "tnc", "slsqp"])
def test_other_solvers_find_the_same_minimum_with_the_same_errors(method):
    model, counts, start = problem()
    for name in ("L1", "Rp1", "L2", "Rp2"):
        start[name].vary = False
    reference = model.fit(counts, start, x=AXIS)
    near = start.copy()
    for name in reference.var_names:
        near[name].value = reference.params[name].value + 0.5 * reference.params[name].stderr
    result = model.fit(counts, near, x=AXIS, method=method)
    assert result.chisqr == pytest.approx(reference.chisqr, abs=0.5)
    for name in result.var_names:
        assert result.params[name].stderr == pytest.approx(reference.params[name].stderr, rel=0.05)


def test_trust_region_of_scipy_takes_its_own_options():
    model, counts, start = problem()
    plain = model.fit(counts, start, x=AXIS)
    assert_same_fit(plain, model.fit(counts, start, x=AXIS, fit_kws={"loss": "linear"}), rel=1e-6)
    counts[100] += 1000
    robust = model.fit(counts, start, x=AXIS, fit_kws={"loss": "soft_l1"})
    assert abs(robust.params["D01"].value - plain.params["D01"].value) < 3.0 * plain.params["D01"].stderr


@pytest.mark.parametrize(("method", "key"), [("least_squares", "jac"), ("least_squares", "Dfun"), ("leastsq", "Dfun")])
def test_a_jacobian_of_the_users_own_wins(method, key):
    model, counts, start = problem()
    plain = model.fit(counts, start, x=AXIS, method=method)
    calls = []

    def own(params, data, weights, x):
        calls.append(len(data))
        curve, slopes = model.bind(x).jacobian(params.valuesdict(), plain.var_names)
        return plain.observation.likelihood.slope(curve)[:, None] * slopes

    fit = model.fit(counts, start, x=AXIS, method=method, fit_kws={key: own})
    assert len(calls) > 2
    assert set(calls) == {len(AXIS)}
    assert_same_fit(plain, fit)


def test_parameters_are_fixed_bounded_and_tied_by_name():
    model, counts, start = problem()
    start["background"].set(value=2.0, vary=False)
    start["offset"].set(value=2.0, max=3.0)
    start["L2"].expr = "0.6*L1"
    result = model.fit(counts, start, x=AXIS)
    assert result.params["background"].value == 2.0
    assert "background" not in result.var_names
    assert result.params["offset"].value == pytest.approx(3.0, abs=1e-6)
    assert result.params["L2"].value == pytest.approx(0.6 * result.params["L1"].value)
    assert any("offset is at its upper bound" in note for note in result.bound_notes)


def test_a_parameter_on_its_bound_leaves_the_errors_of_the_others_alone():
    model, counts, start = problem()
    start["offset"].set(value=2.0, max=3.0)
    bounded = model.fit(counts, start, x=AXIS, errors="noise")
    fixed = start.copy()
    fixed["offset"].set(value=3.0, vary=False)
    other = model.fit(counts, fixed, x=AXIS, errors="noise")
    assert_same_fit(other, bounded)
    assert 0.0 < bounded.params["offset"].stderr < 0.05
    assert bounded.errorbars


def test_parameters_without_effect_do_not_spoil_the_errors():
    model, counts, start = problem()
    reference = model.fit(counts, start, x=AXIS)
    start["damage"].vary = True  # correlated with scale, L1 and others, but not fully
    start["curvature"].vary = True  # unknown to the stub: no effect at all
    start["dead_time"].set(value=1e-9, vary=False)
    result = model.fit(counts, start, x=AXIS)
    assert any("do not determine curvature" in note for note in result.bound_notes)
    for name in ("Dmax1", "D01", "offset"):
        assert result.params[name].stderr == pytest.approx(reference.params[name].stderr, rel=0.05)


def test_forty_parameters_are_no_problem():
    from hrxrd_ml import ParameterSpace, ParameterSpec

    class Many:
        space = ParameterSpace(
            tuple(ParameterSpec(f"c{i}", "", 10.0 ** (i % 7), 0.0, 1e8, True, "height of a peak") for i in range(40))
        )

        def bind(self, dtheta):
            peaks = np.exp(-2.0 * (np.linspace(0, 40, len(dtheta))[:, None] - np.arange(40.0)) ** 2)
            peaks = peaks / 10.0 ** (np.arange(40) % 7)

            class Bound:
                def curve(self, values):
                    return 100.0 * peaks @ np.array(list(values.values())) + 1.0

                def jacobian(self, values, names):
                    return self.curve(values), 100.0 * peaks[:, [int(name[1:]) for name in names]]

            return Bound()

    model = RockingCurveModel(simulation=Many(), axis_kind="offset")
    params = model.make_params()
    counts = np.random.default_rng(0).poisson(model.eval(params, x=AXIS))
    for par in params.values():
        par.value *= 1.5
    result = model.fit(counts, params, x=AXIS)
    pulls = [(p.value - 10.0 ** (i % 7)) / p.stderr for i, p in enumerate(result.params.values())]
    assert np.abs(pulls).max() < 4.5
    assert result.redchi < 1.3


def test_confidence_intervals_follow_the_errors_and_leave_the_result_alone():
    model, counts, start = problem()
    result = model.fit(counts, start, x=AXIS)
    before = result.fit_report()
    intervals = result.conf_interval(p_names=["D01", "offset"], sigmas=[1, 2])
    for name in ("D01", "offset"):
        values = [value for _, value in intervals[name]]
        stderr = result.params[name].stderr
        np.testing.assert_allclose(np.diff(values), stderr, rtol=0.05)
    assert result.fit_report() == before
    assert "offset" in result.ci_report(p_names=["D01", "offset"], sigmas=[1])


def test_a_fit_that_misses_the_curve_says_so():
    model, counts, start = problem()
    assert not any("does not describe" in note for note in model.fit(counts, start, x=AXIS).bound_notes)
    start["fwhm"].set(value=3.0 * TRUTH["fwhm"], vary=False)
    start["scale"].set(value=0.5 * TRUTH["scale"], vary=False)
    result = model.fit(counts, start, x=AXIS)
    assert result.redchi > 5.0
    assert "does not describe the curve to the noise" in result.bound_notes[0]


def test_a_limit_is_where_no_fit_with_the_parameter_held_there_is_better():
    model, counts, start = problem()
    result = model.fit(counts, start, x=AXIS)
    for name in ("D02", "L2"):
        for _, limit in result.conf_interval(p_names=[name], sigmas=[2])[name][::2]:
            rises = []
            for values in (result.best_values, TRUTH):
                params = result.params.copy()
                for other in result.var_names:
                    params[other].value = values[other]
                params[name].set(value=limit, vary=False)
                rises.append(model.fit(counts, params, x=AXIS).chisqr - result.chisqr)
            assert min(rises) > 3.97
            assert min(rises) < 4.05


def test_an_interval_ends_at_a_bound_with_a_warning_that_names_it():
    model, counts, start = problem()
    free = model.fit(counts, start, x=AXIS).params["background"]
    start["background"].min = float(free.value) - 0.5 * float(free.stderr)
    result = model.fit(counts, start, x=AXIS)
    with pytest.warns(UserWarning, match=r"the bound of background, .* is nearer"):
        (_, low), _, (_, high) = result.conf_interval(p_names=["background"], sigmas=[1])["background"]
    assert low == -np.inf
    assert high == pytest.approx(float(free.value) + float(free.stderr), abs=0.2 * float(free.stderr))


def test_emcee_starts_from_the_covariance_even_where_parameters_are_zero():
    model, counts, start = problem()
    for name in start:
        start[name].vary = name in ("offset", "background")
    start["offset"].set(value=0.0)
    for name in set(TRUTH) - {"offset"}:
        start[name].value = TRUTH[name]
    counts = np.random.default_rng(6).poisson(model.eval(start, x=AXIS))
    result = model.fit(
        counts,
        start,
        x=AXIS,
        method="emcee",
        fit_kws={"steps": 60, "nwalkers": 12, "burn": 40, "seed": 2, "progress": False},
    )
    reference = model.fit(counts, start, x=AXIS)
    for name in ("offset", "background"):
        assert abs(result.params[name].value - reference.params[name].value) < reference.params[name].stderr
        assert result.params[name].stderr == pytest.approx(reference.params[name].stderr, rel=0.4)


def test_a_fit_can_be_watched_and_stopped():
    model, counts, start = problem()
    seen = []

    def stop(params, iteration, residual, data, weights, x):
        seen.append(residual @ residual)
        return iteration >= 4

    result = model.fit(counts, start, x=AXIS, iter_cb=stop)
    assert result.aborted
    assert not result.success
    assert len(seen) == 4
    assert result.chisqr == pytest.approx(min(seen))
    limited = model.fit(counts, start, x=AXIS, max_nfev=3)
    assert limited.aborted
    assert "3" in limited.message
    assert limited.nfev <= 4


def test_result_can_be_fitted_again_with_other_data_parameters_and_weights():
    model, counts, start = problem()
    result = model.fit(counts, start, x=AXIS)
    first = result.chisqr
    weights = np.where(AXIS < -1000.0, 0.0, 1.0)
    result.fit(weights=weights)
    assert result.chisqr < first
    assert result.ndata == int(weights.sum())
    other = np.random.default_rng(99).poisson(model.eval(model.make_params(**TRUTH), x=AXIS + 1.0))
    result.fit(data=other, x=AXIS + 1.0, params=start, method="leastsq")
    assert result.method == "leastsq"
    np.testing.assert_array_equal(result.data, other)
    with pytest.raises(CurveError, match="give both"):
        result.fit(x=AXIS)


def test_unknown_method_is_refused():
    model, counts, start = problem()
    with pytest.raises(ParameterError, match="least_squares"):
        model.fit(counts, start, x=AXIS, method="least-squares")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda params: params.pop("L1"), "missing parameters: L1"),
        (lambda params: params.add("fwmh", 30.0), "did you mean fwhm"),
        (lambda params: params["L1"].set(min=6000.0), r"L1 = 5200 lies outside its bounds 6000 to 7000"),
        (lambda params: [par.set(vary=False) for par in params.values()], "no parameter varies"),
    ],
)
def test_wrong_parameters_are_refused(spoil, message):
    model, counts, start = problem()
    spoil(start)
    with pytest.raises(ParameterError, match=message):
        model.fit(counts, start, x=AXIS)


def test_values_in_the_call_override_parameters():
    model, counts, start = problem()
    result = model.fit(counts, start, x=AXIS, Rp2=lmfit.Parameter("any", value=-700.0, vary=False), offset=4.0)
    assert result.params["Rp2"].value == -700.0
    assert result.init_values["offset"] == 4.0
    with pytest.raises(ParameterError, match="did you mean offset"):
        model.fit(counts, start, x=AXIS, ofset=4.0)
    with pytest.raises(ParameterError, match="outside its bounds"):
        model.fit(counts, start, x=AXIS, D01=1.0)


# --- composites -----------------------------------------------------------------------------------------------------


def composite_problem(make, **values):
    model, _, start = problem()
    composite = make(model)
    names = {name: par.value for name, par in start.items()} | values
    truth = composite.make_params(**TRUTH | values)
    counts = np.random.default_rng(8).poisson(np.maximum(composite.eval(truth, x=AXIS), 0.0))
    params = composite.make_params(**names)
    params["damage"].vary = False
    return composite, counts, params


@pytest.mark.parametrize(
    ("make", "values"),
    [
        (lambda m: m + GaussianModel(prefix="g_"), {"g_amplitude": 3e4, "g_center": -600.0, "g_sigma": 20.0}),
        (lambda m: lmfit.Model(lambda x, level: level + 0.0 * x) + m, {"level": 2.0}),
        (lambda m: CurveComposite(ConstantModel(), m), {"c": 5.0}),
        (lambda m: m - ConstantModel(), {"c": 1.0}),
        (lambda m: m * LinearModel(), {"slope": 1e-4, "intercept": 1.0}),
        (lambda m: m / ExponentialModel(), {"amplitude": 1.1, "decay": 5000.0}),
        (lambda m: CurveComposite(m, ConstantModel(), np.hypot), {"c": 4.0}),
        (lambda m: (m + ConstantModel()) + GaussianModel(prefix="g_"), {"c": 1.0, "g_amplitude": 3e4, "g_sigma": 9.0}),
        (lambda m: stub_model(prefix="b_") + m, {"b_offset": 0.0, "b_scale": 5000.0}),
    ],
)
def test_composites_keep_statistics_constraints_and_a_right_jacobian(make, values):
    composite, counts, params = composite_problem(make, **values)
    if "b_scale" in params:
        for name in params:
            params[name].vary = name in ("scale", "b_scale", "D01", "b_D01")
    assert isinstance(composite, CurveComposite)
    result = composite.fit(counts, params, x=AXIS, max_nfev=4)
    assert result.observation.likelihood.name == "poisson"
    assert any(rule.low == "D01" for rule in composite.nested)
    x0 = np.array([result.params[name].value for name in result.var_names])
    jacobian = result.objective.jacobian_at(x0)
    for i, name in enumerate(result.var_names):
        step = 1e-5 * max(abs(x0[i]), 1e-3)
        above, below = x0.copy(), x0.copy()
        above[i] += step
        below[i] -= step
        numeric = result.objective.residual_at(above) - result.objective.residual_at(below)
        numeric /= 2.0 * step
        np.testing.assert_allclose(jacobian[:, i], numeric, atol=1e-4 * np.abs(numeric).max(), err_msg=name)


def test_sum_with_another_model_is_fitted():
    values = {"g_amplitude": 3e4, "g_center": -600.0, "g_sigma": 20.0}
    composite, counts, params = composite_problem(lambda m: m + GaussianModel(prefix="g_"), **values)
    result = composite.fit(counts, params, x=AXIS)
    assert 0.8 < result.redchi < 1.2
    for name in ("g_amplitude", "g_center", "g_sigma", "D01", "offset"):
        truth = values.get(name, TRUTH.get(name))
        assert abs(result.params[name].value - truth) < 4.0 * result.params[name].stderr
    parts = result.eval_components()
    assert set(parts) == {"rocking_curve", "g_"}
    np.testing.assert_allclose(sum(parts.values()), result.best_fit)
    assert result.params["g_fwhm"].stderr > 0.0
    assert params["D01"].value == START["D01"]


def test_sum_that_lmfit_builds_itself_warns():
    """lmfit decides ``GaussianModel() + ours`` alone; nothing of ours is asked before the fit is over."""
    model, counts, _ = problem()
    theirs = GaussianModel(prefix="g_") + model
    params = theirs.make_params(**TRUTH, g_amplitude=1.0, g_center=0.0, g_sigma=5.0)
    for name in params:
        params[name].vary = name == "scale"
    with pytest.warns(UserWarning, match="CurveComposite"):
        theirs.fit(counts, params, x=AXIS)


def test_composites_need_a_rocking_curve_and_equal_settings():
    with pytest.raises(ParameterError, match="at least one rocking-curve model"):
        CurveComposite(ConstantModel(), LinearModel())
    with pytest.raises(ParameterError, match="different statistics"):
        stub_model(prefix="a_") + stub_model(prefix="b_", statistics="none")
    with pytest.raises(ParameterError, match="lmfit model"):
        stub_model() + 3.0


# --- labelled curves and what can be wrong with data ----------------------------------------------------------------


class Geometry:
    bragg_angle = 0.45
    inclination = 0.1
    wavelength = 1.5406


def labelled(values, x, kind, unit, **attrs):
    return xr.DataArray(
        values, {"x": ("x", x, {"kind": kind, "units": unit})}, ("x",), attrs={"kind": "counts"} | attrs
    )


ARCSEC = np.pi / 648_000.0


@pytest.mark.parametrize("frame", [{"axis_kind": "omega", "unit": "deg"}, {"axis_kind": "offset", "unit": "mdeg"}])
@pytest.mark.parametrize(
    ("kind", "unit", "convert"),
    [
        ("offset", "arcsec", lambda a: a),
        ("omega", "deg", lambda a: np.degrees(0.55 + a * ARCSEC)),
        ("two_theta", "rad", lambda a: 2.0 * (0.45 + a * ARCSEC)),
    ],
)
def test_labelled_curves_are_converted(frame, kind, unit, convert):
    model = stub_model(reflection=Geometry(), **frame)
    _, counts, start = problem()
    result = model.fit(labelled(counts, convert(AXIS), kind, unit), start)
    reference = stub_model().fit(counts, start, x=AXIS)
    assert result.params["D01"].value == pytest.approx(reference.params["D01"].value, rel=1e-8)
    np.testing.assert_allclose(result.offsets, AXIS, atol=1e-8)
    assert result.curve.dims == ("x",)
    np.testing.assert_allclose(result.eval(x=result.observation.x), result.best_fit)


def test_default_axis_is_omega_in_degrees():
    model = RockingCurveModel(Geometry(), simulation=StubCurve())
    _, counts, start = problem()
    result = model.fit(counts, start, x=np.degrees(0.55 + AXIS * ARCSEC))
    np.testing.assert_allclose(result.offsets, AXIS, atol=1e-8)


def test_weights_align_by_their_angles():
    model, counts, start = problem()
    weights = np.where(np.abs(AXIS) < 100.0, 0.0, 1.0)
    curve = labelled(counts, AXIS, "offset", "arcsec")
    plain = model.fit(curve, start, weights=weights)
    mask = labelled(weights[::-1], AXIS[::-1], "offset", "arcsec")
    assert model.fit(curve, start, weights=mask).chisqr == plain.chisqr
    assert model.fit(curve, start, weights=mask.sortby("x").pad(x=(0, 3)).dropna("x")).chisqr == plain.chisqr
    with pytest.raises(CurveError, match="no value at some angles"):
        model.fit(curve, start, weights=mask[:-5])
    with pytest.raises(CurveError, match="units deg"):
        model.fit(curve, start, weights=labelled(weights, AXIS, "offset", "deg"))


def bad(index, value):
    counts = np.full(len(AXIS), 5.0)
    counts[index] = value
    return counts


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (bad(3, np.nan), {}, "not finite, first at point 3"),
        (bad(3, np.inf), {}, "not finite"),
        (labelled(bad(3, -1.0), AXIS, "offset", "arcsec"), {"x": None}, "negative"),
        (bad(0, 5.0), {"x": AXIS[::-1]}, "increase"),
        (bad(0, 5.0), {"x": np.r_[AXIS[:-1], AXIS[-2]]}, "increase"),
        (bad(0, 5.0), {"x": np.r_[AXIS[:-1], np.inf]}, "finite"),
        (bad(0, 5.0), {"x": AXIS[:-1]}, "450 points and the data have 451"),
        (bad(0, 5.0), {"x": None}, "expected x"),
        (bad(0, 5.0)[:2], {"x": AXIS[:2]}, "at least 3 points"),
        (bad(0, 5.0)[:5], {"x": AXIS[:5]}, "5 points cannot determine"),
        (bad(0, 5.0)[:, None], {}, "one dimension"),
        (["a"] * len(AXIS), {}, "real numbers"),
        (bad(0, 5.0), {"sigma": np.zeros(len(AXIS))}, "sigma must be positive"),
        (bad(0, 5.0), {"sigma": -np.ones(len(AXIS))}, "sigma must be positive"),
        (bad(0, 5.0), {"sigma": np.ones(7)}, "expected 451 sigma"),
        (bad(0, 5.0), {"weights": np.zeros(len(AXIS))}, "all points are masked"),
        (bad(0, 5.0), {"weights": bad(0, np.nan)}, "weights must be finite"),
        (labelled(bad(0, 5.0), AXIS, "offset", "arcsec"), {"x": AXIS + 3.0}, "contradicts"),
        (labelled(bad(0, 5.0), AXIS, "omega", "deg"), {"x": None}, "Bragg angle"),
        (labelled(bad(0, 5.0), AXIS, "angle", "deg"), {"x": None}, "unknown kind"),
        (xr.DataArray(bad(0, 5.0), dims="x"), {"x": None}, "its angles"),
    ],
)
def test_impossible_data_are_refused(data, options, message):
    model, _, start = problem()
    with pytest.raises(CurveError, match=message):
        model.fit(data, start, **{"x": AXIS} | options)


def test_wavelengths_must_agree():
    model = stub_model(reflection=Geometry())
    _, counts, start = problem()
    curve = labelled(counts, AXIS, "offset", "arcsec", wavelength=1.2400)
    with pytest.raises(CurveError, match=r"measured at 1\.24 Å and the model is for 1\.5406 Å"):
        model.fit(curve, start)
    assert model.fit(curve.assign_attrs(wavelength=1.5405), start).success


def test_points_without_value_can_be_omitted():
    model, counts, start = problem()
    counts = counts.astype(float)
    counts[10:20] = np.nan
    result = model.fit(counts, start, x=AXIS, nan_policy="omit")
    assert result.ndata == len(AXIS) - 10


def test_simulation_that_is_not_finite_names_the_values():
    class Broken(StubCurve):
        def bind(self, dtheta):
            bound = super().bind(dtheta)
            bound.curve = lambda values: np.full(len(dtheta), np.nan)
            return bound

    model = RockingCurveModel(simulation=Broken(), axis_kind="offset", unit="arcsec")
    with pytest.raises(ParameterError, match=r"not finite at Dmax1 = 0\.008"):
        model.fit(np.ones(len(AXIS)), model.make_params(), x=AXIS, method="nelder")


# --- guesses and other entry points ---------------------------------------------------------------------------------


class TruthTeller:
    """A guess provider that knows the answer, but not the nested constraints."""

    def __init__(self, **values):
        self.values = values

    def guess(self, model, curve):
        self.curve = curve
        params = model.make_params()
        for name, value in (TRUTH | self.values).items():
            params[model.prefix + name].value = value
        return params


def test_guess_takes_any_provider_and_makes_its_values_feasible():
    model, counts, _ = problem(prefix="a_")
    provider = TruthTeller(D01=0.0099)
    params = model.guess(counts, x=AXIS, provider=provider, fwhm={"value": 33.0, "vary": False}, a_offset=1.0)
    assert params["a_D01"].value == params["a_Dmax1"].value
    assert (params["a_fwhm"].value, params["a_fwhm"].vary, params["a_offset"].value) == (33.0, False, 1.0)
    assert provider.curve.x.attrs["units"] == "arcsec"
    assert provider.curve.attrs["kind"] == "counts"
    with pytest.raises(ParameterError, match="classical"):
        model.guess(counts, x=AXIS, provider="clasical")
    with pytest.raises(ParameterError, match="method guess"):
        model.guess(counts, x=AXIS, provider=object())
    with pytest.raises(ParameterError, match="unknown parameter"):
        model.guess(counts, x=AXIS, provider=provider, nothing=1.0)


def test_composite_guess_asks_every_component():
    model, counts, _ = problem()
    composite = model + GaussianModel(prefix="g_")
    params = composite.guess(counts, x=AXIS, provider=TruthTeller())
    assert params["Dmax1"].value == TRUTH["Dmax1"]
    assert np.isfinite(params["g_center"].value)
    with pytest.raises(CurveError, match="give start values"):
        (model + lmfit.Model(lambda x, a: a * x, name="line")).guess(counts, x=AXIS, provider=TruthTeller())


def test_fit_without_parameters_guesses(monkeypatch):

    model, counts, _ = problem()
    monkeypatch.setattr(composite, "guess_provider", lambda provider: TruthTeller())
    result = model.fit(counts, x=AXIS, damage=0.3)
    assert result.init_values["Dmax1"] == TRUTH["Dmax1"]


def test_nexpy_finds_one_class_that_needs_only_a_prefix():
    import hrxrd_ml.model.nexpy as module

    classes = [
        found
        for name, found in inspect.getmembers(module, inspect.isclass)
        if issubclass(found, lmfit.Model) and name != "Model"
    ]
    assert len(classes) == 1
    model = classes[0](prefix="r_")
    assert model.param_names[0] == "r_Dmax1"
    x = np.degrees(model.reflection.bragg_angle) + np.linspace(-0.3, 0.1, 60)
    assert np.isfinite(model.eval(model.make_params(), x=x)).all()


def test_a_model_needs_a_reflection_and_known_units():
    with pytest.raises(ParameterError, match="needs a reflection"):
        RockingCurveModel()
    with pytest.raises(CurveError, match="unit"):
        stub_model(unit="turns")
    with pytest.raises(CurveError, match="kind"):
        stub_model(axis_kind="chi")


@pytest.mark.parametrize("method", ["leastsq", "lbfgsb", "emcee"])
def test_results_of_other_solvers_can_be_pickled(method):
    model, counts, start = problem()
    for name in start:
        start[name].vary = name in ("scale", "offset")
    options = {"steps": 10, "nwalkers": 6, "seed": 1, "progress": False} if method == "emcee" else {}
    result = model.fit(counts, start, x=AXIS, method=method, fit_kws=options)
    assert pickle.loads(pickle.dumps(result)).fit_report() == result.fit_report()


def test_masked_points_do_not_reach_the_guess(monkeypatch):

    model, counts, _ = problem()
    provider = TruthTeller()
    monkeypatch.setattr(composite, "guess_provider", lambda _: provider)
    spoiled = counts.astype(float)
    spoiled[5] = np.nan
    model.fit(spoiled, x=AXIS, weights=np.isfinite(spoiled) * 1.0, damage=0.3)
    assert len(provider.curve) == len(AXIS) - 1
