"""Measured curves, fitted unattended from their experiment files alone; slow, and only where the data are."""

from pathlib import Path

import numpy as np
import pytest

from hrxrd_ml import Diffractometer, Reflection, RockingCurveModel, RockingCurveResult, read_curve, read_experiment
from hrxrd_ml.cli import run

pytestmark = pytest.mark.slow

EXPERT = {
    "ggg_he_2e15_444": {"Dmax1": 0.008094, "Rp1": 3500.0},
    "ggg_he_4e15_444": {"Dmax1": 0.01405, "Rp1": 3464.0},
    "ggg_he_2e15_888": {"Dmax1": 0.008094, "Rp1": 3500.0},
}
"""Fits by hand of an expert, see the README beside the data."""


def fit(data: Path, name: str, **model: object) -> RockingCurveResult:
    """The fit of the command line, with other settings of [model] if given."""
    from dataclasses import replace

    experiment = read_experiment(data / f"{name}.toml")
    experiment = replace(experiment, model=replace(experiment.model, **model))
    return run.fit_curve(read_curve(data / f"{name}.csv"), experiment).result


def misfit(result: RockingCurveResult) -> tuple[float, float]:
    """χ²/N with Poisson variance: whole curve, and more than 100 arcsec off the substrate peak."""
    counts, expected = np.asarray(result.curve.values, dtype=float), np.asarray(result.best_fit)
    square = (counts - expected) ** 2 / np.maximum(expected, 1.0)
    return float(square.mean()), float(square[np.abs(result.curve["x"].values) > 100.0].mean())


@pytest.mark.parametrize(
    ("name", "whole", "off_peak"),
    [("ggg_he_2e15_444", 4.0, 2.5), ("ggg_he_4e15_444", 4.0, 4.5), ("ggg_he_2e15_888", 4.0, 4.0)],
)
def test_seven_parameters(shared_data, name, whole, off_peak):
    result = fit(shared_data, name)
    found = misfit(result)
    assert found[0] <= whole
    assert found[1] <= off_peak
    for parameter, value in EXPERT[name].items():
        assert result.params[parameter].value == pytest.approx(value, rel=0.05), parameter
        assert 0.0 < result.params[parameter].stderr < 0.05 * value


@pytest.mark.parametrize(("name", "whole", "off_peak"), [("ggg_he_2e15_444", 4.0, 1.5), ("ggg_he_4e15_444", 4.0, 2.5)])
def test_splines_of_strain_and_damage(shared_data, name, whole, off_peak):
    knots = {"profile": "bspline", "damage": "bspline", "strain_knots": 20, "damage_knots": 10}
    found = misfit(fit(shared_data, name, **knots))
    assert found[0] <= whole
    assert found[1] <= off_peak


def test_silicon_carbide_with_splines(shared_data):
    result = fit(shared_data, "sic3c_400")
    data, expected = np.asarray(result.curve.values), np.asarray(result.best_fit)
    assert np.std(np.log10(data / expected)) < 0.07
    depth = result.params["depth"].value
    assert 800.0 < depth < 2500.0  # the literature's strained depth is about 1500 Å


_SHARED = ("line_window", "bend")


def test_two_reflections_see_one_diffractometer_and_one_radius(shared_data):
    """Fitted apart; standard errors of a fit that misses something are taken to be as much larger."""
    whole = Diffractometer("CuKa1", ("Si 111", "Ge 111"), beam_height=10.0, sample_length=10.0)
    found = []
    for name, hkl, most in (("ggg_he_2e15_444", (4, 4, 4), 8.5), ("ggg_he_2e15_888", (8, 8, 8), 2.5)):
        model = RockingCurveModel(Reflection("GGG", hkl), diffractometer=whole, axis_kind="offset", unit="arcsec")
        curve = read_curve(shared_data / f"{name}.csv")
        params = model.guess(curve)
        params["step"].set(vary=hkl == (8, 8, 8))  # the steps of the two scans differ
        result = model.fit(curve, params)
        assert misfit(result)[0] < most
        found.append({n: (result.params[n].value, result.params[n].stderr * result.redchi**0.5) for n in _SHARED})
    for name in _SHARED:
        (one, error), (other, wider) = (each[name] for each in found)
        assert abs(one - other) < 2.0 * np.hypot(error, wider), name
        assert error < 0.1 * one
        assert wider < 0.2 * other


@pytest.mark.parametrize(
    ("name", "gain", "low", "high"),
    [("ggg_he_2e15_444", 10.0, 0.005, 0.011), ("ggg_he_4e15_444", 1000.0, 0.008, 0.011)],
)
def test_a_spread_of_the_strain_is_found_from_zero(shared_data, name, gain, low, high):
    found = fit(shared_data, name)
    none = found.params.copy()
    none["strain_spread"].set(value=0.0, vary=False)
    without = found.model.fit(found.curve, none)
    freed = without.params.copy()
    freed["strain_spread"].vary = True
    again = found.model.fit(found.curve, freed)
    assert again.chisqr == pytest.approx(found.chisqr, abs=3.0)
    assert without.chisqr - again.chisqr > gain
    assert low < again.params["strain_spread"].value < high
    assert not any("strain_spread" in note for note in again.bound_notes)
