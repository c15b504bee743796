"""Values as JSON holds them, and back: numbers, texts, arrays in full precision, and the parts of a model.

Reading a value runs nothing but the constructors of these parts.
"""

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from hrxrd_ml.crystal.lattice import Site
from hrxrd_ml.crystal.reflection import Reflection
from hrxrd_ml.crystal.structure import Crystal
from hrxrd_ml.crystal.susceptibility import Susceptibility
from hrxrd_ml.diffraction.diffuse import CorrelationDiffuse, DefectDiffuse
from hrxrd_ml.errors import InputFileError, ParameterError, in_short
from hrxrd_ml.instrument.diffractometer import Diffractometer
from hrxrd_ml.simulate import RockingCurve
from hrxrd_ml.specimen.damage import Displacements, Exponent, SplineDamage, TiedDamage
from hrxrd_ml.specimen.defects import Clusters, Loops
from hrxrd_ml.specimen.film import Film
from hrxrd_ml.specimen.profile import PROFILES
from hrxrd_ml.specimen.superlattice import Superlattice

_NAMED = (
    *PROFILES.values(),
    TiedDamage,
    SplineDamage,
    Exponent,
    Displacements,
    CorrelationDiffuse,
    DefectDiffuse,
    Loops,
    Clusters,
)
_PARTS: Mapping[str, type[Any]] = {
    part.__name__: part
    for part in (Crystal, Diffractometer, Film, RockingCurve, Site, Superlattice, Susceptibility, *_NAMED)
    if part is not None
}
"""What a model is made of: the classes that a file may name."""


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
        return {"$reflection": encode(value.arguments)}
    if type(value) in _PARTS.values():
        content = {field.name: encode(getattr(value, field.name)) for field in fields(value) if field.init}
        return {"$object": type(value).__name__, "fields": content}
    raise ParameterError(f"cannot save {value!r}: text holds numbers, texts and parts of a model, no functions")


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
        return Reflection(**_arguments(value["$reflection"]))
    if "$object" in value:
        if value["$object"] not in _PARTS:
            raise InputFileError(f"{in_short(repr(value['$object']))} is no part of a model")
        return _PARTS[value["$object"]](**_arguments(value["fields"]))
    return {key: decode(item) for key, item in value.items()}


def _arguments(content: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a part; a path of a CIF file, which would be read, is none that `encode` writes."""
    arguments: dict[str, Any] = decode(content)
    if str(crystal := arguments.get("crystal")).lower().endswith(".cif"):
        raise InputFileError(f"expected a crystal, got the path {in_short(repr(crystal))}, which is not read")
    return arguments
