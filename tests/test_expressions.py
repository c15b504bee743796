"""Expressions of files: what people write is computed as lmfit does, everything else is refused and does nothing."""

import ast
import json
import subprocess
import sys

import numpy as np
import pytest
import scipy.special
from lmfit import Parameters

import hrxrd_ml as hx
from bad_input_cases import CURVE
from hostile_expressions import BENIGN, ESCAPES, EXPLOSIONS
from hrxrd_ml.cli import run
from hrxrd_ml.errors import ExperimentError, InputFileError, ParameterError
from hrxrd_ml.io.experiment.read import experiment_from_mapping
from hrxrd_ml.io.expressions import CONSTANTS, FUNCTIONS, MAX_LENGTH, evaluate, read_expression, read_expressions

REFLECTION = {"crystal": "GGG", "hkl": [4, 4, 4], "wavelength": 1.5405}
AXIS = np.linspace(-900.0, 300.0, 60)


def plain_parameters():
    params = Parameters()
    params.add_many(("fwhm", 12.5), ("background", 0.75))
    return params


def model(**hints):
    own = hx.RockingCurveModel(hx.Reflection("GGG", (4, 4, 4), 1.5405), axis_kind="offset", unit="arcsec")
    for name, expression in hints.items():
        own.set_param_hint(name, expr=expression)
    return own


def fitted(**expressions):
    own = model()
    params = own.make_params(scale=1.0e4, background=3.0)
    for name in params:
        params[name].vary = name in ("scale", "background")
    for name, expression in expressions.items():
        params[name].set(expr=expression)
    counts = np.random.default_rng(0).poisson(own.eval(params, x=AXIS)).astype(float)
    return own.fit(counts, params, x=AXIS)


# --- the grammar ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", BENIGN)
def test_what_people_write_is_computed_as_lmfit_does(text):
    params = plain_parameters()
    assert evaluate(read_expression(text, params), params) == params.eval(text.strip())


@pytest.mark.parametrize("text", BENIGN)
def test_what_is_read_is_in_floats_and_stays_as_it_is(text):
    params = plain_parameters()
    read = read_expression(text, params)
    assert type(params.eval(read)) in (float, np.float64)
    assert read_expression(read, params) == read


@pytest.mark.parametrize("text", ["0.5*fwhm", "2*fwhm", "fwhm / 3", "fwhm if fwhm > 5 else 0.5*fwhm", "(fwhm < 9)*0.5"])
def test_a_text_without_arithmetic_of_integers_is_kept(text):
    assert read_expression(text, {"fwhm"}) == text


@pytest.mark.parametrize("text", ESCAPES)
def test_everything_else_is_not_understood(text):
    with pytest.raises(ParameterError, match="is not understood") as error:
        read_expression(text, plain_parameters())
    assert len(str(error.value).splitlines()) == 1
    assert "knows names of parameters, numbers" in str(error.value)


@pytest.mark.parametrize("text", EXPLOSIONS)
def test_what_has_no_finite_value_is_refused_when_it_is_evaluated(text):
    params = plain_parameters()
    with pytest.raises(ParameterError, match="cannot be evaluated"):
        evaluate(read_expression(text, params), params)


@pytest.mark.parametrize("text", EXPLOSIONS)
def test_no_integers_are_left_to_explode(text):
    params = plain_parameters()
    tree = ast.parse(read_expression(text, params), mode="eval")
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp) and not isinstance(node.op, ast.Div):
            sides = [params.eval(ast.unparse(side)) for side in (node.left, node.right)]  # None where it has no value
            assert not all(isinstance(side, int | np.integer) for side in sides)


def test_functions_and_constants_are_those_of_numpy_and_scipy():
    known = plain_parameters()._asteval.symtable
    other = {"ln": "log", "pow": "power"}
    for name, count in FUNCTIONS.items():
        own = getattr(scipy.special, name, None) if name.startswith("erf") else getattr(np, other.get(name, name), None)
        own = {"min": min, "max": max}.get(name, own)
        values = np.linspace(0.3, 0.7, count or 3).tolist()
        values = [value + (name in ("acosh", "arccosh")) for value in values]
        assert known[name](*values) == pytest.approx(own(*values), rel=1e-15), name
    assert [known[name] for name in CONSTANTS] == [np.pi, np.e]


def test_parameters_of_the_package_hide_no_function():
    assert not {*FUNCTIONS, *CONSTANTS} & {*model().space.names}


def test_a_parameter_hides_a_function_or_a_constant_as_in_lmfit():
    params = plain_parameters()
    params.add_many(("e", 3.0), ("sin", 2.0))
    assert evaluate(read_expression("2*e + sin", params), params) == 8.0
    with pytest.raises(ParameterError, match="sin is a parameter here"):
        read_expression("sin(fwhm)", params)


def test_the_length_is_bounded():
    text = "fwhm" + " " * (MAX_LENGTH - 5) + "*2"
    with pytest.raises(ParameterError, match="characters and may have 1000"):
        read_expression(text, {"fwhm"})


def test_the_length_in_floats_is_bounded_too():
    with pytest.raises(ParameterError, match="in floats it has"):
        read_expression(f"min({', '.join('7' * 240)})")


def test_expressions_come_after_those_that_they_depend_on():
    read = read_expressions({"a": "2*b", "b": "c + d", "d": "3"}, {"a", "b", "c", "d"})
    assert list(read) == ["d", "b", "a"]
    many = {f"p{i}": f"p{i + 1}*p{i + 1} + p{i + 2}" for i in range(3000)}
    assert len(read_expressions(many, {*many, "p3000", "p3001"})) == 3000


@pytest.mark.parametrize(
    "texts", [{"a": "a + 1"}, {"a": "b", "b": "a"}, {"a": "b", "b": "sin(c)", "c": "1 if a else 2"}]
)
def test_a_parameter_that_depends_on_itself_is_refused(texts):
    with pytest.raises(ParameterError, match=r"depends on [abc] itself"):
        read_expressions(texts, {"a", "b", "c"})


# --- the doors ------------------------------------------------------------------------------------------------------

DOORS = """
import contextlib, io, json, os, resource, signal, sys
import hrxrd_ml as hx
from hrxrd_ml.cli import main as cli
from hrxrd_ml.errors import HrxrdError

texts = json.loads(open("texts.json", encoding="utf-8").read())
model, result = (json.loads(open(f"{kind}.json", encoding="utf-8").read()) for kind in ("model", "result"))
heard = []
def listen(event, arguments):
    first = str(arguments[0]) if arguments else ""
    doing = event.split(".")[0] in ("socket", "subprocess", "shutil", "ctypes", "urllib", "tempfile", "webbrowser")
    doing |= event.startswith("os.") and event not in ("os.listdir", "os.scandir", "os.walk")
    if doing or (event == "open" and first not in ("input.json", "input.toml")) or event == "import":
        heard.append((event, first))

def command(*arguments):
    with contextlib.redirect_stderr(io.StringIO()) as said, contextlib.redirect_stdout(io.StringIO()):
        code = cli.main(arguments)
    if code:
        raise HrxrdError(f"{code} {said.getvalue()}")

def by_experiment(text):
    put("input.toml", open_experiment + "scale = { expr = " + json.dumps(text, ensure_ascii=False).replace(
        chr(0), "") + " }" + chr(10))
    command("simulate", "input.toml", "--points", "21")

def by_set(text):
    put("input.toml", open_experiment)
    command("simulate", "input.toml", "--points", "21", "--set", "scale=" + text)

def by_model(text):
    model["model"]["hints"]["scale"]["expr"] = text
    put("input.json", json.dumps(model))
    hx.load_model("input.json")

def by_result(text):
    next(par for par in result["params"] if par["name"] == "L2")["expr"] = text
    put("input.json", json.dumps(result))
    hx.load_result("input.json")

def put(name, content):
    with open(name, "w", encoding="utf-8", errors="surrogatepass") as opened:
        opened.write(content)

open_experiment = open("experiment.toml", encoding="utf-8").read()
doors = {"experiment": by_experiment, "set": by_set, "model": by_model, "result": by_result}
for name, door in doors.items():
    door("7.5" if name == "set" else "2*fwhm")  # what is loaded once has been loaded
sys.addaudithook(listen)
answers = []
for text in texts:
    for name, door in doors.items():
        heard.clear()
        signal.alarm(20)  # ends the process
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            door(text)
            said = None
        except HrxrdError as error:
            said = str(error)
        except BaseException as error:
            said = f"BUG {type(error).__name__} {error}"
        signal.alarm(0)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1000.0
        answers.append([name, text, said, list(heard), grown])
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What each door says to each text, what was done meanwhile, and which files there are then."""
    folder = tmp_path_factory.mktemp("doors")
    model(scale="2*fwhm").save(folder / "model.json")
    fitted(L2="2*fwhm").save(folder / "result.json")
    experiment = f'[reflection]\ncrystal = "GGG"\nhkl = [4, 4, 4]\nwavelength = {REFLECTION["wavelength"]}\n'
    (folder / "experiment.toml").write_text(
        experiment + '[axis]\nkind = "offset"\nunit = "arcsec"\n[parameters]\n', encoding="utf-8"
    )
    (folder / "secret.txt").write_text("1 2 3\n", encoding="utf-8")
    (folder / "texts.json").write_text(json.dumps([*ESCAPES, *EXPLOSIONS, "scale + L2"]), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", DOORS], cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    files = {path.name for path in folder.rglob("*")}
    return json.loads(done.stdout), files


def test_no_door_lets_a_hostile_expression_in(answers):
    found, _ = answers
    inside = {(door, text) for door, text, said, *_ in found if said is None}
    # A hint without a text is none, a number is a number; and what a model clips by the bounds when lmfit evaluates a
    # hint does no harm.
    assert not inside - {("model", ""), ("set", "0777")} - {("model", text) for text in EXPLOSIONS}
    assert not [said for *_, said, _, _ in found if said is not None and said.startswith("BUG")]


def test_errors_name_parameter_and_expression(answers):
    for door, text, said, *_ in answers[0]:
        if door != "set" and text in ESCAPES and text.strip():
            assert ("scale" if door != "result" else "L2") in said
        assert said is None or len(said.splitlines()) == 1


def test_nothing_is_read_written_requested_or_grown_meanwhile(answers):
    found, files = answers
    assert not [(text, heard) for _, text, _, heard, _ in found if heard]
    assert files == {
        "model.json", "result.json", "experiment.toml", "secret.txt", "texts.json", "input.json", "input.toml"
    }  # fmt: skip
    assert not [(text, grown) for _, text, _, _, grown in found if grown > 100.0]


def test_an_expression_of_an_experiment_reaches_the_fit():
    settings = experiment_from_mapping({"reflection": REFLECTION, "parameters": {"D01": {"expr": "10**-1 * Dmax1"}}})
    params = run.build_model(settings).make_params()
    assert params["D01"].value == 0.1 * params["Dmax1"].value
    params["Dmax1"].value = 0.02
    assert params["D01"].value == pytest.approx(0.002, rel=1e-15)


def test_an_expression_without_a_value_where_the_fit_comes_is_named(tmp_path):
    from hrxrd_ml import read_curve

    (tmp_path / "curve.csv").write_text(CURVE, encoding="utf-8")
    settings = experiment_from_mapping(
        {
            "reflection": REFLECTION,
            "axis": {"kind": "offset", "unit": "arcsec"},
            "intensity": {"kind": "counts"},
            "parameters": {"D01": {"expr": "1e-3/(scale == 1e5)"}},
        }
    )
    with pytest.raises(ExperimentError, match=r"D01: an expression has no value where the fit has come \(ZeroDivision"):
        run.fit_curve(read_curve(tmp_path / "curve.csv", experiment=settings), settings)
    with pytest.raises(ExperimentError, match="D01: an expression has no value"):
        run.simulate_curve(settings, values={"scale": 3.0})


# --- saved files ----------------------------------------------------------------------------------------------------

PYTHON = "fwhm*sum([k**4 for k in (3, 4)])"


def test_an_expression_typed_in_python_is_kept_and_run_only_if_asked_for(tmp_path):
    result, own = fitted(L2=PYTHON), model(L2=PYTHON)
    result.save(tmp_path / "result.json")
    own.save(tmp_path / "model.json")
    for load, name in ((hx.load_result, "result.json"), (hx.load_model, "model.json")):
        with pytest.raises(InputFileError, match=r"L2: the expression .* is not understood.*run_expressions=True"):
            load(tmp_path / name)
    other = hx.load_result(tmp_path / "result.json", run_expressions=True)
    assert other.params["L2"].expr == PYTHON
    assert other.params["L2"].value == result.params["L2"].value == 337.0 * result.params["fwhm"].value
    assert hx.load_model(tmp_path / "model.json", run_expressions=True).make_params()["L2"].expr == PYTHON


def test_a_component_of_a_composite_is_looked_at_too(tmp_path):
    from lmfit.models import GaussianModel

    peak = GaussianModel(prefix="g_")
    peak.set_param_hint("sigma", expr="2*fwhm")  # which the other component has
    (model() + peak).save(tmp_path / "model.json")
    assert hx.load_model(tmp_path / "model.json").make_params()["g_sigma"].value == 24.0
    peak = GaussianModel(prefix="g_")
    peak.set_param_hint("sigma", expr="g_amplitude + len('abc')")
    (model() + peak).save(tmp_path / "model.json")
    with pytest.raises(InputFileError, match="g_sigma: the expression"):
        hx.load_model(tmp_path / "model.json")


@pytest.mark.parametrize("prefix", ["open('x').read() or ", "a b", "1", "v_*", "v_ if 1 else "])
def test_a_prefix_is_the_beginning_of_a_name(tmp_path, prefix):
    from lmfit.models import VoigtModel

    own = model() + VoigtModel(prefix="v_")  # of which lmfit itself makes expressions that name the prefix
    own.save(tmp_path / "model.json")
    assert hx.load_model(tmp_path / "model.json").param_hints["v_height"] == own.param_hints["v_height"]
    text = (tmp_path / "model.json").read_text(encoding="utf-8").replace("v_", prefix)
    (tmp_path / "model.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputFileError, match="expected a prefix"):
        hx.load_model(tmp_path / "model.json")


def test_functions_of_ones_own_are_refused_before_anything_is_written(tmp_path):
    own = model()
    params = own.make_params(scale=1.0e4, background=3.0)
    params._asteval.symtable["third"] = lambda value: value / 3.0
    params["D01"].set(expr="third(Dmax1)")
    for name in params:
        params[name].vary = name == "scale"
    params["D01"].set(expr="third(Dmax1)")
    result = own.fit(own.eval(params, x=AXIS), params, x=AXIS)
    hinted = model(D01="third(Dmax1)")
    for thing in (result, hinted):
        with pytest.raises(ParameterError, match=r"cannot save D01: .*'third\(Dmax1\)' uses third"):
            thing.save(tmp_path / "x.json")
    assert not list(tmp_path.iterdir())


def test_a_symbol_of_lmfit_with_another_meaning_is_refused_as_well(tmp_path):
    result = fitted(L2="2*fwhm")
    result.params._asteval.symtable["sqrt"] = abs
    result.params["L2"].expr = "sqrt(fwhm)"
    with pytest.raises(ParameterError, match=r"cannot save L2: .* uses sqrt"):
        result.save(tmp_path / "x.json")
    assert not list(tmp_path.iterdir())


def test_numbers_of_a_file_become_floats(tmp_path):
    model(L2="fwhm**2").save(tmp_path / "model.json")
    data = json.loads((tmp_path / "model.json").read_text(encoding="utf-8"))
    data["model"]["hints"]["fwhm"] |= {"value": 10**20, "max": 10**21}
    (tmp_path / "model.json").write_text(json.dumps(data), encoding="utf-8")
    hint = hx.load_model(tmp_path / "model.json").param_hints["fwhm"]
    assert all(type(hint[key]) is float for key in ("value", "min", "max"))


def test_no_crystal_is_read_from_a_path_in_a_saved_file(tmp_path):
    model().save(tmp_path / "model.json")
    data = json.loads((tmp_path / "model.json").read_text(encoding="utf-8"))
    data["model"]["simulation"]["fields"]["reflection"]["$reflection"]["crystal"] = str(tmp_path / "x.cif")
    (tmp_path / "model.json").write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(InputFileError, match="which is not read"):
        hx.load_model(tmp_path / "model.json")
