"""Settings of data sets and trainings: TOML files, checked against the dataclasses that they fill."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

from hrxrd_ml.errors import ExperimentError, HrxrdError
from hrxrd_ml.io.experiment.table import Table, is_number

T = TypeVar("T")


def fill(cls: type[T], data: Any, source: str, section: str) -> T:
    """Return a dataclass filled from a table, whose keys and types must be those of the fields.

    Raises
    ------
    ExperimentError
        If a key is unknown, or a value has another type than the default.
    """
    defaults = {field.name: field.default for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    table = Table(data, source, section, tuple(defaults))
    given = {key: _like(defaults[key], table, key) for key in table.data}
    try:
        return cls(**given)
    except HrxrdError as error:
        raise ExperimentError(f"{source}: [{section}]: {error}") from error


_KINDS = {bool: "true or false", int: "an integer", float: "a finite number", str: "a text"}


def _like(default: Any, table: Table, key: str) -> Any:
    """Return a value of a table, which must have the type of the default; a number will do for a text."""
    value = table.data[key]
    if isinstance(default, tuple):
        kinds = {type(v) for v in default} or {float}
        if not isinstance(value, list | tuple) or not all(_is(kinds, v) for v in value):
            table.fail(key, f"a list such as {list(default) or [1.0]}")
        return tuple(value)
    if not _is({str, float} if isinstance(default, str) else {type(default)}, value):
        table.fail(key, _KINDS[type(default)])
    return float(value) if isinstance(default, float) else value


def _is(kinds: set[type], value: Any) -> bool:
    """Tell whether a value is of one of these kinds; where numbers are, an integer is one, true and false are none."""
    return is_number(value) if float in kinds and type(value) in (int, float) else type(value) in kinds
