"""Values as JSON holds them, and back: numbers, texts, arrays in full precision, and dataclasses of this package.

Reading a value runs nothing but the constructors of these dataclasses.
"""

import importlib
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from hrxrd_ml.errors import InputFileError, ParameterError
from hrxrd_ml.reflection import Reflection


def encode(value: Any) -> Any:
    """Values of JSON for a value; what JSON lacks is written as an object whose one key begins with $."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, np.generic):
        return encode(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": str(value)}
    if isinstance(value, complex):
        return {"$complex": [value.real, value.imag]}
    if isinstance(value, np.ndarray) and value.ndim == 0:
        return encode(value.item())
    if isinstance(value, np.ndarray):
        return {"$array": [encode(item) for item in value.tolist()]}
    if isinstance(value, tuple):
        return {"$tuple": [encode(item) for item in value]}
    if isinstance(value, list):
        return [encode(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, Reflection):
        _, (arguments,) = value.__reduce__()
        return {"$reflection": encode(arguments)}
    if is_dataclass(value) and not isinstance(value, type) and type(value).__module__.startswith("hrxrd_ml."):
        content = {field.name: encode(getattr(value, field.name)) for field in fields(value) if field.init}
        return {"$object": f"{type(value).__module__}:{type(value).__qualname__}", "fields": content}
    raise ParameterError(f"cannot save {value!r}: text holds numbers, texts and parts of this package, no functions")


def decode(value: Any) -> Any:
    """Value that `encode` has written; dataclasses check their fields again when they are made."""
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "$float" in value:
        return float(value["$float"])
    if "$complex" in value:
        return complex(*value["$complex"])
    if "$array" in value:
        return np.array([decode(item) for item in value["$array"]])
    if "$tuple" in value:
        return tuple(decode(item) for item in value["$tuple"])
    if "$reflection" in value:
        return Reflection(**decode(value["$reflection"]))
    if "$object" in value:
        return _class_named(value["$object"])(**decode(value["fields"]))
    return {key: decode(item) for key, item in value.items()}


def _class_named(name: str) -> Any:
    """A dataclass of this package, and nothing else."""
    module, _, attribute = name.partition(":")
    if not module.startswith("hrxrd_ml.") or not attribute.isidentifier():
        raise InputFileError(f"{name!r} is no part of this package")
    found = getattr(importlib.import_module(module), attribute, None)
    if not (isinstance(found, type) and is_dataclass(found) and found.__module__ == module):
        raise InputFileError(f"{name!r} is no part of this package")
    return found
