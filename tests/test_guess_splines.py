"""Guesses of spline profiles: thicknesses read off the intensities, buried layers, other orders of the same strains."""

from functools import cache

import numpy as np
import pytest

from hrxrd_ml import Reflection, RockingCurveModel
from hrxrd_ml.guess.splines import loosened, mirrored, trimmed
from hrxrd_ml.guess.starts import start_values, through
from hrxrd_ml.guess.stationary import spline_starts, thicknesses
from hrxrd_ml.guess.task import Task
from hrxrd_ml.model.observation import as_curve
from hrxrd_ml.units import ARCSEC

END, MIDDLE, WEAK, LARGEST = 14_000.0, 12_000.0, 6e-4, 0.012


def strain_at(z):
    """A weak strain over more than a micrometre, and what lies buried below it."""
    peak = np.exp(-(((z - MIDDLE) / np.where(z < MIDDLE, 1100.0, 600.0)) ** 2))
    return WEAK / (1.0 + np.exp((z - MIDDLE) / 300.0)) + LARGEST * peak


@cache
def buried():
    """A model with splines, its true values, and counts."""
    model = RockingCurveModel(
        Reflection("3C-SiC", (0, 0, 4), "CuKa1"),
        profile="bspline",
        damage="bspline",
        diffuse="none",
        resolution="pseudo_voigt",
        axis_kind="offset",
        unit="arcsec",
    )
    z = np.linspace(0.0, END, 2000)
    values = model.space.defaults() | {"scale": 3e6, "fwhm": 18.0, "background": 3.0, "depth": END}
    values |= {"knot_centre": MIDDLE, "knot_crowding": 8.0}
    values = through(model.simulation, values, z, strain_at(z), 0.3)
    x = np.arange(-2600.0, 500.0, 6.0)
    counts = np.random.default_rng(4).poisson(model.simulation.bind(x * ARCSEC).curve(values)).astype(float)
    return model, values, as_curve(counts, model.frame, x)


def test_intensities_tell_the_thickness_beyond_each_strain():
    """Without damage; fringes and noise leave a fifth of it open."""
    model, _, curve = buried()
    task = Task.of(model, curve)
    seen = thicknesses(task.problem, task.marks)
    assert seen is not None
    assert seen.sign > 0.0
    z = np.linspace(0.0, END, 20_000)
    damaged = seen.damaged(0.3)
    for strain in (2e-3, 4e-3, 7e-3):
        true = END * float(np.mean(strain_at(z) > strain))
        assert np.interp(strain, damaged.strain, damaged.beyond) == pytest.approx(true, rel=0.25)
    assert seen.largest == pytest.approx(LARGEST, rel=0.2)


def test_a_proposed_order_has_the_thickness_of_each_strain():
    model, _, curve = buried()
    task = Task.of(model, curve)
    seen = thicknesses(task.problem, task.marks)
    assert seen is not None
    for z, strain, maximum in (seen.profile(0.3), seen.profile(1.0), seen.drawn(np.random.default_rng(1))):
        fine = np.linspace(z[0], z[-1], 20_000)
        level = 0.4 * seen.largest
        thickness = (z[-1] - z[0]) * float(np.mean(np.interp(fine, z, strain) > level))
        assert thickness == pytest.approx(float(np.interp(level, seen.strain, seen.beyond)), rel=0.05)
        assert z[0] <= maximum <= z[-1]


def test_a_buried_layer_is_found():
    """It is deeper than a seven-parameter profile may be; the fit from the guess comes down to the noise.

    Its depth is told by the strength of the weakly strained layer alone, whose fringes the resolution blurs.
    """
    model, _, curve = buried()
    params = model.guess(curve)
    assert params["depth"].value > 9000.0
    result = model.fit(curve, params, calc_covar=False)
    assert result.redchi < 1.25
    z = np.linspace(0.0, 0.95 * min(params["depth"].value, END), 200)
    found = model.simulation.profile.evaluate(z, result.params.valuesdict())
    assert abs(z[np.argmax(found)] - MIDDLE) < 0.1 * MIDDLE


def test_a_given_depth_stays():
    model, _, curve = buried()
    own = RockingCurveModel(simulation=model.simulation, axis_kind="offset", unit="arcsec")
    own.set_param_hint("depth", value=15_500.0)
    task = Task.of(own, curve)
    seen = thicknesses(task.problem, task.marks)
    assert seen is not None
    starts = spline_starts(task.problem, seen, start_values(task.problem, task.marks), drawn=2)
    assert {start["depth"] for start in starts} == {15_500.0}
    assert trimmed(task.problem, starts[0])["depth"] == 15_500.0
    assert "depth" not in loosened(task.problem, starts[0]).free


def test_upside_down_twice_is_the_profile_itself():
    model, truth, curve = buried()
    problem = Task.of(model, curve).problem
    even = through(model.simulation, truth | {"knot_crowding": 0.0}, z := np.linspace(0.0, END, 500), strain_at(z), 0.3)
    turned = mirrored(problem, even)
    profile = model.simulation.profile
    z = np.linspace(0.0, END, 300)
    areas = [np.trapezoid(profile.evaluate(z, values), z) for values in (even, turned)]
    assert areas[1] == pytest.approx(areas[0], rel=0.05)
    assert z[np.argmax(profile.evaluate(z, turned))] < 0.3 * END < z[np.argmax(profile.evaluate(z, even))]


def test_trimmed_splines_end_where_the_strain_does():
    """The first half of the coefficients makes a layer; the splines over the other half are not needed."""
    model, truth, curve = buried()
    problem = Task.of(model, curve).problem
    names = model.simulation.profile.names
    deep = truth | {"depth": 9000.0, "knot_centre": 0.0, "knot_crowding": 0.0}
    deep |= {name: 0.004 if i < len(names) // 2 else 0.0 for i, name in enumerate(names)}
    cut = trimmed(problem, deep)
    z = np.linspace(0.0, cut["depth"], 300)
    strains = [model.simulation.profile.evaluate(z, values) for values in (deep, cut)]
    assert 0.5 * 9000.0 < cut["depth"] < 0.75 * 9000.0
    np.testing.assert_allclose(strains[1], strains[0], atol=0.05 * 0.004)
