"""Depth profiles of damage: the static Debye-Waller exponent L(z), E = exp(-L).

Each is one class that keeps to the protocol `Damage`; a user's own does, too.  Derivatives come from the complex step,
as those of strain profiles do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from hrxrd_ml.arrays import Values
from hrxrd_ml.complex_step import check_analytic, real
from hrxrd_ml.parameters import ParameterSpace, ParameterSpec, named, space_of
from hrxrd_ml.specimen.profile.spline import SplineProfile

DISPLACEMENTS = 2.0
"""Power of the diffraction vector by which L grows where displacements are random and small: L = H²⟨u²⟩/2."""


@dataclass(frozen=True)
class Strained:
    """What a damage profile may know of the strain.

    Attributes
    ----------
    strain : ndarray
        The strain profile at the depths in question.
    largest : float
        Its largest value in size, with its sign.
    end : float
        Depth at which it ends [Å].
    """

    strain: Any
    largest: Any
    end: Any


class Damage(Protocol):
    """L(z) from parameters and, where the two belong together, from the strain."""

    @property
    def space(self) -> ParameterSpace:
        """Parameters with units and bounds."""
        ...

    def evaluate(self, z: Any, values: Values, strained: Strained) -> Any:
        """Return L at depths ``z`` [Å], which lie in the strained layer."""
        ...


@dataclass(frozen=True)
class TiedDamage:
    """L(z) = ``damage`` abs(strain)/max abs(strain)."""

    @property
    def space(self) -> ParameterSpace:
        """One parameter, ``damage``."""
        row = ("damage", "", 0.3, 0.0, 5.0, True, "damage W: L(z) = W·ε(z)/max ε")
        return space_of(row, scope="curve").with_changes("damage", power_of_h=DISPLACEMENTS)

    def evaluate(self, z: Any, values: Values, strained: Strained) -> Any:
        """Return L."""
        strain, largest = strained.strain, strained.largest
        if abs(real(largest)) < 1e-12:
            return np.zeros(np.shape(strain)) * values["damage"]
        size = np.sign(strain.real) * strain if np.iscomplexobj(strain) else np.abs(strain)
        return values["damage"] / (math.copysign(1.0, real(largest)) * largest) * size


@dataclass(frozen=True)
class SplineDamage:
    """A cubic B-spline with coefficients ``w0, w1, ...`` over the depth of the strain profile.

    Parameters
    ----------
    count : int
        Number of coefficients.
    """

    count: int = 6

    def __post_init__(self) -> None:
        """Check the number of coefficients."""
        self.spline  # noqa: B018

    @property
    def spline(self) -> SplineProfile:
        """The spline."""
        return SplineProfile(self.count, "w")

    @property
    def space(self) -> ParameterSpace:
        """The coefficients."""
        specs = (replace(spec, scope="curve", power_of_h=DISPLACEMENTS) for spec in self.spline.space)
        return ParameterSpace(tuple(specs))

    def evaluate(self, z: Any, values: Values, strained: Strained) -> Any:
        """Return L."""
        return self.spline.evaluate(z, {**values, "depth": strained.end})


@dataclass(frozen=True)
class FunctionDamage:
    """Any function ``f(z, **values)`` of depth, with its own parameters; it ends where the strain profile does.

    Parameters
    ----------
    function : callable
        As for `FunctionProfile`.
    specs : tuple of ParameterSpec
        Its parameters.

    Raises
    ------
    ParameterError
        If the function does not give derivatives by the complex step.
    """

    function: Callable[..., Any]
    specs: tuple[ParameterSpec, ...]

    def __post_init__(self) -> None:
        """Check that derivatives are right."""
        start = self.space.defaults()
        check_analytic(
            lambda values: self.function(values["z"], **{name: values[name] for name in start}),
            start | {"z": np.array([31.2, 128.7, 441.3, 1055.9, 2709.3, 4971.3])},
            ("z", *start),
            what=f"the damage function {getattr(self.function, '__name__', self.function)!s}",
        )

    @property
    def space(self) -> ParameterSpace:
        """Parameters with units and bounds."""
        return ParameterSpace(self.specs)

    def evaluate(self, z: Any, values: Values, strained: Strained) -> Any:
        """Return L."""
        return self.function(np.asarray(z), **{spec.name: values[spec.name] for spec in self.specs})


DAMAGES: Mapping[str, type[Damage] | None] = {"none": None, "tied": TiedDamage, "bspline": SplineDamage}
"""Damage profiles by the names that models, experiment files and saved files have for them."""


def make_damage(kind: str, count: int = 6) -> Damage | None:
    """Return a damage profile by name, one of `DAMAGES`; ``count`` coefficients of a spline."""
    made = named("damage", kind, DAMAGES)
    if made is SplineDamage:
        return SplineDamage(count)
    return made() if made else None
