"""Depth profiles of damage: the static Debye-Waller exponent L(z), E = exp(-L).

A damage profile is a shape over depth, each one class that keeps to the protocol `Damage`; a user's own does, too.
What it is a profile of is a `Measure`: L itself, which belongs to one reflection, or what the sample has for all of
them, such as mean-square displacements or defects (`specimen.defects`), from which L follows for each.  Derivatives
come from the complex step, as those of strain profiles do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

import numpy as np

from hrxrd_ml.arrays import Values
from hrxrd_ml.complex_step import check_analytic, real
from hrxrd_ml.errors import ParameterError
from hrxrd_ml.parameters import ParameterSpace, ParameterSpec, named, space_of
from hrxrd_ml.specimen.profile.spline import SplineProfile

DISPLACEMENTS = 2.0
"""Power of the diffraction vector by which L grows where displacements are random and small: L = H²⟨u²⟩/2."""

REFERENCE = 2.0 * math.pi
"""Diffraction vector of planes 1 Å apart [1/Å], where mean-square displacements mean the same for any power of H."""

SUBSTRATE = "substrate_"
"""Prefix of parameters of the substrate; those of the layer have none."""


class Measure(Protocol):
    """What there is an amount of at every depth; L is in proportion to it.

    ``where`` is "" for the layer, `SUBSTRATE` for the substrate.
    """

    def amount(self, where: str = "") -> ParameterSpec:
        """Return the parameter that is the amount, the largest one of the layer."""
        ...

    def others(self, where: str = "") -> ParameterSpace:
        """Return the parameters that L depends on beside it."""
        ...

    def exponent(self, values: Values, diffraction_vector: float, where: str = "") -> Any:
        """Return L for an amount of 1 in a reflection with a diffraction vector of this length [1/Å]."""
        ...


@dataclass(frozen=True)
class Exponent:
    """L itself, as one reflection sees it."""

    def amount(self, where: str = "") -> ParameterSpec:
        """Return ``damage``, or ``substrate_damage``."""
        if where == SUBSTRATE:
            row: Any = ("substrate_damage", "", 0.01, 0.0, 1.0, True, "damage L of the substrate below the profile")
        else:
            row = ("damage", "", 0.3, 0.0, 5.0, True, "damage W: L(z) = W·ε(z)/max ε")
        return replace(ParameterSpec(*row), scope="curve", power_of_h=DISPLACEMENTS)

    def others(self, where: str = "") -> ParameterSpace:
        """Return nothing."""
        return ParameterSpace()

    def exponent(self, values: Values, diffraction_vector: float, where: str = "") -> Any:
        """Return 1."""
        return 1.0


@dataclass(frozen=True)
class Displacements:
    """Mean-square displacement of the planes: L = H²⟨u²⟩/2, u along H [Å], in every reflection of the sample.

    That is for displacements that are random and small.  Others have another power, as strong dislocation loops 3/2;
    with ``msd_exponent`` p, which two reflections determine, L = G² ⟨u²⟩/2 (H/G)^p with G = `REFERENCE`.
    """

    def amount(self, where: str = "") -> ParameterSpec:
        """Return ``msd``, or ``substrate_msd``."""
        if where == SUBSTRATE:
            return ParameterSpec(
                "substrate_msd", "Å²", 1e-3, 0.0, 0.2, True, "mean-square displacement in the substrate, along H"
            )
        return ParameterSpec(
            "msd", "Å²", 0.05, 0.0, 1.0, True, "largest mean-square displacement along H, in the layer"
        )

    def others(self, where: str = "") -> ParameterSpace:
        """Return ``msd_exponent``, which layer and substrate have in common."""
        meaning = "p in L = G²·msd/2·(H/G)^p, G = 2π/Å; 2 for random displacements"
        return space_of(("msd_exponent", "", DISPLACEMENTS, 0.5, 4.0, False, meaning))

    def exponent(self, values: Values, diffraction_vector: float, where: str = "") -> Any:
        """Return L for 1 Å²."""
        return 0.5 * REFERENCE**2 * (diffraction_vector / REFERENCE) ** values["msd_exponent"]


def substrate_exponent(measure: Measure, values: Values, diffraction_vector: float) -> Any:
    """Return L of the substrate."""
    return values[measure.amount(SUBSTRATE).name] * measure.exponent(values, diffraction_vector, SUBSTRATE)


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
    diffraction_vector : float
        H of the reflection that sees it [1/Å].
    """

    strain: Any
    largest: Any
    end: Any
    diffraction_vector: float


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
    """An amount of something that follows abs(strain)/max abs(strain).

    Parameters
    ----------
    measure : Measure
    """

    measure: Measure = field(default_factory=Exponent)

    @property
    def space(self) -> ParameterSpace:
        """The amount at the largest strain, and what else L depends on."""
        return ParameterSpace((self.measure.amount(),)) + self.measure.others()

    def evaluate(self, z: Any, values: Values, strained: Strained) -> Any:
        """Return L."""
        strain, largest = strained.strain, strained.largest
        top = values[self.measure.amount().name] * self.measure.exponent(values, strained.diffraction_vector)
        if abs(real(largest)) < 1e-12:
            return np.zeros(np.shape(strain)) * top
        size = np.sign(strain.real) * strain if np.iscomplexobj(strain) else np.abs(strain)
        return top / (math.copysign(1.0, real(largest)) * largest) * size


@dataclass(frozen=True)
class SplineDamage:
    """A cubic B-spline with coefficients ``w0, w1, ...`` over the depth of the strain profile.

    Parameters
    ----------
    count : int
        Number of coefficients.
    measure : Measure
        What they are amounts of.
    """

    count: int = 6
    measure: Measure = field(default_factory=Exponent)

    def __post_init__(self) -> None:
        """Check the number of coefficients."""
        self.spline  # noqa: B018

    @property
    def spline(self) -> SplineProfile:
        """The spline."""
        return SplineProfile(self.count, "w")

    @property
    def space(self) -> ParameterSpace:
        """The coefficients, and what else L depends on."""
        own = self.measure.amount()
        like = {name: getattr(own, name) for name in ("unit", "min", "max", "scope", "power_of_h")}
        like |= {"value": round(own.value / 3.0, 4)}
        specs = (
            replace(spec, description=f"{own.name} coefficient {number}, from the surface", **like)
            for number, spec in enumerate(self.spline.space)
        )
        return ParameterSpace(tuple(specs)) + self.measure.others()

    def evaluate(self, z: Any, values: Values, strained: Strained) -> Any:
        """Return L."""
        amount = self.spline.evaluate(z, {**values, "depth": strained.end})
        return amount * self.measure.exponent(values, strained.diffraction_vector)


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


DAMAGES: Mapping[str, Callable[[], Damage] | None] = {
    "none": None,
    "tied": TiedDamage,
    "bspline": SplineDamage,
    "displacements": partial(TiedDamage, Displacements()),
    "displacement_spline": partial(SplineDamage, measure=Displacements()),
}
"""Damage profiles by the names that models, experiment files and saved files have for them."""


def make_damage(kind: str, count: int = 6, defects: Measure | None = None) -> Damage | None:
    """Return a damage profile by name, one of `DAMAGES`.

    Parameters
    ----------
    kind : str
    count : int
        Number of coefficients of a spline.
    defects : Measure, optional
        What damage follows from; the kind is then that of their profile, "tied" or "bspline".

    Raises
    ------
    ParameterError
    """
    make = named("damage", kind, DAMAGES)
    made = make() if make else None
    if defects is not None and made is not None:
        if not (isinstance(made, TiedDamage | SplineDamage) and made.measure == Exponent()):
            raise ParameterError(
                f"damage: the diffuse model says what its defects do to L, so {kind!r} contradicts it; expected 'tied' "
                "or 'bspline', which is the profile of their density over depth, or nothing"
            )
        made = replace(made, measure=defects)
    return replace(made, count=count) if isinstance(made, SplineDamage) else made
