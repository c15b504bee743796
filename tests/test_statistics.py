"""Residuals mean what they claim: likelihoods, their derivatives, and the estimates that follow from them."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import kl_div

import fit_results
from curve_stub import TRUTH, StubCurve
from hrxrd_ml import RockingCurveModel
from hrxrd_ml.errors import CurveError, ParameterError
from hrxrd_ml.inference.likelihood import GaussianLikelihood, PoissonLikelihood, choose_statistics, make_likelihood

AXIS = np.linspace(-1400.0, 400.0, 451)


def stub_model(**options):
    return RockingCurveModel(simulation=StubCurve(), axis_kind="offset", unit="arcsec", **options)


def only(model, free, **values):
    """Parameters of the truth of which only some are free."""
    params = model.make_params(**TRUTH | values)
    for name in params:
        params[name].vary = name in free
    return params


# --- Poisson --------------------------------------------------------------------------------------------------------


@given(st.integers(0, 10**6), st.floats(1e-6, 1e6))
def test_square_of_the_deviance_residual_is_the_deviance(n, mu):
    """scipy's kl_div(n, μ) is n·ln(n/μ) - n + μ, half the deviance."""
    residual = PoissonLikelihood(np.array([float(n)])).residual(np.array([mu]))[0]
    # Where n and μ agree in many digits, kl_div cancels; the next test covers that.
    assert residual**2 == pytest.approx(2.0 * kl_div(n, mu), rel=1e-7, abs=1e-9 * max(n, 1))
    assert np.sign(residual) == np.sign(n - mu)


@pytest.mark.parametrize("n", [1.0, 7.0, 4.0e5])
@pytest.mark.parametrize("relative", [1e-12, 1e-8, 1e-5, 1e-3])
def test_near_the_expectation_it_is_the_series_of_the_deviance(n, relative):
    """r = -√n·t·(1 - t/3 + 7t²/36 - …) with t = (μ - n)/n: exact where the closed form has lost all digits."""
    for t in (relative, -relative):
        mu = n * (1.0 + t)
        t = (mu - n) / n
        expected = -np.sqrt(n) * t * (1.0 - t / 3.0 + 7.0 * t**2 / 36.0)
        residual = PoissonLikelihood(np.array([n])).residual(np.array([mu]))[0]
        assert residual == pytest.approx(expected, rel=1e-14 + abs(t) ** 3)


@given(st.integers(0, 1000), st.floats(-3.0, 4.0), st.floats(0.01, 3.0))
def test_slope_is_the_derivative_of_the_residual(n, log_mu, exposure):
    likelihood = PoissonLikelihood(np.array([float(n)]), np.array([exposure]), np.array([0.7]))
    mu = np.array([10.0**log_mu])
    step = 1e-5 * mu
    numeric = (likelihood.residual(mu + step) - likelihood.residual(mu - step)) / (2.0 * step)
    np.testing.assert_allclose(likelihood.slope(mu), numeric, rtol=1e-5)


@pytest.mark.parametrize("n", [0.0, 3.0])
def test_residual_is_continuous_finite_and_turns_solvers_back_below_zero(n):
    likelihood = PoissonLikelihood(np.array([n]))
    at = likelihood.residual(np.array([1.0e-8]))
    np.testing.assert_allclose(likelihood.residual(np.array([1.0e-8 - 1.0e-17])), at, rtol=1e-6, atol=1e-10)
    below = likelihood.residual(np.array([-1.0]))
    assert np.isfinite(below).all()
    assert abs(below) > abs(at)


def test_zero_counts_have_the_right_limits():
    likelihood = PoissonLikelihood(np.zeros(2))
    mu = np.array([0.5, 2.0])
    np.testing.assert_allclose(likelihood.residual(mu), -np.sqrt(2.0 * mu))
    np.testing.assert_allclose(likelihood.slope(mu), -1.0 / np.sqrt(2.0 * mu))


def test_maximum_likelihood_is_unbiased_at_low_counts_where_root_n_weights_are_not():
    """For a constant, the estimate is the mean of the counts exactly; 1/√N weights estimate about 1 count too few."""
    model = stub_model()
    counts = np.random.default_rng(0).poisson(2.0, len(AXIS))
    params = only(model, ["background"], scale=1.0e-6, background=3.0)
    fit = model.fit(counts, params, x=AXIS)
    assert fit.params["background"].value == pytest.approx(counts.mean(), rel=1e-4)
    assert fit.params["background"].stderr == pytest.approx(np.sqrt(counts.mean() / len(AXIS)), rel=1e-3)
    biased = model.fit(counts, params, x=AXIS, weights=1.0 / np.sqrt(np.maximum(counts, 1)))
    assert biased.params["background"].value < 0.75 * counts.mean()


def test_standard_errors_are_the_scatter_of_repeated_measurements():
    model = stub_model()
    free = ["background", "scale", "fwhm", "damage", "D01"]
    params = only(model, free, scale=60.0, background=0.6)
    mu = model.eval(params, x=AXIS)
    rng = np.random.default_rng(11)
    pulls = []
    for _ in range(200):
        fit = model.fit(rng.poisson(mu), params, x=AXIS)
        pulls.append([(fit.params[n].value - params[n].value) / fit.params[n].stderr for n in free])
    pulls = np.array(pulls)
    assert np.abs(pulls.mean(axis=0)).max() < 0.25
    np.testing.assert_allclose(pulls.std(axis=0), 1.0, atol=0.15)


# --- exposure -------------------------------------------------------------------------------------------------------


def exposed_curve(counts, **coords):
    axis = ("x", AXIS, {"kind": "offset", "units": "arcsec"})
    beside = {name: ("x", values) for name, values in coords.items()}
    return xr.DataArray(counts, {"x": axis} | beside, ("x",), "counts", {"kind": "counts"})


def test_counts_that_were_normalised_are_no_counts():
    model = stub_model()
    params = only(model, ["scale"])
    counts = exposed_curve(np.random.default_rng(4).poisson(model.eval(params, x=AXIS)).astype(float))
    scaled = counts.copy(data=counts.values / counts.values.max())
    with pytest.raises(CurveError, match=r'kind = "counts".*not a whole number'):
        model.fit(scaled, params)
    told = scaled.assign_attrs(kind="intensity")
    assert model.fit(told, params).observation.likelihood.name == "relative"
    assert model.fit(counts, params).observation.likelihood.name == "poisson"


def test_a_mean_of_counts_is_fitted_as_such_on_demand():
    model = stub_model(statistics="poisson")
    params = only(model, ["scale"])
    mean = exposed_curve(np.random.default_rng(4).poisson(model.eval(params, x=AXIS), (3, len(AXIS))).mean(axis=0))
    assert model.fit(mean, params).observation.likelihood.name == "poisson"


def test_attenuation_and_counting_time_enter_the_expectation():
    model = stub_model()
    free = ["scale", "background", "D01"]
    params = only(model, free)
    attenuation = np.where(np.abs(AXIS) < 60.0, 50.0, 1.0)
    time = np.where(AXIS < -300.0, 8.0, 2.0)
    exposure = time / time.max() / attenuation
    counts = np.random.default_rng(4).poisson(model.eval(params, x=AXIS) * exposure)
    fit = model.fit(exposed_curve(counts, attenuation=attenuation, counting_time=time), params)
    for name in free:
        assert abs(fit.params[name].value - TRUTH[name]) < 4.0 * fit.params[name].stderr
    # Data and model are on one smooth scale; the deviance is that of the raw counts.
    np.testing.assert_allclose(fit.data, counts / exposure)
    assert fit.chisqr == pytest.approx(2.0 * kl_div(counts, fit.best_fit * exposure).sum(), rel=1e-9)
    assert 0.8 < fit.pearson_chi2() < 1.2
    np.testing.assert_array_equal(fit.curve.values, counts)


def test_uniform_exposure_changes_nothing():
    model = stub_model()
    params = only(model, ["scale"])
    counts = np.random.default_rng(4).poisson(model.eval(params, x=AXIS))
    plain = model.fit(counts, params, x=AXIS)
    timed = model.fit(exposed_curve(counts, counting_time=np.full(len(AXIS), 7.0)), params)
    assert timed.params["scale"].value == plain.params["scale"].value


@pytest.mark.parametrize(("name", "value"), [("attenuation", 0.0), ("counting_time", -1.0)])
def test_impossible_exposure_is_refused(name, value):
    values = np.ones(len(AXIS))
    values[3] = value
    with pytest.raises(CurveError, match="positive"):
        stub_model().observe(exposed_curve(np.ones(len(AXIS)), **{name: values}))


# --- other statistics -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "values", "weights", "sigma", "expected"),
    [
        ("counts", [1, 2], None, None, "poisson"),
        ("counts", [1, 2], [0, 1], None, "poisson"),
        ("counts", [1, 2], [0.5, 1], None, "none"),
        ("intensity", [1, 2], None, None, "relative"),
        ("intensity", [1, 2], None, [1, 1], "sigma"),
        ("intensity", [1, 2], [2, 3], [1, 1], "sigma"),
        (None, [1, 2], None, None, "poisson"),
        (None, [1.5, 2], None, None, "relative"),
        (None, [-1, 2], None, None, "relative"),
    ],
)
def test_automatic_choice_follows_data_and_weights(kind, values, weights, sigma, expected):
    arrays = [None if a is None else np.array(a, dtype=float) for a in (values, weights, sigma)]
    assert choose_statistics("auto", kind, *arrays) == expected
    assert choose_statistics("none", kind, *arrays) == "none"


def test_gaussian_residuals_have_the_sign_and_the_scale_of_lmfit():
    data, mu, sigma = np.array([3.0, 5.0]), np.array([1.0, 6.0]), np.array([0.5, 2.0])
    plain = GaussianLikelihood(data)
    np.testing.assert_allclose(plain.residual(mu), [2.0, -1.0])
    np.testing.assert_allclose(plain.slope(mu), -1.0)
    given_sigma = make_likelihood("sigma", data, sigma=sigma, weights=np.array([1.0, 0.0]))
    np.testing.assert_allclose(given_sigma.residual(mu), [4.0, 0.0])
    np.testing.assert_allclose(given_sigma.pearson(mu), [4.0, -0.5])
    as_weights = make_likelihood("sigma", data, weights=1.0 / sigma)
    np.testing.assert_allclose(as_weights.residual(mu), [4.0, -0.5])


def test_relative_errors_grow_with_the_data_above_a_floor():
    data = np.array([0.0, 1.0, 100.0])
    likelihood = make_likelihood("relative", data, relative_error=0.1, floor=0.2)
    np.testing.assert_allclose(1.0 / likelihood.inverse_sigma, np.hypot(0.1 * data, 0.2))
    automatic = make_likelihood("relative", np.geomspace(1.0, 1e5, 101), relative_error=0.1)
    assert 1.0 / automatic.inverse_sigma[0] == pytest.approx(np.hypot(0.1, 0.1 * 10**0.5))


@pytest.mark.parametrize(
    ("statistics", "scaled"), [("poisson", False), ("sigma", False), ("relative", True), ("none", True)]
)
def test_covariance_is_scaled_only_where_the_errors_are_a_guess(statistics, scaled):
    model = stub_model(statistics=statistics)
    params = only(model, ["scale", "background"])
    data = np.random.default_rng(2).poisson(model.eval(params, x=AXIS))
    weights = 1.0 / np.sqrt(data + 1.0) if statistics == "sigma" else None
    fit = model.fit(data, params, x=AXIS, weights=weights)
    assert fit.scale_covar is scaled
    assert model.fit(data, params, x=AXIS, weights=weights, scale_covar=not scaled).scale_covar is not scaled


def test_sigmas_of_the_curve_of_the_call_and_as_weights_agree():
    model = stub_model()
    params = only(model, ["scale", "background", "D01"])
    intensity = model.eval(params, x=AXIS) * 1e-3 * (1.0 + 0.02 * np.random.default_rng(2).standard_normal(len(AXIS)))
    sigma = 0.02 * intensity + 1e-3
    params["scale"].value *= 1e-3
    axis = ("x", AXIS, {"kind": "offset", "units": "arcsec"})
    curve = xr.DataArray(intensity, {"x": axis, "sigma": ("x", sigma)}, ("x",), attrs={"kind": "intensity"})
    fits = [
        model.fit(curve, params),
        model.fit(intensity, params, x=AXIS, sigma=sigma),
        stub_model(statistics="sigma").fit(intensity, params, x=AXIS, weights=1.0 / sigma),
    ]
    assert [fit.observation.likelihood.name for fit in fits] == ["sigma"] * 3
    assert len({round(fit.chisqr, 6) for fit in fits}) == 1
    assert fits[0].scale_covar is False


def test_sigma_without_errors_and_unknown_statistics_are_refused():
    with pytest.raises(CurveError, match="standard errors"):
        stub_model(statistics="sigma").observe(np.ones(5), np.arange(5.0))
    with pytest.raises(ParameterError, match="expected one of"):
        stub_model(statistics="gauss")
    with pytest.raises(ParameterError, match="positive"):
        stub_model(relative_error=0.0)


# --- masks and goodness of fit --------------------------------------------------------------------------------------


def test_masked_points_do_not_count_whatever_they_hold():
    model = stub_model()
    params = only(model, ["scale", "background"])
    counts = np.random.default_rng(2).poisson(model.eval(params, x=AXIS)).astype(float)
    weights = np.ones(len(AXIS))
    weights[100:150] = 0.0
    spoiled = counts.copy()
    spoiled[100:120], spoiled[120:150] = np.nan, -7.0
    fit = model.fit(spoiled, params, x=AXIS, weights=weights)
    left_out = model.fit(counts[weights > 0], params, x=AXIS[weights > 0])
    assert fit.chisqr == pytest.approx(left_out.chisqr, rel=1e-9)
    assert (fit.ndata, fit.nfree) == (left_out.ndata, left_out.nfree)
    for name in ("redchi", "aic", "bic"):
        assert getattr(fit, name) == pytest.approx(getattr(left_out, name))
    assert fit.params["scale"].stderr == pytest.approx(left_out.params["scale"].stderr, rel=1e-6)
    assert fit.pearson_chi2() == pytest.approx(left_out.pearson_chi2())


def test_pearson_chi2_by_region():
    model = stub_model()
    params = only(model, ["scale"])
    counts = np.random.default_rng(2).poisson(model.eval(params, x=AXIS))
    fit = model.fit(counts, params, x=AXIS)
    far = np.abs(fit.offsets) > 150.0
    expected = np.mean((counts - fit.best_fit)[far] ** 2 / fit.best_fit[far])
    assert fit.pearson_chi2(far) == pytest.approx(expected)
    np.testing.assert_allclose(fit.offsets, AXIS)
    with pytest.raises(CurveError, match="mask with 451 points"):
        fit.pearson_chi2(far[:5])
    with pytest.raises(CurveError, match="no point"):
        fit.pearson_chi2(np.zeros(451, dtype=bool))


@pytest.mark.parametrize("mu", [1e-3, 0.03, 0.4, 1.0, 3.0, 17.0, 59.0, 61.0, 1e4])
def test_moments_of_the_deviance_are_those_of_drawn_counts(mu):
    counts = np.random.default_rng(5).poisson(mu, 400_000).astype(float)
    likelihood = PoissonLikelihood(counts)
    squares = likelihood.residual(np.full(counts.size, mu)) ** 2
    mean, deviation = likelihood.expectation(np.full(counts.size, mu))
    assert squares.sum() == pytest.approx(mean, abs=4.0 * deviation)
    assert np.sqrt(squares.var() * counts.size) == pytest.approx(deviation, rel=0.02)


def test_a_part_of_a_likelihood_has_the_residuals_of_its_points():
    data, mu = np.array([3.0, 0.0, 7.0, 2.0]), np.array([2.5, 0.2, 9.0, 2.0])
    chosen = np.array([True, False, True, True])
    for kind, settings in (
        ("poisson", {"exposure": np.array([1.0, 2.0, 0.5, 1.0])}),
        ("sigma", {"sigma": np.array([1.0, 2.0, 3.0, 4.0]), "weights": np.array([1.0, 1.0, 0.0, 1.0])}),
        ("relative", {}),
    ):
        whole = make_likelihood(kind, data, **settings)
        part = whole.part(chosen)
        np.testing.assert_allclose(part.residual(mu[chosen]), whole.residual(mu)[chosen], rtol=1e-12)
        assert part.name == whole.name


def test_known_sigmas_say_what_the_sum_of_squares_should_be():
    mu = np.ones(50)
    assert make_likelihood("sigma", mu, sigma=mu).expectation(mu) == (50.0, 10.0)
    masked = make_likelihood("sigma", mu, sigma=mu, weights=np.repeat([1.0, 0.0], 25))
    assert masked.expectation(mu) == (25.0, np.sqrt(50.0))
    assert make_likelihood("relative", mu).expectation(mu) is None


def fit_of_ggg(free, **values):
    """Fit of a simulated curve, with these parameters free."""
    model = fit_results.model()
    params = fit_results.parameters(model, free=free, **values)
    x = fit_results.curve()["x"].values
    counts = np.random.default_rng(3).poisson(model.eval(params, x=x)).astype(float)
    return model.fit(counts, params, x=x)


def test_parameters_that_trade_are_named():
    """The strain at the surface is the sum of D01 and D02."""
    notes = fit_of_ggg((*fit_results.FREE, "D01", "D02", "L2")).bound_notes
    (note,) = (note for note in notes if "strongly correlated" in note)
    assert note.startswith("D01, D02 and L2 are strongly correlated (up to 0.99")
    assert not any("strongly correlated" in note for note in fit_of_ggg(("scale", "D01", "D02")).bound_notes)


def test_parameters_that_the_data_hardly_determine_are_named():
    assert fit_of_ggg(("scale", "Rp2", "L2", "D02")).bound_notes == ()
    (note,) = fit_of_ggg(("scale", "Rp2", "L2", "D02"), scale=1.9e3).bound_notes
    assert note.startswith("the data hardly determine Rp2: its stderr is ")


def test_errors_of_a_normal_distribution_pass_their_check_and_smaller_ones_do_not():
    result = fit_of_ggg(("scale", "offset", "fwhm"))
    before = (result.chisqr, dict(result.best_values), result.covar.copy(), result.bound_notes)
    rises = result.check_errors()
    assert list(rises) == list(result.var_names)
    np.testing.assert_allclose(list(rises.values()), 2.0, atol=0.1)
    assert (result.chisqr, result.best_values, result.bound_notes) == (before[0], before[1], before[3])
    np.testing.assert_array_equal(result.covar, before[2])

    result.covar = 0.25 * result.covar  # half the errors
    np.testing.assert_allclose(list(result.check_errors().values()), 1.0, atol=0.1)
    for name in result.var_names:
        assert any(note.startswith(f"the standard error of {name} is too small") for note in result.bound_notes)
    said = len(result.bound_notes)
    result.check_errors()
    assert len(result.bound_notes) == said  # not twice
    result.covar = None
    with pytest.raises(ParameterError, match="no covariance"):
        result.check_errors()


def test_the_error_of_a_single_parameter_can_be_checked():
    np.testing.assert_allclose(fit_of_ggg(("scale",)).check_errors()["scale"], 2.0, atol=0.05)
