"""The whole model: every derivative, independence of internal grids, behaviour that a diffractionist expects."""

import numpy as np
import pytest

from hrxrd_ml import Reflection, RockingCurve
from hrxrd_ml.errors import CurveError, ParameterError
from hrxrd_ml.specimen.damage import TiedDamage
from hrxrd_ml.specimen.profile.spline import SplineProfile
from hrxrd_ml.units import ARCSEC

ANGLES = np.arange(-1200.0, 301.0, 6.0) * ARCSEC
VALUES = {
    "Dmax1": 0.008,
    "D01": 0.001,
    "L1": 5200.0,
    "Rp1": 3500.0,
    "D02": 0.0025,
    "L2": 3000.0,
    "Rp2": -50.0,
    "damage": 0.4,
    "strain_spread": 0.01,
    "substrate_damage": 0.01,
    "substrate_correlation_exponent": 0.7,
    "substrate_diffuse_mix": 0.6,
    "diffuse_mix": 0.3,
    "fwhm": 25.0,
    "curvature": 10.0,
    "curvature_skew": 0.5,
    "tail": 1.2,
    "asymmetry": 0.1,
    "scale": 1e5,
    "background": 10.0,
    "dead_time": 1e-6,
    "slope": 1e-3,
    "offset": 3.0,
}


@pytest.fixture(scope="module")
def ggg():
    return Reflection("GGG", (4, 4, 4), 1.5405, monochromator=("Ge 220",))


def values_of(model):
    values = model.space.defaults() | {name: value for name, value in VALUES.items() if name in model.space}
    return values | {name: 0.002 for name in model.space.names if name[0] == "s" and name[1:].isdigit()}


@pytest.mark.parametrize("resolution", ["gaussian", "pseudo_voigt", "split_pseudo_voigt", "double_crystal"])
@pytest.mark.parametrize("background", ["constant", "exponential"])
def test_every_derivative_agrees_with_finite_differences(ggg, resolution, background):
    model = RockingCurve.of(ggg, resolution=resolution, background=background)
    bound, values = model.bind(ANGLES), values_of(model)
    names = model.space.names
    curve, jacobian = bound.jacobian(values, names)
    np.testing.assert_allclose(curve, bound.curve(values), rtol=1e-10)
    for i, name in enumerate(names):
        h = 1e-5 * max(abs(values[name]), 1e-6 if name == "dead_time" else 1e-3)
        # The Pearson tail changes the way that the resolution is calculated; stay on one side.
        up, down = (
            bound.jacobian(values | {name: values[name] + s * h}, ("tail",) if "tail" in names else ())[0]
            for s in (1, -1)
        )
        difference = (up - down) / (2.0 * h)
        assert np.max(np.abs(jacobian[:, i] - difference)) < 2e-6 * np.max(np.abs(difference)), name


def test_derivatives_of_splines_of_strain_and_damage(ggg):
    model = RockingCurve.of(ggg, "bspline", "bspline", strain_knots=8, damage_knots=5)
    bound, values = model.bind(ANGLES), values_of(model)
    names = [name for name in model.space.names if name[0] in "sw" and name[1:].isdigit()] + ["depth"]
    _, jacobian = bound.jacobian(values, names)
    for i, name in enumerate(names):
        h = 1e-5 * max(abs(values[name]), 1e-3)
        difference = (
            bound.curve(values | {name: values[name] + h}) - bound.curve(values | {name: values[name] - h})
        ) / (2 * h)
        assert np.max(np.abs(jacobian[:, i] - difference)) < 2e-6 * np.max(np.abs(difference)), name


@pytest.mark.parametrize("fwhm", [25.0, 6.0, 3.0])  # the data are 6 arcsec apart
def test_the_curve_does_not_depend_on_the_internal_grid(ggg, monkeypatch, fwhm):
    """Nodes and convolution grid twice as fine: nothing that a measurement could see."""
    from hrxrd_ml.instrument.angles import AngleGrid

    model = RockingCurve.of(ggg, resolution="pseudo_voigt")
    values = values_of(model) | {"fwhm": fwhm, "curvature": 0.0}
    coarse = model.bind(ANGLES).curve(values)
    covering = AngleGrid.covering
    monkeypatch.setattr(
        AngleGrid,
        "covering",
        staticmethod(lambda *a, **k: covering(*a, **{**k, "fine": 2.0 * k.get("fine", 1.0)})),
    )
    fine = model.bind(ANGLES).curve(values)
    assert np.max(np.abs(coarse - fine) / np.sqrt(fine)) < 0.1  # in standard errors of 1e5 counts at R = 1
    np.testing.assert_allclose(coarse, fine, rtol=3e-3)


@pytest.mark.parametrize("fwhm", [3.0, 12.0, 40.0])
@pytest.mark.parametrize("every", [3, 20, 100])
@pytest.mark.parametrize(("crystal", "hkl"), [("GGG", (4, 4, 4)), ("Si", (0, 0, 4))])
def test_the_value_at_an_angle_does_not_depend_on_how_far_the_others_are_away(crystal, hkl, every, fwhm):
    model = RockingCurve.of(Reflection(crystal, hkl, "CuKa1"), resolution="pseudo_voigt")
    values = values_of(model) | {"fwhm": fwhm, "curvature": 0.0}
    angles = np.arange(-1200.0, 150.0, 3.0) * ARCSEC
    whole = model.bind(angles).curve(values)[::every]
    np.testing.assert_allclose(model.bind(angles[::every]).curve(values), whole, rtol=5e-3)


@pytest.mark.parametrize("fwhm", [0.5, 1.0, 3.0])
@pytest.mark.parametrize(("crystal", "hkl", "step"), [("GGG", (4, 4, 4), 6.0), ("diamond", (1, 1, 1), 8.0)])
def test_a_resolution_that_is_narrower_than_the_steps(monkeypatch, crystal, hkl, step, fwhm):
    """Most nodes are interpolated then. Diamond's narrow peak lies beside the Bragg angle, shifted by refraction."""
    from hrxrd_ml.instrument.angles import AngleGrid

    model = RockingCurve.of(Reflection(crystal, hkl, "CuKa1"), resolution="pseudo_voigt")
    values = values_of(model) | {"fwhm": fwhm, "curvature": 0.0}
    angles = np.arange(-1500.0, 150.0, step) * ARCSEC
    quick = model.bind(angles).curve(values)
    covering = AngleGrid.covering
    monkeypatch.setattr(
        AngleGrid, "covering", staticmethod(lambda *a, **k: covering(*a, **{**k, "fine": 64.0, "every": 1}))
    )
    slow = model.bind(angles).curve(values)
    np.testing.assert_allclose(quick, slow, rtol=1e-2, atol=1e-6 * values["scale"])
    assert np.sqrt(np.mean((quick / slow - 1.0) ** 2)) < 5e-3


@pytest.mark.parametrize(
    ("crystal", "hkl", "fwhm"),
    [("diamond", (1, 1, 1), 13.6), ("YSZ", (0, 0, 4), 11.7), ("Ge", (1, 1, 3), 9.4), ("InSb", (0, 2, 2), 4.6)],
)
def test_the_edges_of_total_reflection_are_integrated_well(monkeypatch, crystal, hkl, fwhm):
    """Crystals that absorb little: the reflectivity has corners there, and the diffuse part leaps."""
    from hrxrd_ml.instrument.angles import AngleGrid

    model = RockingCurve.of(Reflection(crystal, hkl, "CuKa1"), resolution="pseudo_voigt", max_depth=4000.0)
    own = {"L1": 3000.0, "Rp1": 1500.0, "L2": 2000.0, "fwhm": fwhm, "curvature": 0.0, "strain_spread": 0.0}
    values = values_of(model) | own | {"substrate_damage": 0.03, "substrate_correlation_length": 8000.0}
    angles = np.arange(-60.0, 60.0, 4.0) * ARCSEC
    curve = model.bind(angles).curve(values)
    covering = AngleGrid.covering
    monkeypatch.setattr(AngleGrid, "covering", staticmethod(lambda *a, **k: covering(*a, **{**k, "fine": 16.0})))
    fine = model.bind(angles).curve(values)
    assert np.max(np.abs(curve - fine)) < 5e-4 * fine.max()


def test_offset_moves_the_curve_and_step_stretches_it(ggg):
    model = RockingCurve.of(ggg)
    values = values_of(model) | {"offset": 0.0}
    still = model.bind(ANGLES).curve(values)
    moved = model.bind(ANGLES + 40.0 * ARCSEC).curve(values | {"offset": 40.0})
    np.testing.assert_allclose(moved, still, rtol=2e-3)
    stretched = model.bind(ANGLES / 1.02).curve(values | {"step": 1.02})
    np.testing.assert_allclose(stretched, still, rtol=2e-3)


def test_a_large_offset_is_as_good_as_a_small_one(ggg):
    model = RockingCurve.of(ggg)
    values = values_of(model) | {"offset": 0.0}
    still = model.bind(ANGLES).curve(values)
    moved = model.bind(ANGLES + 1500.0 * ARCSEC).curve(values | {"offset": 1500.0})
    np.testing.assert_allclose(moved, still, rtol=2e-3)


def test_tensile_strain_diffracts_at_smaller_angles(ggg):
    model = RockingCurve(ggg, SplineProfile(3), None, None)
    values = values_of(model) | {"depth": 4000.0, "s0": 0.004, "s1": 0.004, "s2": 0.004}
    low, high = (model.bind(side * np.linspace(100.0, 900.0, 200)[::side] * ARCSEC).curve(values) for side in (-1, 1))
    assert low.max() > 20.0 * high.max()


def test_dead_time_loses_counts_where_there_are_many(ggg):
    model = RockingCurve.of(ggg)
    values = values_of(model) | {"dead_time": 0.0}
    bound = model.bind(ANGLES)
    true, seen = bound.curve(values), bound.curve(values | {"dead_time": 2e-6})
    np.testing.assert_allclose(seen, true / (1.0 + 2e-6 * true), rtol=1e-12)


def test_perfect_crystal_has_no_profile_parameters(ggg):
    model = RockingCurve.of(ggg, None, None, "none")
    assert "damage" not in model.space
    assert "Dmax1" not in model.space
    curve = model.bind(ANGLES).curve(model.space.defaults())
    assert abs(ANGLES[np.argmax(curve)] - ggg.refraction_shift()) < 10.0 * ARCSEC


def test_damage_without_a_profile_is_refused(ggg):
    with pytest.raises(ParameterError, match="strain profile"):
        RockingCurve(ggg, None, TiedDamage())


@pytest.mark.parametrize("angles", [[0.0], [0.0, 0.0], [1e-3, 0.0], [0.0, np.nan], [[0.0, 1e-3]]])
def test_angles_must_ascend(ggg, angles):
    with pytest.raises(CurveError, match="ascending"):
        RockingCurve.of(ggg).bind(angles)


def test_polarisation_pi_at_a_right_angle_is_calculated():
    """Where 2 theta is 90 degrees nothing of pi is reflected; the scan around it has a little."""
    spacing = Reflection("GaAs", (1, 1, 5)).d_spacing
    reflection = Reflection("GaAs", (1, 1, 5), 2.0 * spacing * np.sin(np.pi / 4.0), polarization_ratio=np.inf)
    model = RockingCurve.of(reflection, None)
    _, found = model.bind(np.linspace(-6e-3, 2e-3, 300)).reflectivity(model.space.defaults())
    assert np.isfinite(found.coherent).all()
    assert found.coherent.max() < 1e-4
