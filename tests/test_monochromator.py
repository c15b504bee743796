"""Monochromators: curves of their crystals, settings, and the polarisation of what they pass."""

import cmath
import math
from collections.abc import Callable

import numpy as np
import pytest

from hrxrd_ml import Reflection, Susceptibility
from hrxrd_ml.crystal.monochromator import (
    MonochromatorCrystal,
    parse_monochromator,
    polarization_ratio,
    transmission,
)
from hrxrd_ml.crystal.structure import Crystal
from hrxrd_ml.errors import CrystalError
from hrxrd_ml.units import ARCSEC

CU = 1.5405


def ratio(*texts: str, setting: str | None = None) -> float:
    return polarization_ratio(parse_monochromator(texts, CU, setting))


# -- the curve of one crystal --------------------------------------------------------------------------


def test_curve_of_silicon() -> None:
    """Full widths at half maximum that are commonly tabulated for Cu Kα1: 7.395 and 5.459 arcsec."""
    angle = np.linspace(-20.0, 20.0, 40001) * ARCSEC
    for text, width in (("Si 111", 7.395), ("Si 220", 5.459)):
        (crystal,) = parse_monochromator(text, "CuKa1")
        curve = crystal.reflectivity(angle)[0]
        above = angle[curve > 0.5 * curve.max()]
        assert (above[-1] - above[0]) / ARCSEC == pytest.approx(width, rel=0.01)


def test_curve_is_the_decaying_solution_of_two_beam_theory() -> None:
    """r obeys σ_h + u r + σ_h̄ r² = 0, where the Riccati equation rests, and is the root within the unit circle."""
    (crystal,) = parse_monochromator("GaAs 002", CU)
    chi, twice = crystal.susceptibility, 2.0 * crystal.bragg_angle
    for angle in (-30.0, -3.0, 0.0, 1.0, 4.0, 50.0):
        u = 2.0 * (1j * chi.chi0.imag + math.sin(twice) * angle * ARCSEC)
        for polarization, factor in enumerate((1.0, abs(math.cos(twice)))):
            plus, minus = (factor * value for value in chi.pair(polarization))
            root = cmath.sqrt(u * u - 4.0 * plus * minus)
            r = min(((-u + root) / (2.0 * minus), (-u - root) / (2.0 * minus)), key=abs)
            got = crystal.reflectivity(angle * ARCSEC)[polarization]
            assert got == pytest.approx(abs(r) ** 2, rel=1e-9)


def test_curve_has_the_middle_and_the_sign_of_the_absorption_that_the_sample_has() -> None:
    (crystal,) = parse_monochromator("Ge 220", CU)
    low, high = crystal.reflectivity(np.array([-0.45, 0.45]) * crystal.darwin_width)[0]
    assert low > 0.9 > high > 0.6
    below, above = crystal.reflectivity(np.array([-5.0, 5.0]) * crystal.darwin_width)[0]
    assert below == pytest.approx(above, rel=0.1)
    assert crystal.darwin_width == pytest.approx(Reflection("Ge", "220", CU).darwin_width())


# -- what passes several ------------------------------------------------------------------------------


def test_senses_of_settings() -> None:
    def senses(*texts: str, setting: str | None = None) -> list[tuple[int, int]]:
        return [(m.sense, m.bounces) for m in parse_monochromator(texts, CU, setting)]

    assert senses("Si 111", "Ge 111", "Ge 220") == [(1, 1), (1, 1), (1, 1)]
    assert senses("Si 111", "Ge 111", "Ge 220", setting="dispersive") == [(1, 1), (-1, 1), (1, 1)]
    assert senses("4x Ge 220") == senses("4x Ge 220", setting="bartels") == [(1, 2), (-1, 2)]
    assert senses("2x Ge 220", "2x Ge 220", setting="dispersive") == senses("4x Ge 220")
    assert senses("4x Ge 220", setting="parallel") == [(1, 4)]
    assert senses("2x Ge 220") == [(1, 2)]
    assert senses("Si 111", "mosaic graphite 002", "Si 111", setting="dispersive") == [(1, 1), (1, 1), (-1, 1)]
    assert parse_monochromator((), CU) == ()
    assert parse_monochromator("Si 111", "CuKa1") == parse_monochromator(["Si(111)"], 1.5405929)


def test_rays_traced_through_a_bartels_monochromator() -> None:
    """Directions of rays mirrored at real faces, each with the Bragg angle of its own wavelength."""
    crystals = parse_monochromator("4x Ge 220", CU)
    (one,) = parse_monochromator("Ge 220", CU)
    theta, spacing = one.bragg_angle, one.crystal.d_spacing(one.hkl)
    # (+, −, −, +): deflected up, down, down, up, as the lines of the faces say.
    faces = np.array([theta, theta, -theta, -theta])
    turns = np.array([1, -1, -1, 1])
    rng = np.random.default_rng(3)
    for alpha, delta in rng.uniform(-1.0, 1.0, (50, 2)) * (8.0 * ARCSEC, 6e-5):
        direction, passed = alpha, np.ones(2)
        bragg = math.asin(CU * (1.0 + delta) / (2.0 * spacing))
        for face, turn in zip(faces, turns, strict=True):
            glancing = turn * (face - direction)
            passed *= one.reflectivity(glancing - bragg)
            direction = 2.0 * face - direction
        # The first face meets rays of positive direction at a smaller angle, so α is minus the direction here.
        np.testing.assert_allclose(transmission(crystals, -alpha, delta), passed, rtol=2e-3)


def test_parallel_crystals_of_one_kind_do_not_disperse() -> None:
    """Another wavelength only moves the angles that pass; in the dispersive setting it shuts the beam off."""
    alpha = np.linspace(-300.0, 300.0, 6001) * ARCSEC
    shift = 4e-4
    for setting, left in (("parallel", 1.0), ("dispersive", 0.0)):
        crystals = parse_monochromator(["Ge 220", "Ge 220"], CU, setting)
        tuned, detuned = transmission(crystals, alpha)[0], transmission(crystals, alpha, shift)[0]
        assert detuned.sum() / tuned.sum() == pytest.approx(left, abs=0.02)


def test_transmission_broadcasts() -> None:
    crystals = parse_monochromator("4x Ge 220", CU)
    assert transmission(crystals, 0.0).shape == (2,)
    assert transmission(crystals, np.zeros((3, 1)), np.zeros(4)).shape == (2, 3, 4)
    assert transmission((), np.zeros(5)) == pytest.approx(1.0)


# -- polarisation -------------------------------------------------------------------------------------


def test_ratio_of_settings() -> None:
    """Si 111 and Ge 111, and a Bartels, at 1.5405 Å: neither is the product of the factors abs(cos 2θ_M)."""
    assert ratio("Si 111", "Ge 111") == pytest.approx(0.857, abs=5e-4)
    assert ratio("Si 111", "Ge 111", setting="dispersive") == pytest.approx(0.763, abs=1e-3)
    assert ratio("4x Ge 220") == pytest.approx(0.415, abs=5e-4)
    assert ratio("Si 111", "Ge 111") == ratio("Ge 111", "Si 111")
    assert ratio("2x Ge 220", "2x Ge 220", setting="dispersive") == pytest.approx(ratio("2x Ge 220") ** 2)
    assert ratio("4x Ge 220", setting="parallel") > ratio("4x Ge 220")
    assert ratio() == 1.0


@pytest.mark.parametrize(
    ("text", "setting", "expected"),
    [
        ("2x Ge 220", None, 0.644),
        ("4x Ge 220", "parallel", 0.586),
        ("Si 111", None, 0.868),
        ("GGG 444", None, 0.486),
        ("mosaic graphite 002", None, 0.800),
    ],
)
def test_ratios_of_the_documentation(text: str, setting: str | None, expected: float) -> None:
    assert ratio(text, setting=setting) == pytest.approx(expected, abs=5e-4)


def test_mosaic_crystals_count_with_the_square() -> None:
    theta = Reflection("graphite", "002", CU).bragg_angle
    assert ratio("mosaic graphite 002") == pytest.approx(math.cos(2.0 * theta) ** 2)
    assert ratio("mosaic graphite 002", "Si 111") == pytest.approx(ratio("Si 111") * math.cos(2.0 * theta) ** 2)


class Transparent(MonochromatorCrystal):
    """A crystal that hardly absorbs."""

    @property
    def susceptibility(self) -> Susceptibility:
        chi = super().susceptibility
        return Susceptibility(chi.chi0.real + 1e-10j, chi.chih.real + 1e-11j)


@pytest.mark.parametrize(("name", "hkl", "factor"), [("GGG", (4, 4, 4), 0.6286), ("Si", (1, 1, 1), 0.8793)])
def test_without_absorption_one_crystal_gives_the_factor_of_the_amplitude(name, hkl, factor: float) -> None:
    """∫R dΔθ ∝ C|χ_h| (Darwin); what absorbs passes less π, since π penetrates deeper."""
    crystal = Crystal.named(name)
    assert polarization_ratio([Transparent(crystal, hkl, CU)]) == pytest.approx(factor, abs=2e-4)
    assert polarization_ratio([MonochromatorCrystal(crystal, hkl, CU)]) < factor - 0.005


def _all_rays(texts: tuple[str, ...], setting: str, spectrum: Callable[[np.ndarray], np.ndarray]) -> float:
    """K of rays within 0.2° and ±2e-3 of the wavelength, summed one by one."""
    crystals = parse_monochromator(texts, CU, setting)
    alpha, delta = np.linspace(-360.0, 360.0, 2001)[:, None] * ARCSEC, np.linspace(-2e-3, 2e-3, 2000)
    passed = [transmission(crystals, alpha, piece).sum(axis=1) @ spectrum(piece) for piece in np.split(delta, 20)]
    sigma, pi = np.sum(passed, axis=0)
    return float(pi / sigma)


@pytest.mark.parametrize(("texts", "setting"), [(("Si 111", "Ge 111"), "dispersive"), (("4x Ge 220",), "bartels")])
def test_ratio_is_that_of_all_rays(texts: tuple[str, ...], setting: str) -> None:
    """A wide spectrum, and no setting taken for independent of another: off by the tails out of these limits."""
    assert _all_rays(texts, setting, np.ones_like) == pytest.approx(ratio(*texts, setting=setting), rel=2e-3)


@pytest.mark.parametrize(
    ("texts", "setting", "least", "most"),
    [
        (("Si 111", "Ge 111"), "parallel", -0.002, 0.0),
        (("4x Ge 220",), "bartels", 0.01, 0.03),
        (("Si 111", "Ge 111"), "dispersive", 0.02, 0.035),
    ],
)
def test_what_an_emission_line_changes(texts: tuple[str, ...], setting: str, least: float, most: float) -> None:
    """Cu Kα1, Hölzer et al., Phys. Rev. A 56, 4554 (1997): only some times as wide as what passes."""

    def line(delta: np.ndarray) -> np.ndarray:
        energy = 8047.8 * (1.0 - delta)
        shape = np.zeros_like(delta)
        for centre, width, share in ((8047.837, 2.285, 0.579), (8045.367, 3.358, 0.080)):
            shape += share * width / ((energy - centre) ** 2 + (0.5 * width) ** 2)
        return shape

    change = _all_rays(texts, setting, line) / ratio(*texts, setting=setting) - 1.0
    assert least < change < most


# -- bad input ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "setting", "message"),
    [
        (("Si 111", "Ge 111"), "antiparallel", "one of parallel, dispersive, bartels, got 'antiparallel'"),
        (("Si 111",), "bartels", "four reflections such as '4x Ge 220'"),
        (("mosaic graphite 002",) * 4, "bartels", "four reflections"),
        (("2x Ge 220",), "dispersive", "at least two"),
        ((), "dispersive", "at least two"),
        (("Si 111", "mosaic graphite 002"), "dispersive", "at least two"),
        (("Si",), None, "a crystal and a reflection"),
        (("Si 100",), None, "'Si 100'.*forbidden"),
        (("Si 999",), None, "'Si 999'.*longer than 2d"),
        (("21x Si 111",), None, "1 to 20"),
    ],
)
def test_bad_monochromators(texts, setting: str | None, message: str) -> None:
    with pytest.raises(CrystalError, match=message):
        parse_monochromator(texts, CU, setting)
    with pytest.raises(CrystalError, match=message):
        Reflection("GGG", (4, 4, 4), CU, monochromator=texts, monochromator_setting=setting)
