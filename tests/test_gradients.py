"""Gradients and interfaces of finite width: independent of how they are cut, exact derivatives, known limits."""

from dataclasses import replace

import numpy as np
import pytest

import epitaxy_cases
import hrxrd_ml as hx
from differences import central
from hrxrd_ml import Crystal, Film, RockingCurve, Superlattice
from hrxrd_ml.diffraction import coherent
from hrxrd_ml.diffraction.beams import Beams
from hrxrd_ml.diffraction.deviation import Deviation
from hrxrd_ml.diffraction.lamellae import Coefficients
from hrxrd_ml.diffraction.media import Media
from hrxrd_ml.diffraction.reflectivity import Diffracting
from hrxrd_ml.errors import ParameterError
from hrxrd_ml.specimen.stack import Stack
from hrxrd_ml.units import ARCSEC

GAAS, SI = (hx.Reflection(crystal, (0, 0, 4), "CuKa1") for crystal in ("GaAs", "Si"))
GAAS_224 = hx.Reflection("GaAs", (2, 2, 4), "CuKa1", (0, 0, 1))
X = np.linspace(-6000.0, 4000.0, 201) * ARCSEC
WELL, BARRIER = Film("well", "InGaAs", 60.0, x=0.2), Film("barrier", "GaAs", 120.0, strain=0.0)
CAP = Film("cap", "GaAs", 200.0, strain=0.0, interface=8.0)


def reflected(reflection, films, *, names=None, x=X, **changes):
    """Reflectivity of films at given angles, and with names its derivatives."""
    model = RockingCurve.of(reflection, films=films)
    values = model.space.defaults() | changes
    beams = Beams(model.conditions.deviation, x)
    reach = float(np.abs(x).max() / np.tan(reflection.bragg_angle))
    seen = Diffracting.of(model.conditions, model.layer(values, reach, names=names))
    c = seen.coefficients(beams, model.conditions.substrate.waves(beams), 1.0)
    weights = np.array([model.reflection.polarization_weights])
    if names is None:
        return coherent.weighted_reflectivity(c, weights)[0]
    return coherent.weighted_reflectivity_and_jacobian(c, seen.slopes, weights, seen.media, beams)[1][0, :-1]


def finely_cut(reflection, films, size=0.25):
    """The same by even, thin, uniform slices, the weights as the formula has them."""
    sample = epitaxy_cases.Stack(reflection, films, 0.0)
    listed = list(sample.films())[::-1]
    bottom, widths = np.cumsum([film.thickness for film, _ in listed]), np.array([width for _, width in listed])
    end = bottom[-1] + 6.0 * widths.max()
    edges = np.unique(np.concatenate([np.linspace(0.0, end, int(np.ceil(end / size)) + 1), bottom]))
    numbers = sample.mixed(0.5 * (edges[1:] + edges[:-1]), [film for film, _ in listed], bottom, widths)
    deviation, weights = Deviation.of(reflection), np.array([reflection.polarization_weights])
    media = Media(deviation.in_plane(numbers[:, 1], numbers[:, 2]), numbers[:, 4:])
    own = RockingCurve.of(reflection, films=films).conditions.substrate
    found = []
    for part in np.array_split(X, len(edges) // 400 + 1):
        beams = Beams(deviation, part)
        waves, u0 = media.waves(beams).on(own.waves(beams)), deviation.u0(numbers[:, :1], tilt=numbers[:, 2:3])
        damage = np.exp(-numbers[:, 3:4])
        c = Coefficients(np.diff(edges), u0, damage, np.arange(len(numbers)), waves.rows, waves.couplings)
        found.append(coherent.weighted_reflectivity(c, weights)[0])
    return np.concatenate(found)


CASES = {
    "linear": (GAAS, (Film("f", "InGaAs", 1000.0, x=(0.05, 0.15)),)),
    "steep": (SI, (Film("f", "SiGe", 2000.0, x=(0.0, 0.3)), Film("cap", "Si", 50.0, strain=0.0))),
    "three nodes": (GAAS, (Film("f", "AlGaAs", 2000.0, x=(0.0, 0.3, 0.1)),)),
    "relaxing": (GAAS_224, (Film("f", "InGaAs", 800.0, x=0.1, relaxation=(0.5, 0.0)),)),
    "strained": (GAAS, (Film("f", "GaAs", 1500.0, strain=(0.0, 0.004)),)),
    "soft interfaces": (GAAS, (Film("f", "InGaAs", 300.0, x=0.2, interface=8.0), CAP)),
    "wide interface": (SI, (Film("f", "SiGe", 900.0, x=0.25, interface=60.0),)),
    "gradient with soft ends": (GAAS, (Film("f", "InGaAs", 400.0, x=(0.0, 0.2), interface=6.0), CAP)),
    "superlattice": (GAAS, (Superlattice("sl", (WELL, BARRIER), 15, interface=8.0), Film("cap", "AlAs", 150.0))),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_it_does_not_matter_how_they_are_cut(case):
    fine, finer = (finely_cut(*case, size) for size in (0.5, 0.25))
    exact = finer + (finer - fine) / 3.0  # slices of one material each are of second order
    off = np.abs(reflected(*case) - exact) / (exact + 1e-6)
    assert np.max(off) < 1e-4


DERIVATIVES = [
    ("linear", "f_x1", 1e-4),
    ("linear", "f_x2", 1e-4),
    ("linear", "f_thickness", 0.05),
    ("three nodes", "f_x2", 1e-3),
    ("relaxing", "f_relaxation1", 1e-3),
    ("relaxing", "f_tilt", 1e-4),
    ("strained", "f_strain2", 3e-6),
    ("soft interfaces", "f_interface", 0.02),
    ("soft interfaces", "cap_interface", 0.02),
    ("soft interfaces", "f_thickness", 0.05),
    ("soft interfaces", "f_density", 1e-3),
    ("gradient with soft ends", "f_x2", 1e-4),
    ("superlattice", "sl_interface", 0.01),
    ("superlattice", "well_thickness", 0.01),
    ("superlattice", "well_x", 1e-4),
    ("superlattice", "sl_drift", 1e-4),
]


@pytest.mark.parametrize(("case", "name", "step"), DERIVATIVES)
def test_derivatives_are_those_of_differences(case, name, step):
    reflection, films = CASES[case]
    start = RockingCurve.of(reflection, films=films).space.defaults()[name]
    exact = reflected(reflection, films, names=[name])[0]
    difference = central(lambda shift: reflected(reflection, films, **{name: start + shift}), step)
    assert np.max(np.abs(exact - difference)) < 1e-6 * np.max(np.abs(difference))


# --- limits ---


def test_a_gradient_between_equal_numbers_is_none():
    flat = reflected(GAAS, (Film("f", "InGaAs", 700.0, x=0.1, relaxation=0.2),))
    for graded in ({"x": (0.1, 0.1)}, {"relaxation": (0.2, 0.2, 0.2)}):
        film = Film("f", "InGaAs", 700.0, **{"x": 0.1, "relaxation": 0.2, **graded})
        np.testing.assert_allclose(reflected(GAAS, (film,)), flat, rtol=1e-9)


def test_the_first_number_of_a_gradient_is_that_of_the_lower_end():
    """Films in small steps are near it, in the other order they are not."""
    graded = reflected(GAAS, (Film("f", "InGaAs", 240.0, x=(0.0, 0.12)),))

    def steps(compositions):
        return reflected(GAAS, [Film(f"f{k}", "InGaAs", 10.0, x=x) for k, x in enumerate(compositions)])

    rising = [0.12 * (k + 0.5) / 24 for k in range(24)]
    near, far = (np.abs(np.log(steps(each) / graded)) for each in (rising, rising[::-1]))
    assert np.median(near) < 0.01
    assert np.median(far) > 0.5


def test_no_width_is_a_sharp_interface():
    sharp = reflected(GAAS, (WELL, BARRIER))
    soft = reflected(GAAS, (replace(WELL, interface=0.0), replace(BARRIER, interface=0.0)))
    np.testing.assert_allclose(soft, sharp, rtol=1e-4)


def test_one_width_for_all_is_the_same_width_for_each():
    one = (Superlattice("sl", (WELL, BARRIER), 6, interface=5.0),)
    each = (Superlattice("sl", (replace(WELL, interface=5.0), replace(BARRIER, interface=5.0)), 6),)
    np.testing.assert_allclose(reflected(GAAS, one), reflected(GAAS, each), rtol=1e-12)
    together = reflected(GAAS, one, names=["sl_interface"])[0]
    apart = reflected(GAAS, each, names=["well_interface", "barrier_interface"]).sum(axis=0)
    np.testing.assert_allclose(together, apart, rtol=1e-9, atol=1e-12 * np.abs(apart).max())


def test_repeats_in_the_middle_are_alike_between_soft_interfaces():
    films = (Superlattice("sl", (WELL, BARRIER), 9, interface=8.0), Film("cap", "AlAs", 150.0, interface=12.0))
    one_by_one = [replace(film, name=f"{film.name}{k}", interface=8.0) for k in range(9) for film in (WELL, BARRIER)]
    np.testing.assert_allclose(reflected(GAAS, films), reflected(GAAS, (*one_by_one, films[1])), rtol=1e-6)


@pytest.mark.parametrize("width", [4.0, 8.0])
def test_satellites_are_damped_as_known(width):
    """Satellite m by exp[-(2 pi m width/period)**2] (Lobach, Benediktovitch & Ulyanenkov, J. Appl. Cryst. 50, 681)."""
    period = 200.0
    films = (Film("well", "AlAs", 90.0), Film("barrier", "GaAs", 110.0, strain=0.0))
    h = GAAS.diffraction_vector
    mean = RockingCurve.of(GAAS, films=(Superlattice("sl", films, 20),))
    strain = Stack.of(mean.films, mean.space.defaults(), GAAS).parts[0][2]
    for m in (-1, 1):
        # normal momentum H/(1 + strain) + 2 pi m/period
        sine = GAAS.wavelength / (4.0 * np.pi) * (h / (1.0 + strain) + 2.0 * np.pi * m / period)
        x = np.arcsin(sine) - GAAS.bragg_angle + np.linspace(-60.0, 60.0, 241) * ARCSEC
        heights = [
            np.max(reflected(GAAS, (Superlattice("sl", films, 20, interface=each),), x=x)) for each in (0.0, width)
        ]
        expected = np.exp(-((2.0 * np.pi * m * width / period) ** 2))
        assert heights[1] / heights[0] == pytest.approx(expected, rel=0.06)


# --- with the rest ---


def test_a_profile_goes_through_a_gradient():
    """Films in steps of composition, too thin to matter, under the same profile."""
    x = np.linspace(-2500.0, 900.0, 201) * ARCSEC
    values = {"L1": 1200.0, "Rp1": 500.0, "L2": 700.0, "Dmax1": 0.004}
    steps = tuple(Film(f"f{k}", "AlGaAs", 8.0, x=0.3 * (k + 0.5) / 100) for k in range(100))
    curves = []
    for films in ((Film("f", "AlGaAs", 800.0, x=(0.0, 0.3)),), steps):
        model = RockingCurve.of(GAAS, "implanted", "tied", "correlation", films=films)
        curves.append(model.bind(x).curve(model.space.defaults() | values))
    np.testing.assert_allclose(curves[0], curves[1], rtol=2e-3)


def test_an_amorphous_cap_only_absorbs():
    """On the way in and out, at the angles inside of it."""
    film, cap = Film("f", "InGaAs", 500.0, x=0.1), Film("oxide", "Al2O3", 3000.0, amorphous=True)
    bare, covered = reflected(GAAS, (film,)), reflected(GAAS, (film, cap), oxide_density=0.8)
    chi0 = 0.8 * Crystal.named("Al2O3").susceptibility((0, 0, 6), GAAS.wavelength).chi0
    inside = np.sqrt(np.sin(GAAS.bragg_angle + X) ** 2 + chi0.real)
    path = 2.0 * 3000.0 / inside
    np.testing.assert_allclose(covered, bare * np.exp(-GAAS.wavenumber * chi0.imag * path), rtol=1e-9)
    assert np.all(covered < 0.9995 * bare)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"x": (0.1,)}, "2 to 20"),
        ({"x": tuple(np.linspace(0.0, 1.0, 21))}, "2 to 20"),
        ({"interface": -1.0}, "interface"),
        ({"interface": np.inf}, "interface"),
        ({"amorphous": True, "x": 0.1}, "amorphous"),
        ({"x": (0.1, 0.2), "strain": 0.001}, "what the strain follows from"),
    ],
)
def test_what_is_no_gradient_is_said(settings, message):
    with pytest.raises(ParameterError, match=message):
        Film(**{"name": "film", "crystal": "AlGaAs", "thickness": 100.0, "x": 0.1, **settings})


def test_a_gradient_over_too_much_is_refused():
    with pytest.raises(ParameterError, match=r"gradient|lamellae"):
        reflected(SI, (Film("f", "SiGe", 3e6, x=(0.0, 0.9)),))


def test_parameters_of_a_gradient_are_numbered_from_below():
    space = Film("f", "InGaAs", 500.0, x=(0.05, 0.1, 0.2), relaxation=(0.9, 0.0), interface=4.0).space(GAAS)
    found = {spec.name: (spec.value, spec.vary) for spec in space}
    assert found["f_x1"] == (0.05, True)
    assert found["f_x3"] == (0.2, True)
    assert found["f_relaxation1"] == (0.9, True)
    assert found["f_interface"] == (4.0, True)
    assert "f_x" not in found
    assert "node 3 of 3 from below" in space["f_x3"].description
