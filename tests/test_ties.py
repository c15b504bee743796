"""Where kinks of profiles and interfaces of films coincide, the Jacobian is still that of the curve.

Fits start there (the seven-parameter profile with Rp1 = L2), and bounds and nested parameters lead there.
"""

from functools import cache

import numpy as np
import pytest

from differences import central, error, one_sided
from hrxrd_ml.crystal.reflection import Reflection
from hrxrd_ml.simulate import RockingCurve
from hrxrd_ml.specimen.film import Film
from hrxrd_ml.units import ARCSEC

GGG = Reflection("GGG", (4, 4, 4), "CuKa1")
ANGLES = np.arange(-900.0, 200.0, 10.0) * ARCSEC
# Off the smooth limit the grid changes from one side of a tie to the other: lamellae as thin as that leave 1e-7 of it.
FINE = {"tolerance": 1e-11, "max_depth": 5500.0}
# Values, and on which side alone the curve is looked at: bounds end there, or there is a real kink.
PROFILES = {
    "default start, Rp1 = L2": ({}, {}),
    "0 = Rp1": ({"Rp1": 0.0, "L2": 2500.0}, {"Rp1": 1}),
    "L2 = L1": ({"L2": 5000.0}, {"L2": -1, "L1": 1}),
    "Rp1 = L1": ({"Rp1": 5000.0, "L2": 2500.0}, {"Rp1": -1, "L1": 1}),
    "Rp1 = L2 = L1": ({"Rp1": 5000.0, "L2": 5000.0}, {"Rp1": -1, "L2": -1, "L1": 1}),
    "D01 = Dmax1": ({"D01": 0.008, "L2": 2500.0}, {}),
    "D01 = Dmax1, Rp1 = L2": ({"D01": 0.008}, {}),
}
FILM = (Film("f", "YIG", 3100.0, strain=-0.001),)
FILMS = (Film("f", "YIG", 1100.0, strain=-0.001), Film("g", "YIG", 2000.0, strain=0.001))
# Where a profile ends at an interface, what is below makes a kink: derivatives are those of an end above it.
ENDS = {"L1": -1, "depth": -1, "f_thickness": 1, "g_thickness": 1}
EDGES = {
    "interface = Rp1": ("implanted", FILM, {"Rp1": 3100.0, "L2": 2500.0}, {}),
    "interface = L2": ("implanted", FILM, {"Rp1": 2500.0, "L2": 3100.0}, {}),
    "interface = L1": ("implanted", FILM, {"L1": 3100.0, "Rp1": 2000.0, "L2": 1500.0}, ENDS),
    "interface = Rp1 = L2": ("implanted", FILM, {"Rp1": 3100.0, "L2": 3100.0}, {}),
    "interface = L2 = L1": ("implanted", FILM, {"L1": 3100.0, "Rp1": 2000.0, "L2": 3100.0}, ENDS | {"L2": -1}),
    "film on film = Rp1 = L2": ("implanted", FILMS, {"Rp1": 2000.0, "L2": 2000.0}, {}),
    "lower interface = Rp1, film on film = L2": ("implanted", FILMS, {"Rp1": 3100.0, "L2": 2000.0}, {}),
    "lower interface = L1": ("implanted", FILMS, {"L1": 3100.0, "Rp1": 2000.0, "L2": 2000.0}, ENDS),
    "interface = end of a pseudo-Voigt": ("pseudo_voigt", FILM, {"depth": 3100.0}, ENDS),
    "interface = maximum of a pseudo-Voigt": ("pseudo_voigt", FILM, {"depth": 4000.0, "peak_depth": 3100.0}, {}),
    "interface = end of a spline": ("bspline", FILM, {"depth": 3100.0} | {f"s{i}": 0.004 for i in range(8)}, ENDS),
    "interface = knot of a spline": ("bspline", FILM, {"depth": 3720.0} | {f"s{i}": 0.004 for i in range(8)}, {}),
}
LENGTHS = ("Rp1", "L1", "L2", "depth", "peak_depth", "f_thickness", "g_thickness")


@cache
def bound(profile="implanted", damage="tied", diffuse="correlation", films=(), knots=8):
    model = RockingCurve.of(GGG, profile, damage, diffuse, films=films, strain_knots=knots, **FINE)
    return model, model.bind(ANGLES)


def slope(curve, values, name, step, side=0, first=0):
    """Derivative of the curve: of both sides, or of the one that ``side`` points to."""
    of = lambda h: curve.curve(values | {name: values[name] + h})  # noqa: E731
    return one_sided(of, side * step, first) if side else central(of, step)


def step_of(name):
    """A step small enough for the phases that it changes, large enough for rounding."""
    return 0.3 if name in LENGTHS else {"Rp2": 1.0, "damage": 1e-3}.get(name, 2e-6)


@pytest.mark.parametrize("tie", PROFILES)
def test_kinks_of_the_implanted_profile(tie):
    model, curve = bound()
    own, sides = PROFILES[tie]
    values = model.space.defaults() | own
    names = ("Rp1", "L1", "L2", "Dmax1", "D01", "D02", "Rp2", "damage")
    _, jacobian = curve.jacobian(values, names)
    for column, name in zip(jacobian.T, names, strict=True):
        if name == "D01" and values["Rp1"] == 0.0:  # of a flank that is not there
            assert np.max(np.abs(column)) * values[name] < 1e-6 * np.max(curve.curve(values))
            continue
        if name == "L2" and values["Rp1"] == values["L2"] == values["L1"]:
            continue  # small there: grids on and off the tie differ by 3e-6 of it
        expected = slope(curve, values, name, step_of(name), sides.get(name, 0), first=1)
        assert error(column, expected) < 1e-6, name


@pytest.mark.parametrize("tie", EDGES)
def test_kinks_of_profiles_at_interfaces(tie):
    profile, films, own, sides = EDGES[tie]
    model, curve = bound(profile, films=films)
    values = model.space.defaults() | own
    names = [name for name in LENGTHS if name in model.space and not (name == "L1" and values["L2"] == values["L1"])]
    _, jacobian = curve.jacobian(values, names)
    for k, name in enumerate(names):
        for side in (sides[name],) if name in sides else (1, -1):
            assert error(jacobian[:, k], slope(curve, values, name, 0.3, side)) < 1e-6, (name, side)
            beside = curve.jacobian(values | {name: values[name] + side * 1e-5}, [name])[1][:, 0]
            assert error(jacobian[:, k], beside) < 1e-6, (name, side)


@pytest.mark.parametrize("kink", ["Rp1", "L2"])
@pytest.mark.parametrize("side", [1, -1])
def test_the_default_start_has_the_derivatives_of_its_neighbours(kink, side):
    """At the usual tolerance: as near as two grids are, of which one has nodes where the other has none."""
    model = RockingCurve.of(GGG)
    curve, values = model.bind(ANGLES), model.space.defaults()
    assert values["Rp1"] == values["L2"]
    names = ("Rp1", "L2", "L1")
    tied, beside = (curve.jacobian(v, names)[1] for v in (values, values | {kink: values[kink] + side * 1e-3}))
    for k, name in enumerate(names):
        assert error(tied[:, k], beside[:, k]) < 2e-2, name
