"""From experiments to models and start values."""

from pathlib import Path

import numpy as np
import pytest

from fit_results import TRUTH, curve, model, parameters
from hrxrd_ml import HrxrdError
from hrxrd_ml.cli import run
from hrxrd_ml.errors import CrystalError, ExperimentError, ParameterError
from hrxrd_ml.guess.strategy import one_step
from hrxrd_ml.io.experiment.read import experiment_from_mapping

REFLECTION = {"crystal": "GGG", "hkl": [4, 4, 4], "wavelength": "CuKa1"}


def experiment(reflection=None, **sections):
    return experiment_from_mapping(
        {"reflection": REFLECTION | (reflection or {})} | sections, source="e.toml", path=Path("e.toml")
    )


def given(values, **parameters):
    """Experiment that fixes all values but those that ``parameters`` settle."""
    fixed = {name: {"value": value, "vary": False} for name, value in values.items()}
    return experiment(
        axis={"kind": "offset", "unit": "arcsec"},
        model={"resolution": "pseudo_voigt"},
        parameters=fixed | parameters,
    )


@pytest.fixture
def no_guess(monkeypatch):
    """Start values are those of the hints."""
    monkeypatch.setattr(run.RockingCurveModel, "guess", lambda self, curve: self.make_params())


def test_reflection_takes_everything_from_the_experiment():
    settings = experiment(
        {
            "lattice": 12.4,
            "monochromator": ["Si 111", "Ge 111"],
            "polarization_ratio": 0.5,
            "susceptibility": {"chi0": [-3.7e-5, 3.6e-6], "chih": [-1.27e-5, 3.3e-6]},
        }
    ).reflection
    reflection = run.build_reflection(settings)
    assert reflection.crystal.a == 12.4
    assert reflection.d_spacing == pytest.approx(12.4 / np.sqrt(48.0))
    assert reflection.polarization_ratio == 0.5
    assert reflection.susceptibility.chi0 == complex(-3.7e-5, 3.6e-6)


def test_asymmetric_reflection():
    settings = experiment({"hkl": [8, 8, 0], "surface": [1, 1, 1], "exit": "low"}).reflection
    assert run.build_reflection(settings).inclination > 0.0


def test_miscut_and_setting_of_the_monochromator():
    table = {
        "monochromator": ["4x Ge 220"],
        "monochromator_setting": "parallel",
        "miscut": 0.5,
        "miscut_azimuth": 180.0,
    }
    reflection = run.build_reflection(experiment(table).reflection)
    assert reflection.inclination == pytest.approx(np.radians(-0.5))
    assert [m.bounces for m in reflection.monochromator_crystals] == [4]


def test_model_has_the_named_parts_and_the_axis_of_the_curve():
    settings = experiment(
        model={
            "profile": "bspline",
            "strain_knots": 9,
            "damage": "bspline",
            "damage_knots": 5,
            "diffuse": "none",
        }
    )
    built = run.build_model(settings)
    assert {f"s{i}" for i in range(9)} | {f"w{i}" for i in range(5)} < set(built.space.names)
    assert "s9" not in built.space
    assert "correlation_length" not in built.space
    assert (built.axis_kind, built.unit) == ("omega", "deg")
    own = run.build_model(settings, curve())
    assert (own.axis_kind, own.unit) == ("offset", "arcsec")


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"sample": {"layers": [{"crystal": "YIG", "thickness": 100.0, "roughness": 5.0}]}}, "no key 'roughness'"),
        ({"sample": {"layers": [{"crystal": "Si", "thickness": 100.0}]}}, "need the lattice of the substrate"),
        ({"sample": {"layers": [{"crystal": "YIG", "thickness": 9.0, "x": 0.5}]}}, r"e\.toml: \[sample\] .*alloy"),
        ({"model": {"diffuse": "voids"}}, r"e\.toml: \[model\].*diffuse"),
        ({"parameters": {"fwmh": {"value": 3.0}}}, "did you mean fwhm"),
        ({"parameters": {"fwhm": {"value": 900.0}}}, "outside its bounds"),
        ({"parameters": {"fwhm": {"min": 900.0}}}, "must be below max"),
        ({"parameters": {"fwhm": {"expr": "2*nothing"}}}, "nothing"),
        ({"parameters": {"fwhm": {"expr": "3 +"}}}, "not understood"),
        ({"parameters": {"fwhm": {"expr": "1/0"}}}, "cannot be evaluated"),
        ({"parameters": {"fwhm": {"expr": "fwhm + 1"}}}, "itself"),
        ({"parameters": {"L1": {"expr": "2*Rp1"}, "Rp1": {"expr": "L1/2"}}}, "itself"),
    ],
)
def test_impossible_models(sections, words):
    with pytest.raises(HrxrdError, match=words):
        run.build_model(experiment(**sections))


def test_errors_of_crystals_name_the_experiment():
    with pytest.raises(CrystalError, match=r"e\.toml: \[reflection\]"):
        run.build_model(experiment({"crystal": "GGGG"}))


def test_overrides_reach_the_parameters():
    settings = experiment(
        parameters={
            "fwhm": {"value": 38.0, "min": 10.0, "max": 90.0},
            "step": {"vary": True},
            "background": {"value": 0.5, "vary": False},
            "D01": {"expr": "Dmax1/4"},
        }
    )
    params = run.build_model(settings).make_params()
    assert (params["fwhm"].value, params["fwhm"].min, params["fwhm"].max) == (38.0, 10.0, 90.0)
    assert params["step"].vary
    assert not params["background"].vary
    assert params["D01"].value == params["Dmax1"].value / 4


@pytest.mark.usefixtures("no_guess")
@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        # What was given stays, what was only guessed makes room.
        ({"L1": {"value": 2000.0}}, {"L1": 2000.0, "Rp1": 2000.0, "L2": 2000.0}),
        ({"Rp1": {"value": 6000.0}}, {"L1": 6000.0, "Rp1": 6000.0}),
        ({"D02": {"value": 0.029}}, {"D02": 0.029, "D01": 0.001}),
    ],
)
def test_given_values_stand_before_guessed_ones(overrides, expected):
    built = run.build_model(experiment(parameters=overrides))
    params = run.start_parameters(built, curve(), overrides)
    for name, value in expected.items():
        assert params[name].value == pytest.approx(value)
    assert not built.space.violations({name: params[name].value for name in built.space.names}, tolerance=1e-9)


@pytest.mark.usefixtures("no_guess")
def test_given_values_that_contradict_each_other_are_an_error():
    settings = given(TRUTH, L1={"value": 2000.0}, Rp1={"value": 3000.0})
    with pytest.raises(ParameterError, match="Rp1 <= L1"):
        run.fit_curve(curve(), settings)


@pytest.mark.usefixtures("no_guess")
def test_fit_holds_what_was_fixed_and_finds_the_rest():
    settings = given(TRUTH, Dmax1={"value": 0.0081}, scale={"value": 1.9e5})
    seen = []
    fit = run.fit_curve(curve(), settings, progress=lambda params, number, residual, *_, **__: seen.append(number))
    for name in ("Dmax1", "scale"):
        par = fit.result.params[name]
        assert abs(par.value - TRUTH[name]) < 4.0 * par.stderr
    assert fit.result.params["fwhm"].value == TRUTH["fwhm"]
    assert fit.guess["scale"].value == 1.9e5
    assert seen
    assert set(fit.seconds) == {"guess", "fit"}


@pytest.mark.usefixtures("no_guess")
def test_a_strategy_can_take_several_steps():
    settings = given(TRUTH, Dmax1={"value": 0.0081}, scale={"value": 1.9e5})

    def two_steps(fitted, data, params, *, held, **options):
        assert {"Dmax1", "scale"} <= set(held)
        params["Dmax1"].vary = False
        params = fitted.fit(data, params, **options).params.copy()
        params["Dmax1"].vary = True
        return fitted.fit(data, params, **options)

    one, two = (run.fit_curve(curve(), settings, strategy=s) for s in (one_step, two_steps))
    assert two.result.chisqr == pytest.approx(one.result.chisqr, rel=1e-6)
    assert one.guess["scale"].value == 1.9e5
    # of the last step, which may have begun with a guess of its own
    assert two.guess["scale"].value == two.result.init_params["scale"].value


@pytest.mark.usefixtures("no_guess")
def test_a_method_that_cannot_work_is_an_error_of_the_user():
    settings = experiment(
        axis={"kind": "offset", "unit": "arcsec"},
        parameters={"fwhm": {"min": 1.0, "max": float("inf")}},
        fit={"method": "differential_evolution", "max_nfev": 3},
    )
    with pytest.raises(ParameterError, match="differential_evolution"):
        run.fit_curve(curve(), settings)


def test_simulation_is_the_model():
    settings = given({})
    x = np.linspace(-1000.0, 200.0, 101)
    found, values = run.simulate_curve(settings, x, TRUTH)
    np.testing.assert_allclose(found, model().eval(parameters(model()), x=x))
    assert values["Dmax1"] == TRUTH["Dmax1"]
    noisy, _ = run.simulate_curve(settings, x, TRUTH, noise=True, seed=3)
    np.testing.assert_array_equal(noisy, np.random.default_rng(3).poisson(found))


@pytest.mark.parametrize("strain", [0.01, -0.01])
def test_default_range_shows_layer_and_substrate(strain):
    settings = experiment(
        axis={"kind": "omega", "unit": "deg"},
        model={"profile": "pseudo_voigt"},
        parameters={"peak_strain": {"value": strain}},
    )
    found, _ = run.simulate_curve(settings, points=101)
    bragg = np.degrees(run.build_model(settings).reflection.bragg_angle)
    layer = bragg - np.degrees(strain * np.tan(np.radians(bragg)))
    low, high = float(found["x"][0]), float(found["x"][-1])
    assert low < min(bragg, layer)
    assert high > max(bragg, layer)
    assert len(found) == 101
    with pytest.raises(ExperimentError, match="unknown parameter"):
        run.build_model(experiment(parameters={"nothing": {"value": 1.0}}))
