"""What cannot be calculated, or only a mistake explains, is refused at once, by the name of what is wrong."""

import json

import numpy as np
import pytest

import hrxrd_ml as hx
from bad_input_cases import CURVE, EXPERIMENT
from hrxrd_ml.cli import outputs
from hrxrd_ml.cli.main import main
from hrxrd_ml.errors import CurveError
from hrxrd_ml.guess.network.domain import Domain
from hrxrd_ml.parameters import ParameterSpec
from hrxrd_ml.units import ARCSEC

GGG = hx.Reflection("GGG", (4, 4, 4), "CuKa1")
X = np.linspace(-1500.0, 500.0, 101)


def model():
    return hx.RockingCurveModel(GGG, axis_kind="offset", unit="arcsec")


BOUNDS = {
    "a layer of a metre": ("L1", {"value": 1e9, "min": 1e8, "max": 1e10}),
    "strain of ten": ("Dmax1", {"value": 10.0, "min": 5.0, "max": 20.0}),
    "no width": ("fwhm", {"value": 0.0, "min": 0.0, "max": 1e-300}),
    "a step that turns the axis round": ("step", {"value": 0.0, "min": -1.0, "max": 1.0, "vary": False}),
    "an upper bound alone": ("L1", {"max": 1e10}),
    "nothing between the bounds": ("scale", {"value": 1e5, "min": 1e5, "max": 1e5 * (1 + 1e-14)}),
    "correlation of nothing": ("correlation_length", {"value": 1e-300, "min": 1e-300, "max": 10.0}),
    "background of everything": ("background", {"value": 1e300, "max": 1e301}),
}


@pytest.mark.parametrize("case", BOUNDS)
def test_bounds_that_reach_too_far_in_a_file(case, tmp_path, capsys, monkeypatch):
    name, settings = BOUNDS[case]
    monkeypatch.chdir(tmp_path)
    written = ", ".join(f"{key} = {json.dumps(value)}" for key, value in settings.items())
    (tmp_path / "c.csv").write_text(CURVE)
    (tmp_path / "c.toml").write_text(f"{EXPERIMENT}[parameters]\n{name} = {{ {written} }}\n")
    assert main(["fit", "c.csv", "c.toml", "--out", "out"]) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert f"[parameters] {name}" in said
    assert not (tmp_path / "out").exists()


# lmfit itself refuses bounds that are close to each other, and nothing is calculated between those of what is fixed.
IN_PYTHON = [case for case in BOUNDS if case not in ("no width", "nothing between the bounds")]


@pytest.mark.parametrize("case", IN_PYTHON)
def test_bounds_that_reach_too_far_in_python(case):
    name, settings = BOUNDS[case]
    params = model().make_params()
    params[name].set(**({"value": params[name].value} | settings | {"vary": True}))
    with pytest.raises(hx.HrxrdError, match=name):
        model().fit(np.ones(len(X)), params, x=X)


def test_values_that_are_out_of_reach():
    for name, value in (("L1", 1e9), ("Dmax1", 10.0), ("step", 0.0), ("fwhm", 1e-300), ("scale", 1e300)):
        with pytest.raises(hx.HrxrdError, match=f"{name}: value"):
            model().eval(model().make_params(), x=X, **{name: value})


def test_bounds_may_be_twenty_times_wider():
    spec = ParameterSpec("a", "Å", 2.0, 1.0, 3.0, True, "")
    spec.check_bounds(0.05, 60.0)
    spec.check_bounds(-np.inf, np.inf)  # no bounds; the value is looked at instead
    for low, high in ((0.04, 3.0), (1.0, 61.0), (2.0, 2.0)):
        with pytest.raises(hx.HrxrdError, match="a: "):
            spec.check_bounds(low, high)
    assert ParameterSpec("b", "", 0.0, 0.0, 1.0, True, "").widest == (-1.0, 20.0)
    assert ParameterSpec("c", "", 0.0, -1.0, 0.0, True, "").widest == (-20.0, 1.0)


@pytest.mark.parametrize(
    ("options", "x", "words"),
    [
        ({"films": [hx.Film("f", "GGG", 1e9)]}, X, "more than 500000 angles"),
        ({"films": [hx.Film("f", "GGG", 1e6)], "profile": "implanted"}, X, "lamellae at"),
        ({}, np.linspace(-1e-300, 1e-300, 101), "more than 500000 angles"),
        ({"max_depth": 1e300}, X, "more than 500000 angles"),
    ],
)
def test_more_than_memory(options, x, words):
    curve = hx.RockingCurve.of(GGG, **options)
    with pytest.raises(hx.HrxrdError, match=words):
        curve.bind(x * ARCSEC).curve(curve.space.defaults())


@pytest.mark.parametrize("what", ["eval", "guess", "fit"])
@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.linspace(-1300.0, 300.0, 201), "goes up to 1.33e\\+03° away.*: check .* unit of"),  # offsets in arcsec
        (np.linspace(-0.36, 0.083, 201), "ends 25.4° away"),  # offsets in degrees
        (np.linspace(50.4, 51.2, 201), 'is its kind "two_theta"'),
    ],
)
def test_arrays_of_another_kind_or_unit(what, x, words):
    own = hx.RockingCurveModel(GGG)  # omega in degrees
    params, counts = own.make_params(), np.ones(len(x))
    calls = {
        "eval": lambda: own.eval(params, x=x),
        "guess": lambda: own.guess(counts, x=x),
        "fit": lambda: own.fit(counts, params, x=x),
    }
    with pytest.raises(CurveError, match=words):
        calls[what]()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: hx.Film("f", "Si", 50.0, roughness=3.0), "Film: unknown parameter 'roughness'"),
        (lambda: hx.Diffractometer(analyzer="Ge 220"), "did you mean analyser"),
        (lambda: hx.RockingCurveModel(GGG, analyser="Ge 220"), "RockingCurve: unknown parameter 'analyser'"),
    ],
)
def test_keywords_that_nobody_knows(make, words):
    with pytest.raises(hx.HrxrdError, match=words):
        make()


# --- after the work is done ---


def test_one_file_that_fails_does_not_cost_the_others(tmp_path):
    def fails(path):
        path.write_text("half of it")
        raise RuntimeError("no room for a formula")

    failed = outputs.write_each({"a": fails, "b": lambda path: path.write_text("b")}, tmp_path)
    assert failed == ["a could not be written: RuntimeError: no room for a formula"]
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


@pytest.mark.parametrize("unit", ["$\\frac{a$", "$x$", "\\$", "$$", "counts\n\0per", "u" * 10_000])
def test_a_unit_is_no_formula(unit):
    import xarray as xr
    from matplotlib.figure import Figure

    from hrxrd_ml.results.plots.style import axis_label, intensity_label

    data = xr.DataArray([1.0], {"x": ("x", [0.0], {"units": unit, "long_name": unit})}, ("x",), attrs={"units": unit})
    figure = Figure()
    axes = figure.add_subplot(xlabel=axis_label(data["x"]), ylabel=intensity_label(data))
    figure.draw_without_rendering()
    assert len(axes.get_ylabel()) < 150


# --- checkpoints ---


@pytest.mark.parametrize("damage", ["missing", "whole numbers", "nan"])
def test_the_check_of_the_domain_is_whole_or_not_there(damage):
    rng = np.random.default_rng(1)
    arrays = Domain.learn(rng.normal(size=(50, 5)), np.zeros((50, 0))).arrays()
    arrays = {name.removeprefix("domain."): array for name, array in arrays.items()}
    assert Domain.of({}) is None
    assert Domain.of(arrays) is not None
    if damage == "missing":
        del arrays["limit"]
    else:
        arrays["limit"] = np.array([1], np.int16) if damage == "whole numbers" else np.array([np.nan], np.float32)
    with pytest.raises(hx.HrxrdError, match="limit"):
        Domain.of(arrays)


@pytest.mark.parametrize("tolerance", [1e-300, 0.0, -1.0, 1.0, 1e300, float("nan")])
def test_a_tolerance_out_of_reach_is_named(tolerance):
    with pytest.raises(hx.HrxrdError, match="tolerance, the relative error of the curve"):
        hx.RockingCurveModel(GGG, tolerance=tolerance)


@pytest.mark.parametrize(
    "monochromator", [("Si 111",) * 1000, ("0x Si 111",), ("99999999x Si 111",), "9" * 5000 + "x Si 111"]
)
def test_the_crystals_of_a_monochromator_are_counted(monochromator):
    with pytest.raises(hx.HrxrdError, match=r"at most 10 crystals|1 to 20 reflections"):
        hx.Reflection("GGG", (4, 4, 4), "CuKa1", monochromator=monochromator)


def test_a_crystal_that_absorbs_nothing_is_told_so():
    with pytest.raises(hx.HrxrdError, match="without absorption, Im chi0 = 0"):
        hx.Susceptibility(chi0=0.0, chih=-1e-5 - 1e-6j)


def test_unknown_keywords_of_a_reflection_are_named():
    with pytest.raises(
        hx.HrxrdError, match="Reflection: unknown parameter 'monochromater'; did you mean monochromator"
    ):
        hx.Reflection("GGG", (4, 4, 4), monochromater="Ge 220")


def test_a_misspelt_hint_is_named_at_once():
    model = hx.RockingCurveModel(GGG)
    with pytest.warns(UserWarning, match="unknown parameter 'Dmx1'; did you mean Dmax1"):
        model.set_param_hint("Dmx1", value=0.01)


def test_a_linear_background_is_never_negative():
    model = hx.RockingCurveModel(GGG, background="linear", axis_kind="offset", unit="arcsec")
    x = np.linspace(-900.0, 300.0, 121)
    curve, slopes = model.bind(x).jacobian(
        model.space.defaults() | {"background": 100.0, "slope": 1.0, "scale": 1e-3}, ["background", "slope"]
    )
    assert curve.min() >= 0.0
    assert curve[-1] == pytest.approx(400.0, rel=1e-3)
    np.testing.assert_allclose(slopes[x < -101.0], 0.0, atol=1e-12)
    np.testing.assert_allclose(slopes[x > -99.0, 0], 1.0)


def test_a_notebook_shows_units_and_notes():
    model = hx.RockingCurveModel(GGG, axis_kind="offset", unit="arcsec", prefix="a_")
    x = np.linspace(-500.0, 100.0, 61)
    params = model.make_params(a_scale=1e4)
    result = model.fit(np.round(model.eval(params, x=x)), params, x=x, max_nfev=4)
    page = result._repr_html_()
    assert ">a_L1 [Å]</td>" in page
    assert all(note.split("'")[0] in page for note in result.bound_notes)
    assert result.bound_notes
