"""Angles run: every angle of a scan has its own refraction, coupling, polarisation factor and exit angle.

Held to four waves in each crystal (`four_wave`), in both polarisations, and to Bragg's law.
"""

import numpy as np
import pytest

import angle_cases
import four_wave
from hrxrd_ml import Crystal, Film, Reflection, RockingCurve
from hrxrd_ml.units import ARCSEC

K = 2.0 * np.pi / 1.5406
GAAS = (-2.9e-5 + 8.5e-7j, -1.5e-5 + 7.9e-7j, -1.4e-5 + 8.3e-7j)


# --- the solver itself ---


@pytest.mark.parametrize("pi", [False, True], ids=["sigma", "pi"])
def test_four_waves_take_the_same_way_back(pi):
    """Reciprocity: source and detector change places, H remains."""
    there = np.radians(np.linspace(7.6, 8.6, 101))
    along = K * (np.cos(np.radians(44.0)) - np.cos(np.radians(8.1)))
    normal = K * (np.sin(np.radians(44.0)) + np.sin(np.radians(8.1)))
    layers = [(700.0, 0.997 * normal, *GAAS), (np.inf, normal, *(0.97 * chi for chi in GAAS))]
    one = four_wave.reflectivity(there, K, along, layers, pi=pi)
    other = four_wave.reflectivity(np.arccos(np.cos(there) + along / K), K, -along, layers, pi=pi)
    assert one.max() > 0.01
    np.testing.assert_allclose(one, other, rtol=1e-8)


def test_four_waves_do_not_see_a_cut_through_a_crystal():
    incidence = np.radians(np.linspace(32.8, 33.2, 101))
    normal = 2.0 * K * np.sin(np.radians(33.0))
    film, substrate = (0.998 * normal, *GAAS), (np.inf, normal, *GAAS)
    whole = four_wave.reflectivity(incidence, K, 0.0, [(9000.0, *film), substrate])
    cut = four_wave.reflectivity(incidence, K, 0.0, [(2000.0, *film), (7000.0, *film), substrate])
    assert whole.max() > 0.1
    np.testing.assert_allclose(cut, whole, rtol=1e-8)


# --- the package ---


@pytest.mark.parametrize("pi", [False, True], ids=["sigma", "pi"])
@pytest.mark.parametrize("case", angle_cases.CASES.values(), ids=angle_cases.CASES)
def test_the_curve_is_that_of_four_waves_at_every_angle(case, pi):
    assert case.error(pi) <= case.goal


# --- peaks of films ---


def bragg_law(reflection, strain, parallel, chi0, turned=0.0):
    """Offset of the incidence angle [rad] at which a strained film diffracts: Bragg's law, and Snell's, within it."""
    h, tilt, index = reflection.diffraction_vector, reflection.inclination, np.sqrt(1.0 + chi0.real)
    along, normal = h * np.sin(tilt + turned) / (1.0 + parallel), h * np.cos(tilt + turned) / (1.0 + strain)
    inside = np.arcsin(np.hypot(along, normal) / (2.0 * index * reflection.wavenumber)) + np.arctan2(along, normal)
    return np.arccos(index * np.cos(inside)) - reflection.bragg_angle - tilt


def peak_near(expected, reflection, film):
    """Offset [rad] of the highest point within 100 arcsec of what is expected."""
    model = RockingCurve.of(reflection, films=(film,))
    scan = expected + np.linspace(-100.0, 100.0, 401) * ARCSEC
    grid, found = model.bind(scan).reflectivity(model.space.defaults())
    inside = (grid.nodes >= scan[0]) & (grid.nodes <= scan[-1])
    angles, reflected = grid.nodes[inside], found.coherent[0, inside]
    top = np.argmax(reflected)
    assert 0 < top < len(angles) - 1
    near = slice(top - 1, top + 2)
    curvature, slope, _ = np.polyfit(angles[near] - angles[top], reflected[near], 2)
    return angles[top] - slope / (2.0 * curvature)


@pytest.mark.parametrize("tilt", [0.0, -0.1])
@pytest.mark.parametrize("relaxation", [0.0, 0.25, 0.5, 0.75, 1.0])
@pytest.mark.parametrize(
    ("hkl", "exit"), [("004", "low"), ("224", "low"), ("224", "high"), ("115", "low"), ("115", "high")]
)
@pytest.mark.parametrize(("substrate", "alloy", "x"), [("Si", "SiGe", 0.25), ("GaAs", "InGaAs", 0.1)])
def test_the_peak_of_a_relaxed_or_tilted_film_is_where_bragg_has_it(substrate, alloy, x, hkl, exit, relaxation, tilt):
    """Within 2 arcsec, of which the substrate, by interference, and the film's extinction move it by 0.9.

    Exits are as flat as 6.6 deg, and the film's exit is up to 1.4 deg from the substrate's: taken to first order in the
    strain, peaks would be up to 200 arcsec off.
    """
    reflection = Reflection(substrate, hkl, "CuKa1", (0, 0, 1), exit, polarization_ratio=0.0)
    crystal, own = Crystal.named(alloy, x), reflection.crystal.a
    inside = own + relaxation * (crystal.a - own)
    biaxial = 2.0 * crystal.elastic_constants["C12"] / crystal.elastic_constants["C11"]
    out = crystal.a * (1.0 - biaxial * (inside - crystal.a) / crystal.a)
    chi0 = reflection.layer_susceptibility(crystal).chi0
    expected = bragg_law(reflection, out / own - 1.0, inside / own - 1.0, chi0, np.radians(tilt))
    film = Film("film", alloy, 3000.0, x=x, relaxation=relaxation, tilt=tilt)
    found = peak_near(expected, reflection, film)
    assert found == pytest.approx(expected, abs=2.0 * ARCSEC)


@pytest.mark.parametrize(("miscut", "kinematic"), [(0.0, -267.5), (2.0, -252.8), (-2.0, -281.6)])
def test_a_miscut_moves_the_peak_of_a_strained_film(miscut, kinematic):
    reflection = Reflection("GaAs", "004", "CuKa1", polarization_ratio=0.0, miscut=miscut)
    assert bragg_law(reflection, 0.002, 0.0, 0.0j) == pytest.approx(kinematic * ARCSEC, abs=0.1 * ARCSEC)
    expected = bragg_law(reflection, 0.002, 0.0, reflection.susceptibility.chi0)
    found = peak_near(expected, reflection, Film("film", "GaAs", 6000.0, strain=0.002))
    assert found == pytest.approx(expected, abs=2.0 * ARCSEC)
