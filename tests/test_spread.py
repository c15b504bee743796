"""A spread of the strain: the average of curves, its derivatives, and fits that free such a parameter from zero."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

import hrxrd_ml as hx
from hrxrd_ml import Film, RockingCurve, RockingCurveModel
from hrxrd_ml.errors import ParameterError
from hrxrd_ml.specimen.profile import make_profile
from hrxrd_ml.specimen.spread import normal_nodes
from hrxrd_ml.units import ARCSEC

GGG = hx.Reflection("GGG", (4, 4, 4), 1.5405)
SILICON = hx.Reflection("Si", (0, 0, 4), "CuKa1")
LAYER = {"Dmax1": 0.008, "D01": 0.001, "L1": 5200.0, "Rp1": 3500.0, "D02": 0.0025, "L2": 3000.0, "Rp2": -50.0}
DEEP = {"Dmax1": 0.02, "D01": 0.005, "L1": 7000.0, "Rp1": 5500.0, "D02": 0.01, "L2": 5000.0, "Rp2": -1000.0}
SPLINE = {f"s{i}": strain for i, strain in enumerate((0.001, 0.006, -0.004, -0.002, 0.005, 0.002))} | {"depth": 3000.0}
YIG = (Film("yig", "YIG", 4000.0, damage=0.1),)
OFFSETS = np.arange(-1500.0, 400.0, 5.0)


@dataclass(frozen=True)
class Scaled:
    """A profile with ``factor`` times the strain of another."""

    profile: Any
    factor: float

    @property
    def space(self):
        return self.profile.space

    def segments(self, values):
        return self.profile.segments(values)

    def evaluate(self, z, values):
        return self.factor * self.profile.evaluate(z, values)


def model_of(reflection, profile, **options):
    return RockingCurve.of(reflection, make_profile(profile, 6), "tied", **options)


def values_of(model, own):
    return model.space.defaults() | {"damage": 0.2, "scale": 1.0, "background": 0.0} | own


@pytest.mark.parametrize("spread", [0.001, 0.0124, 0.04, 0.1])
@pytest.mark.parametrize(
    ("reflection", "profile", "own", "films", "offsets"),
    [
        (GGG, "implanted", LAYER, (), OFFSETS),
        (SILICON, "implanted", LAYER, (), OFFSETS),
        (GGG, "implanted", DEEP, (), np.arange(-4000.0, 400.0, 5.0)),
        (GGG, "bspline", SPLINE, (), np.arange(-1000.0, 1000.0, 5.0)),
        (GGG, "implanted", LAYER | {"yig_strain": 0.001}, YIG, OFFSETS),
    ],
    ids=["GGG", "Si", "deep", "both signs", "film"],
)
def test_the_curve_is_the_mean_of_many_curves(reflection, profile, own, films, offsets, spread):
    model = model_of(reflection, profile, films=films)
    values = values_of(model, own)
    found = model.bind(offsets * ARCSEC).curve(values | {"strain_spread": spread})
    x = np.linspace(-6.0, 6.0, 121 if spread < 0.04 else 241)
    weights = np.exp(-0.5 * x**2) / np.exp(-0.5 * x**2).sum()
    mean = np.zeros(len(offsets))
    for weight, factor in zip(weights, 1.0 + spread * x, strict=True):
        scaled = replace(model, profile=Scaled(model.profile, float(factor)))
        mean += weight * scaled.bind(offsets * ARCSEC).curve(values)
    assert np.max(np.abs(found - mean) / (mean + 1e-6)) < 5e-4
    if spread > 0.02:  # and it is another curve than that of the mean strain
        single = model.bind(offsets * ARCSEC).curve(values)
        assert np.max(np.abs(single - mean) / (mean + 1e-6)) > 0.05


@pytest.mark.parametrize("phase", [0.0, 0.3, 1.0, 2.5, 6.0, 20.0])
@pytest.mark.parametrize("tolerance", [1e-3, 1e-4, 1e-6])
def test_averages_of_waves_are_those_of_the_normal_distribution(phase, tolerance):
    x, weights = normal_nodes(phase, tolerance)
    assert weights.sum() == pytest.approx(1.0, abs=1e-12)
    for wave in np.linspace(0.0, phase, 9):
        assert abs(weights @ np.exp(1j * wave * x) - np.exp(-0.5 * wave**2)) < tolerance
    assert len(normal_nodes(phase, 1e-3)[0]) <= len(normal_nodes(phase, 1e-6)[0])


@pytest.mark.parametrize("films", [(), YIG], ids=["bare", "film"])
def test_derivatives_by_the_spread_and_all_others_are_those_of_differences(films):
    model = model_of(GGG, "implanted", films=films)
    values = values_of(model, LAYER | {"strain_spread": 0.01, "scale": 1e4, "substrate_damage": 0.02})
    bound, names = model.bind(OFFSETS * ARCSEC), model.sample.names
    _, jacobian = bound.jacobian(values, names)
    for found, name in zip(jacobian.T, names, strict=True):
        h = 1e-5 * max(abs(values[name]), 1e-3)
        up, down = (bound.curve(values | {name: values[name] + side * h}) for side in (1.0, -1.0))
        difference = (up - down) / (2.0 * h)
        assert np.max(np.abs(found - difference)) < 3e-6 * np.max(np.abs(difference)), name


def test_a_vanishing_spread_is_none():
    model = model_of(GGG, "implanted")
    values, bound = values_of(model, LAYER), model.bind(OFFSETS * ARCSEC)
    curve, slope = bound.jacobian(values, ["strain_spread"])
    assert np.all(slope == 0.0)
    near, first = bound.jacobian(values | {"strain_spread": 1e-6}, ["strain_spread"])
    np.testing.assert_allclose(near, curve, rtol=1e-7)
    _, second = bound.jacobian(values | {"strain_spread": 2e-6}, ["strain_spread"])
    assert np.max(np.abs(first)) > 0.0
    np.testing.assert_allclose(second, 2.0 * first, atol=1e-6 * np.max(np.abs(first)))


# --- fits ---


def fit_from_zero(name, truth, seed, method="least_squares", free=()):
    model = RockingCurveModel(GGG, axis_kind="offset", unit="arcsec")
    known = LAYER | {"scale": 1e5, "background": 5.0, "fwhm": 20.0}
    counts = np.random.default_rng(seed).poisson(model.eval(model.make_params(**known, **{name: truth}), x=OFFSETS))
    start = model.make_params(**known)
    assert start[name].value == 0.0
    for other in (name, *free):
        start[other].vary = True
    if method != "least_squares":
        for other, par in start.items():
            par.vary = other in (name, "scale", "fwhm", "Dmax1")
    return model.fit(counts.astype(float), start, x=OFFSETS, method=method)


@pytest.mark.parametrize("method", ["least_squares", "leastsq", "lbfgsb"])
@pytest.mark.parametrize(("name", "truth"), [("strain_spread", 0.01), ("strain_spread", 0.02), ("curvature", 40.0)])
def test_a_fit_that_frees_it_from_zero_finds_it(name, truth, method):
    result = fit_from_zero(name, truth, seed=5, method=method)
    found = result.params[name]
    assert 0.0 < found.stderr < 0.2 * truth
    assert abs(found.value - truth) < 3.5 * found.stderr
    assert not any(name in note for note in result.bound_notes if "correlated" not in note)


def test_a_bent_crystal_is_found_from_zero_with_its_skew_too():
    result = fit_from_zero("curvature", 40.0, seed=5, free=["curvature_skew"])
    for name, truth in (("curvature", 40.0), ("curvature_skew", 0.0)):
        assert abs(result.params[name].value - truth) < 3.5 * result.params[name].stderr


def test_where_there_is_none_the_fit_stays_at_zero_and_says_so():
    bounded = 0
    for seed in range(6):
        result = fit_from_zero("strain_spread", 0.0, seed)
        found, notes = result.params["strain_spread"], [n for n in result.bound_notes if "strain_spread" in n]
        assert found.value < 2.5 * found.stderr
        assert 5e-4 < found.stderr < 8e-3  # what these counts can tell, and not what the bounds leave
        if found.value == 0.0:
            bounded += 1
            assert notes == ["strain_spread is at its lower bound: its stderr is one-sided"]
            with pytest.warns(UserWarning, match="the bound of strain_spread, 0, is nearer"):
                intervals = result.conf_interval(["strain_spread"], sigmas=[1])
            (_, low), _, (_, high) = intervals["strain_spread"]
            assert low == -np.inf
            assert 0.5 * found.stderr < high < 2.0 * found.stderr
        else:
            assert notes == []
    assert 1 <= bounded <= 5


def test_models_tell_their_even_parameters_with_prefix():
    model = RockingCurveModel(GGG, prefix="a_")
    assert model.even == {"a_strain_spread": "", "a_curvature": "a_curvature_skew"}
    both = model + RockingCurveModel(GGG, prefix="b_")
    assert set(both.even) == {"a_strain_spread", "a_curvature", "b_strain_spread", "b_curvature"}


@pytest.mark.parametrize(("length", "strain", "spread"), [(3e4, 0.06, 0.1), (1e5, 0.005, 0.1)])
def test_an_average_of_too_many_curves_is_refused_by_name(length, strain, spread):
    deep = {"L1": length, "Rp1": length / 2.0, "L2": length / 2.0, "Rp2": 0.0, "Dmax1": strain, "D02": strain / 2.0}
    model = model_of(GGG, "implanted")
    values, bound = values_of(model, deep), model.bind(OFFSETS * ARCSEC)
    assert np.all(np.isfinite(bound.reflectivity(values)[1].coherent))
    with pytest.raises(ParameterError, match=r"strain_spread = .* .*needs the average of \d+ curves .* times too many"):
        bound.reflectivity(values | {"strain_spread": spread})


def test_an_average_inside_the_usual_bounds_is_calculated():
    model = model_of(GGG, "implanted")
    values = {spec.name: spec.max for spec in model.sample if spec.name != "damage"}
    curve = model.bind(OFFSETS[::10] * ARCSEC).curve(values_of(model, values))
    assert np.all(np.isfinite(curve))
