"""Explicit susceptibilities and wavelengths: the numbers that a user types."""

import cmath
import math
import pickle
from dataclasses import replace

import pytest

from hrxrd_ml import Susceptibility
from hrxrd_ml.crystal.wavelength import photon_energy, resolve_wavelength, xray_lines
from hrxrd_ml.errors import CrystalError

# -- explicit susceptibilities ---------------------------------------------------------------------


def test_susceptibility_pairs() -> None:
    plain = Susceptibility(-3e-5 + 1e-6j, -1e-5 + 1e-6j)
    assert plain.pair(0) == plain.pair(1) == (-1e-5 + 1e-6j, -1e-5 + 1e-6j)
    split = Susceptibility(-3e-5 + 1e-6j, -1e-5 + 1e-6j, chih_pi=-1e-5 + 7e-7j)
    assert split.pair(1) == (-1e-5 + 7e-7j,) * 2
    acentric = Susceptibility(-3e-5 + 2e-6j, -1e-5 + 1e-6j, -1e-5 + 2e-6j)
    assert acentric.pair(1) == (-1e-5 + 1e-6j, -1e-5 + 2e-6j)
    assert pickle.loads(pickle.dumps(split)) == split
    assert hash(plain) == hash(replace(plain))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3e-5, -1e-5), "change the signs"),
        ((-3e-5 - 1e-6j, -1e-5), "change the signs"),
        ((-3e-5, 0.0), "no reflection"),
        ((-3e-5, math.nan), "finite"),
        ((-3.0, -1e-5), "too large"),
        (("a", -1e-5), "complex number"),
        ((-3e-5, -1e-5, -1.1e-5, -1e-5), "together"),
        ((-3e-5 + 1e-6j, -1e-5 + 1.2e-6j), "less than nothing.* 1.2 times it"),
        ((-3e-5 + 1e-6j, -1e-5 + 4e-6j, None), "less than nothing.*no centre of symmetry"),
        ((-3e-5, -1e-5 + 1e-7j), "without absorption"),
    ],
)
def test_bad_susceptibilities(arguments: tuple, message: str) -> None:
    with pytest.raises(CrystalError, match=message):
        Susceptibility(*arguments)


def test_absorption_varies_between_the_planes() -> None:
    assert Susceptibility(-3e-5 + 1e-6j, -1e-5 + 0.9e-6j).modulation() == pytest.approx(0.9)
    assert Susceptibility(-3e-5, -1e-5).modulation() == 0.0
    turn = cmath.exp(0.4j)  # another origin
    turned = Susceptibility(-3e-5 + 1e-6j, (-1e-5 + 0.9e-6j) * turn, (-1e-5 + 0.9e-6j) / turn)
    assert turned.modulation() == pytest.approx(0.9)


# -- wavelengths -----------------------------------------------------------------------------------


def test_lines_agree_with_an_independent_table() -> None:
    """Elam, Ravel & Sieber (2002), rounded to 0.1 … 1 eV, against Hölzer and Deslattes."""
    import xraydb

    lines = xray_lines()
    for name in (
        "CrKa1",
        "FeKa1",
        "CoKa1",
        "NiKa1",
        "CuKa1",
        "CuKa2",
        "CuKb1",
        "MoKa1",
        "MoKa2",
        "AgKa1",
        "AgKb1",
    ):
        energy = xraydb.xray_lines(name[:2])[name[2:]].energy
        assert photon_energy(lines[name]) == pytest.approx(energy, rel=5e-4)
    assert lines["CuKa1"] == 1.5405929
    assert lines["CuKa"] == pytest.approx(1.541871, abs=1e-6)


@pytest.mark.parametrize("name", ["CuKa1", "cuka1", "Cu Ka1", "Cu Kα1", "CuKα₁", "Cu K-alpha1", "1.5405929", 1.5405929])
def test_line_spellings(name: float | str) -> None:
    assert resolve_wavelength(name) == 1.5405929


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0.0709, "nm: did you mean 0.709"),
        (154.05, "pm"),
        (8.048e3, "eV: did you mean 1.54"),
        (1.54e-10, "metres: did you mean 1.54"),
        (20.0, "keV"),
        (0.0, "positive"),
        (-1.5, "positive"),
        (math.nan, "positive"),
        (math.inf, "positive"),
        ("CuKa3", "CuKa"),
        ("", "named line"),
        (True, "expected"),
        (None, "expected"),
        ([1.5], "expected"),
    ],
)
def test_bad_wavelengths(value: object, message: str) -> None:
    with pytest.raises(CrystalError, match=message):
        resolve_wavelength(value)  # type: ignore[arg-type]


def test_nanometres_that_pass_for_angstroms() -> None:
    with pytest.warns(UserWarning, match=r"0\.15406 nm is CuKa1"):
        assert resolve_wavelength(0.15406) == 0.15406
