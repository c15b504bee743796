"""The scale symmetry of dynamical diffraction: one axis and a few numbers in place of crystal, hkl and wavelength.

On the *strain axis* a point of a scan is named by the strain that diffracts there.  A curve then depends on the
strain profile against H z, on couplings and absorption over H, and on the instrument's width on that axis; and if all
strains, couplings and widths grow by a factor while depths shrink by it, the curve does not change.  So every curve can
be shown in one standard window, whose width is that factor.  That is so as long as the angles of the waves are those at
the Bragg angle.  They run along a scan, and with them couplings, refraction and the polarisation factor: a relative
change of the order of the strain for symmetric reflections, more at grazing angles, and for polarisation pi more where
2 theta_B is close to 90 degrees.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from hrxrd_ml.crystal.reflection import Reflection
from hrxrd_ml.units import ARCSEC

_LEAST_SINE = 0.02
"""Of the angles with the surface: two-beam theory ends before the horizon."""

_LEAST_MEASURED = 0.035
"""The same, of scans that somebody would measure: beyond 2.5 critical angles of any crystal."""


@dataclass(frozen=True)
class Waves:
    """Directions of the waves at the angles of a scan; arrays of the shape of the offsets.

    Attributes
    ----------
    mismatch : array
        k (gamma_0 + gamma_h) - H cos(phi), the deviation of the unstrained lattice without refraction [1/Å].
    gamma0, gammah : array
        Sines of incidence and exit angle.
    along, sine : array
        Product of the cosines of these angles, and the sine of their sum.
    """

    mismatch: Any
    gamma0: Any
    gammah: Any
    along: Any
    sine: Any


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
        bragg, tilt = reflection.bragg_angle, reflection.inclination
        normal = reflection.diffraction_vector * math.cos(reflection.inclination)
        plus, minus = reflection.susceptibility.pair(0)
        mean = cmath.sqrt(plus * minus)
        mean = mean if mean.real > 0.0 else -mean
        factor = math.pi / (reflection.wavelength * math.sqrt(reflection.gamma0 * reflection.gammah))
        loss = math.pi / reflection.wavelength * (1.0 / reflection.gamma0 + 1.0 / reflection.gammah)
        sigma, pi = reflection.polarization_weights
        pi *= reflection.polarization_factors[1] ** 2
        return cls(
            entry=bragg + tilt,
            exit=bragg - tilt,
            wavenumber=reflection.wavenumber,
            normal=normal,
            per_radian=reflection.wavenumber * math.sin(2.0 * bragg) / (reflection.gammah * normal),
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

    def waves(self, dtheta: Any) -> Waves:
        """Return the directions of the waves at offsets [rad].

        The momentum along the surface is conserved, cos(exit) = cos(incidence) + H sin(phi)/k.  Written so that nothing
        of order one cancels: single precision is enough.
        """
        xp = self.arrays
        chord, middle = 2.0 * xp.sin(0.5 * dtheta), self.entry + 0.5 * dtheta
        # Changes of sine and cosine of the angle of incidence; the latter is that of the cosine of the exit angle too.
        rise, tilt = chord * xp.cos(middle), -chord * xp.sin(middle)
        square = (2.0 * xp.sin(0.5 * self.exit) ** 2 - tilt) * (2.0 * xp.cos(0.5 * self.exit) ** 2 + tilt)
        gamma0 = xp.clip(xp.sin(self.entry) + rise, _LEAST_SINE, None)
        gammah = xp.sqrt(xp.clip(square, _LEAST_SINE**2, None))
        cos_in, cos_out = xp.cos(self.entry) + tilt, xp.cos(self.exit) + tilt
        exit_rise = -tilt * (xp.cos(self.exit) + cos_out) / (gammah + xp.sin(self.exit))
        return Waves(
            mismatch=self.wavenumber * (rise + exit_rise),
            gamma0=gamma0,
            gammah=gammah,
            along=cos_in * cos_out,
            sine=gamma0 * cos_out + cos_in * gammah,
        )

    def strain(self, dtheta: Any) -> Any:
        """Return the strain axis's value, strain/(1 + strain), at offsets [rad]; it falls with the angle."""
        return -self.waves(dtheta).mismatch / self.normal

    def offset(self, strain: Any) -> Any:
        """Return the offsets [rad] at which strains diffract; inverse of `strain`, by Newton's method."""
        angle = -strain / self.per_radian
        for _ in range(5):
            at = self.waves(angle)
            angle = angle - (at.mismatch + strain * self.normal) * at.gammah / (self.wavenumber * at.sine)
        return angle

    def horizon(self) -> Any:
        """Return the offset [rad] below which a wave runs too close to the surface for two-beam theory."""
        xp, least = self.arrays, math.asin(_LEAST_MEASURED)
        turned = xp.clip(math.cos(least) + xp.cos(self.entry) - xp.cos(self.exit), -1.0, 1.0)
        return xp.maximum(least - self.entry, xp.arccos(turned) - self.entry)

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
