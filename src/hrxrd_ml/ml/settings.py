"""Settings of data sets and trainings: TOML files, checked against the dataclasses that they fill."""

from __future__ import annotations

import dataclasses
import math
import os
import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from hrxrd_ml.errors import ExperimentError, HrxrdError, in_short

T = TypeVar("T")


def read_toml(path: str | os.PathLike[str]) -> tuple[dict[str, Any], str]:
    """Return the tables of a TOML file, or of a bundled one that is named without folder and suffix; and its name.

    Raises
    ------
    ExperimentError
        If there is no such file, or it is not TOML.
    """
    own = Path(path)
    bundled = files("hrxrd_ml.ml") / "configs" / f"{own.name}.toml"
    if not own.is_file() and own.parent == Path(".") and not own.suffix and bundled.is_file():
        text, source = bundled.read_text(encoding="utf-8"), f"{own.name} (bundled)"
    else:
        try:
            text, source = own.read_text(encoding="utf-8"), str(own)
        except (OSError, UnicodeDecodeError) as error:
            folder = files("hrxrd_ml.ml") / "configs"
            names = ", ".join(sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir()))
            raise ExperimentError(
                f"{own}: cannot be read as a TOML file ({error}); bundled settings: {names}"
            ) from error
    try:
        return tomllib.loads(text), source
    except (ValueError, RecursionError) as error:  # tomllib raises others than its own, for very long integers
        raise ExperimentError(f"{source}: not a TOML file: {in_short(error)}") from error


def fill(cls: type[T], data: Any, source: str) -> T:
    """Return a dataclass filled from a table, whose keys and types must be those of the fields.

    Raises
    ------
    ExperimentError
        If a key is unknown, or a value has another type than the default.
    """
    if not isinstance(data, Mapping):
        raise ExperimentError(f"{source}: expected a table, got {in_short(repr(data))}")
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    given: dict[str, Any] = {}
    for key, value in data.items():
        if key not in fields:
            raise ExperimentError(f"{source}: unknown key {in_short(repr(key))}; known: {', '.join(fields)}")
        given[key] = _checked(value, fields[key].default, f"{source}: {key}")
    try:
        return cls(**given)
    except HrxrdError as error:
        raise ExperimentError(f"{source}: {error}") from error


def _checked(value: Any, default: Any, place: str) -> Any:
    got = in_short(repr(value))
    if isinstance(default, tuple):
        if not isinstance(value, list | tuple):
            raise ExperimentError(f"{place}: expected a list, got {got}")
        kinds = tuple({float if isinstance(v, int) else type(v) for v in default}) or (float,)
        expected = kinds + ((int,) if float in kinds else ()) + ((list,) if tuple in kinds else ())
        if any(isinstance(v, bool) or not isinstance(v, expected) for v in value):
            raise ExperimentError(f"{place}: expected a list such as {list(default) or [1.0]}, got {got}")
        return tuple(tuple(v) if isinstance(v, list) else v for v in value)
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**18:
        return float(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ExperimentError(f"{place}: expected a finite number, got {got}")
    if default is not None and type(value) is not type(default) and not isinstance(default, str | float):
        raise ExperimentError(f"{place}: expected {type(default).__name__}, got {got}")
    if isinstance(default, str) and not isinstance(value, str | float):
        raise ExperimentError(f"{place}: expected a text, got {got}")
    if isinstance(default, float) and not isinstance(value, float):
        raise ExperimentError(f"{place}: expected a number, got {got}")
    return value
