"""The examples of CONTRIBUTING.md work: parts have exact derivatives and can be fitted, the reader reads."""

import re
from pathlib import Path

import numpy as np
import pytest

from differences import central, error
from hrxrd_ml.errors import InputFileError
from hrxrd_ml.units import ARCSEC

TEXT = (Path(__file__).resolve().parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
HOW_TO = TEXT[TEXT.index("## How to add a part") : TEXT.index("## Physics that changes numbers")]
SHARED, *SECTIONS = re.split(r"^### A ", HOW_TO, flags=re.MULTILINE)
EXAMPLES = {section.splitlines()[0]: section for section in SECTIONS}
PARTS = ["strain profile", "damage profile", "diffuse model", "resolution function", "background"]
OFFSETS = np.arange(-900.0, 201.0, 8.0) * ARCSEC


def run(name):
    """Names that an example defines, after the lines that all share."""
    scope = {"__name__": "example"}
    for block in re.findall(r"^```python\n(.*?)^```$", SHARED + EXAMPLES[name], flags=re.MULTILINE | re.DOTALL):
        exec(compile(block, f"CONTRIBUTING.md, {name}", "exec"), scope)  # the repository's own text
    return scope


def modelled(name):
    """The model of an example, and the parameters of the part that it adds."""
    scope = run(name)
    (part,) = (each for each in scope.values() if isinstance(each, type) and each.__module__ == "example")
    return scope["model"], part.space.names


def test_every_part_has_an_example():
    assert list(EXAMPLES) == [*PARTS, "reader"]


@pytest.mark.parametrize("name", PARTS)
def test_derivatives_by_the_parameters_of_an_example_are_those_of_differences(name):
    model, names = modelled(name)
    curve = model.simulation.bind(OFFSETS)
    values = model.simulation.space.defaults()
    _, jacobian = curve.jacobian(values, names)
    for column, each in zip(jacobian.T, names, strict=True):
        expected = central(lambda h, n=each: curve.curve(values | {n: values[n] + h}), 2e-4 * values[each])
        assert error(column, expected) < 1e-5, each


@pytest.mark.parametrize("name", PARTS)
def test_a_fit_with_an_example_finds_the_truth(name):
    model, names = modelled(name)
    truth, x = model.make_params(scale=1e6), model.frame.angles(OFFSETS)
    counts = np.random.default_rng(11).poisson(model.eval(truth, x=x))
    start = truth.copy()
    for par in start.values():
        par.vary = par.name in {*names, "scale"}
        par.value *= 1.02 if par.vary else 1.0
    result = model.fit(counts, start, x=x)
    for each in names:
        assert abs(result.params[each].value - truth[each].value) < 5.0 * result.params[each].stderr, each


def test_the_reader_reads():
    read = run("reader")["read"]
    (scan,) = read(b"SCAN rocking\n25.1 12\n25.2 300\n")
    assert scan.scan_axis == "rocking"
    np.testing.assert_array_equal(scan.axes["omega"], [25.1, 25.2])
    np.testing.assert_array_equal(scan.values, [12.0, 300.0])
    for data in (b"SCAN\n", b"SCAN\n25.1\n", b"SCAN\n25.1 x\n"):
        with pytest.raises(InputFileError, match="expected"):
            read(data)
