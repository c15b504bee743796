"""The ``[parameters]`` section of an experiment file: overrides written as lmfit writes them."""

import math
from collections.abc import Mapping

from hrxrd_ml.errors import ExperimentError, ParameterError
from hrxrd_ml.io.experiment.table import Reader, Table, is_number, shown
from hrxrd_ml.io.experiment.values import flag, text
from hrxrd_ml.io.expressions import read_expression

ParameterValue = float | bool | str


def _number(unlimited: float | None = None) -> Reader:
    """A finite number; or the infinite one that TOML and lmfit write for "no limit"."""

    def read(table: Table, key: str) -> float:
        value = table.data[key]
        if not is_number(value) and (unlimited is None or value != unlimited):
            table.fail(key, "a finite number")
        return float(value)

    return read


READERS: Mapping[str, Reader] = {
    "value": _number(),
    "min": _number(-math.inf),
    "max": _number(math.inf),
    "vary": flag,
    "expr": text,
}


def read_parameters(top: Table, key: str) -> dict[str, dict[str, ParameterValue]]:
    """Check every parameter table; numbers become floats.

    Whether a parameter of that name exists is for the model to say; here only its settings are checked.

    Raises
    ------
    ExperimentError
        For a name that cannot be one, an unknown key, a wrong type, limits that contradict each other, or an
        expression that the grammar of `hrxrd_ml.io.expressions` does not know.
    """
    section = top.data[key]
    if not isinstance(section, dict):
        raise ExperimentError(f"{top.source}: [{key}] must be a table, got {shown(section)}")
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
    table = Table(data, top.source, f"parameters.{name}", tuple(READERS))
    if not data:
        raise ExperimentError(f"{where}: the table is empty; give at least one of {', '.join(READERS)}")
    settings: dict[str, ParameterValue] = {own: READERS[own](table, own) for own in READERS if own in table}
    if "expr" in settings:
        if "value" in settings or "vary" in settings:
            raise ExperimentError(f"{where}: expr decides the value; give expr or value and vary, not both")
        try:
            settings["expr"] = read_expression(str(settings["expr"]))
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
