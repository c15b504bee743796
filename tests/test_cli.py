"""The command line, run in this process: every wrong input, and what the commands write when all is well."""

import json
import subprocess
import sys
import tomllib
import warnings
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from bad_input_cases import EXPERIMENT, FIXED, BadInput, cases
from hrxrd_ml import read_curve, read_experiment
from hrxrd_ml.cli import main, outputs, run
from hrxrd_ml.guess.strategy import REFINEMENTS


class OwnStart:
    """In place of a guess: the values of the hints."""

    def guess(self, model, curve):
        return model.make_params()


@pytest.fixture
def known_start(monkeypatch):
    """Fits begin at the values of the experiment, which keeps tests of files apart from those of guesses."""
    monkeypatch.setattr(run.RockingCurveModel, "guess", lambda model, curve, **_: OwnStart().guess(model, curve))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Working folder with an experiment and a curve simulated from it."""
    monkeypatch.chdir(tmp_path)
    Path("sample.toml").write_text(EXPERIMENT + FIXED, encoding="utf-8")
    command = "simulate sample.toml --noise --seed 5 --points 181 --out sample.csv"
    assert main.main(command.split()) == 0
    return tmp_path


@pytest.mark.parametrize("case", cases())
def test_wrong_input(case: BadInput, tmp_path, monkeypatch, capsys):
    case.write(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    assert main.main(list(case.argv)) == 2
    out, err = capsys.readouterr()
    assert err.endswith("\n")
    assert err.count("\n") == 1
    assert err.startswith("hrxrd-ml: ")
    assert case.message.lower() in err.lower()
    assert "Traceback" not in err
    assert out == ""
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.usefixtures("known_start")
def test_fit_writes_four_files_and_nothing_else(folder, capsys):
    assert main.main(["fit", "sample.csv", "--out", "new/deep"]) == 0
    out = folder / "new" / "deep"
    assert sorted(path.name for path in out.iterdir()) == sorted(outputs.FILES)
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.startswith("read as: ω offset, arcsec; counts\n")

    record = json.loads((out / "fit.json").read_text(encoding="utf-8"))
    assert list(record) == [
        "success", "message", "nfev", "seconds", "chisqr", "redchi", "log10_rms", "parameters", "guess", "guess_by",
    ]  # fmt: skip
    assert record["success"] is True
    assert set(record["seconds"]) == {"guess", "fit"}
    assert 0.7 < record["redchi"] < 1.3
    assert set(record["parameters"]) == set(record["guess"])
    for settings in record["parameters"].values():
        assert set(settings) == {"value", "stderr", "min", "max", "vary", "expr"}

    table = np.genfromtxt(out / "fit.csv", delimiter=",", names=True)
    assert table.dtype.names == ("x", "data", "sigma", "guess", "best_fit")
    curve = read_curve("sample.csv")
    np.testing.assert_allclose(table["x"], curve["x"], rtol=1e-9)
    np.testing.assert_array_equal(table["data"], curve)
    np.testing.assert_allclose(table["sigma"], np.sqrt(np.maximum(curve, 1.0)), rtol=1e-8)

    with xr.open_dataset(out / "fit.nc", engine="h5netcdf") as dataset:
        np.testing.assert_allclose(dataset["best_fit"], table["best_fit"], rtol=1e-8)
        assert dataset["x"].attrs["units"] == "arcsec"
        assert dataset.attrs["experiment"].endswith("sample.toml")
        assert dataset.attrs["redchi"] == pytest.approx(record["redchi"])
    assert (out / "fit.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("known_start")
def test_output_beside_other_files_replaces_only_its_own(folder):
    out = folder / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    (out / "fit.json").write_text("old")
    assert main.main(["fit", "sample.csv", "sample.toml", "--out", "out"]) == 0
    assert (out / "notes.txt").read_text() == "mine"
    assert json.loads((out / "fit.json").read_text())["success"]


@pytest.mark.usefixtures("known_start")
def test_nothing_is_left_where_writing_is_interrupted(folder, monkeypatch, capsys):
    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(outputs, "save_dataset", fail)
    before = sorted(folder.iterdir())
    assert main.main(["fit", "sample.csv", "--out", "out"]) == 130
    assert sorted(folder.iterdir()) == before
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.usefixtures("known_start")
@pytest.mark.parametrize("error", [OSError("disk full"), RuntimeError("a bug")], ids=str)
def test_a_part_that_fails_after_the_fit_is_named_and_costs_no_other(folder, monkeypatch, capsys, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(outputs, "save_dataset", fail)
    assert main.main(["fit", "sample.csv", "--out", "out"]) == 2
    said = capsys.readouterr()
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["fit.csv", "fit.json", "fit.png"]
    assert "written to out: fit.json, fit.csv, fit.png\n" in said.out
    assert said.err.count("\n") == 1
    assert f"fit.nc could not be written: {type(error).__name__}: {error}" in said.err


@pytest.mark.usefixtures("known_start")
def test_fit_that_does_not_converge_says_so(folder, capsys):
    """Of one step alone: the start of a second one is searched for, and may be the minimum already."""
    one_step = "".join(f"{name} = {{ vary = false }}\n" for name in REFINEMENTS)
    text = EXPERIMENT + FIXED + "fwhm = { value = 30.0 }\n" + one_step + "[fit]\nmax_nfev = 2\n"
    Path("sample.toml").write_text(text, encoding="utf-8")
    assert main.main(["fit", "sample.csv", "--out", "out"]) == 1
    assert json.loads(Path("out/fit.json").read_text())["success"] is False
    assert "did not converge" in capsys.readouterr().err


@pytest.mark.usefixtures("known_start")
def test_masked_points_are_shown_but_not_fitted(folder):
    Path("sample.toml").write_text(EXPERIMENT + FIXED + "[fit]\nmask = [[-30.0, 30.0]]\n", encoding="utf-8")
    x = read_curve("sample.csv")["x"].values
    lines = Path("sample.csv").read_text().splitlines()
    spoiled = [  # whatever a masked point holds must not matter
        f"{line.split(',')[0]},7" if line[0] in "-0123456789" and abs(float(line.split(",")[0])) <= 30.0 else line
        for line in lines
    ]
    Path("sample.csv").write_text("\n".join(spoiled))
    assert main.main(["fit", "sample.csv", "--out", "out"]) == 0
    with xr.open_dataset("out/fit.nc", engine="h5netcdf") as dataset:
        inside = np.abs(x) <= 30.0
        np.testing.assert_array_equal(dataset["used"], ~inside)
        assert np.isnan(dataset["residual"].values[inside]).all()
        assert dataset.attrs["ndata"] == (~inside).sum()
        assert 0.7 < dataset.attrs["redchi"] < 1.3
        assert dataset["best_fit"].values[inside].max() > 1e4  # goes on through the gap


@pytest.mark.usefixtures("known_start")
def test_warnings_are_lines_on_stderr(folder, monkeypatch, capsys):
    original = run.fit_curve

    def warned(*args, **kwargs):
        warnings.warn("watch\nout", stacklevel=1)
        return original(*args, **kwargs)

    monkeypatch.setattr(run, "fit_curve", warned)
    assert main.main(["fit", "sample.csv", "--out", "out", "-v"]) == 0
    out, err = capsys.readouterr()
    assert "hrxrd-ml: warning: watch out\n" in err
    assert "evaluation 1: chi2/N" in err
    assert "[[Variables]]" in out


def test_demo_finds_what_it_was_made_from(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main.main(["demo"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "SIMULATED" in out
    assert sorted(path.name for path in Path("hrxrd-ml-demo").iterdir()) == sorted(outputs.FILES)
    with as_file(files("hrxrd_ml") / "data" / "demo.csv") as path:
        truth = outputs.read_truth(path)
    with xr.open_dataset("hrxrd-ml-demo/fit.nc", engine="h5netcdf") as dataset:
        free = dataset.sel(parameter=dataset["vary"].values)
        pull = [
            (v - truth[n]) / s
            for n, v, s in zip(free["parameter"].values, free["value"].values, free["stderr"].values, strict=True)
        ]
        assert len(pull) > 12
        assert np.abs(pull).max() < 4.0
        assert 0.8 < dataset.attrs["redchi"] < 1.2
        # The bundled curve is the package's own: simulated, with the noise of counting and no other.
        values = {name: truth[name] for name in truth}
        expected, _ = run.simulate_curve(_demo_experiment(), dataset["x"].values, values)
        chi2 = ((dataset["data"].values - expected.values) ** 2 / expected.values).mean()
        assert 0.8 < chi2 < 1.2


def _demo_experiment():
    with as_file(files("hrxrd_ml") / "data" / "demo.toml") as path:
        return read_experiment(path)


def test_simulated_curve_reads_back(folder):
    curve = read_curve("sample.csv")
    assert curve.attrs["kind"] == "counts"
    assert (curve["x"].attrs["kind"], curve["x"].attrs["units"]) == ("offset", "arcsec")
    truth = outputs.read_truth("sample.csv")
    expected, values = run.simulate_curve(read_experiment("sample.toml"), curve["x"].values)
    assert truth == values
    assert 0.7 < float(((curve.values - expected.values) ** 2 / expected.values).mean()) < 1.3


def test_simulation_is_repeatable_and_takes_values(folder, capsys):
    def simulated(*options):
        assert main.main(["simulate", "sample.toml", "--range", "-900", "200", "--points", "50", *options]) == 0
        return capsys.readouterr().out

    assert simulated("--noise", "--seed", "1") == simulated("--noise", "--seed", "1")
    assert simulated("--noise", "--seed", "1") != simulated("--noise", "--seed", "2")
    plain, brighter = simulated(), simulated("--set", "background=101", "--set", "fwhm=12")
    assert "offset_arcsec,intensity" in plain

    def column(text):
        return np.array([float(line.split(",")[1]) for line in text.splitlines() if line[0] in "-0123456789"])

    np.testing.assert_allclose(column(brighter) - column(plain), 100.0, rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--set", "fwmh=3"], "did you mean fwhm"),
        (["--set", "fwhm"], "NAME=VALUE"),
        (["--set", "fwhm=-3"], "outside its bounds"),
        (["--set", "D01=0.02", "--set", "Dmax1=0.01"], "D01 <= Dmax1 is broken"),
        (["--range", "5", "-5"], "ascending"),
        (["--range", "nan", "5"], "ascending"),
        (["--points", "3"], "20 to 100000"),
        (["--seed", "3"], "--noise"),
        (["--noise", "--seed", "-1"], "--seed"),
        (["--out", "nowhere/curve.csv"], "does not exist"),
    ],
)
def test_wrong_simulation(folder, capsys, options, words):
    assert main.main(["simulate", "sample.toml", *options]) == 2
    out, err = capsys.readouterr()
    assert words in err
    assert err.count("\n") == 1
    assert out == ""


@pytest.mark.usefixtures("known_start")
def test_guess_is_a_section_of_an_experiment_file(folder, capsys):
    assert main.main(["guess", "sample.csv"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("# read as: ω offset, arcsec; counts\n[parameters]\n")
    section = tomllib.loads(text)["parameters"]
    assert section["diffuse_mix"] == {"value": 0.5, "min": 0.0, "max": 1.0, "vary": False}
    head = EXPERIMENT + '[model]\nresolution = "pseudo_voigt"\n'
    Path("again.toml").write_text(head + text, encoding="utf-8")
    assert set(read_experiment("again.toml").parameters) == set(section)
    assert main.main(["guess", "sample.csv", "again.toml", "--out", "start.toml"]) == 0
    assert Path("start.toml").read_text(encoding="utf-8") == text


@pytest.mark.usefixtures("known_start")
def test_guess_does_not_hold_what_nobody_has_set(folder, capsys):
    assert main.main(["guess", "sample.csv"]) == 0
    section = tomllib.loads(capsys.readouterr().out)["parameters"]
    assert not {"curvature", "strain_spread", "dead_time"} & set(section)
    assert {"Dmax1", "scale"} <= set(section)


@pytest.mark.usefixtures("known_start")
@pytest.mark.parametrize(
    "command",
    [
        "simulate sample.toml --out sample.toml",
        "guess sample.csv --out sample.toml",
        "guess sample.csv --out sample.csv",
    ],
)
def test_no_command_writes_over_what_it_reads(folder, capsys, command):
    before = [Path(name).read_bytes() for name in ("sample.toml", "sample.csv")]
    assert main.main(command.split()) == 2
    assert "choose another name" in capsys.readouterr().err
    assert [Path(name).read_bytes() for name in ("sample.toml", "sample.csv")] == before


@pytest.mark.usefixtures("known_start")
def test_files_of_an_earlier_run_are_named(folder, capsys):
    out = folder / "out"
    out.mkdir()
    (out / "fit.html").write_text("of yesterday")
    assert main.main(["fit", "sample.csv", "--out", "out"]) == 0
    assert "fit.html in out are of an earlier run" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("fit sample.csv --out out --emcee 20 --seed -1", "--seed"),
        ("dataset make universal --out set --workers -1", "--workers"),
        ("dataset make universal --out set --workers 0", "--workers"),
        ("train universal set --out run --shards 0", "--shards"),
        ("train universal set --out run --minutes -1", "--minutes"),
        ("fit sample.csv --out out --seed 3", "--emcee"),
    ],
)
def test_impossible_numbers_are_refused_at_once(folder, capsys, command, words):
    assert main.main(command.split()) == 2
    assert words in capsys.readouterr().err


def test_version_and_help(capsys):
    for option, words in (("--version", "hrxrd-ml "), ("--help", "simulate")):
        with pytest.raises(SystemExit) as stopped:
            main.main([option])
        assert stopped.value.code == 0
        assert words in capsys.readouterr().out


def test_help_loads_nothing_slow():
    code = (
        "import sys\nfrom hrxrd_ml.cli.main import main\n"
        "try: main(['--help'])\nexcept SystemExit: print('+', *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.rpartition("+")[2].split())
    assert not loaded & {"lmfit", "numpy", "scipy", "torch", "matplotlib", "numba", "xarray", "xraydb"}


@pytest.mark.usefixtures("folder")
def test_fit_with_a_posterior_and_a_report(capsys):
    held = ("background", "fwhm", "eta", "substrate_damage", "substrate_correlation_length", "D02", "L2", "Rp2")
    with Path("sample.toml").open("a", encoding="utf-8") as text:
        text.writelines(f"{name} = {{ vary = false }}\n" for name in held)
    assert main.main(["fit", "sample.csv", "--out", "out", "--emcee", "4", "--report"]) == 0
    out = capsys.readouterr().out
    assert "max_strain" in out
    assert "the chain is too short" in out
    written = {path.name for path in Path("out").iterdir()}
    assert written == {*outputs.FILES, *outputs.POSTERIOR_FILES, outputs.CHAIN, "fit.html"}
    assert "Posterior" in Path("out/fit.html").read_text(encoding="utf-8")


def test_an_empty_path_is_no_path(folder, capsys):
    before = sorted(folder.iterdir())
    assert main.main(["fit", "sample.csv", "--out", ""]) == 2
    assert "expected a path" in capsys.readouterr().err
    assert sorted(folder.iterdir()) == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_what_cannot_be_written_is_said_in_one_line(folder, capsys):
    assert main.main(["simulate", "sample.toml", "--out", "/dev/full"]) == 2
    assert capsys.readouterr().err == "hrxrd-ml: cannot write the output: no space left on device\n"
    assert main.main(["dataset", "make", "universal-test", "--out", "sample.csv"]) == 2
    assert capsys.readouterr().err == "hrxrd-ml: sample.csv: not a directory\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--emcee", "-3"], "--emcee takes a number of steps"),
        (["--emcee", "0"], "--emcee takes a number of steps"),
        (["--model-error"], "give --emcee with a number of steps too"),
    ],
)
def test_sampling_options_that_make_no_sense(tmp_path, capsys, arguments, message):
    with as_file(files("hrxrd_ml") / "data" / "demo.csv") as path:
        assert main.main(["fit", str(path), "--out", str(tmp_path / "out"), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
