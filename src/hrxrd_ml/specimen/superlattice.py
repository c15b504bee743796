"""Superlattices: layers that are grown again and again, with one set of parameters for all their repeats."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeGuard

from hrxrd_ml.arrays import Values
from hrxrd_ml.crystal.reflection import Reflection
from hrxrd_ml.errors import ParameterError
from hrxrd_ml.parameters import ParameterSpace, ParameterSpec, checked_keywords
from hrxrd_ml.specimen.film import Film, interface_space

MOST_REPEATS = 5000
"""More than any growth has."""

BY = ("thickness", "period")
"""What the thicknesses of a superlattice follow from."""

_LARGEST_DRIFT = 0.2


@checked_keywords
@dataclass(frozen=True)
class Superlattice:
    """Films that repeat, nested among the films of a sample.

    Each film in it has one set of parameters, whichever repeat it is in: repeats are alike by construction. Without a
    drift they are calculated by repeated squaring of what one period does to the wave, at a cost that hardly depends on
    their number.

    Parameters
    ----------
    name : str
        Begins the names of its own parameters.
    layers : sequence of Film
        One period, from the substrate up.
    repeats : int
        How often it is grown.
    by : {"thickness", "period"}
        Whether the thickness of each layer is a parameter, or, of two layers, ``<name>_period`` [Å] and
        ``<name>_ratio``, the share of the lower one.
    drift : float
        Change of the period from the first repeat to the last, relative to their mean, linear in between.
    interface : float, optional
        Width of all its interfaces [Å] but those that a film has of its own; the lowest one, to what is below the
        superlattice, included. See `Film`.

    Raises
    ------
    ParameterError
        If a number makes no sense.
    """

    name: str
    layers: tuple[Film, ...]
    repeats: int
    by: str = "thickness"
    drift: float = 0.0
    interface: float | None = None

    def __post_init__(self) -> None:
        """Check what can be checked without a substrate."""
        object.__setattr__(self, "layers", tuple(self.layers))
        if not self.name.isidentifier():
            raise ParameterError(f"a superlattice is named {self.name!r}; expected letters, digits and _, as in 'mqw'")
        if not self.layers or not all(isinstance(layer, Film) for layer in self.layers):
            raise ParameterError(f"{self.name}: expected layers, each a Film, from the substrate up, got {self.layers}")
        if isinstance(self.repeats, bool) or not isinstance(self.repeats, int) or not 1 <= self.repeats <= MOST_REPEATS:
            raise ParameterError(f"{self.name}: expected 1 to {MOST_REPEATS} repeats, got {self.repeats!r}")
        if self.by not in BY:
            raise ParameterError(f"{self.name}: by: expected one of {', '.join(BY)}, got {self.by!r}")
        if self.by == "period" and len(self.layers) != 2:
            raise ParameterError(f'{self.name}: by="period" is for two layers, got {len(self.layers)}')
        if not abs(self.drift) <= _LARGEST_DRIFT:
            raise ParameterError(f"{self.name}: expected a drift within {_LARGEST_DRIFT:g}, got {self.drift!r}")
        if self.interface is not None and not 0.0 <= self.interface < math.inf:
            raise ParameterError(f"{self.name}: expected an interface from 0 Å, got {self.interface!r}")

    @property
    def thickness(self) -> float:
        """Of all repeats, as described [Å]."""
        return self.repeats * sum(layer.thickness for layer in self.layers)

    def thicknesses(self, values: Values) -> list[Any]:
        """Return the thicknesses of the layers at values of the parameters [Å]."""
        if self.by == "thickness":
            return [values[f"{layer.name}_thickness"] for layer in self.layers]
        period, ratio = values[f"{self.name}_period"], values[f"{self.name}_ratio"]
        return [period * ratio, period * (1.0 - ratio)]

    @cached_property
    def own(self) -> ParameterSpace:
        """The parameters of the superlattice itself."""
        rows = []
        if self.by == "period":
            period = self.thickness / self.repeats
            ratio, below = self.layers[0].thickness / period, self.layers[0].name
            rows.append(("period", "Å", period, 2.0, 3.0 * period, True, "period of the superlattice"))
            rows.append(("ratio", "", ratio, 0.0, 1.0, True, f"thickness of {below} over the period"))
        limit, text = _LARGEST_DRIFT, "relative change of the period from the first repeat to the last"
        rows.append(("drift", "", self.drift, -limit, limit, False, text))
        space = ParameterSpace(tuple(ParameterSpec(f"{self.name}_{row[0]}", *row[1:]) for row in rows))
        return space if self.interface is None else space + interface_space(self.name, self.interface, "of all layers")

    def space(self, reflection: Reflection) -> ParameterSpace:
        """Return the parameters with units, start values and bounds, on the substrate of a reflection."""
        specs = [spec for layer in self.layers for spec in layer.space(reflection)]
        if self.by == "period":
            follow = {f"{layer.name}_thickness" for layer in self.layers}
            specs = [spec for spec in specs if spec.name not in follow]
        return ParameterSpace(tuple(specs)) + self.own


Part = Film | Superlattice
"""What a sample consists of above its substrate."""


def films_of(part: Part) -> tuple[Film, ...]:
    """Return a film, or the layers of a superlattice."""
    return part.layers if isinstance(part, Superlattice) else (part,)


def depth_of(part: Part, values: Values) -> Any:
    """Return the thickness at values of the parameters, of all repeats [Å]."""
    if isinstance(part, Superlattice):
        return part.repeats * sum(part.thicknesses(values))
    return values[f"{part.name}_thickness"]


def has_own_lattice(part: Part) -> TypeGuard[Film]:
    """Whether what is grown on it is grown on another lattice than that of the substrate."""
    return isinstance(part, Film) and part.hkl is not None


def film_space(parts: Sequence[Part], reflection: Reflection) -> ParameterSpace:
    """Return the parameters of all films and superlattices.

    Raises
    ------
    ParameterError
        If two of them have the same name.
    """
    space = ParameterSpace()
    names = [film.name for part in parts for film in films_of(part)]
    names += [part.name for part in parts if isinstance(part, Superlattice)]
    for name in names:
        if names.count(name) > 1:
            raise ParameterError(f"two films are named {name!r}; names must differ")
    for part in parts:
        if has_own_lattice(part):
            reflection = part.reference(reflection)
        space = space + part.space(reflection)
    return space
