"""The instrument: normalised resolution functions, the convolution against quadrature, derivatives."""

import numpy as np
import pytest
from scipy.special import gamma

from hrxrd_ml import Reflection
from hrxrd_ml.complex_step import STEP, derivative
from hrxrd_ml.errors import ParameterError
from hrxrd_ml.instrument.angles import AngleGrid
from hrxrd_ml.instrument.background import make_background
from hrxrd_ml.instrument.convolution import Convolution
from hrxrd_ml.instrument.resolution import Response, make_resolution
from hrxrd_ml.instrument.spreading import interpolate, subdivide
from hrxrd_ml.units import ARCSEC

DATA = np.arange(-600.0, 301.0, 4.0) * ARCSEC
SHAPE = {"fwhm": 30.0, "eta": 0.3, "asymmetry": 0.2, "tail": 1.3, "curvature": 25.0, "curvature_skew": 0.8}
PLAIN = SHAPE | {"curvature": 0.0, "curvature_skew": 0.0, "tail": 1.0, "asymmetry": 0.0}


@pytest.fixture(scope="module")
def ggg():
    return Reflection("GGG", (4, 4, 4), 1.5405, monochromator=("Ge 220",))


@pytest.fixture(scope="module")
def grid(ggg):
    return AngleGrid.covering(DATA, ggg.darwin_width(), 100.0 * ARCSEC)


def response(kind, reflection=None):
    return Response(make_resolution(kind, reflection))


def convolve(grid, resolution, values, function, at):
    convolution = Convolution(grid)
    spectrum = convolution.spectrum(function(grid.nodes)[None, :])
    transform, _ = resolution.transform(grid, values)
    splines = convolution.coefficients(spectrum * np.atleast_2d(transform)[:1] * convolution.correction())
    return interpolate(convolution.positions(at), splines)[0]


def test_nodes_integrate_a_narrow_peak_and_a_broad_one(grid, ggg):
    for width in (0.4 * ggg.darwin_width(), 60.0 * ARCSEC):
        peak = np.exp(-0.5 * (grid.nodes / width) ** 2)
        assert peak @ grid.quadrature == pytest.approx(width * np.sqrt(2.0 * np.pi), rel=1e-5)


@pytest.mark.parametrize("kind", ["gaussian", "pseudo_voigt", "split_pseudo_voigt"])
def test_resolution_functions_are_normalised(grid, kind):
    transform, _ = response(kind).transform(grid, SHAPE)
    assert transform[0].real == pytest.approx(1.0, abs=2e-3)  # what is missing is tail beyond the grid


def test_gaussian_of_a_gaussian_is_the_gaussian_of_both_widths(grid):
    sigma, fwhm = 20.0 * ARCSEC, 30.0 * ARCSEC

    def peak(x):
        return np.exp(-0.5 * (x / sigma) ** 2)

    both = np.hypot(sigma, fwhm / np.sqrt(8.0 * np.log(2.0)))
    expected = sigma / both * np.exp(-0.5 * (DATA / both) ** 2)
    found = convolve(grid, response("gaussian"), PLAIN, peak, DATA)
    np.testing.assert_allclose(found, expected, atol=5e-6)  # cubic splines on a grid of 4 arcsec


@pytest.mark.parametrize("kind", ["pseudo_voigt", "split_pseudo_voigt"])
def test_convolution_agrees_with_direct_quadrature(grid, kind):
    """The resolution function of the data point at angle x is mirrored: wider at larger angles for asymmetry > 0."""
    values = SHAPE | {"curvature": 0.0, "curvature_skew": 0.0, "tail": 1.0}
    if kind == "pseudo_voigt":
        values["asymmetry"] = 0.0
    sigma = 12.0 * ARCSEC
    fine = np.linspace(-3000.0, 3000.0, 60_001) * ARCSEC
    half = 0.5 * 30.0 * ARCSEC * np.where(fine > 0.0, 1.0 + values["asymmetry"], 1.0 - values["asymmetry"])
    gauss, lorentz = np.exp(-np.log(2.0) * (fine / half) ** 2), 1.0 / (1.0 + (fine / half) ** 2)
    step = fine[1] - fine[0]
    width = 30.0 * ARCSEC
    shape = 0.7 * gauss / (width * np.sqrt(np.pi / np.log(2.0)) / 2.0) + 0.3 * lorentz / (width * np.pi / 2.0)
    expected = [np.sum(shape * np.exp(-0.5 * ((x - fine) / sigma) ** 2)) * step for x in DATA]
    found = convolve(grid, response(kind), values, lambda x: np.exp(-0.5 * (x / sigma) ** 2), DATA)
    np.testing.assert_allclose(found, expected, atol=3e-4)


@pytest.mark.parametrize("kind", ["gaussian", "pseudo_voigt", "split_pseudo_voigt"])
def test_derivatives_of_the_transform(grid, kind):
    resolution = response(kind)
    names = resolution.space.names
    _, slopes = resolution.transform(grid, SHAPE, names)
    for name in names:
        h = 1e-5 * SHAPE[name]
        up, down = (resolution.transform(grid, SHAPE | {name: SHAPE[name] + s * h}, names)[0] for s in (1, -1))
        difference = (up - down) / (2.0 * h)
        assert np.max(np.abs(slopes[name] - difference)) < 1e-6 * np.max(np.abs(difference)), name


def test_a_bent_crystal_broadens_to_a_box(grid):
    """Second moments add: a uniform tilt through c has the variance c**2/12."""
    sigma = 15.0 * ARCSEC
    values = PLAIN | {"fwhm": 5.0, "curvature": 60.0}
    found = convolve(grid, response("gaussian"), values, lambda x: np.exp(-0.5 * (x / sigma) ** 2), DATA)
    variance = np.sum(found * DATA**2) / np.sum(found) - (np.sum(found * DATA) / np.sum(found)) ** 2
    instrument = (5.0 * ARCSEC) ** 2 / (8.0 * np.log(2.0))
    assert variance == pytest.approx(sigma**2 + instrument + (60.0 * ARCSEC) ** 2 / 12.0, rel=1e-3)


def test_skewed_illumination_of_a_bent_crystal_moves_the_weight_to_the_brighter_end(grid):
    sigma = 15.0 * ARCSEC
    mean = []
    for skew in (-2.0, 2.0):
        values = PLAIN | {"fwhm": 5.0, "curvature": 60.0, "curvature_skew": skew}
        found = convolve(grid, response("gaussian"), values, lambda x: np.exp(-0.5 * (x / sigma) ** 2), DATA)
        mean.append(np.sum(found * DATA) / np.sum(found))
    assert mean[0] == pytest.approx(-mean[1], rel=1e-3)
    # mean of t exp(2 t) on [-1/2, 1/2]
    t = np.linspace(-0.5, 0.5, 10_001)
    assert mean[1] == pytest.approx(60.0 * ARCSEC * np.sum(t * np.exp(2.0 * t)) / np.sum(np.exp(2.0 * t)), rel=1e-2)


def test_double_crystal_is_at_least_as_wide_as_the_monochromators_darwin_curve(grid, ggg):
    resolution = response("double_crystal", ggg)
    transform, slopes = resolution.transform(grid, {"fwhm": 1.0, "curvature": 0.0, "curvature_skew": 0.0}, ["fwhm"])
    assert transform.shape == (2, len(grid.omega))
    np.testing.assert_allclose(transform[:, 0], 1.0, rtol=1e-9)
    assert set(slopes) == {"fwhm"}
    shape = np.fft.irfft(transform[0] * np.exp(-1j * grid.omega * grid.step * grid.size / 2), n=grid.size)
    width = np.count_nonzero(shape > 0.5 * shape.max()) * grid.step
    mono = ggg.monochromator_crystals[0].darwin_width
    assert width == pytest.approx(mono, abs=2.5 * grid.step)


def test_double_crystal_needs_a_monochromator():
    with pytest.raises(ParameterError, match="monochromator"):
        make_resolution("double_crystal", Reflection("GGG", (4, 4, 4), 1.5405))


@pytest.mark.parametrize("kind", ["constant", "linear", "exponential"])
def test_backgrounds(kind):
    x = np.linspace(-500.0, 200.0, 8)
    values = {"background": 12.0, "slope": 1e-3}
    background = make_background(kind)
    level = background.counts(x, values) + 0.0 * x
    expected = {"constant": 12.0 + 0.0 * x, "linear": 12.0 + 1e-3 * x, "exponential": 12.0 * np.exp(1e-3 * x)}
    np.testing.assert_allclose(level, expected[kind])
    for name in background.space.names:
        slope = derivative(background.counts(x, values | {name: values[name] + 1j * STEP}))
        up, down = (background.counts(x, values | {name: values[name] + s * 1e-6}) for s in (1, -1))
        np.testing.assert_allclose(slope, (up - down) / 2e-6, rtol=1e-6)


@pytest.mark.parametrize("tail", [1.0, 1.3])
def test_lorentzian_tails_reach_across_the_whole_scan(tail: float) -> None:
    """A narrow line under a pseudo-Voigt, against direct summation: no tail comes in from the wrong side."""
    dtheta = np.arange(-1500.0, 100.0, 4.0) * ARCSEC
    grid = AngleGrid.covering(dtheta, 20.0 * ARCSEC, 100.0 * ARCSEC)
    sigma, width, eta = 6.0 * ARCSEC, 20.0 * ARCSEC, 0.5
    values = PLAIN | {"fwhm": 20.0, "eta": eta, "tail": tail}
    found = convolve(grid, response("pseudo_voigt"), values, lambda nodes: np.exp(-0.5 * (nodes / sigma) ** 2), dtheta)

    x = np.linspace(-8.0 * sigma, 8.0 * sigma, 4001)
    u = 2.0 * (dtheta[:, None] - x) / width
    gauss = np.exp(-np.log(2.0) * u**2) * 2.0 * np.sqrt(np.log(2.0) / np.pi) / width
    c = 2.0 ** (1.0 / tail) - 1.0
    area = 0.5 * width * np.sqrt(np.pi / c) * gamma(tail - 0.5) / gamma(tail)
    shape = (1.0 - eta) * gauss + eta * (1.0 + c * u**2) ** -tail / area
    expected = shape @ np.exp(-0.5 * (x / sigma) ** 2) * (x[1] - x[0])
    assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("every", [2, 3, 8])
def test_subdivision_keeps_waves_of_eight_nodes_and_is_exact_for_polynomials(every):
    n = np.arange(60.0)
    fine = np.linspace(0.0, 59.0, 59 * every + 1)
    rows = np.array([np.sin(2.0 * np.pi * n / 8.0), (n / 60.0) ** 5, 3.0 - n])
    wave, power, line = subdivide(rows, every)
    inside = (fine >= 4.0) & (fine <= 55.0)
    assert np.max(np.abs(wave - np.sin(2.0 * np.pi * fine / 8.0))[inside]) < 2e-4
    np.testing.assert_allclose(power[inside], ((fine / 60.0) ** 5)[inside], atol=1e-12)
    np.testing.assert_allclose(line, 3.0 - fine, atol=1e-12)


def test_nodes_are_dense_at_the_substrate_peak_wherever_it_is():
    grid = AngleGrid.covering(DATA, 4.0 * ARCSEC, 100.0 * ARCSEC, centre=60.0 * ARCSEC)
    finest = grid.nodes[np.argmin(np.diff(grid.nodes))]
    assert abs(finest / ARCSEC - 60.0) < 2.0
    assert grid.quadrature.sum() == pytest.approx(grid.nodes[-1] - grid.nodes[0], rel=1e-2)
