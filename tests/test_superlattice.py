"""Superlattices: one set of parameters for all repeats, powers of a period, their derivatives, files."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import find_peaks

import hrxrd_ml as hx
from differences import central
from hrxrd_ml import Film, RockingCurve, Superlattice
from hrxrd_ml.diffraction import coherent
from hrxrd_ml.diffraction.beams import Beams
from hrxrd_ml.diffraction.reflectivity import Diffracting
from hrxrd_ml.errors import ParameterError
from hrxrd_ml.units import ARCSEC

GAAS = hx.Reflection("GaAs", (0, 0, 4), "CuKa1")
WELL, BARRIER = Film("well", "InGaAs", 80.0, x=0.15), Film("barrier", "GaAs", 150.0, strain=0.0)
BUFFER, CAP = Film("buffer", "AlGaAs", 2000.0, x=0.3), Film("cap", "AlGaAs", 500.0, x=0.2)
X = np.linspace(-4000.0, 2500.0, 401) * ARCSEC


def nested(repeats, **options):
    return (BUFFER, Superlattice("mqw", (WELL, BARRIER), repeats, **options), CAP)


def listed(repeats):
    """The same sample, every layer a film of its own."""
    pairs = [replace(film, name=f"{film.name}_{k}") for k in range(repeats) for film in (WELL, BARRIER)]
    return (BUFFER, *pairs, CAP)


def reflected(films, *, reflection=GAAS, names=None, backend="numba", **changes):
    """Reflectivity of films at the angles X, and with names its derivatives."""
    model = RockingCurve.of(reflection, films=films)
    values = model.space.defaults() | changes
    beams = Beams(model.conditions.deviation, X)
    seen = Diffracting.of(model.conditions, model.layer(values, 0.03, names=names))
    c = seen.coefficients(beams, model.conditions.substrate.waves(beams), 1.0)
    weights = np.array([model.reflection.polarization_weights])
    if names is None:
        return coherent.weighted_reflectivity(c, weights, backend)[0]
    return coherent.weighted_reflectivity_and_jacobian(c, seen.slopes, weights, seen.media, beams)[1][0, :-1]


# --- what is calculated ---


@pytest.mark.parametrize("repeats", [1, 2, 3, 8, 50])
def test_a_power_of_the_period_is_its_layers_one_by_one(repeats):
    np.testing.assert_allclose(reflected(nested(repeats)), reflected(listed(repeats)), rtol=1e-10, atol=1e-16)


def test_the_reference_repeats_layers_too():
    np.testing.assert_allclose(reflected(nested(7)), reflected(nested(7), backend="reference"), rtol=1e-9, atol=1e-15)


def test_one_material_repeated_is_one_film():
    one = Film("one", "AlGaAs", 120.0, x=0.4)
    whole = reflected((replace(one, thickness=120.0 * 600),))
    np.testing.assert_allclose(reflected((Superlattice("many", (one,), 600),)), whole, rtol=1e-9, atol=1e-15)


def test_a_superlattice_that_hides_its_substrate_is_calculated():
    """Squares are scaled: across half a millimetre the wave decays by hundreds of orders of magnitude."""
    deep = Superlattice("deep", (Film("a", "AlAs", 500.0), Film("b", "GaAs", 500.0)), 5000)
    found = reflected((deep,))
    assert np.all(np.isfinite(found))
    assert np.all((found > 0.0) & (found <= 1.0))
    np.testing.assert_allclose(found, reflected((replace(deep, repeats=4000),)), rtol=2e-8)


@pytest.mark.parametrize("repeats", [3, 50])
def test_derivatives_come_through_the_squares(repeats):
    """Of listed repeats the same parameters are tied: their derivatives add up."""
    names = ["buffer_thickness", "well_thickness", "barrier_thickness", "well_x", "barrier_strain", "cap_x"]
    found = reflected(nested(repeats), names=names)
    model = RockingCurve.of(GAAS, films=listed(repeats))
    for name, row in zip(names, found, strict=True):
        own = [each for each in model.space.names if each in (name, *repeated(name, repeats))]
        expected = reflected(listed(repeats), names=own).sum(axis=0)
        np.testing.assert_allclose(row, expected, rtol=1e-9, atol=1e-10 * np.abs(expected).max())


def repeated(name, repeats):
    film, _, key = name.partition("_")
    return [f"{film}_{k}_{key}" for k in range(repeats)]


@pytest.mark.parametrize(
    ("name", "step"),
    [("mqw_period", 0.02), ("mqw_ratio", 1e-4), ("mqw_drift", 1e-4), ("well_x", 1e-5), ("well_density", 1e-3)],
)
@pytest.mark.parametrize("drift", [0.0, 0.01])
def test_derivatives_are_those_of_differences(name, step, drift):
    films = nested(12, by="period", drift=drift)
    start = RockingCurve.of(GAAS, films=films).space.defaults()[name]
    exact = reflected(films, names=[name])[0]
    difference = central(lambda shift: reflected(films, **{name: start + shift}), step)
    assert np.max(np.abs(exact - difference)) < 1e-6 * np.max(np.abs(difference))


def test_a_drift_stretches_periods_evenly():
    """The lowest period is narrower, the topmost one wider than the mean, and the sum remains."""
    pairs = []
    for k in range(5):
        factor = 1.0 + 0.04 * (k / 4 - 0.5)
        films = [(WELL, factor * WELL.thickness), (BARRIER, factor * BARRIER.thickness)]
        pairs += [replace(film, name=f"{film.name}_{k}", thickness=t) for film, t in films]
    np.testing.assert_allclose(reflected(nested(5, drift=0.04)), reflected((BUFFER, *pairs, CAP)), rtol=1e-11)


def test_satellites_tell_the_period():
    """Angles of satellites m and m + 1: 2 (sin a - sin b)/wavelength = 1/period in a symmetric reflection."""
    films = (Superlattice("mqw", (WELL, BARRIER), 40),)
    model = RockingCurve.of(GAAS, films=films)
    grid, found = model.bind(X).reflectivity(model.space.defaults())
    theta, r = grid.nodes + GAAS.bragg_angle, found.coherent[0]
    inside = (grid.nodes > X[0]) & (grid.nodes < -300.0 * ARCSEC)
    order = 1.0 / 230.0 * GAAS.wavelength / 2.0 / np.cos(GAAS.bragg_angle)
    step = np.median(np.diff(theta))
    peaks = theta[inside][find_peaks(np.log(r[inside]), distance=int(0.6 * order / step), prominence=2.0)[0]]
    period = GAAS.wavelength / (2.0 * np.diff(np.sin(peaks)))
    assert len(period) >= 2
    np.testing.assert_allclose(period, 230.0, rtol=5e-3)


def test_a_profile_goes_through_repeats_as_through_films():
    x = np.linspace(-2500.0, 900.0, 201) * ARCSEC
    curves = []
    for films in (nested(4), listed(4)):
        model = RockingCurve.of(GAAS, "implanted", "tied", "none", films=films)
        curves.append(model.bind(x).curve(model.space.defaults() | {"L1": 1500.0, "Rp1": 700.0, "L2": 900.0}))
    np.testing.assert_allclose(curves[0], curves[1], rtol=1e-10)


# --- what is said, and files ---


def test_repeats_have_one_set_of_parameters():
    space = RockingCurve.of(GAAS, films=nested(30)).sample
    assert [name for name in space.names if name.startswith(("well", "barrier", "mqw"))] == [
        *(f"well_{key}" for key in ("thickness", "x", "relaxation", "density", "damage", "tilt")),
        *(f"barrier_{key}" for key in ("thickness", "strain", "density", "damage", "tilt")),
        "mqw_drift",
    ]
    assert not space["mqw_drift"].vary
    period = RockingCurve.of(GAAS, films=nested(30, by="period")).sample
    assert {"mqw_period", "mqw_ratio"} <= set(period.names)
    assert "well_thickness" not in period
    assert (period["mqw_period"].value, period["mqw_ratio"].value) == (230.0, 80.0 / 230.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"repeats": 0}, "repeats"),
        ({"repeats": 2.5}, "repeats"),
        ({"layers": ()}, "each a Film"),
        ({"layers": ("GaAs",)}, "each a Film"),
        ({"layers": (WELL,), "by": "period"}, "two layers"),
        ({"by": "ratio"}, "expected one of thickness, period"),
        ({"drift": 0.5}, "drift"),
        ({"interface": -1.0}, "interface"),
        ({"name": "a b"}, "letters, digits"),
        ({"thickness": 3.0}, "unknown parameter 'thickness'"),
    ],
)
def test_what_is_no_superlattice_is_said(settings, message):
    with pytest.raises(ParameterError, match=message):
        Superlattice(**{"name": "mqw", "layers": (WELL, BARRIER), "repeats": 5, **settings})


def test_names_differ_inside_and_outside():
    with pytest.raises(ParameterError, match="names must differ"):
        RockingCurve.of(GAAS, films=(replace(BUFFER, name="well"), *nested(3)[1:])).space  # noqa: B018
    with pytest.raises(ParameterError, match="names must differ"):
        RockingCurve.of(GAAS, films=(replace(BUFFER, name="mqw"), *nested(3)[1:])).space  # noqa: B018


def test_a_model_with_a_superlattice_survives_its_file(tmp_path):
    model = hx.RockingCurveModel(GAAS, films=nested(20, by="period", interface=4.0))
    model.save(tmp_path / "model.json")
    again = hx.load_model(tmp_path / "model.json")
    assert again.simulation.films == model.simulation.films
    x = np.linspace(32.5, 33.1, 50)
    np.testing.assert_array_equal(again.eval(again.make_params(), x=x), model.eval(model.make_params(), x=x))


SAMPLE = """
[reflection]
crystal = "GaAs"
hkl = [0, 0, 4]
[sample]
layers = [
  { crystal = "AlGaAs", x = [0.1, 0.3], thickness = 2000, interface = 5.0 },
  { name = "mqw", repeats = 10, by = "period", interface = 6, layers = [
      { name = "well", crystal = "InGaAs", x = 0.15, thickness = 80 },
      { crystal = "GaAs", strain = 0.0, thickness = 150 } ] },
]
"""


def test_an_experiment_file_describes_a_superlattice(tmp_path):
    file = tmp_path / "sample.toml"
    file.write_text(SAMPLE, encoding="utf-8")
    found = hx.build_model(hx.read_experiment(file)).simulation.films
    barrier = Film("mqw_2", "GaAs", 150.0, strain=0.0)
    assert found == (
        Film("layer1", "AlGaAs", 2000.0, x=(0.1, 0.3), interface=5.0),
        Superlattice("mqw", (WELL, barrier), 10, by="period", interface=6.0),
    )
    for wrong, message in (
        ("repeats = 10", "repeats = 0"),
        ("repeats = 10, ", ""),
        ('name = "well"', 'name = "mqw"'),
        ("x = [0.1, 0.3]", "x = [0.1, 3]"),
        ('by = "period"', 'by = "angle"'),
    ):
        file.write_text(SAMPLE.replace(wrong, message), encoding="utf-8")
        with pytest.raises(hx.HrxrdError, match=r"repeats|two layers|for a gradient|by"):
            hx.build_model(hx.read_experiment(file))


def test_a_superlattice_is_fitted():
    films = (Superlattice("mqw", (WELL, replace(BARRIER, strain=None, relaxation=0.0)), 8, by="period"),)
    model = hx.RockingCurveModel(GAAS, films=films, axis_kind="offset", unit="arcsec")
    axis = np.arange(-2600.0, 900.0, 6.0)
    truth = {"mqw_period": 239.0, "mqw_ratio": 0.36, "well_x": 0.163, "scale": 3e5, "fwhm": 11.0}
    counts = np.random.default_rng(3).poisson(model.eval(model.make_params(**truth), x=axis)).astype(float)
    params = model.guess(counts, x=axis)
    params["barrier_relaxation"].set(value=0.0, vary=False)
    result = model.fit(counts, params, x=axis)
    assert result.redchi < 1.2
    for name, value in truth.items():
        assert abs(result.params[name].value - value) < 5.0 * result.params[name].stderr, name
