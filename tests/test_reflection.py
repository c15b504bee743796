"""Reflections: geometry, polarisation, Darwin widths, and every way to get them wrong."""

import cmath
import copy
import math
import pickle
from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from hrxrd_ml import Crystal, Reflection, Susceptibility
from hrxrd_ml.crystal.miller import parse_hkl
from hrxrd_ml.crystal.monochromator import polarization_ratio
from hrxrd_ml.errors import CrystalError

ARCSEC = math.degrees(1) * 3600


def test_symmetric_garnet() -> None:
    reflection = Reflection("GGG", (4, 4, 4), 1.5405)
    d = 12.383 / math.sqrt(48)
    assert reflection.d_spacing == pytest.approx(d, rel=1e-14)
    assert reflection.diffraction_vector == pytest.approx(2 * math.pi / d)
    assert reflection.wavenumber == pytest.approx(2 * math.pi / 1.5405)
    assert reflection.diffraction_vector == pytest.approx(2 * reflection.wavenumber * math.sin(reflection.bragg_angle))
    assert math.degrees(reflection.bragg_angle) == pytest.approx(25.527, abs=2e-3)
    assert reflection.inclination == 0.0
    assert reflection.gamma0 == reflection.gammah == pytest.approx(math.sin(reflection.bragg_angle))
    assert reflection.asymmetry == 1.0
    assert reflection.polarization_factors == (1.0, pytest.approx(0.6286, abs=5e-5))
    assert reflection.polarization_ratio == 1.0
    assert reflection.polarization_weights == (0.5, 0.5)


@pytest.mark.parametrize("surface", [(1, 1, 1), (2, 2, 2), (4, 4, 4), "111"])
def test_parallel_surface_is_exactly_symmetric(surface) -> None:
    assert Reflection("GGG", (4, 4, 4), surface=surface).inclination == 0.0


@pytest.mark.parametrize(
    ("crystal", "hkl", "surface", "degrees"),
    [
        ("GaAs", (2, 2, 4), (0, 0, 1), 35.2644),
        ("GaAs", (1, 1, 5), (0, 0, 1), 15.7932),
        ("GaAs", (-1, -1, 5), (0, 0, 1), 15.7932),
        ("Si", (3, 3, 1), (1, 1, 1), 22.0017),
        ("GGG", (8, 8, 0), (1, 1, 1), 35.2644),
        # c/a of a hexagonal lattice: tan φ = 2c/(√3 a l) for 10-1l.
        ("GaN", (1, 0, 5), (0, 0, 1), math.degrees(math.atan(2 * 5.18524 / (math.sqrt(3) * 3.1884 * 5)))),
        (
            "GaN",
            (1, 0, -1, 5),
            (0, 0, 0, 2),
            math.degrees(math.atan(2 * 5.18524 / (math.sqrt(3) * 3.1884 * 5))),
        ),
    ],
)
def test_inclination(crystal: str, hkl: tuple[int, ...], surface: tuple[int, ...], degrees: float) -> None:
    """Interplanar angles of the cubic system (International Tables) and of wurtzite; both signs."""
    high = Reflection(crystal, hkl, surface=surface, exit="high")
    low = Reflection(crystal, hkl, surface=surface, exit="low")
    assert math.degrees(high.inclination) == pytest.approx(-degrees, abs=1e-4)
    assert math.degrees(low.inclination) == pytest.approx(degrees, abs=1e-4)
    # High exit is grazing incidence: b < 1 and a wide Darwin curve on the incidence side.
    assert high.gamma0 < high.gammah
    assert high.asymmetry == pytest.approx(1 / low.asymmetry)
    assert high.asymmetry < 1 < low.asymmetry
    assert high.darwin_width() > low.darwin_width()
    assert high.gamma0 == pytest.approx(math.sin(high.bragg_angle - math.radians(degrees)), abs=1e-6)


def test_asymmetric_gaas_numbers() -> None:
    """GaAs 224 from (001) with CuKα1: θ_B = 41.87°, so grazing incidence is at 6.6°."""
    reflection = Reflection("GaAs", "224", "CuKa1", surface="001", exit="high")
    assert math.degrees(reflection.bragg_angle) == pytest.approx(41.874, abs=3e-3)
    assert math.degrees(math.asin(reflection.gamma0)) == pytest.approx(6.61, abs=0.01)


# -- miscut -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hkl", "surface", "exit"), [("004", None, "high"), ("115", "001", "high"), ("115", "001", "low")]
)
@pytest.mark.parametrize("azimuth", [0.0, 35.0, 90.0, 180.0, -120.0])
@pytest.mark.parametrize("miscut", [-2.0, 4.0])
def test_miscut_is_a_tilt_of_the_normal(
    hkl: str, surface: str | None, exit: str, azimuth: float, miscut: float
) -> None:
    """γ0 and γh are products of the beams with a normal turned in space; x along the beam, y sideways, z outwards."""
    straight = Reflection("GaAs", hkl, surface=surface, exit=exit)
    tilted = straight.replace(miscut=miscut, miscut_azimuth=azimuth)
    entry, leave = straight.bragg_angle + straight.inclination, straight.bragg_angle - straight.inclination
    incoming = np.array([math.cos(entry), 0.0, -math.sin(entry)])
    outgoing = np.array([math.cos(leave), 0.0, math.sin(leave)])
    mu, a = math.radians(miscut), math.radians(azimuth)
    normal = np.array([-math.sin(mu) * math.cos(a), math.sin(mu) * math.sin(a), math.cos(mu)])
    assert tilted.gamma0 == pytest.approx(-incoming @ normal, abs=1e-12)
    assert tilted.gammah == pytest.approx(outgoing @ normal, abs=1e-12)
    # The angles that are scanned lie in the plane of the beams, to which the normal is projected.
    assert tilted.inclination == pytest.approx(straight.inclination + math.atan2(-normal[0], normal[2]), abs=1e-12)
    assert tilted.bragg_angle == straight.bragg_angle


def test_miscut_along_and_across_the_diffraction_plane() -> None:
    straight = Reflection("GaAs", "004")
    steep, grazing, across = (straight.replace(miscut=2.0, miscut_azimuth=azimuth) for azimuth in (0.0, 180.0, 90.0))
    assert math.degrees(steep.inclination) == pytest.approx(2.0)
    assert math.degrees(grazing.inclination) == pytest.approx(-2.0)
    assert steep.asymmetry == pytest.approx(1.0 / grazing.asymmetry)
    assert across.inclination == pytest.approx(0.0, abs=1e-15)
    assert across.asymmetry == pytest.approx(1.0)
    assert across.gamma0 / straight.gamma0 == pytest.approx(1.0 - 0.5 * math.radians(2.0) ** 2, abs=1e-6)
    assert straight.replace(miscut=-2.0).inclination == pytest.approx(grazing.inclination)


def test_miscut_towards_a_plane_is_that_plane() -> None:
    """The surface 1 1 20 is 4.04° off 001, and grazing incidence tilts its normal away from the source."""
    named = Reflection("GaAs", "004", surface=(1, 1, 20), exit="high")
    number = Reflection("GaAs", "004", miscut=math.degrees(math.atan(math.sqrt(2.0) / 20.0)), miscut_azimuth=180.0)
    for name in ("inclination", "gamma0", "gammah", "asymmetry"):
        assert getattr(number, name) == pytest.approx(getattr(named, name))


# -- polarisation ------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["Ge 220", "Ge(220)", "Ge (2 2 0)", "ge 2 2 0", "1x Ge 220", " Ge  2,2,0 "])
def test_monochromator_spellings(text: str) -> None:
    reference = Reflection("Si", "004", monochromator=["Ge 220"])
    assert Reflection("Si", "004", monochromator=[text]).polarization_ratio == reference.polarization_ratio


def test_monochromator_crystals() -> None:
    reflection = Reflection("Si", "004", "MoKa1", monochromator=["2x Ge 220", "Si 111", "mosaic graphite 002"])
    crystals = reflection.monochromator_crystals
    assert [(m.crystal.name, m.bounces, m.mosaic) for m in crystals] == [
        ("Ge", 2, False),
        ("Si", 1, False),
        ("graphite", 1, True),
    ]
    assert {m.wavelength for m in crystals} == {reflection.wavelength}
    assert crystals[0].bragg_angle == Reflection("Ge", "220", "MoKa1").bragg_angle
    assert reflection.polarization_ratio == polarization_ratio(crystals)
    assert sum(reflection.polarization_weights) == pytest.approx(1)
    assert reflection.polarization_weights[1] / reflection.polarization_weights[0] == pytest.approx(
        reflection.polarization_ratio
    )
    assert Reflection("Si", "004").monochromator_crystals == ()


def test_explicit_polarization_ratio() -> None:
    assert Reflection("Si", "004", monochromator=["Ge 220"], polarization_ratio=0.5).polarization_ratio == 0.5
    assert Reflection("Si", "004", polarization_ratio=0.0).polarization_weights == (1.0, 0.0)
    assert Reflection("Si", "004", polarization_ratio=math.inf).polarization_weights == (0.0, 1.0)


# -- widths and shifts ---------------------------------------------------------------------------------


def _darwin_prins_fwhm(reflection: Reflection) -> float:
    """Full width at half maximum [arcsec] of the σ curve of a thick crystal, absorption included."""
    chih, chihbar = reflection.susceptibility.pair(0)
    x = reflection.refraction_shift() + np.linspace(-3, 3, 60_001) * reflection.darwin_width()
    chi0 = reflection.susceptibility.chi0
    g0, gh = reflection.gamma0, reflection.gammah
    u = chi0 * (1 / g0 + 1 / gh) + 2 * math.sin(2 * reflection.bragg_angle) * x / gh
    coupling = chih / math.sqrt(g0 * gh), chihbar / math.sqrt(g0 * gh)
    curve = np.abs(2 * coupling[0] / (u + 1j * np.sqrt(4 * coupling[0] * coupling[1] - u * u))) ** 2
    inside = x[curve > curve.max() / 2]
    return (inside[-1] - inside[0]) * ARCSEC


@pytest.mark.parametrize(
    ("crystal", "hkl", "arcsec", "tolerance"),
    [
        # Rocking-curve widths for CuKα1, σ, as commonly tabulated (Stepanov's X0h and textbooks); the last
        # is the "12 arcsec" of Bartels' Ge 220 monochromator, J. Vac. Sci. Technol. B 1, 338 (1983).
        ("Si", "111", 7.395, 0.01),
        ("Si", "220", 5.459, 0.01),
        ("Ge", "111", 16.3, 0.02),
        ("Ge", "220", 12.0, 0.06),
    ],
)
def test_published_widths(crystal: str, hkl: str, arcsec: float, tolerance: float) -> None:
    assert _darwin_prins_fwhm(Reflection(crystal, hkl, "CuKa1")) == pytest.approx(arcsec, rel=tolerance)


@pytest.mark.parametrize("wavelength", ["MoKa1", "CuKa1", 1.0])
def test_relative_width_of_silicon_111(wavelength: float | str) -> None:
    """Darwin width/tan θ_B = 1.33e-4 at any wavelength: the Δλ/λ of double-crystal monochromators."""
    reflection = Reflection("Si", "111", wavelength)
    assert reflection.darwin_width() / math.tan(reflection.bragg_angle) == pytest.approx(1.33e-4, rel=0.02)


def test_darwin_width_and_refraction_formulas() -> None:
    given = Susceptibility(-4e-5 + 0j, -2e-5 * cmath.exp(0.7j), -2e-5 * cmath.exp(-0.7j))
    for exit in ("high", "low"):
        reflection = Reflection("GaAs", "224", surface="001", exit=exit, susceptibility=given)
        sine, b = math.sin(2 * reflection.bragg_angle), reflection.asymmetry
        assert reflection.darwin_width() == pytest.approx(2 * 2e-5 / (math.sqrt(b) * sine))
        ratio = reflection.darwin_width(1) / reflection.darwin_width(0)
        assert ratio == pytest.approx(reflection.polarization_factors[1])
        assert reflection.refraction_shift() == pytest.approx(4e-5 * (1 + 1 / b) / (2 * sine))


# -- susceptibilities ----------------------------------------------------------------------------------


def test_explicit_susceptibility_wins() -> None:
    mine = Susceptibility(-3.68946e-5 + 3.595136e-6j, -1.266065e-5 + 3.26115e-6j)
    reflection = Reflection("GGG", (4, 4, 4), 1.5405, susceptibility=mine)
    assert reflection.susceptibility is mine
    assert reflection != Reflection("GGG", (4, 4, 4), 1.5405)
    # A reflection that spherical atoms forbid can be given by hand: the bond charge makes Si 222.
    weak = Reflection("Si", (2, 2, 2), susceptibility=Susceptibility(-1.5e-5 + 3.5e-7j, -1e-7))
    assert weak.susceptibility.chih == -1e-7


def test_layer_susceptibility() -> None:
    substrate = Reflection("GGG", (4, 4, 4), 1.5405)
    layer = substrate.layer_susceptibility("YIG")
    # Both garnets scatter alike, so that the film's own phase convention gives the same.
    assert layer.chih == pytest.approx(Crystal.named("YIG").susceptibility((4, 4, 4), 1.5405).chih, rel=1e-12)
    assert Reflection("GaAs", "002").layer_susceptibility("InAs").chih.real > 0


# -- value semantics -----------------------------------------------------------------------------------


def test_reflections_are_values() -> None:
    one = Reflection("GaAs", "224", surface="001", exit="low", monochromator=["Ge 220"])
    for two in (pickle.loads(pickle.dumps(one)), copy.deepcopy(one), copy.copy(one), one.replace()):
        assert two == one
        assert hash(two) == hash(one)
        assert two.susceptibility == one.susceptibility
        assert two.monochromator_crystals == one.monochromator_crystals
    assert one != one.replace(exit="high")
    assert one != "GaAs"
    with pytest.raises(FrozenInstanceError, match="replace"):
        one.wavelength = 1.0
    with pytest.raises(FrozenInstanceError):
        del one.hkl
    tilted = one.replace(miscut=1.5, miscut_azimuth=30, monochromator=["2x Ge 220"] * 2)
    tilted = tilted.replace(monochromator_setting="dispersive")
    for two in (pickle.loads(pickle.dumps(tilted)), tilted.replace(), Reflection(**tilted.arguments)):
        assert (two, hash(two), two.gamma0) == (tilted, hash(tilted), tilted.gamma0)
        assert two.polarization_ratio == tilted.polarization_ratio
    assert len({one, tilted, one.replace(miscut=1.5), one.replace(miscut=1.4), one.replace(miscut_azimuth=3)}) == 5
    assert "miscut=1.5, miscut_azimuth=30" in repr(tilted)
    assert "monochromator_setting='dispersive'" in repr(tilted)
    assert "miscut" not in repr(one)
    assert "GaAs" in repr(one)
    assert "224" in repr(one).replace(", ", "")


def test_replace_calculates_again() -> None:
    one = Reflection("GGG", "444", "CuKa1", monochromator=["Ge 220"])
    two = one.replace(wavelength="MoKa1")
    assert two == Reflection("GGG", "444", "MoKa1", monochromator=["Ge 220"])
    assert two.susceptibility != one.susceptibility
    assert two.polarization_ratio > one.polarization_ratio
    mine = Susceptibility(-3e-5 + 1e-6j, -1e-5 + 1e-6j)
    assert one.replace(susceptibility=mine).replace(wavelength=1.2).susceptibility == mine
    assert one.replace(polarization_ratio=0.3).replace(wavelength=1.2).polarization_ratio == 0.3


def test_crystal_in_every_form(tmp_path) -> None:
    sic = Crystal.named("3C-SiC").with_lattice(a=4.361055)
    assert Reflection(sic, (4, 0, 0), 1.5498).d_spacing == pytest.approx(4.361055 / 4)
    assert Reflection("Al0.3GaAs", "004").crystal.a == pytest.approx(0.3 * 5.66139 + 0.7 * 5.65325)


# -- bad input -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ((4, 4, 4), (4, 4, 4)),
        ([0, 0, 2], (0, 0, 2)),
        (np.array([1, 1, 5]), (1, 1, 5)),
        ((1.0, 0.0, -2.0), (1, 0, -2)),
        ("444", (4, 4, 4)),
        (444, (4, 4, 4)),
        ("-1-14", (-1, -1, 4)),
        ("(0 0 16)", (0, 0, 16)),
        ("1, 1, -4", (1, 1, -4)),
        ("0006", (0, 0, 6)),
        ("1 0 -1 4", (1, 0, 4)),
        ((1, 1, -2, 3), (1, 1, 3)),
    ],
)
def test_miller_indices(value, expected: tuple[int, int, int]) -> None:
    assert parse_hkl(value) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"crystal": "unobtainium"}, "not built in"),
        ({"crystal": None}, "expected a Crystal"),
        ({"crystal": "missing.cif"}, "cannot read"),
        ({"hkl": (0, 0, 0)}, r"\(0, 0, 0\)"),
        ({"hkl": (4, 4)}, "three Miller indices"),
        ({"hkl": (4, 4, 4, 4)}, r"must be -\(h \+ k\) = -8"),
        ({"hkl": (4, 4, 4.5)}, "whole numbers"),
        ({"hkl": (True, 4, 4)}, "whole numbers"),
        ({"hkl": "44"}, "three Miller indices"),
        ({"hkl": "abc"}, "three Miller indices"),
        ({"hkl": 44}, "three Miller indices"),
        ({"hkl": None}, "three Miller indices"),
        ({"hkl": (1, 1, 1)}, "forbidden"),
        ({"hkl": (20, 20, 20)}, "longer than 2d"),
        ({"wavelength": 4.0}, "longer than 2d"),
        ({"wavelength": 154.06}, "pm"),
        ({"wavelength": "CuKa9"}, "did you mean"),
        ({"surface": (0, 0, 1)}, "Laue"),
        ({"surface": (-1, -1, -1)}, "into the crystal"),
        ({"surface": (0, 0, 0)}, "surface"),
        ({"exit": "up"}, "'high'"),
        ({"exit": None}, "'high'"),
        ({"monochromator": ["Si"]}, "monochromator"),
        ({"monochromator": ["Xx 111"]}, "monochromator 'Xx 111'.*not built in"),
        ({"monochromator": ["Si 100"]}, "monochromator 'Si 100'.*forbidden"),
        ({"monochromator": ["0x Si 111"]}, "1 to 20"),
        ({"monochromator": [3]}, "monochromator"),
        ({"monochromator_setting": "crossed"}, "one of parallel, dispersive, bartels"),
        ({"miscut": 11.0}, "miscut: expected -10 to 10 degrees, got 11.0"),
        ({"miscut": math.nan}, "miscut: expected"),
        ({"miscut": "2 deg"}, "miscut: expected"),
        ({"miscut": None}, "miscut: expected"),
        ({"miscut": True}, "miscut: expected"),
        ({"miscut_azimuth": 400.0}, "miscut_azimuth: expected -360 to 360 degrees"),
        (
            {"surface": (1, 1, 0), "hkl": (8, 8, 0), "exit": "low", "wavelength": 0.2, "miscut": 6.0},
            "Laue.*inclined by 6.000",
        ),
        ({"polarization_ratio": -0.1}, "polarization_ratio"),
        ({"polarization_ratio": math.nan}, "polarization_ratio"),
        ({"polarization_ratio": "half"}, "polarization_ratio"),
        ({"polarization_ratio": True}, "polarization_ratio"),
        ({"susceptibility": (1e-5, 1e-5)}, "expected a Susceptibility"),
    ],
)
def test_bad_input(arguments: dict, message: str) -> None:
    good = {"crystal": "GGG", "hkl": (4, 4, 4), "wavelength": "CuKa1"}
    with pytest.raises(ValueError, match=message) as caught:
        Reflection(**{**good, **arguments})
    assert "\n" not in str(caught.value)


def test_bad_polarization_index() -> None:
    with pytest.raises(CrystalError, match=r"0 \(sigma\) or 1 \(pi\)"):
        Reflection("Si", "004").susceptibility.pair(2)
