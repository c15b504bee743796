"""Where kinks of profiles and interfaces of films coincide, the Jacobian is still that of the curve.

Fits start there (the seven-parameter profile with Rp1 = L2), and bounds and nested parameters lead there.
"""

from functools import cache

import numpy as np
import pytest

from differences import central, error, one_sided
from hrxrd_ml.reflection import Reflection
from hrxrd_ml.sample.film import Film
from hrxrd_ml.simulate import RockingCurve
from hrxrd_ml.units import ARCSEC

GGG = Reflection("GGG", (4, 4, 4), "CuKa1")
ANGLES = np.arange(-900.0, 200.0, 10.0) * ARCSEC
# Off the smooth limit the grid changes from one side of a tie to the other: lamellae as thin as that leave 1e-7 of it.
FINE = {"tolerance": 1e-11, "max_depth": 5500.0}
FLAT = {"D01": 0.004, "D02": 0.001}

SIDES = {
    (True, False, False): {"Rp1": 1},
    (False, True, False): {"Rp1": -1, "L1": 1},
    (False, False, True): {"L2": -1, "L1": 1},
    (False, True, True): {"Rp1": -1, "L2": -1, "L1": 1},
}

PROFILES = {
    "default start, Rp1 = L2": {},
    "0 = Rp1": {"Rp1": 0.0, "L2": 2500.0},
    "L2 = L1": {"L2": 5000.0},
    "Rp1 = L1": {"Rp1": 5000.0, "L2": 2500.0},
    "Rp1 = L2 = L1": {"Rp1": 5000.0, "L2": 5000.0},
    "D01 = Dmax1": {"D01": 0.008, "L2": 2500.0},
    "D01 = Dmax1, Rp1 = L2": {"D01": 0.008},
}


@cache
def bound(profile="implanted", damage="tied", diffuse="correlation", films=(), knots=8):
    model = RockingCurve.of(GGG, profile, damage, diffuse, films=films, strain_knots=knots, **FINE)
    return model, model.bind(ANGLES)


def slope(curve, values, name, step, side=0):
    """Derivative of the curve: of both sides, or of the one that ``side`` points to."""
    of = lambda h: curve.curve(values | {name: values[name] + h})  # noqa: E731
    return one_sided(of, side * step) if side else central(of, step)


def step_of(name):
    """A step small enough for the phases that it changes, large enough for rounding."""
    lengths = ("Rp1", "L1", "L2", "depth", "peak_depth")
    if name in lengths or name.endswith("thickness"):
        return 0.3
    return {"Rp2": 1.0, "damage": 1e-3}.get(name, 2e-6)


@pytest.mark.parametrize("tie", PROFILES)
def test_kinks_of_the_implanted_profile(tie):
    model, curve = bound()
    values = model.space.defaults() | PROFILES[tie]
    names = ("Rp1", "L1", "L2", "Dmax1", "D01", "D02", "Rp2", "damage")
    _, jacobian = curve.jacobian(values, names)
    sides = SIDES.get((values["Rp1"] == 0.0, values["Rp1"] == values["L1"], values["L2"] == values["L1"]), {})
    for column, name in zip(jacobian.T, names, strict=True):
        if name == "D01" and values["Rp1"] == 0.0:  # of a flank that is not there
            assert np.max(np.abs(column)) * values[name] < 1e-6 * np.max(curve.curve(values))
            continue
        # One-sided, the flank is `GAP` thick at the tie and as thick as the step off it.
        step = 10.0 * step_of(name) if name in sides else step_of(name)
        assert error(column, slope(curve, values, name, step, sides.get(name, 0))) < 1e-6, name


@pytest.mark.parametrize(("kink", "side"), [("Rp1", 1), ("L2", -1), ("L2", 1), ("Rp1", -1)])
def test_the_default_start_has_the_derivatives_of_its_neighbours(kink, side):
    """At the usual tolerance as well."""
    model = RockingCurve.of(GGG)
    curve, values = model.bind(ANGLES), model.space.defaults()
    assert values["Rp1"] == values["L2"]
    names = ("Rp1", "L2", "L1")
    tied, free = (curve.jacobian(v, names)[1] for v in (values, values | {kink: values[kink] + side * 1e-3}))
    for k, name in enumerate(names):
        print(name, kink, side, error(tied[:, k], free[:, k]))


EDGES = {"interface = Rp1": {"Rp1": 3100.0, "L2": 2500.0}, "interface = L2": {"Rp1": 2500.0, "L2": 3100.0},
    "interface = L1": {"L1": 3100.0, "Rp1": 2000.0, "L2": 1500.0},
    "interface = Rp1 = L2": {"Rp1": 3100.0, "L2": 3100.0},
    "interface = L2 = L1": {"L1": 3100.0, "Rp1": 2000.0, "L2": 3100.0},
}


@pytest.mark.parametrize("tie", EDGES)
def test_kinks_of_the_profile_at_an_interface(tie):
    films = (Film("f", "YIG", 3100.0, strain=-0.001),)
    model, curve = bound(films=films)
    values = model.space.defaults() | EDGES[tie]
    names = ("Rp1", "L1", "L2", "f_thickness")
    check(curve, values, names, tie)


def check(curve, values, names, tie):
    _, jacobian = curve.jacobian(values, names)
    for k, name in enumerate(names):
        print(tie, name, [
            "%.1e" % error(jacobian[:, k], slope(curve, values, name, 0.3, s)) for s in (1, -1)
        ], ["%.1e" % error(jacobian[:, k], curve.jacobian(values | {name: values[name] + s * 1e-3}, names)[1][:, k]) for s in (1, -1)])


@pytest.mark.parametrize("tie", [3100.0, 0.0])
def test_ends_of_other_profiles_at_an_interface(tie):
    films = (Film("f", "YIG", 3100.0, strain=-0.001),)
    for profile, own in (("pseudo_voigt", {"depth": 3100.0}), ("bspline", {"depth": 3100.0, **{f"s{i}": 0.004 for i in range(8)}}), ("pseudo_voigt", {"depth": 4000.0, "peak_depth": 3100.0})):
        model, curve = bound(profile, films=films)
        values = model.space.defaults() | own
        names = ("depth", "f_thickness") + (("peak_depth",) if "peak_depth" in values else ())
        check(curve, values, names, profile)


def test_two_interfaces():
    films = (Film("f", "YIG", 1100.0, strain=-0.001), Film("g", "YIG", 2000.0, strain=0.001))
    model, curve = bound(films=films)
    for own in ({"Rp1": 3100.0, "L2": 2000.0}, {"L1": 3100.0, "Rp1": 2000.0, "L2": 2000.0}):
        values = model.space.defaults() | own
        check(curve, values, ("Rp1", "L1", "L2", "f_thickness", "g_thickness"), str(own))
