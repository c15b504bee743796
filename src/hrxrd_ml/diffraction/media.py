"""What crystals do to waves: refraction, absorption, couplings, and the strength of what they scatter diffusely."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from hrxrd_ml.arrays import ComplexArray, FloatArray
from hrxrd_ml.crystal.reflection import Reflection


@dataclass(frozen=True)
class Optics:
    """How susceptibilities enter the coefficients of a reflection; linear in all of them.

    Attributes
    ----------
    refraction : float
        (pi/lambda) (1/gamma_0 + 1/gamma_h) [1/Å].
    bend : float
        The same by Y.
    coupling : ndarray, shape (4,)
        pi C/(lambda sqrt(gamma_0 gamma_h)) [1/Å] for sigma and pi, twice: for chi_h and for chi_hbar.
    """

    refraction: float
    bend: float
    coupling: FloatArray

    @classmethod
    def of(cls, reflection: Reflection, linear: bool = False) -> Optics:
        """Return that of a reflection."""
        wavelength, gamma0, gammah = reflection.wavelength, reflection.gamma0, reflection.gammah
        coupling = np.pi / (wavelength * np.sqrt(gamma0 * gammah)) * np.array(reflection.polarization_factors)
        bend = 0.0 if linear else np.pi / wavelength
        return cls(np.pi / wavelength * (1.0 / gamma0 + 1.0 / gammah), bend, np.tile(coupling, 2))

    def couplings(self, numbers: FloatArray) -> ComplexArray:
        """Return sigma_h for both polarisations and sigma_hbar for both, (..., 4), of `Material.numbers` (..., 10)."""
        return np.asarray((numbers[..., 2::2] + 1j * numbers[..., 3::2]) * self.coupling, dtype=complex)

    def changes(self, numbers: FloatArray, q2: FloatArray) -> FloatArray:
        """Return rows of ``Slopes.optics`` for changes of `Material.numbers`, shape (..., 10), and of the bare q2."""
        rows = numbers * np.array([self.bend, self.refraction, *np.repeat(self.coupling, 2)])
        rows[..., 0] += q2
        return rows


@lru_cache(maxsize=64)
def _strength_factors(reflection: Reflection) -> FloatArray:
    return 2.0 * (np.pi * np.array(reflection.polarization_factors) / reflection.wavelength) ** 2


def strengths(reflection: Reflection, numbers: Any) -> tuple[Any, Any]:
    """Return 2 (pi C abs(chi_h)/lambda)**2 (..., 2) [1/Å**2] and k chi0'' (...) [1/Å] of `Material.numbers` (..., 10).

    What diffuse scattering is proportional to, and what absorbs it.
    """
    square = numbers[..., 2:6:2] ** 2 + numbers[..., 3:7:2] ** 2
    return _strength_factors(reflection) * square, reflection.wavenumber * numbers[..., 1]


@dataclass(frozen=True)
class Media:
    """What k materials do to waves; the substrate last.

    Attributes
    ----------
    numbers : ndarray, shape (k, 10)
        `Material.numbers`.
    refraction, absorption : ndarray, shape (k,)
        Real and imaginary part of the deviation that they cause at the Bragg angle [1/Å].
    couplings : ndarray, shape (k, 4)
        sigma_h for both polarisations and sigma_hbar for both [1/Å].
    strength : ndarray, shape (k, 2)
    mu0 : ndarray, shape (k,)
        See `strengths`.
    """

    numbers: FloatArray
    refraction: FloatArray
    absorption: FloatArray
    couplings: ComplexArray
    strength: FloatArray
    mu0: FloatArray

    @classmethod
    def of(cls, reflection: Reflection, optics: Optics, numbers: FloatArray) -> Media:
        """Return that of materials, shape (k, 10)."""
        refraction, absorption = optics.refraction * numbers[:, 0], optics.refraction * numbers[:, 1]
        return cls(numbers, refraction, absorption, optics.couplings(numbers), *strengths(reflection, numbers))
