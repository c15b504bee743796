"""Deviation from the Bragg condition: what strain and tilt make of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from hrxrd_ml.arrays import FloatArray
from hrxrd_ml.complex_step import STEP, derivative
from hrxrd_ml.crystal.reflection import Reflection


@dataclass(frozen=True)
class Deviation:
    """Deviation from the local Bragg condition, ``u = u0(strain) + U(angle)``.

    It is the mismatch of normal momentum ``K_hz - K_0z - H_z`` of waves whose momentum along the surface is conserved,
    ``k (sin(exit) + sin(incidence)) - H cos(phi)/(1 + strain)``: right for wide scans, large strains and grazing
    angles alike.  What depends on the strain out of the plane is u0; strain in the plane turns the exit angle
    (`in_plane`), which is a matter of U (`Beams`).  The linear form is the textbook ``2 sin(2 theta_B) (dtheta -
    delta)`` with everything else as it is at the Bragg angle.

    Attributes
    ----------
    wavenumber : float
        k [1/Å].
    diffraction_vector : float
        H of the reference lattice [1/Å].
    bragg_angle, inclination : float
        Of the reference lattice [rad].
    polarization_factors : tuple of float
        C at the Bragg angle.
    linear : bool
        Use the linear form.
    """

    wavenumber: float
    diffraction_vector: float
    bragg_angle: float
    inclination: float
    polarization_factors: tuple[float, float]
    linear: bool = False

    @classmethod
    def of(cls, reflection: Reflection, linear: bool = False) -> Deviation:
        """Return the deviation of a reflection."""
        return cls(
            reflection.wavenumber,
            reflection.diffraction_vector,
            reflection.bragg_angle,
            reflection.inclination,
            reflection.polarization_factors,
            linear,
        )

    @property
    def per_angle(self) -> float:
        """dU/dtheta at the Bragg angle, k sin(2 theta_B)/gamma_h [1/(Å rad)]."""
        return self.wavenumber * math.sin(2.0 * self.bragg_angle) / math.sin(self.bragg_angle - self.inclination)

    def u0(self, strain: Any, parallel: Any = 0.0, tilt: Any = 0.0) -> Any:
        """Return what strain makes of the deviation [1/Å]; an array function.

        Parameters
        ----------
        strain, parallel : array
            Out of the plane and in the plane, relative to the reference lattice.  The exact form does not need the
            one in the plane.
        tilt : array
            By which the planes are inclined more than those of the reference lattice [rad].
        """
        if self.linear:
            sin_p, cos_p, tan_b = math.sin(self.inclination), math.cos(self.inclination), math.tan(self.bragg_angle)
            return self.per_angle * (
                strain * (cos_p**2 * tan_b - sin_p * cos_p) + parallel * (sin_p**2 * tan_b + sin_p * cos_p) - tilt
            )
        # H cos(phi) - H cos(phi + tilt)/(1 + strain), without the difference of large numbers
        turned = 2.0 * np.sin(self.inclination + 0.5 * tilt) * np.sin(0.5 * tilt)
        return self.diffraction_vector * (math.cos(self.inclination) * strain + turned) / (1.0 + strain)

    def u0_slope(self, strain: FloatArray, parallel: FloatArray | float = 0.0) -> Any:
        """Return the derivative of `u0` by the strain out of the plane."""
        return derivative(self.u0(strain + 1j * STEP, parallel))

    def in_plane(self, parallel: Any = 0.0, tilt: Any = 0.0) -> Any:
        """Return the momentum along the surface that the lattice adds, over k: ``H sin(phi)/k/(1 + parallel)``."""
        if self.linear:
            return 0.0 * parallel + self.diffraction_vector * math.sin(self.inclination) / self.wavenumber
        return self.diffraction_vector / self.wavenumber * np.sin(self.inclination + tilt) / (1.0 + parallel)
