"""Models and results as text files: complete, exact, versioned, and refused when they are not what they claim."""

import json

import lmfit
import numpy as np
import pytest
import xarray as xr
from lmfit.models import GaussianModel, PolynomialModel, StepModel

import hrxrd_ml as hx
from curve_stub import TRUTH, StubCurve
from hrxrd_ml import RockingCurveModel
from hrxrd_ml.errors import InputFileError, ParameterError
from hrxrd_ml.inference.sampling.peaks import peaks_of
from hrxrd_ml.inference.sampling.probability import LogPosterior
from hrxrd_ml.model.composite import CurveComposite

REFLECTION = hx.Reflection(
    "GGG", (4, 4, 4), "CuKa1", monochromator=("2x Si 111", "Ge 111"), monochromator_setting="dispersive", miscut=0.3
)
AXIS = np.linspace(-900.0, 300.0, 200)


def real_model(**options):
    """A real simulation, with an option or hint of every kind."""
    settings = {"axis_kind": "offset", "unit": "arcsec", "resolution": "pseudo_voigt", "prefix": "a_"}
    model = RockingCurveModel(REFLECTION, **settings | options)
    model.set_param_hint("fwhm", value=20.0, min=10.0, max=np.inf)
    model.set_param_hint("D02", expr="a_D01")
    return model


def fitted(**options):
    model = real_model(diffuse="none", **options)
    params = model.make_params(scale=1.0e4, background=3.0)
    time = np.where(AXIS < -200.0, 10.0, 5.0)
    counts = np.random.default_rng(0).poisson(model.eval(params, x=AXIS) * time / 10.0)
    coords = {
        "x": ("x", AXIS, {"kind": "offset", "units": "arcsec", "long_name": "offset"}),
        "counting_time": ("x", time),
    }
    curve = xr.DataArray(counts * 1.0, coords, ("x",), "counts", {"kind": "counts", "source": "scan 1"})
    for name in params:
        params[name].vary = name in ("a_scale", "a_Dmax1", "a_L1", "a_D01", "a_background")
    weights = np.where(np.abs(AXIS) < 10.0, 0.0, 1.0)
    return model.fit(curve, params, weights=weights)


def test_model_comes_back_whole(tmp_path):
    model = real_model(statistics="poisson", relative_error=0.03, floor=2.0)
    model.save(tmp_path / "model.json")
    other = hx.load_model(tmp_path / "model.json")
    assert isinstance(other, RockingCurveModel)
    assert repr(other) == repr(model)
    assert other.param_hints == model.param_hints
    assert (other.statistics, other.relative_error, other.floor) == ("poisson", 0.03, 2.0)
    assert other.frame == model.frame
    params = other.make_params()
    assert params["a_D02"].expr == "a_D01"
    np.testing.assert_array_equal(other.eval(params, x=AXIS), model.eval(model.make_params(), x=AXIS))


def test_result_comes_back_whole_and_can_be_fitted_again(tmp_path):
    result = fitted()
    result.save(tmp_path / "fit.json")
    other = hx.load_result(tmp_path / "fit.json")
    assert other.fit_report() == result.fit_report()
    for name in ("data", "weights", "covar"):
        np.testing.assert_array_equal(getattr(other, name), getattr(result, name))
    for name in ("best_fit", "residual", "init_fit"):
        np.testing.assert_allclose(getattr(other, name), getattr(result, name), rtol=1e-9, atol=1e-9)
    for name in ("chisqr", "nfev", "success", "message", "bound_notes", "rsquared", "scale_covar", "init_values"):
        assert getattr(other, name) == getattr(result, name)
    xr.testing.assert_identical(other.curve, result.curve)
    assert other.pearson_chi2() == pytest.approx(result.pearson_chi2())
    np.testing.assert_array_equal(other.draw(3, seed=0), result.draw(3, seed=0))
    assert other.uvars["a_D02"].std_dev == pytest.approx(result.params["a_D02"].stderr)
    assert list(other.check_errors()) == list(result.var_names)
    # What a sampler begins with.
    (peak,), (own,) = (peaks_of(LogPosterior(r, {}), ()) for r in (other, result))
    np.testing.assert_allclose((peak.place - own.place) / np.sqrt(np.diag(own.covariance)), 0.0, atol=0.05)
    other.fit()
    assert other.chisqr == pytest.approx(result.chisqr, rel=1e-6)


@pytest.mark.parametrize("statistics", ["relative", "none"])
def test_other_statistics_come_back(tmp_path, statistics):
    result = fitted(statistics=statistics)
    result.save(tmp_path / "fit.json")
    assert hx.load_result(tmp_path / "fit.json").fit_report() == result.fit_report()


def test_composites_of_known_models_come_back(tmp_path):
    model = CurveComposite(GaussianModel(prefix="g_"), real_model()) + PolynomialModel(degree=2) - StepModel(form="erf")
    model.set_param_hint("g_sigma", min=1.0)
    model.save(tmp_path / "sum.json")
    other = hx.load_model(tmp_path / "sum.json")
    assert repr(other) == repr(model)
    values = {"g_amplitude": 10.0, "g_center": 1.0, "g_sigma": 5.0, "c0": 1.0, "c1": 1e-3, "c2": 0.0}
    values |= {"amplitude": 1.0, "center": 0.0, "sigma": 9.0}
    one, two = (m.eval(m.make_params(**values), x=AXIS) for m in (model, other))
    np.testing.assert_array_equal(one, two)
    assert other.make_params(**values)["g_sigma"].min == 1.0


def test_lmfits_own_functions_write_the_same_text(tmp_path):
    from lmfit.model import save_model

    model = real_model()
    save_model(model, tmp_path / "model.json")
    assert repr(hx.load_model(tmp_path / "model.json")) == repr(model)
    for thing in (model, fitted()):
        with pytest.raises(ParameterError, match=r"use hrxrd_ml\.load"):
            thing.loads("")


def test_what_text_cannot_hold_is_refused_and_leaves_the_old_file(tmp_path):
    path = tmp_path / "model.json"
    real_model().save(path)
    before = path.read_bytes()
    stub = RockingCurveModel(simulation=StubCurve(), axis_kind="offset")
    stub_result = stub.fit(np.ones(50), stub.make_params(**TRUTH), x=np.linspace(-1e-3, 1e-3, 50) * 57.3, max_nfev=1)
    custom = real_model() + GaussianModel(prefix="g_")
    custom.op = np.hypot
    for thing in (stub, stub_result, real_model() + CurveComposite.__mro__[-2](lambda x, a: a * x), custom):
        with pytest.raises(ParameterError, match="cannot save"):
            thing.save(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["model.json"]


def spoiled(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.unlink(), "cannot read the model"),
        (lambda path: path.write_bytes(b"\x80\x04K\x01."), "not a saved model"),
        (lambda path: path.write_text("[1]"), "expected a file of format"),
        (lambda path: spoiled(path, format="hrxrd_ml result"), "got 'hrxrd_ml result'"),
        (lambda path: spoiled(path, version=1), "has version 1 of the format and this package reads 4"),
        (lambda path: spoiled(path, model={"kind": "rocking_curve"}), "damaged"),
        (lambda path: spoiled(path, model={"kind": "other"}), "unknown kind of model 'other'"),
        (lambda path: spoiled(path, model={"kind": "lmfit", "class": "np"}), "no model of lmfit that can be saved"),
        (lambda path: spoiled(path, model={"kind": "lmfit", "class": "ExpressionModel"}), "no model of lmfit"),
    ],
)
def test_files_that_are_no_models_are_refused(tmp_path, spoil, message):
    path = tmp_path / "model.json"
    real_model().save(path)
    spoil(path)
    with pytest.raises(InputFileError, match=message) as error:
        hx.load_model(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    "name", ["os:system", "hrxrd_ml.io.files:write_text", "RockingCurveModel", "ChainStore", "a.b:c"]
)
def test_a_file_can_name_parts_of_a_model_only(tmp_path, name):
    path = tmp_path / "model.json"
    real_model().save(path)
    data = json.loads(path.read_text(encoding="utf-8"))
    data["model"]["simulation"]["$object"] = name
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(InputFileError, match="no part of a model"):
        hx.load_model(path)


def test_lmfits_loaders_refuse_our_files_and_the_files_say_what_reads_them(tmp_path):
    model = hx.RockingCurveModel(hx.Reflection("Si", (0, 0, 4), "CuKa1"), axis_kind="offset", unit="arcsec")
    params = model.make_params()
    x = np.linspace(-300.0, 100.0, 101)
    result = model.fit(model.eval(params, x=x) + 1.0, params, x=x, max_nfev=1)
    model.save(tmp_path / "model.json")
    result.save(tmp_path / "result.json")
    with pytest.raises(ValueError, match="Cannot restore Model"):
        lmfit.model.load_model(tmp_path / "model.json")
    with pytest.raises(AttributeError, match="needs saved ModelResult"):
        lmfit.model.load_modelresult(tmp_path / "result.json")
    for kind in ("model", "result"):
        text = (tmp_path / f"{kind}.json").read_text(encoding="utf-8")
        assert json.loads(text)["__class__"] == f"hrxrd_ml.load_{kind} reads this file"
    assert hx.load_result(tmp_path / "result.json").best_values == result.best_values
