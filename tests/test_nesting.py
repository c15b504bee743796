"""Nested constraints hold wherever a solver looks, and do not spoil what it finds."""

import lmfit
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curve_stub import TRUTH, StubCurve, stub_space
from hrxrd_ml import ParameterSpace, RockingCurveModel
from hrxrd_ml.errors import ParameterError
from hrxrd_ml.inference.coordinates import dependency_order, nested_coordinates
from hrxrd_ml.model.transforms import attach_transforms
from hrxrd_ml.parameters import Nested
from hrxrd_ml.specimen.profile.implanted import implanted_space

RULES = implanted_space().nested
NAMES = implanted_space().names
AXIS = np.linspace(-1400.0, 400.0, 451)


def implanted(**changes):
    params = lmfit.Parameters()
    for spec in implanted_space():
        params.add(spec.name, spec.value, min=spec.min, max=spec.max)
    for name, settings in changes.items():
        params[name].set(**settings)
    return params


def feasible(values, tolerance=1e-12):
    return implanted_space().violations(values, tolerance=tolerance) == ()


fractions = st.lists(st.floats(0.0, 1.0), min_size=7, max_size=7)


@given(fractions)
def test_every_point_of_the_box_is_feasible(u):
    coordinates = nested_coordinates(implanted(), NAMES, RULES)
    y = coordinates.lower + np.array(u) * (coordinates.upper - coordinates.lower)
    x = coordinates.outward(y)
    assert feasible(dict(zip(NAMES, x, strict=True)))
    slack = 1e-12 * np.abs(coordinates.high - coordinates.low)
    assert (x >= coordinates.low - slack).all()
    assert (x <= coordinates.high + slack).all()


@given(st.lists(st.floats(0.02, 0.98), min_size=7, max_size=7))
def test_coordinates_go_there_and_back_and_have_the_right_derivatives(u):
    coordinates = nested_coordinates(implanted(), NAMES, RULES)
    width = coordinates.upper - coordinates.lower
    y = coordinates.lower + np.array(u) * width
    x = coordinates.outward(y)
    np.testing.assert_allclose(coordinates.inward(x), y, rtol=1e-9, atol=1e-12)
    step = 1e-6 * width
    numeric = np.array(
        [(coordinates.outward(y + d) - coordinates.outward(y - d)) / (2.0 * d.sum()) for d in np.diag(step)]
    ).T
    np.testing.assert_allclose(coordinates.derivatives(y) * width, numeric * width, rtol=1e-6, atol=1e-8)


@given(st.lists(st.floats(-3.0, 3.0), min_size=7, max_size=7))
def test_minuit_transform_is_feasible_everywhere(internal):
    params = implanted()
    attach_transforms(params, nested_coordinates(params, NAMES, RULES))
    for name, value in zip(NAMES, internal, strict=True):
        params[name].value = params[name].from_internal(value)
    assert feasible(params.valuesdict())


def test_minuit_transform_goes_there_and_back_off_the_edges():
    params = implanted()
    transforms = attach_transforms(params, nested_coordinates(params, NAMES, RULES))
    for name, transform in zip(NAMES, transforms, strict=True):
        value = float(params[name].value)
        assert transform.from_internal(transform.to_internal(value)) == pytest.approx(value, rel=1e-9)
        assert transform.scale_gradient(transform.to_internal(transform.limit())) != pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("bounds", [{"min": -np.inf}, {"max": np.inf}, {"min": -np.inf, "max": np.inf}])
def test_missing_bounds_of_a_child_are_no_problem(bounds):
    params = implanted(L2=bounds, L1={"max": np.inf} if "max" in bounds else {})
    coordinates = nested_coordinates(params, NAMES, RULES)
    x = np.array([params[name].value for name in NAMES])
    np.testing.assert_allclose(coordinates.outward(coordinates.inward(x)), x, rtol=1e-12)
    transforms = attach_transforms(params, coordinates)
    for name, transform in zip(NAMES, transforms, strict=True):
        value = float(params[name].value)
        assert transform.from_internal(transform.to_internal(value)) == pytest.approx(value, rel=1e-9)


def test_fixed_partner_narrows_the_bounds_of_the_free_one():
    params = implanted(Dmax1={"value": 0.012}, D01={"value": 0.01, "vary": False})
    free = [name for name in NAMES if name != "D01"]
    coordinates = nested_coordinates(params, free, RULES)
    assert coordinates.low[free.index("Dmax1")] == 0.01
    assert coordinates.high[free.index("D02")] == pytest.approx(0.02)


def test_impossible_fixed_values_name_both():
    params = implanted(Dmax1={"value": 0.005, "vary": False}, D01={"value": 0.01, "vary": False})
    with pytest.raises(ParameterError, match=r"D01 fixed at 0\.01 and Dmax1 fixed at 0\.005"):
        nested_coordinates(params, [n for n in NAMES if n not in ("Dmax1", "D01")], RULES)


def test_rules_about_tied_parameters_are_left_to_the_tie():
    params = implanted()
    params["D01"].expr = "0.5*Dmax1"
    coordinates = nested_coordinates(params, [n for n in NAMES if n != "D01"], RULES)
    assert {(link.child, link.parent) for link in coordinates.links} == {(2, 1), (4, 1)}  # Rp1 and L2 below L1


def test_dependency_order_moves_only_parents():
    order = dependency_order(["scale", "L2", "D02", "D01", "L1", "Dmax1"], [r for r in RULES if r.low != "Rp1"])
    assert order == ["scale", "L1", "L2", "Dmax1", "D01", "D02"]
    assert dependency_order(list(NAMES), RULES) == list(NAMES)


# --- in fits --------------------------------------------------------------------------------------------------------


def tight_problem(prefix=""):
    """Counts whose best fit lies on the border: the truth has D01 above Dmax1."""
    model = RockingCurveModel(simulation=StubCurve(), axis_kind="offset", unit="arcsec", prefix=prefix)
    free = StubCurve(ParameterSpace(stub_space().specs))  # the same parameters without the rules
    beyond = TRUTH | {"Dmax1": 0.0043, "D01": 0.0046, "D02": 0.0030}
    mu = free.bind(model.frame.offsets(AXIS)).curve(free.space.defaults() | beyond)
    counts = np.random.default_rng(3).poisson(mu)
    values = {prefix + name: value for name, value in (TRUTH | {"Dmax1": 0.0045, "D01": 0.0041}).items()}
    params = model.make_params(**values)
    for name in ("damage", "L1", "Rp2"):
        params[prefix + name].vary = False
    return model, counts, params


def short_run(method):
    options = {
        "differential_evolution": {"popsize": 3, "seed": 1, "polish": False},
        "emcee": {"steps": 8, "nwalkers": 20, "seed": 1, "progress": False},
        "dual_annealing": {"seed": 1},
    }
    return options.get(method, {})


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning:emcee")
@pytest.mark.parametrize(
    "method",
    ["least_squares", "leastsq", "nelder", "lbfgsb", "powell", "differential_evolution", "emcee"],
)
def test_rules_hold_at_every_point_that_a_solver_evaluates(method):
    model, counts, params = tight_problem()
    params["Dmax1"].value, params["D01"].value = 0.0060, 0.0020  # far enough off that every solver needs some steps
    if method == "differential_evolution":
        for name in ("scale", "offset", "fwhm"):
            params[name].vary = False
    seen = []

    def record(params, *_, **__):
        seen.append(params.valuesdict())

    result = model.fit(
        counts,
        params,
        x=AXIS,
        method=method,
        iter_cb=record,
        max_nfev=None if method in ("emcee", "least_squares", "leastsq") else 120,
        fit_kws=short_run(method),
    )
    assert len(seen) > 5
    assert all(feasible({name: values[name] for name in NAMES}) for values in seen)
    assert feasible({name: result.params[name].value for name in NAMES})


@pytest.mark.parametrize("method", ["dual_annealing", "brute", "shgo"])
def test_solvers_on_raw_values_simulate_and_report_feasible_sets_only(method):
    model, counts, params = tight_problem()
    for name in params:
        params[name].vary = name in ("Dmax1", "D01")
    params["Dmax1"].set(min=0.002, max=0.006, brute_step=0.001)
    params["D01"].set(min=0.002, max=0.008, brute_step=0.001)
    model.simulation.asked.clear()
    result = model.fit(counts, params, x=AXIS, method=method, max_nfev=300, fit_kws=short_run(method))
    assert len(model.simulation.asked) > 5
    assert all(feasible({n: values[n] for n in NAMES}, 0.0) for values in model.simulation.asked)
    assert result.params["D01"].value <= result.params["Dmax1"].value
    for candidate in getattr(result, "candidates", ()):
        assert candidate.params["D01"].value <= candidate.params["Dmax1"].value


def test_an_optimum_on_the_border_is_reached_and_its_errors_are_those_of_a_tie():
    model, counts, params = tight_problem()
    result = model.fit(counts, params, x=AXIS)
    assert result.params["D01"].value == pytest.approx(result.params["Dmax1"].value, rel=1e-5)
    assert any("D01 is at the limit that Dmax1 sets it" in note for note in result.bound_notes)
    assert "D01 is at the limit" in result.fit_report()
    tied = params.copy()
    tied["D01"].expr = "Dmax1"
    other = model.fit(counts, tied, x=AXIS)
    assert other.chisqr == pytest.approx(result.chisqr, rel=1e-6)
    for name in other.var_names:
        assert result.params[name].value == pytest.approx(other.params[name].value, rel=1e-4)
        assert result.params[name].stderr == pytest.approx(other.params[name].stderr, rel=0.02)


def test_order_and_prefix_of_the_users_parameters_do_not_matter():
    model, counts, params = tight_problem("a_")
    shuffled = lmfit.Parameters()
    for name in reversed(list(params)):
        par = params[name]
        shuffled.add(name, par.value, vary=par.vary, min=par.min, max=par.max)
    for method in ("least_squares", "leastsq"):
        one = model.fit(counts, params, x=AXIS, method=method)
        two = model.fit(counts, shuffled, x=AXIS, method=method)
        assert two.chisqr == pytest.approx(one.chisqr, rel=1e-4)
        assert set(two.params) == set(shuffled)
        index = {name: i for i, name in enumerate(two.var_names)}
        assert index["a_Dmax1"] < index["a_D01"] < index["a_D02"]
        stderr = [two.params[name].stderr for name in two.var_names]
        np.testing.assert_allclose(np.sqrt(np.diag(two.covar)), stderr)


def test_infeasible_start_names_both_values():
    model, counts, params = tight_problem()
    params["D01"].value = 0.01
    with pytest.raises(ParameterError, match=r"D01 = 0\.01, Dmax1 = 0\.0045"):
        model.fit(counts, params, x=AXIS)


def test_tied_parameter_that_leaves_the_feasible_set_is_simulated_as_its_limit_and_noted():
    model, counts, params = tight_problem()
    params["D01"].expr = "0.00449"
    result = model.fit(counts, params, x=AXIS)
    assert all(feasible({n: values[n] for n in NAMES}, 0.0) for values in model.simulation.asked)
    assert any("simulated as its limit" in note for note in result.bound_notes)


@pytest.mark.parametrize("vary", [("Dmax1",), ("D01", "D02"), ("Rp1", "L2"), ("L1",)])
def test_parts_of_a_chain_can_be_fixed(vary):
    model, counts, params = tight_problem()
    for name in NAMES:
        params[name].vary = name in vary
    result = model.fit(counts, params, x=AXIS)
    values = {name: result.params[name].value for name in NAMES}
    assert feasible(values)
    for name in set(NAMES) - set(vary):
        assert values[name] == params[name].value


def test_profiling_a_nested_parameter_stays_inside_and_leaves_the_result_alone():
    model, counts, params = tight_problem()
    result = model.fit(counts, params, x=AXIS)
    before = result.fit_report()
    model.simulation.asked.clear()
    intervals = result.conf_interval(p_names=["Dmax1", "D01"], sigmas=[1])
    assert result.fit_report() == before
    assert all(feasible({n: values[n] for n in NAMES}, 1e-12) for values in model.simulation.asked)
    for name in ("Dmax1", "D01"):
        (_, low), _, (_, high) = intervals[name]
        assert low < result.params[name].value < high


def test_draws_from_the_covariance_are_feasible():
    model, counts, params = tight_problem()
    result = model.fit(counts, params, x=AXIS)
    drawn = result.draw(200, seed=1)
    assert drawn.shape == (200, result.nvarys)
    for row in drawn:
        values = {name: result.params[name].value for name in NAMES}
        values |= {name: v for name, v in zip(result.var_names, row, strict=True) if name in NAMES}
        assert feasible(values)
    np.testing.assert_array_equal(drawn, result.draw(200, seed=1))


def test_prefixed_rule():
    assert Nested("D01", "Dmax1").prefixed("p_") == Nested("p_D01", "p_Dmax1")


# --- even parameters ---


@pytest.mark.parametrize("high", [0.1, 300.0, np.inf])
def test_an_even_parameter_is_a_square_below_and_itself_beyond(high):
    params = lmfit.Parameters()
    params.add("width", 0.0, min=0.0, max=high)
    plain, even = (nested_coordinates(params, ["width"], (), names) for names in ({}, {"width": ""}))
    size = high if np.isfinite(high) else 1.0
    assert plain.inward(np.array([0.3 * size]))[0] == 0.3 * size
    for x in size * np.array([1e-3, 0.02, 0.5]):
        y = even.inward(np.array([x]))
        assert even.outward(y)[0] == pytest.approx(x, rel=1e-12)
        step = 1e-5 * y
        numeric = (even.outward(y + step) - even.outward(y - step)) / (2.0 * step)
        assert even.derivatives(y)[0, 0] == pytest.approx(numeric[0], rel=1e-8)
    small, double, large, more = (even.inward(np.array([x * size]))[0] for x in (5e-4, 1e-3, 0.5, 0.6))
    assert double == pytest.approx(4.0 * small, rel=1e-3)
    assert more - large == pytest.approx(0.1 * size, rel=2e-3)
    # Zero stands for a little more, where there is a derivative by the square.
    (least,) = even.outward(even.inward(np.zeros(1)))
    assert 0.0 < least < 2e-4 * size
    assert np.isfinite(even.derivatives(even.lower)).all()


def test_the_error_of_an_even_parameter_at_zero_is_that_of_its_distribution():
    """Its square is normally distributed about zero: by quadrature, flat in the parameter."""
    params = lmfit.Parameters()
    params.add("width", 0.0, min=0.0, max=1.0)
    even = nested_coordinates(params, ["width"], (), {"width": ""})
    x = np.linspace(0.0, 0.02, 4001)[1:]
    y = np.array([even.inward(np.array([each]))[0] for each in x])
    error = 3e-4
    density = np.exp(-0.5 * (y / error) ** 2)
    expected = np.sqrt((density * x**2).sum() / density.sum())
    found = error * even.derivatives(even.lower, np.array([error]))[0, 0]
    assert found == pytest.approx(expected, rel=0.02)
    far = even.inward(np.array([0.5]))
    assert even.derivatives(far, np.array([error])) == even.derivatives(far)


def test_an_even_parameter_that_may_be_negative_has_a_rule_or_a_skew_is_none():
    params = implanted()
    params.add("turn", 0.0, min=-1.0, max=1.0)
    names = (*NAMES, "turn")
    assert nested_coordinates(params, names, RULES, {"turn": "", "Rp1": ""}).even == ()
    params["turn"].min = 0.0
    turn = names.index("turn")
    assert nested_coordinates(params, names, RULES, {"turn": "L1"}).even == ()
    assert nested_coordinates(params, names, RULES, {"turn": "Rp2"}).even == ()
    fixed = [name for name in names if name != "Rp2"]
    params["Rp2"].set(value=0.0, vary=False)
    assert nested_coordinates(params, fixed, RULES, {"turn": "Rp2"}).even == (fixed.index("turn"),)
    assert nested_coordinates(params, names, RULES, {"turn": "another"}).even == (turn,)


@pytest.mark.parametrize("internal", [-1.2, -0.3, 0.0, 0.9])
def test_minuit_transform_of_an_even_parameter(internal):
    params = lmfit.Parameters()
    params.add("width", 0.0, min=0.0, max=300.0)
    (transform,) = attach_transforms(params, nested_coordinates(params, ["width"], (), {"width": ""}))
    step = 1e-6
    above, below = (transform.from_internal(internal + side * step) for side in (1.0, -1.0))
    assert transform.scale_gradient(internal) == pytest.approx((above - below) / (2.0 * step), rel=1e-7)
    assert transform.from_internal(transform.to_internal(50.0)) == pytest.approx(50.0, rel=1e-12)
    assert 1.0 < transform.from_internal(transform.to_internal(0.0)) < 10.0
