"""Defects that displace atoms around them: what they do to L, and how far in reciprocal space they scatter.

Both kinds are the `Measure` of a damage profile.  Their amount is ``defect_fraction``, c = (4 pi/3) n R**3 for n
defects in a unit of volume: the part of the crystal within their radius R.  A curve determines it well whatever R,
while n and R alone trade as n R**3.

Displacements fall off as 1/r**2, so that intensity falls off as 1/q**2 near a reciprocal-lattice point (Huang) and,
where H u is no longer small, as 1/q**4 (Stokes and Wilson).  The distance ``cutoff`` at which one goes over into the
other is what makes the integral over all q that of 1 - E**2.  After V. B. Molodkin, S. I. Olikhovskii, E. N. Kislovskii
and others in Kyiv; L of weak clusters is Krivoglaz's, the sum of (H u)**2/2 over what they displace.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

from hrxrd_ml.arrays import Values
from hrxrd_ml.complex_step import gradient, real
from hrxrd_ml.parameters import ParameterSpace, ParameterSpec
from hrxrd_ml.specimen.damage import SUBSTRATE, Measure

POISSON = 0.29
"""Poisson's ratio, for which the factor of the loops' L holds."""

_PER_FRACTION = 3.0 / (4.0 * math.pi)  # n R**3 over the fraction of volume
_LOOP, _WEAK, _STRONG = 0.46, 0.8 * math.pi, 4.2  # factors of L
_SHARPNESS = 7.0  # of the change from weak to strong clusters


class Defects(Measure, Protocol):
    """Defects of one kind, in layer and substrate."""

    @property
    def weights(self) -> tuple[float, float]:
        """B1 and B2 of the Huang scattering, isotropic and as cos(q, H)**2, in any unit."""
        ...

    def cutoff(self, values: Values, diffraction_vector: float, where: str = "") -> Any:
        """Return k_m, where scattering goes over from 1/q**2 to 1/q**4 [1/Å]; an array function."""
        ...


def _fraction(where: str) -> ParameterSpec:
    what = "part of the volume within the radius of defects, 4π n R³/3"
    if where == SUBSTRATE:
        return ParameterSpec("substrate_defect_fraction", "", 1e-3, 0.0, 0.1, True, f"{what}, in the substrate")
    return ParameterSpec("defect_fraction", "", 0.03, 0.0, 0.5, True, f"largest {what}")


def _radius(where: str) -> ParameterSpec:
    if where == SUBSTRATE:
        return ParameterSpec(
            "substrate_defect_radius", "Å", 500.0, 50.0, 2e4, True, "radius R of defects in the substrate"
        )
    return ParameterSpec("defect_radius", "Å", 40.0, 10.0, 2e3, True, "radius R of defects in the layer")


def _positive(value: Any) -> Any:
    """Return a length, or next to nothing in the place of none: what has no size scatters infinitely far."""
    return value if real(value) > 0.0 else value + 1e-6


def number_density(values: Values, where: str = "") -> float:
    """Return the number of defects in a volume, n = 3 c/(4 pi R**3), at its largest in the layer [1/Å³]."""
    return float(_PER_FRACTION * values[f"{where}defect_fraction"] / values[f"{where}defect_radius"] ** 3)


def powers_of_scale(measure: Defects, values: Values, diffraction_vector: float, where: str = "") -> tuple[float, ...]:
    """Return by which powers of the last of their parameters fraction and radius go, for the same L and the same line.

    A curve determines L and k_m, and so two of three numbers.
    """
    *_, radius, scale = (spec.name for spec in measure.others(where))

    def slopes(function: Any) -> Any:
        of = gradient(lambda moved: function(moved, diffraction_vector, where), values, (radius, scale))
        return of * [values[radius], values[scale]] / function(values, diffraction_vector, where)

    exponent, cutoff = slopes(measure.exponent), slopes(measure.cutoff)
    by_radius = -cutoff[1] / cutoff[0]
    return float(-exponent[1] - exponent[0] * by_radius), float(by_radius)


@dataclass(frozen=True)
class Loops:
    """Dislocation loops with randomly oriented normals: L = 0.46 n R³ (H b)^(3/2), k_m R = 3.45/[(1 + β/3) √(H b)].

    Parameters
    ----------
    burgers_vector : float
        Length b of their Burgers vector, the default of ``burgers_vector`` [Å].
    """

    burgers_vector: float = 5.0

    def amount(self, where: str = "") -> ParameterSpec:
        """Return ``defect_fraction``, or ``substrate_defect_fraction``."""
        return _fraction(where)

    def others(self, where: str = "") -> ParameterSpace:
        """Return radius and Burgers vector."""
        meaning = "length of the Burgers vector of the loops"
        burgers = ParameterSpec("burgers_vector", "Å", self.burgers_vector, 1.0, 100.0, False, meaning)
        return ParameterSpace((_radius(where), burgers))

    def exponent(self, values: Values, diffraction_vector: float, where: str = "") -> Any:
        """Return L for a fraction of 1, which does not depend on the radius."""
        return _PER_FRACTION * _LOOP * (diffraction_vector * values["burgers_vector"]) ** 1.5

    @property
    def weights(self) -> tuple[float, float]:
        """B1 and B2 over B1: β = (3ν² + 6ν − 1)/[4 (1 − ν)²]."""
        return 1.0, (3.0 * POISSON**2 + 6.0 * POISSON - 1.0) / (4.0 * (1.0 - POISSON) ** 2)

    def cutoff(self, values: Values, diffraction_vector: float, where: str = "") -> Any:
        """Return k_m [1/Å]."""
        radius, burgers = (_positive(values[name]) for name in (f"{where}defect_radius", "burgers_vector"))
        return 7.5 * _LOOP / ((1.0 + self.weights[1] / 3.0) * radius * (diffraction_vector * burgers) ** 0.5)


@dataclass(frozen=True)
class Clusters:
    """Spherical clusters with a misfit strain ε: p = H Γ ε R, Γ = (1 + ν)/[3 (1 − ν)], L = n R³ f(p).

    f goes from 0.8π p² (weak: L ∝ H²) over into 4.2 p^1.5 (strong: L ∝ H^1.5).  Of strong clusters a curve determines
    n R³ p^1.5 and R √p, so fraction, radius and strain cannot be told apart: the strain is held by default.
    """

    def amount(self, where: str = "") -> ParameterSpec:
        """Return ``defect_fraction``, or ``substrate_defect_fraction``."""
        return _fraction(where)

    def others(self, where: str = "") -> ParameterSpace:
        """Return radius and strain."""
        meaning = "strain of the clusters against the crystal around them, in size"
        return ParameterSpace(
            (_radius(where), ParameterSpec(f"{where}cluster_strain", "", 0.05, 1e-4, 0.5, False, meaning))
        )

    def exponent(self, values: Values, diffraction_vector: float, where: str = "") -> Any:
        """Return L for a fraction of 1."""
        p = self._strength(values, diffraction_vector, where)
        return _PER_FRACTION * p * p * _huang(p)

    @property
    def weights(self) -> tuple[float, float]:
        """B1 is zero."""
        return 0.0, 1.0

    def cutoff(self, values: Values, diffraction_vector: float, where: str = "") -> Any:
        """Return k_m = 3 L/(8 n H² A²), with A = Γ ε R³ [1/Å]."""
        huang = _huang(self._strength(values, diffraction_vector, where))
        return 0.375 * huang / _positive(values[f"{where}defect_radius"])

    def _strength(self, values: Values, diffraction_vector: float, where: str) -> Any:
        """Return p, the phase by which clusters shift the wave at their surface."""
        gamma = (1.0 + POISSON) / (3.0 * (1.0 - POISSON))
        return diffraction_vector * gamma * values[f"{where}cluster_strain"] * values[f"{where}defect_radius"]


def _huang(p: Any) -> Any:
    """Return f(p)/p²."""
    return (_WEAK**-_SHARPNESS + _STRONG**-_SHARPNESS * p ** (0.5 * _SHARPNESS)) ** (-1.0 / _SHARPNESS)
