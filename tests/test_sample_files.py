"""Experiment files of several curves, and the commands that fit them."""

import json

import numpy as np
import pytest
import xarray as xr

import hrxrd_ml as hx
from hrxrd_ml.cli.main import main

TRUTH = {"Dmax1": 0.006, "D01": 0.002, "L1": 4000.0, "Rp1": 3000.0, "D02": 0.003, "L2": 2500.0, "Rp2": -500.0}
HEAD = """
[reflection]
crystal = "GGG"
[axis]
kind = "offset"
unit = "arcsec"
[intensity]
kind = "counts"
"""
CURVES = """
[[curve]]
file = "first.csv"
reflection = { hkl = [4, 4, 4] }
[[curve]]
file = "second.csv"
reflection = { hkl = [8, 8, 8] }
"""


@pytest.fixture
def folder(tmp_path):
    for name, order, low, high in (("first", 4, -700.0, 200.0), ("second", 8, -3000.0, 800.0)):
        model = hx.RockingCurveModel(hx.Reflection("GGG", (order,) * 3), axis_kind="offset", unit="arcsec")
        growth = (order / 4) ** 2
        values = {"damage": 0.2 * growth, "substrate_damage": 0.01 * growth, "scale": 3e4, "fwhm": 20.0}
        x = np.linspace(low, high, 220)
        counts = np.random.default_rng(order).poisson(model.eval(model.make_params(**TRUTH, **values), x=x))
        rows = "\n".join(f"{a:.6f},{n:d}" for a, n in zip(x, counts, strict=True))
        (tmp_path / f"{name}.csv").write_text(f"offset_arcsec,counts\n{rows}\n", encoding="utf-8")
    (tmp_path / "sample.toml").write_text(HEAD + CURVES, encoding="utf-8")
    return tmp_path


def test_one_command_fits_all_curves(folder, capsys):
    assert main(["fit", str(folder / "sample.toml"), "--out", str(folder / "out")]) == 0
    said = capsys.readouterr().out
    assert "r444: chi2/N" in said
    assert "second.csv, read as: ω offset, arcsec; counts" in said
    files = {path.name for path in (folder / "out").iterdir()}
    assert files == {"fit.json", "fit.nc", "fit.png", "fit_r444.csv", "fit_r888.csv"}
    record = json.loads((folder / "out" / "fit.json").read_text(encoding="utf-8"))
    assert record["redchi"] < 1.3
    found = record["parameters"]["L1"]
    assert abs(found["value"] - TRUTH["L1"]) < 4.0 * found["stderr"]
    assert record["parameters"]["r888_damage"]["expr"] == "r444_damage*4.0"
    with xr.open_datatree(folder / "out" / "fit.nc", engine="h5netcdf") as tree:
        assert list(tree.children) == ["r444", "r888"]
    table = np.genfromtxt(folder / "out" / "fit_r888.csv", delimiter=",", names=True)
    assert len(table) == 220


def test_guess_prints_what_the_file_may_hold(folder, capsys):
    assert main(["guess", str(folder / "sample.toml")]) == 0
    text = capsys.readouterr().out
    assert "r888_scale" in text
    again = folder / "again.toml"
    again.write_text(HEAD + text + CURVES, encoding="utf-8")
    sample = hx.read_sample(again)
    model = hx.build_joint_model(sample)
    assert model.make_params()["r888_damage"].expr is not None


def test_functions_do_what_the_command_does(folder):
    (folder / "sample.toml").write_text(
        HEAD
        + "[parameters]\nL1 = { value = 4000.0, vary = false }\nr888_damage = { vary = true, value = 0.9 }\n"
        + '[joint]\nshared = ["background"]\n'
        + CURVES.replace(
            'file = "second.csv"', 'file = "second.csv"\nname = "b"\nfit = { mask = [[-100.0, 100.0]] }'
        ).replace("r888", "b"),
        encoding="utf-8",
    )
    text = (folder / "sample.toml").read_text(encoding="utf-8").replace("r888_damage", "b_damage")
    (folder / "sample.toml").write_text(text, encoding="utf-8")
    sample = hx.read_sample(folder / "sample.toml")
    curves = [hx.read_curve(own.file, experiment=own.experiment) for own in sample.curves]
    fit = hx.fit_curves(curves, sample)
    assert fit.result.params["L1"].value == 4000.0
    assert fit.result.params["b_damage"].vary
    assert "background" in fit.result.params
    first, second = fit.result.parts
    assert first.used.all()
    assert not second.used.all()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (HEAD + CURVES.replace("second.csv", "third.csv"), "third.csv"),
        (HEAD + CURVES.replace('file = "second.csv"', ""), "curve #2] file is missing"),
        (HEAD + CURVES.replace("hkl = [8, 8, 8]", "hkl = [8, 8]"), "#2: \\[reflection\\] hkl"),
        (HEAD + CURVES.replace("[8, 8, 8] }", "[8, 8, 8] }\nname = 'r444'"), "no other curve"),
        (HEAD + CURVES + "[joint]\nshared = ['bakground']", "bakground"),
        (HEAD + "[parameters]\nr880_damage = { value = 1.0 }" + CURVES, "r880_damage"),
        (HEAD + "[sampel]" + CURVES, "sampel"),
        ("curve = 3" + HEAD, "tables"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(folder, capsys, text, says):
    (folder / "sample.toml").write_text(text, encoding="utf-8")
    assert main(["fit", str(folder / "sample.toml"), "--out", str(folder / "out")]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert says.replace("\\", "") in line
    assert not (folder / "out").exists()


def test_a_file_of_several_curves_is_no_experiment_of_one(folder):
    with pytest.raises(hx.HrxrdError, match="several curves"):
        hx.read_experiment(folder / "sample.toml")


def test_two_scans_of_one_reflection_have_names_of_their_own(folder):
    (folder / "sample.toml").write_text(HEAD + CURVES.replace("[8, 8, 8]", "[4, 4, 4]"), encoding="utf-8")
    assert [curve.label for curve in hx.read_sample(folder / "sample.toml").curves] == ["r444", "r444a"]


def test_a_curve_that_is_not_fitted_is_predicted(folder, capsys):
    text = (HEAD + CURVES).replace('file = "second.csv"', 'file = "second.csv"\npredict = true')
    (folder / "sample.toml").write_text(text, encoding="utf-8")
    sample = hx.read_sample(folder / "sample.toml")
    assert [own.label for own in sample.curves] == ["r444"]
    assert [own.label for own in sample.predicted] == ["r888"]
    assert main(["fit", str(folder / "sample.toml"), "--out", str(folder / "out")]) == 0
    said = capsys.readouterr().out
    assert "r888, predicted, not fitted: chi2/N = " in said
    files = {path.name for path in (folder / "out").iterdir()}
    assert {"predicted_r888.csv", "predicted_r888.png"} <= files
    table = np.genfromtxt(folder / "out" / "predicted_r888.csv", delimiter=",", names=True)
    assert table.dtype.names == ("x", "data", "sigma", "prediction", "prediction_sigma", "residual")
    # Of the truth it misses no more than its band.
    off = (table["data"] - table["prediction"]) / np.hypot(table["sigma"], table["prediction_sigma"])
    assert np.mean(off**2) < 1.5


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("file = ", "predict = true\nfile = "), "at least one that is fitted"),
        (('file = "second.csv"', 'file = "second.csv"\npredict = 1'), "true or false"),
        (('file = "second.csv"', 'file = "none.csv"\npredict = true'), "none.csv"),
    ],
)
def test_predictions_that_cannot_be_made_are_refused(folder, capsys, change, says):
    (folder / "sample.toml").write_text((HEAD + CURVES).replace(*change), encoding="utf-8")
    assert main(["fit", str(folder / "sample.toml"), "--out", str(folder / "out")]) == 2
    assert says in capsys.readouterr().err
    assert not (folder / "out").exists()


CANDIDATES = """
[[candidate]]
reflection = { hkl = [8, 8, 8] }
range = [-3000, 800]
[[candidate]]
reflection = { hkl = [4, 4, 4] }
range = [-700.0, 200.0]
points = 220
time = 10
name = "longer"
"""


def test_a_plan_says_what_other_curves_would_tell(folder, capsys):
    head = HEAD.replace('crystal = "GGG"', 'crystal = "GGG"\nhkl = [4, 4, 4]')
    (folder / "first.toml").write_text(head + CANDIDATES, encoding="utf-8")
    assert main(["plan", str(folder / "first.csv"), "--parameters", "Dmax1", "L1", "--out", str(folder / "out")]) == 0
    said = capsys.readouterr().out
    assert "r888" in said
    assert "longer" in said
    assert {path.name for path in (folder / "out").iterdir()} == {"plan.md", "plan.nc", "plan.png"}
    with xr.open_dataset(folder / "out" / "plan.nc", engine="h5netcdf") as found:
        assert set(found["parameter"].values) == {"Dmax1", "L1"}
        # The same scan counted ten times as long beside the first one, with an offset and scale of its own.
        assert found["ratio"].sel(candidate="longer").values == pytest.approx(1.0 / np.sqrt(11.0), rel=0.1)


def test_a_plan_of_several_curves(folder, capsys):
    text = HEAD + CURVES.replace("[8, 8, 8] }", "[8, 8, 8] }\npredict = true") + CANDIDATES
    (folder / "sample.toml").write_text(text, encoding="utf-8")
    assert main(["plan", str(folder / "sample.toml")]) == 0
    assert "bits" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("candidates", "what"),
    [
        ("", "add tables [[candidate]]"),
        ("[[candidate]]\nreflection = { hkl = [8, 8, 8] }\n", "range is missing"),
        (CANDIDATES.replace("[-3000, 800]", "[800, -3000]"), "two angles [low, high]"),
        (CANDIDATES.replace("points = 220", "point = 220"), "did you mean 'points'"),
        (CANDIDATES.replace("time = 10", "time = 0"), "a number above 0"),
        (CANDIDATES.replace("[8, 8, 8]", "[8, 8]"), "three integers"),
        (CANDIDATES.replace("[8, 8, 8]", "[40, 40, 40]"), "[reflection]"),
    ],
)
def test_what_cannot_be_planned_is_said_before_a_fit(folder, capsys, candidates, what):
    (folder / "sample.toml").write_text(HEAD + CURVES + candidates, encoding="utf-8")
    assert main(["plan", str(folder / "sample.toml")]) == 2
    assert what in capsys.readouterr().err
