"""The crystal that a user names: one of the built-in crystals and alloys in ``data/crystals.toml``, or a CIF file."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from hrxrd_ml.crystal.lattice import Site
from hrxrd_ml.errors import CrystalError

__all__ = ["builtin_names", "end_members", "fields", "find"]


@cache
def _table() -> Mapping[str, Mapping[str, Any]]:
    text = files("hrxrd_ml").joinpath("data/crystals.toml").read_text(encoding="utf-8")
    return MappingProxyType(tomllib.loads(text))


@cache
def _keys() -> Mapping[str, str]:
    """Case-folded names and aliases → names."""
    return MappingProxyType(
        {_fold(spelling): name for name, entry in _table().items() for spelling in (name, *entry.get("aliases", ()))}
    )


def _fold(name: str) -> str:
    return re.sub(r"[\s_]", "", name).casefold()


def builtin_names() -> tuple[str, ...]:
    """Names of the built-in crystals, then of the alloys."""
    table = _table()
    return (
        *(n for n in table if "end_members" not in table[n]),
        *(n for n in table if "end_members" in table[n]),
    )


def fields(name: str) -> dict[str, Any]:
    """Arguments of `Crystal` for a built-in crystal."""
    entry = _table()[name]
    a = float(entry["a"])
    sites = tuple(
        Site(s["element"], tuple(s["xyz"]), float(s.get("occupancy", 1.0)), float(s["B"])) for s in entry["sites"]
    )
    return dict(
        name=name,
        spacegroup=entry["spacegroup"],
        a=a,
        b=float(entry.get("b", a)),
        c=float(entry.get("c", a)),
        alpha=float(entry.get("alpha", 90.0)),
        beta=float(entry.get("beta", 90.0)),
        gamma=float(entry.get("gamma", 90.0)),
        sites=sites,
        elastic=tuple((k, float(v)) for k, v in entry.get("elastic", {}).items()),
        source=entry["source"],
    )


def find(name: str, x: float | None = None) -> tuple[str, float | None]:
    """Key of a built-in crystal, or that of an alloy and its composition; see `Crystal.named`.

    Raises
    ------
    CrystalError
        Unknown name (the nearest ones are offered), or a wrong composition.
    """
    if not isinstance(name, str):
        raise CrystalError(f"crystal: expected a name such as 'GGG', got {name!r}")
    composition: dict[str, float] = {}
    base = name
    if _fold(name) not in _keys():
        base, composition = _split_composition(name)
    key = _keys().get(_fold(base))
    if key is None:
        # SiC is a family of polytypes, not Si misspelt.
        longer = [key for key in _keys() if len(_fold(name)) > 2 and _fold(name) in key]
        near = longer or get_close_matches(_fold(name), _keys(), n=3, cutoff=0.6)
        hint = f"did you mean {', '.join(dict.fromkeys(_keys()[n] for n in near))}? " if near else ""
        raise CrystalError(
            f"crystal {name!r} is not built in; {hint}known: {', '.join(builtin_names())}; "
            f"or give the path of a CIF file"
        )
    entry = _table()[key]
    if "end_members" not in entry:
        if x is not None or composition:
            raise CrystalError(f"crystal {name!r}: expected no composition for {key}, which is not an alloy")
        return key, None
    first, second = entry["mixed"]
    if x is None:
        if first in composition:
            x = composition[first]
        elif second in composition:
            x = 1.0 - composition[second]
        else:
            raise CrystalError(
                f"crystal {name!r}: expected a composition for the alloy {key}, as x=0.3 or "
                f"in the name, {entry['example']!r}"
            )
    elif composition:
        raise CrystalError(f"crystal {name!r}: the composition is given twice, in the name and as x = {x!r}")
    if len(composition) > 1 and abs(sum(composition.get(e, 0.0) for e in (first, second)) - 1.0) > 1e-6:
        raise CrystalError(f"crystal {name!r}: expected the fractions of {first} and {second} to add up to 1")
    return key, x


def end_members(key: str) -> tuple[str, str, float]:
    """Names of the two crystals that an alloy mixes, and the bowing of its lattice parameter [Å]."""
    entry = _table()[key]
    one, two = entry["end_members"]
    return one, two, float(entry.get("bowing", 0.0))


def exchanged(name: str, x: float | None) -> tuple[str, str]:
    """Elements that exchange in an alloy; the composition is the fraction of the first, of As in GaAsP."""
    first, second = _table()[find(name, x)[0]]["mixed"]
    return first, second


def _split_composition(name: str) -> tuple[str, dict[str, float]]:
    """'Al0.3Ga0.7As' → ('AlGaAs', {'Al': 0.3, 'Ga': 0.7}); anything else comes back as it is."""
    if not re.fullmatch(r"(?:[A-Z][a-z]?(?:\d*\.?\d+)?)+", name):
        return name, {}
    parts = re.findall(r"([A-Z][a-z]?)(\d*\.?\d+)?", name)
    return "".join(e for e, _ in parts), {e: float(n) for e, n in parts if n}
