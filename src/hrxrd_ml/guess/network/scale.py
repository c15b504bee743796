"""The scale symmetry of dynamical diffraction: one axis and a few numbers in place of crystal, hkl and wavelength.

On the *strain axis* a point of a scan is named by the strain that diffracts there.  A curve then depends on the
strain profile against H z, on couplings and absorption over H, and on the instrument's width on that axis; and if all
strains, couplings and widths grow by a factor while depths shrink by it, the curve does not change.  So every curve can
be shown in one standard window, whose width is that factor.  Exact for symmetric reflections, up to terms of the order
of the strain; for asymmetric ones the dependence of the flux on the angle is left over.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from hrxrd_ml.crystal.reflection import Reflection
from hrxrd_ml.diffraction.deviation import Deviation, angle_coordinates, flux
from hrxrd_ml.units import ARCSEC


@dataclass(frozen=True)
class StrainAxis:
    """The strain axis of one reflection, or of a batch of them, and their dimensionless constants.

    Every field is a number, or an array of shape (B, 1).  Offsets and strains have shape (m,), or (B, m) for a batch.

    Attributes
    ----------
    entry, exit : float
        Angles of incidence and exit at the Bragg angle [rad].
    wavenumber, normal : float
        k, and the derivative of the phase mismatch with strain, H cos(phi) [1/Å].
    per_radian : float
        Length of a small angle on the strain axis, at the Bragg angle.
    coupling : float
        Modulus of the geometric mean of the couplings of polarisation sigma, over ``normal``.
    coupling_phase : float
        Its argument [rad]: absorption of the diffracted wave.
    absorption : float
        Imaginary part of the mismatch over ``normal``.
    second_polarisation : float
        Weight of polarisation pi times its C**2, over the weight of sigma plus that.
    asymmetry : float
        gamma_0/gamma_h.
    arrays : module
        Whose arrays these are: numpy, or torch with NumPy's names.
    """

    entry: Any
    exit: Any
    wavenumber: Any
    normal: Any
    per_radian: Any
    coupling: Any
    coupling_phase: Any
    absorption: Any
    second_polarisation: Any
    asymmetry: Any
    arrays: Any = np

    @classmethod
    def of(cls, reflection: Reflection) -> StrainAxis:
        """Return the strain axis of a reflection."""
        deviation = Deviation.of(reflection)
        entry, exit = deviation.bragg_angle + deviation.inclination, deviation.bragg_angle - deviation.inclination
        normal = reflection.diffraction_vector * math.cos(reflection.inclination)
        plus, minus = reflection.susceptibility.pair(0)
        mean = cmath.sqrt(plus * minus)
        mean = mean if mean.real > 0.0 else -mean
        factor = math.pi / (reflection.wavelength * math.sqrt(reflection.gamma0 * reflection.gammah))
        loss = math.pi / reflection.wavelength * (1.0 / reflection.gamma0 + 1.0 / reflection.gammah)
        sigma, pi = reflection.polarization_weights
        pi *= reflection.polarization_factors[1] ** 2
        step = 1e-6
        low, high = angle_coordinates(entry, exit, np.array([-step, step]))[0]
        return cls(
            entry=entry,
            exit=exit,
            wavenumber=2.0 * deviation.prefactor * math.sin(exit),
            normal=normal,
            per_radian=reflection.wavenumber * float(high - low) / (2.0 * step) / normal,
            coupling=factor * abs(mean) / normal,
            coupling_phase=math.atan2(mean.imag, mean.real),
            absorption=loss * reflection.susceptibility.chi0.imag / normal,
            second_polarisation=pi / (sigma + pi),
            asymmetry=reflection.asymmetry,
        )

    def each(self, change: Callable[[str, Any], Any]) -> StrainAxis:
        """Return an axis whose fields are what ``change`` makes of the name and the value of each."""
        names = [field.name for field in fields(self) if field.name != "arrays"]
        return replace(self, **{name: change(name, getattr(self, name)) for name in names})

    def coordinates(self, dtheta: Any) -> tuple[Any, Any]:
        """Return the angle coordinates X and Y of offsets [rad]; see `Deviation.axes`."""
        return angle_coordinates(self.entry, self.exit, dtheta, self.arrays)

    def flux(self, dtheta: Any) -> Any:
        """Return gamma_0 gamma_h at the Bragg angle over that at each offset; see `Deviation.flux`."""
        return flux(self.entry, self.exit, dtheta, self.arrays)

    def strain(self, dtheta: Any) -> Any:
        """Return the strain axis's value, strain/(1 + strain), at offsets [rad]; it falls with the angle."""
        return -self.wavenumber * self.coordinates(dtheta)[0] / self.normal

    def offset(self, strain: Any) -> Any:
        """Return the offsets [rad] at which strains diffract; inverse of `strain`, by Newton's method."""
        angle = -strain / self.per_radian
        h = 1e-6 if self.arrays.finfo(angle.dtype).eps < 1e-12 else 1e-3  # single precision needs a wide difference
        for _ in range(5):
            slope = (self.strain(angle + h) - self.strain(angle - h)) / (2.0 * h)
            angle = angle - (self.strain(angle) - strain) / slope
        return angle

    @property
    def per_arcsec(self) -> Any:
        """Length of a second of arc on the strain axis."""
        return self.per_radian * ARCSEC

    def constants(self, span: Any) -> list[Any]:
        """Return what a network is told of the experiment, for a window of width ``span`` on the strain axis."""
        log10 = self.arrays.log10
        return [
            log10(self.coupling / span),
            self.coupling_phase,
            log10((self.absorption + 1e-9) / span),
            self.second_polarisation,
            log10(span),
            log10(self.normal),
            log10(self.asymmetry),
        ]
