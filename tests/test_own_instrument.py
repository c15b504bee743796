"""Resolution functions and backgrounds that a user writes: as good as the built-in ones, or refused with a reason."""

import numpy as np
import pytest

from hrxrd_ml import Reflection, RockingCurveModel
from hrxrd_ml.errors import ParameterError
from hrxrd_ml.instrument import AngleGrid, Convolution, Response, sampling, transform_of
from hrxrd_ml.instrument.background import make_background
from hrxrd_ml.instrument.measure import measure
from hrxrd_ml.instrument.resolution import Gaussian, make_resolution
from hrxrd_ml.parameters import ParameterSpace, ParameterSpec
from hrxrd_ml.simulate import RockingCurve
from hrxrd_ml.units import ARCSEC

FWHM = ParameterSpec("fwhm", "arcsec", 15.0, 1.0, 200.0, True, "full width at half maximum")
SKEW = ParameterSpec("skew", "", 0.3, -0.9, 0.9, True, "how much brighter the side at larger angles is")
HUMP = ParameterSpec("hump", "counts", 20.0, 0.0, 1e6, True, "height of a hump of diffuse scattering")
WIDTH = ParameterSpec("hump_width", "arcsec", 300.0, 10.0, 5000.0, True, "its half width")
ANGLES = np.arange(-1200.0, 181.0, 6.0) * ARCSEC


class TwoSlits:
    """Two slits of the same width: a triangle."""

    space = ParameterSpace((FWHM,))

    def transform(self, grid, values):
        return np.sinc(grid.omega * values["fwhm"] * ARCSEC / (2.0 * np.pi)) ** 2

    def reach(self, values):
        return values["fwhm"]


class Skewed:
    """A Gaussian that is brighter on one side, from samples."""

    space = ParameterSpace((FWHM, SKEW))

    def transform(self, grid, values):
        x, step = sampling(grid)
        t = x / (values["fwhm"] * ARCSEC)
        peak = np.exp(-4.0 * np.log(2.0) * t**2) * (1.0 + values["skew"] * np.tanh(3.0 * t))
        return transform_of(peak / (np.sum(peak) * step), step, grid.size)


class PlainGaussian:
    """The built-in Gaussian without what it knows about its reach."""

    space = ParameterSpace((Gaussian().space["fwhm"],))

    def transform(self, grid, values):
        return Gaussian().transform(grid, values)


class PolarisedGaussian(PlainGaussian):
    polarised = True

    def transform(self, grid, values):
        return Gaussian().transform(grid, values) * np.ones((2, 1))


class ShortPolarisedGaussian(PolarisedGaussian):
    def reach(self, values):
        return 3.8 * values["fwhm"]


class Hump:
    """A Lorentzian hump on a constant."""

    space = ParameterSpace((make_background("constant").space["background"], HUMP, WIDTH))

    def counts(self, arcsec, values):
        return values["background"] + values["hump"] / (1.0 + (arcsec / values["hump_width"]) ** 2)


@pytest.fixture(scope="module")
def ggg():
    return Reflection("GGG", (4, 4, 4), "CuKa1")


def test_a_fit_recovers_the_parameters_of_own_resolution_and_background(ggg):
    model = RockingCurveModel(
        ggg, profile="none", resolution=Skewed(), background=Hump(), axis_kind="offset", unit="arcsec"
    )
    x = np.linspace(-400.0, 400.0, 401)
    truth = model.make_params(
        scale=3e6, fwhm=22.0, skew=-0.4, offset=5.0, background=200.0, hump=400.0, hump_width=120.0
    )
    counts = np.random.default_rng(7).poisson(model.eval(truth, x=x))
    start = model.make_params(scale=2e6, fwhm=15.0, skew=0.1, offset=0.0, background=1.0, hump=20.0, hump_width=200.0)
    result = model.fit(counts, start, x=x)
    for name in ("fwhm", "skew", "hump", "hump_width", "background"):
        par = result.params[name]
        assert par.stderr < 0.2 * abs(par.value), name
        assert abs(par.value - truth[name].value) < 4.0 * par.stderr, name


@pytest.mark.parametrize("resolution", [TwoSlits(), Skewed(), PolarisedGaussian()], ids=lambda own: type(own).__name__)
def test_derivatives_of_a_model_with_own_parts_are_those_of_differences(ggg, resolution):
    model = RockingCurve.of(ggg, resolution=resolution, background=Hump())
    bound, names = model.bind(ANGLES), list(model.space.names)
    values = model.space.defaults() | {
        "curvature": 20.0,
        "curvature_skew": 0.5,
        "strain_spread": 0.01,
        "dead_time": 1e-6,
    }
    intensity, jacobian = bound.jacobian(values, names)
    np.testing.assert_allclose(intensity, bound.curve(values), rtol=1e-11)
    for name in {"fwhm", "skew", "hump", "hump_width", "background", "curvature", "offset", "dead_time"} & set(names):
        h = 1e-5 * max(abs(values[name]), 1e-2)
        up, down = (bound.curve(values | {name: values[name] + side * h}) for side in (1.0, -1.0))
        difference = (up - down) / (2.0 * h)
        error = np.abs(jacobian[:, names.index(name)] - difference)
        assert np.max(error) < 3e-6 * np.max(np.abs(difference)), name


@pytest.mark.parametrize(
    "pair", [("gaussian", PlainGaussian()), (ShortPolarisedGaussian(), PolarisedGaussian())], ids=["plain", "polarised"]
)
@pytest.mark.parametrize("fwhm", [0.6, 12.0, 44.0, 90.0, 240.0])
@pytest.mark.parametrize(("curvature", "offset"), [(0.0, -28.0), (280.0, 28.0)])
def test_the_shorter_grid_of_a_function_that_ends_gives_the_same_curve(ggg, pair, fwhm, curvature, offset):
    change = {"fwhm": fwhm, "curvature": curvature, "curvature_skew": 2.0, "offset": offset}
    curves, sizes = [], []
    for resolution in pair:
        model = RockingCurve.of(ggg, resolution=resolution)
        values = model.space.defaults() | change
        bound = model.bind(ANGLES)
        curves.append(bound.curve(values))
        sizes.append(bound.reflectivity(values)[0].size)
    np.testing.assert_allclose(curves[0], curves[1], rtol=1e-9)
    assert sizes[0] < 0.8 * sizes[1]


def test_a_triangle_by_its_transform_is_the_convolution_with_a_triangle(ggg):
    angles = np.arange(-1200.0, 181.0, 2.0) * ARCSEC
    # A triangle has edges, so that its transform falls off slowly: nodes must be close for the last digits.
    grid = AngleGrid.covering(angles, ggg.darwin_width(), 100.0 * ARCSEC, fine=4.0)
    sigma, width = 20.0 * ARCSEC, 40.0 * ARCSEC
    values = {"fwhm": 40.0, "curvature": 0.0, "curvature_skew": 0.0, "scale": 1.0, "offset": 0.0, "step": 1.0}
    counts, jacobian = measure(
        np.exp(-0.5 * (grid.nodes / sigma) ** 2)[None, None],
        (),
        values | {"dead_time": 0.0, "background": 0.0},
        (),
        convolution=Convolution(grid),
        dtheta=angles,
        response=Response(make_resolution(TwoSlits())),
        background=make_background("constant"),
    )
    t = np.linspace(-width, width, 4001)
    triangle = (1.0 - np.abs(t) / width) / width
    expected = np.exp(-0.5 * ((angles[:, None] - t) / sigma) ** 2) @ triangle * (t[1] - t[0])
    np.testing.assert_allclose(counts, expected, atol=1e-5)
    assert jacobian.shape == (len(angles), 0)


@pytest.mark.parametrize("kind", ["pseudo_voigt", "double_crystal"])
def test_measuring_is_differentiated_by_every_parameter_of_the_instrument(kind):
    """One Gaussian peak, with a derivative of its own by its width."""
    reflection = Reflection("GGG", (4, 4, 4), "CuKa1", monochromator=("Ge 220",))
    response, background = Response(make_resolution(kind, reflection)), make_background("linear")
    grid = AngleGrid.covering(ANGLES, reflection.darwin_width(), 100.0 * ARCSEC)
    shares = np.array([0.7, 0.3])[:, None] if response.polarised else np.ones((1, 1))
    values = {"width": 30.0, "scale": 1e4, "offset": 7.0, "step": 1.02, "dead_time": 3e-5, "background": 30.0}
    values |= {"slope": 0.02, "fwhm": 25.0, "eta": 0.3, "tail": 1.2}
    values |= {"curvature": 30.0, "curvature_skew": 0.7}
    # The width first: rows are taken by name, whatever the order.
    wanted = ["background", "width", *sorted(response.space.names), "offset", "step", "slope", "scale"]
    wanted.append("dead_time")

    def run(values, wanted=()):
        peak = np.exp(-0.5 * ((grid.nodes / ARCSEC + 300.0) / values["width"]) ** 2)
        by_width = peak * (grid.nodes / ARCSEC + 300.0) ** 2 / values["width"] ** 3
        return measure(
            np.array([shares * peak, shares * by_width]),
            ["width"],
            values,
            wanted,
            convolution=Convolution(grid),
            dtheta=ANGLES,
            response=response,
            background=background,
        )

    counts, jacobian = run(values, wanted)
    np.testing.assert_allclose(counts, run(values, ["width"])[0], rtol=1e-12)
    for name, found in zip(wanted, jacobian.T, strict=True):
        h = 1e-4 * abs(values[name])
        up, down = (run(values | {name: values[name] + side * h}, ["width"])[0] for side in (1.0, -1.0))
        difference = (up - down) / (2.0 * h)
        assert np.max(np.abs(found - difference)) < 1e-6 * np.max(np.abs(difference)), name
    with pytest.raises(ParameterError, match="unknown parameter 'fhwm'; did you mean fwhm"):
        run(values, ["width", "fhwm"])


class Absolute(TwoSlits):
    def transform(self, grid, values):
        return np.abs(super().transform(grid, values))


class Real(TwoSlits):
    def transform(self, grid, values):
        return super().transform(grid, {name: float(np.real(value)) for name, value in values.items()})


class NoWidth(TwoSlits):
    space = ParameterSpace((SKEW,))


class NotNormalised(TwoSlits):
    def transform(self, grid, values):
        return 0.5 * super().transform(grid, values)


class Complex(TwoSlits):
    def transform(self, grid, values):
        return super().transform(grid, values) * np.exp(-1j * grid.omega * 1e-6)


class WrongShape(TwoSlits):
    def transform(self, grid, values):
        return super().transform(grid, values)[1:]


class NotFinite(TwoSlits):
    def transform(self, grid, values):
        return np.sin(grid.omega * values["fwhm"]) / (grid.omega * values["fwhm"])


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize(
    ("resolution", "message"),
    [
        (Absolute(), "Absolute.transform does not change with fwhm as its complex step says.*imaginary"),
        (Real(), "Real.transform does not change with fwhm as its complex step says.*imaginary"),
        (NoWidth(), r"needs a parameter fwhm \[arcsec\].*NoWidth has skew"),
        (NotNormalised(), "NotNormalised must be normalised.* 0.5 instead of 1"),
        (Complex(), "real arrays.*the pair T.real, -T.imag"),
        (WrongShape(), "WrongShape.transform must return .* got shape"),
        (NotFinite(), "NotFinite.transform must return .* finite numbers"),
        (Gaussian, "must|object with `space`"),
        (12.0, "a resolution function is a name .* or an object with `space`.*got float"),
        ("lorentzian", "unknown resolution 'lorentzian': expected one of gaussian"),
    ],
)
def test_a_resolution_that_cannot_work_is_refused_when_the_model_is_made(ggg, resolution, message):
    with pytest.raises(ParameterError, match=message):
        RockingCurveModel(ggg, resolution=resolution)


class Rounded(Hump):
    def counts(self, arcsec, values):
        return np.round(np.real(super().counts(arcsec, values)), 3)


class TooShort(Hump):
    def counts(self, arcsec, values):
        return super().counts(arcsec, values)[:-1]


@pytest.mark.parametrize(
    ("background", "message"),
    [
        (Rounded(), "Rounded.counts does not change with background as its complex step says"),
        (TooShort(), "TooShort.counts must return 29 finite numbers"),
        (3.0, "a background is a name .* or an object with `space`.*got float"),
        ("none", "unknown background 'none': expected one of constant"),
    ],
)
def test_a_background_that_cannot_work_is_refused_when_the_model_is_made(ggg, background, message):
    with pytest.raises(ParameterError, match=message):
        RockingCurveModel(ggg, background=background)


def test_a_model_with_own_parts_is_not_saved_as_if_it_had_none(ggg, tmp_path):
    with pytest.raises(ParameterError, match="cannot save"):
        RockingCurveModel(ggg, resolution=TwoSlits()).save(tmp_path / "model.json")
    assert not list(tmp_path.iterdir())


def test_the_guess_works_with_own_parts(ggg):
    model = RockingCurveModel(ggg, resolution=TwoSlits(), background=Hump(), axis_kind="offset", unit="arcsec")
    x = ANGLES / ARCSEC
    truth = model.make_params(scale=1e6, fwhm=20.0, background=5.0, hump=10.0)
    counts = np.random.default_rng(3).poisson(model.eval(truth, x=x))
    result = model.fit(counts, model.guess(counts, x=x), x=x)
    assert result.redchi < 1.3
    assert result.params["fwhm"].value == pytest.approx(20.0, abs=4.0 * result.params["fwhm"].stderr)
