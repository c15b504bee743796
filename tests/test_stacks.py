"""What a curve says of films before anything is fitted, and stacks that are found from descriptions far off."""

import numpy as np
import pytest

from hrxrd_ml import Film, Reflection, RockingCurveModel, Superlattice
from hrxrd_ml.guess.classical import ClassicalGuess
from hrxrd_ml.guess.fringes import fringes, momentum, peaks
from hrxrd_ml.guess.stacks import rival
from hrxrd_ml.guess.task import Task
from hrxrd_ml.io.curve import make_curve
from hrxrd_ml.units import ARCSEC

GAAS = Reflection("GaAs", (0, 0, 4))
X = np.arange(-900.0, 600.0, 2.0)


def stack(*films, reflection=GAAS):
    return RockingCurveModel(reflection, films=films, axis_kind="offset", unit="arcsec")


def counted(model, x=X, scale=1e6, seed=0, **values):
    expected = model.eval(model.make_params(scale=scale, background=3.0, **values), x=x)
    return np.random.default_rng(seed).poisson(expected).astype(float)


def suggested(model, counts, x=X):
    noise = np.sqrt(np.maximum(counts, 1.0))
    u, tops = momentum(model.simulation.reflection, x * ARCSEC), peaks(x, counts, noise, 15.0)
    return fringes(u, counts, noise, np.interp(tops[:2], x, u))


def test_fringes_of_one_film_tell_its_thickness():
    model = stack(Film("film", "AlGaAs", 3000.0, x=0.5))
    first, *_ = suggested(model, counted(model))
    assert first.thickness == pytest.approx(3000.0, rel=0.01)
    assert first.strength > 10.0


@pytest.mark.parametrize("upper", [Film("upper", "GaAs", 1100.0), Film("upper", "AlGaAs", 1100.0, x=0.2)])
def test_fringes_of_two_films_tell_both_and_their_sum(upper):
    model = stack(Film("lower", "AlGaAs", 4000.0, x=0.5), upper)
    found = sorted(fringe.thickness for fringe in suggested(model, counted(model))[:3])
    np.testing.assert_allclose(found, [1100.0, 4000.0, 5100.0], rtol=0.02)


def test_a_fringe_is_as_thick_in_an_asymmetric_reflection():
    reflection = Reflection("GaAs", (2, 2, 4))
    model = stack(Film("film", "AlGaAs", 3000.0, x=0.5), reflection=reflection)
    x = np.arange(-1500.0, 800.0, 2.0)
    assert suggested(model, counted(model, x), x)[0].thickness == pytest.approx(3000.0, rel=0.015)


def test_the_highest_peaks_are_those_of_substrate_and_film():
    model = stack(Film("film", "AlGaAs", 8000.0, x=0.8))
    counts = counted(model, offset=50.0)
    substrate, film = sorted(peaks(X, counts, np.sqrt(np.maximum(counts, 1.0)), 15.0)[:2], reverse=True)
    assert substrate == pytest.approx(50.0 + GAAS.refraction_shift() / ARCSEC, abs=4.0)
    assert film < substrate - 200.0


@pytest.mark.parametrize(
    ("truth", "described"),
    [
        (
            (Film("film", "InGaAs", 1300.0, x=0.2),),
            (Film("film", "InGaAs", 800.0, x=0.07),),
        ),
        (
            (Film("lower", "AlGaAs", 2400.0, x=0.4), Film("upper", "AlGaAs", 900.0, x=0.7)),
            (Film("lower", "AlGaAs", 1500.0, x=0.54), Film("upper", "AlGaAs", 1250.0, x=0.56)),
        ),
        (
            (Superlattice("mqw", (Film("well", "InGaAs", 70.0, x=0.2), Film("bar", "GaAs", 150.0, strain=0.0)), 10),),
            (Superlattice("mqw", (Film("well", "InGaAs", 95.0, x=0.1), Film("bar", "GaAs", 100.0, strain=0.0)), 10),),
        ),
    ],
    ids=["film", "swapped", "superlattice"],
)
def test_stacks_are_found_from_thicknesses_40_percent_and_compositions_15_percent_off(truth, described):
    x = np.arange(-6000.0, 1500.0, 4.0) if "InGaAs" in str(truth) else X
    model, right = stack(*described), stack(*truth)
    counts = counted(right, x)
    result = model.fit(counts, model.guess(counts, x=x, provider=ClassicalGuess()), x=x)
    assert result.redchi < 1.25
    expected = right.make_params()
    for name in result.var_names:
        if name.endswith("_thickness"):
            assert result.params[name].value == pytest.approx(expected[name].value, rel=0.01)
        elif name.endswith("_x"):
            assert result.params[name].value == pytest.approx(expected[name].value, abs=0.004)


def test_another_thickness_competes_where_it_describes_the_curve_as_well():
    model = stack(Film("film", "AlGaAs", 3000.0, x=0.5))
    task = Task.of(model, make_curve(X, counted(model), kind="offset", unit="arcsec"))
    best = task.problem.described()
    other = best | {"film_thickness": 3250.0}
    assert rival(task.problem, [(400.0, best), (402.0, other)]) == other
    assert rival(task.problem, [(400.0, best), (420.0, other)]) is None
    assert rival(task.problem, [(400.0, best), (402.0, best | {"film_x": 0.51})]) is None


def test_a_relaxation_that_moves_no_peak_is_left_alone():
    truth = stack(Film("film", "InGaAs", 900.0, x=0.12), Film("cap", "GaAs", 500.0, relaxation=0.0))
    described = stack(Film("film", "InGaAs", 650.0, x=0.2), Film("cap", "GaAs", 350.0, relaxation=0.0))
    x = np.arange(-4000.0, 1500.0, 4.0)
    params = described.guess(counted(truth, x), x=x, provider=ClassicalGuess())
    assert 0.0 <= params["cap_relaxation"].value <= 1.0
    assert params["film_thickness"].value == pytest.approx(900.0, rel=0.01)
