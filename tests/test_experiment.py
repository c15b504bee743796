"""Experiment files."""

import dataclasses
import math
import pickle
from pathlib import Path

import pytest

from bad_input_cases import EXPERIMENT, cases
from hrxrd_ml import read_experiment
from hrxrd_ml.errors import ExperimentError
from hrxrd_ml.io.experiment.read import experiment_from_mapping, find_experiment
from hrxrd_ml.io.experiment.settings import Experiment, ModelSettings

REFLECTION = {"crystal": "GGG", "hkl": [4, 4, 4]}
FULL = """\
[reflection]
crystal = "GGG"
hkl = [4, 4, -4]
wavelength = 1.5405
surface = [1, 1, 1]
exit = "low"
monochromator = ["Si 111", "Ge  111"]
monochromator_setting = "dispersive"
miscut = -0.4
miscut_azimuth = 90
lattice = 12.383
polarization_ratio = 0.884

[reflection.susceptibility]
chi0 = [-3.68946e-5, 3.595136e-6]
chih = [-1.266065e-5, 3.26115e-6]
chih_pi = [-1.266065e-5, 2.04984e-6]

[axis]
column = 2
kind = "omega"
unit = "mdeg"
scan = 1

[intensity]
column = "I"
kind = "intensity"
sigma_column = "dI"

[sample]
layers = [
  { crystal = "AlGaAs", x = 0.8, thickness = 20000.0, name = "barrier", relaxation = 0 },
  { crystal = "GaAs", thickness = 2000, density = 0.98, damage = 0.1 },
]

[model]
profile = "bspline"
damage = "bspline"
diffuse = "correlation"
resolution = "double_crystal"
background = "linear"
strain_knots = 15
damage_knots = 8
tolerance = 1e-4

[parameters]
fwhm = { value = 38, min = 10.0, max = inf }
eta = { vary = false }
w0 = { expr = "w1" }

[fit]
method = "least_squares"
mask = [[-10, 10.5]]
max_nfev = 500
"""


@pytest.fixture
def write(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "experiment.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_every_key_is_read(write):
    experiment = read_experiment(write(FULL))
    r = experiment.reflection
    assert (r.crystal, r.hkl, r.wavelength, r.surface, r.exit) == (
        "GGG",
        (4, 4, -4),
        1.5405,
        (1, 1, 1),
        "low",
    )
    assert r.monochromator == ("Si 111", "Ge 111")
    assert (r.monochromator_setting, r.miscut, r.miscut_azimuth) == ("dispersive", -0.4, 90.0)
    assert (r.lattice, r.polarization_ratio) == (12.383, 0.884)
    assert r.susceptibility is not None
    assert r.susceptibility.chi0 == -3.68946e-5 + 3.595136e-6j
    assert r.susceptibility.chih_pi == -1.266065e-5 + 2.04984e-6j
    assert r.susceptibility.chihbar is None
    assert dataclasses.astuple(experiment.axis) == (2, "omega", "mdeg", 1)
    assert (experiment.intensity.column, experiment.intensity.sigma_column) == ("I", "dI")
    barrier, well = experiment.sample.layers
    assert (barrier.name, barrier.x, barrier.relaxation, barrier.strain) == ("barrier", 0.8, 0.0, None)
    assert (well.name, well.thickness, well.density) == ("layer2", 2000.0, 0.98)
    assert experiment.model == ModelSettings(
        "bspline", "bspline", "correlation", "double_crystal", "linear", 15, 8, 1e-4
    )
    assert experiment.parameters == {
        "fwhm": {"value": 38.0, "min": 10.0, "max": math.inf},
        "eta": {"vary": False},
        "w0": {"expr": "w1"},
    }
    assert experiment.fit.mask == ((-10.0, 10.5),)
    assert (experiment.fit.method, experiment.fit.max_nfev) == ("least_squares", 500)
    assert experiment.path is not None
    assert experiment.path.name == "experiment.toml"


@pytest.mark.parametrize(
    ("hkl", "expected"), [("006", (0, 0, 6)), ("0 0 0 12", (0, 0, 12)), ([1, 1, -2, 3], (1, 1, 3))]
)
def test_reflections_may_be_written_as_text(hkl, expected):
    table = {"crystal": "Al2O3", "hkl": hkl, "monochromator": "Ge 220"}
    settings = experiment_from_mapping({"reflection": table}).reflection
    assert (settings.hkl, settings.monochromator) == (expected, ("Ge 220",))


def test_defaults():
    experiment = experiment_from_mapping({"reflection": REFLECTION})
    assert experiment.reflection.wavelength == "CuKa1"
    assert experiment.reflection.exit == "high"
    assert experiment.reflection.monochromator == ()
    assert experiment.reflection.monochromator_setting is None
    assert (experiment.reflection.miscut, experiment.reflection.miscut_azimuth) == (0.0, 0.0)
    assert experiment.axis.kind is None
    assert experiment.intensity.relative_error is None
    assert experiment.sample.layers == ()
    assert experiment.model == ModelSettings("implanted", "tied", "correlation", "gaussian")
    assert experiment.parameters == {}
    assert experiment.fit.mask == ()
    assert experiment.path is None


def test_what_is_not_written_follows_from_what_is():
    experiment = experiment_from_mapping({"reflection": REFLECTION, "model": {"profile": "none"}})
    assert (experiment.model.damage, experiment.model.diffuse) == ("none", "none")


def test_experiments_are_values():
    one = experiment_from_mapping({"reflection": REFLECTION})
    two = experiment_from_mapping({"reflection": dict(REFLECTION)})
    assert one == two
    assert hash(one) == hash(two)
    assert pickle.loads(pickle.dumps(one)) == one
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.path = Path()  # type: ignore[misc]


def test_susceptibility_settings_have_the_names_of_the_class():
    reflection = pytest.importorskip("hrxrd_ml.crystal.reflection")
    settings = experiment_from_mapping(
        {"reflection": {**REFLECTION, "susceptibility": {"chi0": [-3e-5, 3e-6], "chih": [-1e-5, 3e-6]}}}
    ).reflection.susceptibility
    assert settings is not None
    built = reflection.Susceptibility(**dataclasses.asdict(settings))
    assert built.chi0 == settings.chi0


def test_cif_path_is_relative_to_the_file(tmp_path, monkeypatch):
    folder = tmp_path / "sub"
    folder.mkdir()
    (folder / "My Crystal.CIF").write_text("data_x\n")
    (folder / "e.toml").write_text(EXPERIMENT.replace('"GGG"', '"My Crystal.CIF"'))
    monkeypatch.chdir(tmp_path)
    experiment = read_experiment(Path("sub/e.toml"))
    assert experiment.reflection.crystal == str((folder / "My Crystal.CIF").resolve())


def test_byte_order_mark_and_windows_line_ends(tmp_path):
    path = tmp_path / "e.toml"
    path.write_bytes(b"\xef\xbb\xbf" + EXPERIMENT.replace("\n", "\r\n").encode())
    assert read_experiment(path).axis.unit == "arcsec"


def test_signs_of_units_are_units(tmp_path):
    path = tmp_path / "e.toml"
    path.write_text(EXPERIMENT.replace('unit = "arcsec"', 'unit = "°"'), encoding="utf-8")
    assert read_experiment(path).axis.unit == "deg"


def test_find_experiment(tmp_path):
    assert find_experiment(tmp_path / "a.v2.csv") is None
    (tmp_path / "a.v2.toml").write_text(EXPERIMENT)
    assert find_experiment(tmp_path / "a.v2.csv") == tmp_path / "a.v2.toml"
    assert find_experiment(str(tmp_path / "a.v2.xrdml")) == tmp_path / "a.v2.toml"
    assert find_experiment("") is None


@pytest.mark.parametrize("case", cases("experiment"))
def test_bad_experiment(case, tmp_path, monkeypatch):
    case.write(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ExperimentError) as caught:
        read_experiment(Path("experiment.toml"))
    message = str(caught.value)
    assert case.message in message
    assert message.startswith("experiment.toml: ")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("section", "content", "message"),
    [
        ("reflection", {**REFLECTION, "hkl": [True, 1, 1]}, "three integers"),
        ("reflection", {**REFLECTION, "crystal": "  "}, "non-empty string"),
        ("reflection", {**REFLECTION, "lattice": 1.2383}, "from 2 to 100 Å"),
        ("reflection", {**REFLECTION, "lattice": 10**400}, "from 2 to 100 Å"),
        ("reflection", {**REFLECTION, "wavelength": math.nan}, "wavelength"),
        ("reflection", {**REFLECTION, "polarization_ratio": -1}, "from 0"),
        ("reflection", {**REFLECTION, "susceptibility": {"chi0": [-1e-5, 1e-6]}}, "chih is missing"),
        ("reflection", {**REFLECTION, "susceptibility": {"chi0": 3, "chih": [1, 2]}}, "[real, imaginary]"),
        ("reflection", {**REFLECTION, "susceptibility": {"chi0": [1e-5, 0], "chih": [1e-5, 0]}}, "<= 0"),
        ("reflection", {**REFLECTION, "susceptibility": {"chi0": [-1, 0], "chih": [1e-5, 0]}}, "0.01"),
        ("reflection", {**REFLECTION, "susceptibility": {"chi0": [0, 0], "chih": [0, 0]}}, "than zero"),
        ("reflection", {**REFLECTION, "susceptibility": 5}, "must be a table"),
        ("axis", {"column": -1}, "index counted from 0"),
        ("axis", {"column": True}, "index counted from 0"),
        ("axis", {"scan": 1.0}, "an integer"),
        ("axis", [], "must be a table"),
        ("intensity", {"relative_error": 0}, "above 0"),
        ("intensity", {"relative_error": 0.1, "sigma_column": 2}, "not both"),
        ("sample", {"layers": {"crystal": "YIG"}}, "list of tables"),
        ("sample", {"layers": [{"crystal": "YIG", "thickness": 5, "name": "a b"}]}, "letters, digits"),
        ("sample", {"layers": [{"crystal": "YIG", "thickness": 5, "name": "substrate"}]}, "'substrate'"),
        ("sample", {"layers": [{"crystal": "YIG", "thickness": 5, "name": "a"}] * 2}, "two layers"),
        ("sample", {"layers": [{"crystal": "YIG", "thickness": 5, "x": 1.5}]}, "from 0 to 1"),
        ("sample", {"layers": [{"crystal": "YIG", "thicknes": 5}]}, "did you mean 'thickness'"),
        ("model", {"damage_knots": 9}, 'damage = "bspline"'),
        ("model", {"profile": "bspline", "strain_knots": 2}, "from 4 to 100"),
        ("model", {"tolerance": 0.0}, "above 0"),
        ("parameters", 5, "must be a table"),
        ("parameters", {"a b": {"value": 1}}, "letters, digits"),
        ("parameters", {"a": {}}, "empty"),
        ("parameters", {"a": {"value": "1"}}, "a finite number"),
        ("parameters", {"a": {"value": math.inf}}, "a finite number"),
        ("parameters", {"a": {"min": math.inf}}, "a finite number"),
        ("parameters", {"a": {"expr": "b", "vary": True}}, "not both"),
        ("parameters", {"a": {"min": 1, "max": 1}}, "to hold a parameter"),
        ("fit", {"mask": [1, 2]}, "low < high"),
        ("fit", {"mask": 1}, "low < high"),
        ("fit", {"max_nfev": 0}, "from 1"),
    ],
)
def test_bad_value(section, content, message):
    with pytest.raises(ExperimentError) as caught:
        experiment_from_mapping({"reflection": REFLECTION, section: content}, source="my.toml")
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"my.toml: [{section}")


def test_very_large_file_is_no_experiment(tmp_path):
    path = tmp_path / "e.toml"
    path.write_bytes(b"#" * 1_100_000)
    with pytest.raises(ExperimentError, match="expected at most 1 MB"):
        read_experiment(path)


def test_folder_is_no_experiment(tmp_path):
    with pytest.raises(ExperimentError, match="this is a folder"):
        read_experiment(tmp_path)


def test_deep_nesting_is_an_error(tmp_path):
    path = tmp_path / "e.toml"
    path.write_text("a = " + "[" * 100_000)
    with pytest.raises(ExperimentError, match="not valid TOML"):
        read_experiment(path)


def test_measured_experiments(shared_data):
    files = sorted(shared_data.glob("*.toml"))
    assert files
    for file in files:
        assert isinstance(read_experiment(file), Experiment)
    algaas = read_experiment(shared_data / "algaas_gaas_004.toml")
    assert [layer.thickness for layer in algaas.sample.layers] == [20000.0, 2000.0, 18000.0, 3200.0]
    assert algaas.sample.layers[0].x == 0.8


def test_theta_is_not_taken_for_two_theta():
    from hrxrd_ml.io.experiment.table import suggestion

    assert suggestion("theta", ["offset", "omega", "two_theta"]) == "; theta is 'omega' here"
