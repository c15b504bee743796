"""Posteriors: the right distribution where it is known, files that survive, bad input."""

import json
import subprocess
import sys

import h5py
import numpy as np
import pytest
import xarray as xr
from lmfit import Parameters
from scipy import stats

from curve_stub import TRUTH, StubCurve
from hrxrd_ml import Reflection, RockingCurveModel, load_result, plot, sample
from hrxrd_ml.errors import InputFileError, ParameterError
from hrxrd_ml.inference.likelihood import GaussianLikelihood, PoissonLikelihood
from hrxrd_ml.inference.sampling.chain_file import ChainStore
from hrxrd_ml.inference.sampling.exploration import Explored, explore
from hrxrd_ml.inference.sampling.peaks import peaks_of
from hrxrd_ml.inference.sampling.probability import LogPosterior, with_model_error
from hrxrd_ml.inference.sampling.widening import Widening
from hrxrd_ml.io.files import locked
from hrxrd_ml.results.posterior import _network_starts
from hrxrd_ml.results.posterior_dataset import _modes

pytestmark = pytest.mark.filterwarnings("ignore:the chain is too short")

AXIS = np.linspace(-1400.0, 400.0, 181)
QUIET = {"progress": False, "workers": 1, "seed": 3}


def fitted(free=("scale", "offset", "fwhm"), seed=1, **options):
    model = RockingCurveModel(simulation=StubCurve(), axis_kind="offset", unit="arcsec", **options)
    params = model.make_params(**TRUTH)
    counts = np.random.default_rng(seed).poisson(model.eval(params, x=AXIS)).astype(float)
    for name in params:
        params[name].vary = name in free
    return model.fit(counts, params, x=AXIS)


@pytest.fixture(scope="module")
def simple():
    return fitted()


@pytest.fixture(scope="module")
def posterior(simple):
    return sample(simple, 800, burn=100, stop=False, **QUIET)


def test_where_the_posterior_is_normal_it_is_that_of_the_covariance(simple, posterior):
    for name in simple.var_names:
        values, error = posterior["posterior"][name].values.ravel(), simple.params[name].stderr
        assert values.mean() == pytest.approx(simple.params[name].value, abs=0.1 * error)
        assert values.std() == pytest.approx(error, rel=0.06)
    found = np.corrcoef([posterior["posterior"][name].values.ravel() for name in simple.var_names])
    error = np.sqrt(np.diag(simple.covar))
    np.testing.assert_allclose(found, simple.covar / np.outer(error, error), atol=0.06)
    assert posterior.attrs["converged"] == 1
    assert posterior.attrs["rhat"] < 1.01
    assert posterior.attrs["acceptance"] > 0.3
    assert posterior.attrs["notes"] == ""


def test_everything_has_names_and_units(simple, posterior):
    assert posterior["posterior/scale"].dims == ("chain", "draw")
    assert posterior["posterior/offset"].attrs["units"] == "arcsec"
    assert json.loads(posterior.attrs["parameters"]) == list(simple.var_names)
    assert posterior["sample_stats/lp"].dims == ("chain", "draw")
    bands = posterior["bands"]
    assert bands["curve_band"].dims == ("quantile", "x")
    np.testing.assert_array_equal(bands["x"], AXIS)
    low, high = bands["curve_band"].sel(quantile=[0.025, 0.975]).values
    assert (low <= high).all()
    assert np.mean((low <= simple.best_fit) & (simple.best_fit <= high)) > 0.9


def test_the_same_seed_gives_the_same_chain(simple):
    one, two = (sample(simple, 20, burn=20, stop=False, **QUIET) for _ in range(2))
    xr.testing.assert_equal(one, two)


def test_processes_give_the_same_chain(simple):
    one = sample(simple, 10, burn=20, progress=False, workers=1, seed=4)
    two = sample(simple, 10, burn=20, progress=False, workers=2, seed=4)
    np.testing.assert_array_equal(one["posterior/scale"], two["posterior/scale"])


def test_where_processes_cannot_fork_no_script_is_run_twice(simple, monkeypatch):
    from hrxrd_ml.results import posterior as module

    monkeypatch.setattr(module.multiprocessing, "get_all_start_methods", lambda: ["spawn"])
    monkeypatch.setattr(module, "ProcessPoolExecutor", lambda *_, **__: pytest.fail("started processes"))
    assert sample(simple, 5, burn=20, progress=False, seed=4)["posterior"].sizes["draw"] == 5


def test_a_normal_prior_multiplies_a_normal_likelihood():
    result = fitted(free=("scale",))
    value, error = result.params["scale"].value, result.params["scale"].stderr
    centre, width = value + 2.0 * error, error
    found = sample(result, 500, burn=100, priors={"scale": stats.norm(centre, width)}, **QUIET)[
        "posterior/scale"
    ].values
    assert found.mean() == pytest.approx(0.5 * (value + centre), abs=0.08 * error)
    assert found.std() == pytest.approx(error / np.sqrt(2.0), rel=0.08)


def test_the_prior_is_flat_in_the_users_parameters():
    """The volume that a unit of the box stands for is the determinant of the coordinates' derivatives."""
    result = fitted(free=("Dmax1", "D01", "D02", "L1", "Rp1", "L2"))
    target = LogPosterior(result, {})
    y = result.objective.inward(np.array([result.params[name].value for name in result.var_names]))
    for shift in (0.0, 0.01, -0.02):
        place = y * (1.0 + shift)
        x = target.outward(place)
        expected = np.linalg.slogdet(result.objective.coordinates.derivatives(place))[1]
        assert target._log_volume(x) == pytest.approx(expected, abs=1e-9)
        residual = result.observation.likelihood.residual(target.curve(x))
        assert target(place) == pytest.approx(expected - 0.5 * residual @ residual, abs=1e-6)


def test_outside_the_bounds_the_probability_is_zero(simple):
    target = LogPosterior(simple, {})
    inside = simple.objective.inward(np.array([simple.params[name].value for name in simple.var_names]))
    assert np.isfinite(target(inside))
    for i, wall in enumerate(simple.objective.lower):
        outside = inside.copy()
        outside[i] = wall - 1.0
        assert target(outside) == -np.inf
    assert target(inside * np.nan) == -np.inf


@pytest.mark.parametrize("error", [1e-4, 0.02, 0.3])
def test_model_error_makes_counts_negative_binomial(error):
    mu = np.array([0.3, 4.0, 90.0, 2e4])
    counts = np.array([0.0, 7.0, 80.0, 2.1e4])
    shape = 1.0 / error**2
    expected = stats.nbinom.logpmf(counts, shape, shape / (shape + mu)).sum()
    constant = -np.sum([np.sum(np.log(np.arange(1.0, n + 1.0))) for n in counts])
    found = with_model_error(PoissonLikelihood(counts), mu, error).value
    assert found + constant == pytest.approx(expected, rel=1e-6)


def test_without_model_error_the_negative_binomial_is_the_poisson_distribution():
    counts, mu = np.array([3.0, 50.0]), np.array([4.0, 45.0])
    difference = [with_model_error(PoissonLikelihood(counts), m, 1e-6).value for m in (mu, counts)]
    exact = [stats.poisson.logpmf(counts, m).sum() for m in (mu, counts)]
    assert difference[0] - difference[1] == pytest.approx(exact[0] - exact[1], abs=1e-6)


def test_model_error_adds_to_known_sigmas():
    data, mu, sigma = np.array([1.0, 5.0]), np.array([1.2, 4.0]), np.array([0.1, 0.2])
    expected = stats.norm.logpdf(data, mu, np.hypot(sigma, 0.3 * mu)).sum() + np.log(2.0 * np.pi)
    assert with_model_error(GaussianLikelihood(data, 1.0 / sigma), mu, 0.3).value == pytest.approx(expected)


def test_model_error_is_found_where_the_model_is_wrong():
    model = RockingCurveModel(simulation=StubCurve(), axis_kind="offset", unit="arcsec")
    params = model.make_params(**TRUTH)
    rng = np.random.default_rng(8)
    expected = model.eval(params, x=AXIS)
    counts = rng.poisson(expected * rng.gamma(400.0, 1.0 / 400.0, len(AXIS))).astype(float)  # 5 %
    for name in params:
        params[name].vary = name in ("scale", "offset")
    result = model.fit(counts, params, x=AXIS)
    found = sample(result, 400, burn=60, model_error=True, **QUIET)
    assert found["posterior/model_error"].mean() == pytest.approx(0.05, rel=0.25)
    narrow = sample(result, 60, burn=40, stop=False, errors="noise", **QUIET)
    assert "model_error=True" in narrow.attrs["notes"]


@pytest.fixture(scope="module")
def missing():
    """A fit of a curve with a shoulder that its model has not."""
    model = RockingCurveModel(simulation=StubCurve(), axis_kind="offset", unit="arcsec")
    params = model.make_params(**TRUTH)
    expected = model.eval(params, x=AXIS) * (1.0 + 0.15 * np.sin(AXIS / 90.0))
    for name in params:
        params[name].vary = name in ("scale", "offset", "fwhm")
    return model.fit(np.random.default_rng(8).poisson(expected).astype(float), params, x=AXIS)


def test_samples_have_the_errors_of_the_fit_that_know_of_the_misfit(missing):
    found = sample(missing, 400, burn=60, **QUIET)
    plain = sample(missing, 400, burn=60, errors="noise", **QUIET)
    assert (found.attrs["errors"], plain.attrs["errors"]) == ("misfit", "noise")
    assert "spread about the best fit" in found.attrs["notes"]
    assert "too narrow" in plain.attrs["notes"]
    for name, noise in missing.noise_errors().items():
        par = missing.params[name]
        assert par.stderr > 2.0 * noise
        assert found["posterior"][name].values.std() == pytest.approx(par.stderr, rel=0.1)
        assert plain["posterior"][name].values.std() == pytest.approx(
            noise, rel=0.3
        )  # the curvature expected, not seen
        assert found["posterior"][name].values.mean() == pytest.approx(par.value, abs=0.1 * par.stderr)
    samples = [found["posterior"][name].values.ravel() for name in missing.var_names]
    error = np.sqrt(np.diag(missing.covar))
    np.testing.assert_allclose(np.corrcoef(samples), missing.covar / np.outer(error, error), atol=0.08)


def test_with_a_model_error_samples_are_not_spread(missing):
    found = sample(missing, 40, burn=30, model_error=True, **QUIET)
    assert found.attrs["errors"] == "noise"
    assert "spread" not in found.attrs["notes"]


def test_samples_are_spread_to_a_covariance_but_not_narrowed():
    rng = np.random.default_rng(4)
    units = np.diag([1.0, 1e4, 1e-6])
    root = rng.standard_normal((3, 3))
    noise, low, high = units @ root @ root.T @ units, np.full(4, -np.inf), np.full(4, np.inf)
    chain = np.concatenate([rng.multivariate_normal(np.zeros(3), noise, (5000, 4)), np.ones((5000, 4, 1))], axis=2)
    for factor in (0.2, 1.0, 25.0):
        found = Widening(np.zeros((1, 4)), factor * noise, low, high)(chain)
        np.testing.assert_array_equal(found[..., 3], 1.0)
        covariance = units @ np.cov((found[..., :3] @ np.linalg.inv(units)).reshape(-1, 3), rowvar=False) @ units
        scale = np.sqrt(np.diag(noise))
        np.testing.assert_allclose(
            covariance / scale / scale[:, None],
            max(factor, 1.0) * noise / scale / scale[:, None],
            atol=0.05 * max(factor, 1.0),
        )
    walled = Widening(np.zeros((1, 4)), 25.0 * noise, np.array([-np.inf, 0.0, -1e-6, 0.0]), high)(np.abs(chain))
    assert walled[..., 1].min() >= 0.0


def test_walkers_at_two_maxima_are_spread_about_their_own():
    rng = np.random.default_rng(4)
    places = np.array([[0.0, 0.0], [100.0, 0.0]])
    chain = rng.standard_normal((4000, 4, 2)) + places[[0, 1, 0, 1]]
    found = Widening(places, 9.0 * np.eye(2), np.full(2, -np.inf), np.full(2, np.inf))(chain)
    np.testing.assert_allclose(found.mean(axis=0), places[[0, 1, 0, 1]], atol=0.2)
    np.testing.assert_allclose(found.std(axis=0), 3.0, rtol=0.05)


def test_data_with_errors_of_unknown_size_get_a_factor():
    model = RockingCurveModel(
        simulation=StubCurve(), axis_kind="offset", unit="arcsec", statistics="relative", floor=1e-6
    )
    params = model.make_params(**TRUTH)
    exact = model.eval(params, x=AXIS)
    data = exact * (1.0 + 0.1 * np.random.default_rng(2).standard_normal(len(AXIS)))  # assumed are 5 %
    for name in params:
        params[name].vary = name in ("scale", "fwhm")
    result = model.fit(data, params, x=AXIS)
    found = sample(result, 400, burn=60, **QUIET)
    assert found["posterior/noise_factor"].mean() == pytest.approx(2.0, rel=0.15)
    assert found["posterior/scale"].values.std() == pytest.approx(result.params["scale"].stderr, rel=0.15)


def test_two_maxima_are_noticed_and_one_is_not():
    rng = np.random.default_rng(0)
    assert _modes(rng.normal(0.0, 1.0, 20_000)) is None
    assert _modes(rng.exponential(1.0, 20_000)) is None
    assert _modes(rng.uniform(0.0, 1.0, 20_000)) is None
    both = np.concatenate([rng.normal(0.0, 1.0, 15_000), rng.normal(9.0, 1.0, 5_000)])
    assert _modes(both) == pytest.approx(0.25, abs=0.01)


# --- files ---


def test_a_chain_goes_on_where_its_file_ends(simple, tmp_path, monkeypatch):
    file = tmp_path / "chain.h5"
    settings = {"burn": 30, "stop": False, **QUIET}
    short = sample(simple, 15, backend=file, **settings)
    monkeypatch.setattr("hrxrd_ml.inference.sampling.exploration.explore", lambda *_: pytest.fail("explored once more"))
    long = sample(simple, 40, backend=file, **settings)
    np.testing.assert_array_equal(long["posterior/scale"].values[:, :15], short["posterior/scale"].values)
    assert long["posterior"].sizes["draw"] == 40
    again = sample(simple, 40, backend=file, **settings)
    np.testing.assert_array_equal(again["posterior/scale"], long["posterior/scale"])


class _KilledError(Exception):
    """What stands for the end of a process."""


@pytest.mark.parametrize("steps", [7, 20, 33], ids=["burn-in", "between", "chain"])
@pytest.mark.parametrize("after", [False, True], ids=["before the step is kept", "after it"])
def test_a_chain_that_is_interrupted_is_the_uninterrupted_one(steps, after, simple, tmp_path, monkeypatch):
    """Also in the burn-in, which tunes the length of its steps, and between what belongs to one step."""
    from emcee.backends import HDFBackend

    settings = {"burn": 20, "stop": False, **QUIET}
    whole = sample(simple, 20, backend=tmp_path / "whole.h5", **settings)
    kept, count = HDFBackend.save_step, [0]

    def save_step(self, state, accepted):
        count[0] += 1
        if count[0] == steps and not after:
            raise _KilledError
        kept(self, state, accepted)
        if count[0] == steps:
            raise _KilledError

    with monkeypatch.context() as patched:
        patched.setattr(HDFBackend, "save_step", save_step)
        with pytest.raises(_KilledError):
            sample(simple, 20, backend=tmp_path / "parts.h5", **settings)
    parts = sample(simple, 20, backend=tmp_path / "parts.h5", **settings)
    for name in ("posterior/scale", "posterior/offset", "sample_stats/lp"):
        np.testing.assert_array_equal(parts[name], whole[name])


def test_a_chain_that_is_read_goes_on(simple, tmp_path):
    """Another program that keeps the file open, with the lock that the HDF5 library takes, does not stop it."""
    file, settings = tmp_path / "chain.h5", {"burn": 20, "stop": False, **QUIET}
    sample(simple, 5, backend=file, **settings)
    code = (
        "import sys, h5py; opened = h5py.File(sys.argv[1], 'r', locking=True); print(len(opened), flush=True); "
        "sys.stdin.read()"
    )
    reader = subprocess.Popen(
        [sys.executable, "-c", code, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert reader.stdout.readline().strip()
        assert sample(simple, 10, backend=file, **settings)["posterior"].sizes["draw"] == 10
    finally:
        reader.communicate()


def test_two_samplings_do_not_write_one_chain(simple, tmp_path):
    pytest.importorskip("fcntl")
    file = tmp_path / "chain.h5"
    with locked(file), pytest.raises(InputFileError, match="another process is writing"):
        sample(simple, 5, burn=20, backend=file, stop=False, **QUIET)
    assert not list(tmp_path.iterdir())
    assert sample(simple, 5, burn=20, backend=file, stop=False, **QUIET)["posterior"].sizes["draw"] == 5
    assert [path.name for path in tmp_path.iterdir()] == ["chain.h5"]


def test_what_was_explored_is_kept_to_the_last_digit(tmp_path):
    result = fitted(free=("Dmax1", "L1", "scale", "offset"))
    target = LogPosterior(result, {})
    explored = explore(
        target,
        peaks_of(target, ()),
        lambda places: np.array([target.used_curve(place) for place in places]),
        np.random.default_rng(3),
    )
    ChainStore.open(tmp_path / "chain.h5", "a fit", (8, 4)).begin(explored.arrays(), 8, 4)
    again = Explored.of(target, ChainStore.open(tmp_path / "chain.h5", "a fit", (8, 4)).explored)
    place = explored.places[0]
    assert again.guide is not None
    assert again.step == explored.step
    assert again.guide(place) == explored.guide(place)
    np.testing.assert_array_equal(again.metric.inward(place), explored.metric.inward(place))


def test_a_file_of_another_fit_is_refused(simple, tmp_path):
    file = tmp_path / "chain.h5"
    sample(simple, 5, burn=20, backend=file, stop=False, **QUIET)
    with pytest.raises(InputFileError, match="another fit"):
        sample(fitted(seed=2), 5, burn=20, backend=file, stop=False, **QUIET)


def test_a_chain_with_another_prior_is_refused(simple, tmp_path):
    file, value = tmp_path / "chain.h5", simple.params["fwhm"].value
    settings = {"burn": 20, "stop": False, "backend": file, **QUIET}
    sample(simple, 5, priors={"fwhm": stats.norm(value, 2.0)}, **settings)
    sample(simple, 6, priors={"fwhm": stats.norm(value, 2.0)}, **settings)
    with pytest.raises(InputFileError, match="another fit"):
        sample(simple, 7, priors={"fwhm": stats.norm(value, 3.0)}, **settings)


def test_damaged_files_are_refused_and_kept(simple, tmp_path):
    for content in (b"", b"no chain", b"\x89HDF\r\n\x1a\n" + 50 * b"\0"):
        file = tmp_path / "bad.h5"
        file.write_bytes(content)
        if not content:  # an empty file is as good as none
            sample(simple, 5, burn=20, backend=file, stop=False, **QUIET)
            continue
        with pytest.raises(InputFileError, match="cannot be read as a chain"):
            sample(simple, 5, burn=20, backend=file, stop=False, **QUIET)
        assert file.read_bytes() == content
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as opened:
        opened["mine"] = np.arange(5)
    with pytest.raises(InputFileError, match="something else"):
        sample(simple, 5, backend=other, **QUIET)
    with pytest.raises(InputFileError, match="does not exist"):
        sample(simple, 5, backend=tmp_path / "no" / "chain.h5", **QUIET)


# --- bad input ---


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"walkers": 3}, "at least 4"),
        ({"steps": 0}, "at least 1 step"),
        ({"errors": "both"}, "expected errors"),
        ({"burn": 3}, "20 of burn-in"),
        ({"priors": {"Dmax1": stats.norm()}}, "not a free parameter"),
        ({"priors": {"scale": 3.0}}, "expected a distribution"),
        ({"priors": {"fwhm": stats.uniform(1000.0, 1.0)}}, "excludes the best fit"),
    ],
)
def test_what_cannot_be_sampled_is_said(simple, settings, message):
    with pytest.raises(ParameterError, match=message):
        sample(simple, **{"steps": 10, **QUIET, **settings})


def test_a_fit_without_covariance_can_be_sampled(simple):
    """The walkers start from the curvature of the posterior itself."""
    result = fitted(free=("scale",))
    width = result.params["scale"].stderr
    result.covar = None
    assert sample(result, 300, **QUIET)["posterior/scale"].values.std() == pytest.approx(width, rel=0.1)


def test_walkers_start_at_other_maxima_that_are_as_high(simple):
    near, far = simple.params.copy(), simple.params.copy()
    near["offset"].value += 0.5
    far["offset"].value += 500.0  # a place from which there is no way to the peak
    places = [len(peaks_of(LogPosterior(simple, {}), starts)) for starts in ([], [near], [far])]
    assert places == [1, 1, 1]
    with pytest.raises(ParameterError, match=r"lacks the free parameters .*offset"):
        sample(simple, 10, starts=[Parameters()], **QUIET)


@pytest.fixture(scope="module")
def two_maxima():
    """A fit of a curve with two bumps where its model has one, from a guess that has seen the other."""
    model = RockingCurveModel(simulation=StubCurve(), axis_kind="offset", unit="arcsec")
    params = model.make_params(**(TRUTH | {"scale": 2000.0, "Rp2": 0.0}))
    params["D02"].max = 0.006  # beyond D01
    both = [model.eval(params, x=AXIS, D02=strain) for strain in (0.0020, 0.0046)]
    for name in params:
        params[name].vary = name in ("D02", "background")
    params["D02"].value, params["D02"].user_data = 0.0020, {"guess": {"competing": 0.0046}}
    return model.fit(np.rint(np.mean(both, axis=0)), params, x=AXIS)


def test_a_second_maximum_that_the_guess_saw_gets_walkers(two_maxima):
    found = sample(two_maxima, 400, burn=40, errors="noise", **QUIET)
    ends = np.sort(found["posterior/D02"].values.mean(axis=1))
    np.testing.assert_allclose(ends, np.repeat([0.0020, 0.0046], 4), rtol=0.05)
    assert found.attrs["maxima"] == 2
    assert found.attrs["converged"] == 1  # those at the same maximum agree
    assert "walkers are at 2 maxima" in found.attrs["notes"]
    assert "4 at one 0.0 below the highest" in found.attrs["notes"]
    alone = fitted(free=("D02", "background"))
    assert sample(alone, 50, burn=20, stop=False, **QUIET).attrs["maxima"] == 1


def test_a_result_that_was_read_can_be_sampled_at_once(tmp_path):
    reflection = Reflection("GGG", (4, 4, 4), "CuKa1")
    model = RockingCurveModel(reflection, axis_kind="offset", unit="arcsec")
    params = model.make_params(scale=1e5)
    for name in params:
        params[name].vary = name in ("scale", "offset", "fwhm")
    counts = np.random.default_rng(1).poisson(model.eval(params, x=AXIS)).astype(float)
    result = model.fit(counts, params, x=AXIS)
    result.save(tmp_path / "result.json")
    read = load_result(tmp_path / "result.json")
    was, found = (LogPosterior(each, {}, None) for each in (result, read))
    for a, b in zip(was.expansion(was.start()), found.expansion(was.start()), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-9)
    posterior = sample(load_result(tmp_path / "result.json"), 20, burn=20, **QUIET)
    assert posterior["posterior"].sizes["draw"] == 20


def test_looking_at_the_profiles_before_changes_nothing():
    result = fitted()
    target = LogPosterior(result, {}, None)
    place = target.start()
    before = target.expansion(place)
    for look in (result.check_errors, lambda: result.conf_interval(p_names=["offset"], sigmas=[1])):
        look()
        again = LogPosterior(result, {}, None)
        for was, found in zip(before, again.expansion(place), strict=True):
            np.testing.assert_array_equal(found, was)


def test_a_short_chain_says_so(simple):
    with pytest.warns(UserWarning, match="too short"):
        found = sample(simple, 12, burn=20, **QUIET)
    assert found.attrs["converged"] == 0


# --- figures ---


def test_figures(simple, posterior, tmp_path):
    figure = plot.corner(posterior)
    assert {"scale\n(counts)", "offset\n(arcsec)"} <= {ax.get_xlabel() for ax in figure.axes} | {
        ax.get_ylabel() for ax in figure.axes
    }
    assert len(plot.trace(posterior).axes) == 4
    figure = plot.bands(posterior, simple)
    assert figure.axes[0].get_yscale() == "log"
    for source in (posterior, simple):
        labels = [text.get_text() for text in plot.correlations(source).axes[0].get_xticklabels()]
        assert labels == list(simple.var_names)
    figure.savefig(tmp_path / "bands.png")
    with pytest.raises(ParameterError, match="has no nonsense"):
        plot.corner(posterior, ["nonsense"])
    with pytest.raises(ParameterError, match="expected a posterior"):
        plot.trace(xr.Dataset())


def test_a_posterior_survives_netcdf(posterior, tmp_path):
    from hrxrd_ml import save_dataset

    save_dataset(posterior, tmp_path / "posterior.nc")
    with xr.open_datatree(tmp_path / "posterior.nc", engine="h5netcdf") as opened:
        xr.testing.assert_equal(opened.load(), posterior)
        assert opened.attrs["notes"] == posterior.attrs["notes"]


def test_arviz_takes_a_posterior(simple, posterior):
    """Its newest release as it is, those before 1.0 behind ``from_datatree``."""
    try:
        from arviz_stats import summary
    except ImportError:
        arviz = pytest.importorskip("arviz", reason="ArviZ is not installed")
        posterior, summary = arviz.from_datatree(posterior), arviz.summary
    table = summary(posterior, round_to="none")
    assert set(simple.var_names) <= set(table.index)
    assert not {"curve_band", "lp"} & set(table.index)
    for name in simple.var_names:
        assert table.loc[name, "mean"] == pytest.approx(simple.params[name].value, abs=simple.params[name].stderr)


@pytest.mark.slow
def test_a_chain_that_is_killed_loses_nothing_but_its_last_step(tmp_path):
    """Kill -9 at ten random moments: the file can always be read, and the chain only grows."""
    import csv

    from hrxrd_ml.cli.main import main
    from killing import run_and_kill

    experiment = tmp_path / "curve.toml"
    experiment.write_text(
        '[reflection]\ncrystal = "GGG"\nhkl = [4, 4, 4]\n[axis]\nkind = "offset"\nunit = "arcsec"\n', encoding="utf-8"
    )
    assert main(["simulate", str(experiment), "--noise", "--seed", "3", "--out", str(tmp_path / "curve.csv")]) == 0
    with (tmp_path / "curve.csv").open(encoding="utf-8") as opened:
        assert len(list(csv.reader(opened))) > 100
    file = tmp_path / "out" / "chain.h5"
    command = ["fit", str(tmp_path / "curve.csv"), str(experiment), "--out", str(tmp_path / "out"), "--emcee", "100000"]
    rng, lengths = np.random.default_rng(6), []
    for _ in range(10):
        run_and_kill(command, float(rng.uniform(0.2, 3.0)), sign_of_life=file)
        with h5py.File(file, "r") as opened:
            groups = [opened[name] for name in ("burn", "chain") if name in opened]
            lengths.append(sum(int(group.attrs["iteration"]) for group in groups))
            for group in groups:
                done = int(group.attrs["iteration"])
                assert np.isfinite(group["chain"][:done]).all()
    assert lengths == sorted(lengths)
    assert lengths[-1] > lengths[0] > 0


def test_the_network_proposes_starts():
    from hrxrd_ml import Reflection

    model = RockingCurveModel(Reflection("GGG", (4, 4, 4), "CuKa1"), axis_kind="offset", unit="arcsec")
    params = model.make_params(scale=1e5, fwhm=15.0)
    axis = np.linspace(-1500.0, 200.0, 300)
    counts = np.random.default_rng(1).poisson(model.eval(params, x=axis)).astype(float)
    for name in params:
        params[name].vary = name in ("Dmax1", "L1", "Rp1", "scale")
    result = model.fit(counts, params, x=axis)
    starts = _network_starts(result)
    assert len(starts) > 1
    assert all(start["fwhm"].value == 15.0 for start in starts)
    assert min(abs(start["Dmax1"].value / params["Dmax1"].value - 1.0) for start in starts) < 0.1
