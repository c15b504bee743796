"""The ``[parameters]`` section of an experiment file: overrides written as lmfit writes them."""

import math

from hrxrd_ml.errors import ExperimentError, ParameterError
from hrxrd_ml.io.experiment.table import Table, is_number, shown
from hrxrd_ml.io.expressions import read_expression

ParameterValue = float | bool | str
KEYS = ("value", "min", "max", "vary", "expr")


def read_parameters(top: Table) -> dict[str, dict[str, ParameterValue]]:
    """Check every parameter table; numbers become floats.

    Whether a parameter of that name exists is for the model to say; here only its settings are checked.

    Raises
    ------
    ExperimentError
        For a name that cannot be one, an unknown key, a wrong type, limits that contradict each other, or an
        expression that the grammar of `hrxrd_ml.io.expressions` does not know.
    """
    section = top.data.get("parameters", {})
    if not isinstance(section, dict):
        raise ExperimentError(f"{top.source}: [parameters] must be a table, got {shown(section)}")
    return {name: _parameter(top, name, data) for name, data in section.items()}


def _parameter(top: Table, name: str, data: object) -> dict[str, ParameterValue]:
    if not name.isidentifier():
        raise ExperimentError(
            f"{top.source}: [parameters] a parameter's name is made of letters, digits and _, got {shown(name)}"
        )
    where = f"{top.source}: [parameters] {name}"
    if not isinstance(data, dict):
        raise ExperimentError(
            f"{where}: expected a table such as {name} = {{ value = 1.0, vary = false }}, got {shown(data)}"
        )
    table = Table(data, top.source, f"parameters.{name}", KEYS)
    if not data:
        raise ExperimentError(f"{where}: the table is empty; give at least one of {', '.join(KEYS)}")
    settings: dict[str, ParameterValue] = {}
    for key in ("value", "min", "max"):
        if key in table:
            # An infinite limit is how TOML and lmfit both write "no limit".
            unlimited = key != "value" and data[key] == (-math.inf if key == "min" else math.inf)
            if not is_number(data[key]) and not unlimited:
                table.fail(key, "a finite number")
            settings[key] = float(data[key])
    if "vary" in table:
        if not isinstance(data["vary"], bool):
            table.fail("vary", "true or false")
        settings["vary"] = data["vary"]
    expr = table.text("expr", None)
    if expr is not None:
        if "value" in table or "vary" in table:
            raise ExperimentError(f"{where}: expr decides the value; give expr or value and vary, not both")
        try:
            settings["expr"] = read_expression(expr)
        except ParameterError as error:
            raise ExperimentError(f"{where}: {error}") from error
    _check_limits(where, settings)
    return settings


def _check_limits(where: str, settings: dict[str, ParameterValue]) -> None:
    low, high = settings.get("min", -math.inf), settings.get("max", math.inf)
    value = settings.get("value")
    assert isinstance(low, float)
    assert isinstance(high, float)
    if low >= high:
        raise ExperimentError(
            f"{where}: min = {low:g} must be below max = {high:g}; to hold a parameter give value and vary = false"
        )
    if isinstance(value, float) and not low <= value <= high:
        raise ExperimentError(f"{where}: value = {value:g} lies outside min = {low:g} to max = {high:g}")
