"""Depth profiles of damage: the static Debye-Waller exponent L(z), E = exp(-L).

Each is one class that keeps to the protocol `Damage`; a user's own does, too.  Derivatives come from the complex step,
as those of strain profiles do.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from hrxrd_ml.arrays import Values
from hrxrd_ml.complex_step import check_analytic, real
from hrxrd_ml.errors import ParameterError
from hrxrd_ml.parameters import ParameterSpace, ParameterSpec, space_of
from hrxrd_ml.specimen.profile.spline import SplineProfile, spline_space


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
        return damage_space("tied")

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
        return damage_space("bspline", self.count)

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


def make_damage(kind: str, count: int = 6) -> Damage | None:
    """Return a damage profile by name: "none", "tied" or "bspline"."""
    match kind:
        case "none":
            return None
        case "tied":
            return TiedDamage()
        case "bspline":
            return SplineDamage(count)
    raise ParameterError(f"unknown damage {kind!r}: expected none, tied or bspline")


def damage_space(kind: str, n_damage: int = 6) -> ParameterSpace:
    """Damage L(z), E = exp(-L): "none", "tied" to the strain by one number, or a "bspline" of its own."""
    match kind:
        case "none":
            return ParameterSpace()
        case "tied":
            return space_of(("damage", "", 0.3, 0.0, 5.0, True, "damage W: L(z) = W·ε(z)/max ε"))
        case "bspline":
            return ParameterSpace(tuple(spec for spec in spline_space(1, n_damage) if spec.name.startswith("w")))
    raise ParameterError(f"unknown damage {kind!r}: expected none, tied or bspline")
