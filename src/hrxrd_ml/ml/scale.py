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
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hrxrd_ml.dynamical._contract import Deviation
from hrxrd_ml.reflection import Reflection
from hrxrd_ml.units import ARCSEC

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class StrainAxis:
    """The strain axis of a reflection, and its dimensionless constants.

    Attributes
    ----------
    deviation : Deviation
        What makes angles comparable.
    normal : float
        Derivative of the phase mismatch with strain: H cos(phi) [1/Å].
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
    """

    deviation: Deviation
    normal: float
    per_radian: float
    coupling: float
    coupling_phase: float
    absorption: float
    second_polarisation: float
    asymmetry: float

    @classmethod
    def of(cls, reflection: Reflection) -> StrainAxis:
        """Return the strain axis of a reflection."""
        deviation = Deviation.of(reflection)
        normal = reflection.diffraction_vector * math.cos(reflection.inclination)
        plus, minus = reflection.susceptibility.pair(0)
        mean = cmath.sqrt(plus * minus)
        mean = mean if mean.real > 0.0 else -mean
        factor = math.pi / (reflection.wavelength * math.sqrt(reflection.gamma0 * reflection.gammah))
        loss = math.pi / reflection.wavelength * (1.0 / reflection.gamma0 + 1.0 / reflection.gammah)
        sigma, pi = reflection.polarization_weights
        pi *= reflection.polarization_factors[1] ** 2
        step = 1e-6
        low, high = deviation.axes(np.array([-step, step]))[0]
        return cls(
            deviation=deviation,
            normal=normal,
            per_radian=reflection.wavenumber * float(high - low) / (2.0 * step) / normal,
            coupling=factor * abs(mean) / normal,
            coupling_phase=math.atan2(mean.imag, mean.real),
            absorption=loss * reflection.susceptibility.chi0.imag / normal,
            second_polarisation=pi / (sigma + pi),
            asymmetry=reflection.asymmetry,
        )

    def strain(self, dtheta: ArrayLike) -> FloatArray:
        """Return the strain axis's value, strain/(1 + strain), at offsets [rad]; it falls with the angle."""
        x = self.deviation.axes(np.atleast_1d(np.asarray(dtheta, dtype=float)))[0]
        return -2.0 * self.deviation.prefactor * math.sin(self._exit) * x / self.normal

    @property
    def _exit(self) -> float:
        return self.deviation.bragg_angle - self.deviation.inclination

    def offset(self, strain: ArrayLike) -> FloatArray:
        """Return the offsets [rad] at which strains diffract; inverse of `strain`, by Newton's method."""
        target = np.atleast_1d(np.asarray(strain, dtype=float))
        angle, h = -target / self.per_radian, 1e-6
        for _ in range(5):
            below, here, above = self.strain(np.stack([angle - h, angle, angle + h]))
            angle = angle - (here - target) / ((above - below) / (2.0 * h))
        return angle

    @property
    def per_arcsec(self) -> float:
        """Length of a second of arc on the strain axis."""
        return self.per_radian * ARCSEC

    def constants(self, span: float) -> FloatArray:
        """Return what a network is told of the experiment, for a window of width ``span`` on the strain axis."""
        return np.array(
            [
                math.log10(self.coupling / span),
                self.coupling_phase,
                math.log10((self.absorption + 1e-9) / span),
                self.second_polarisation,
                math.log10(span),
                math.log10(self.normal),
                math.log10(self.asymmetry),
            ]
        )
