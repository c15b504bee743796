"""What changes with the angle of incidence: directions of the waves, refraction, polarisation.

A scan turns the crystal, and the angles of all waves with it.  With ``w`` the momentum along the surface that the
lattice of a film adds (`Deviation.in_plane`), cos(exit) = cos(incidence) + w; inside, where the susceptibility is
chi_0, the sines of both angles become

    g_0 = sqrt(sin(incidence)**2 + chi_0),     g_h = sqrt(sin(exit)**2 + chi_0),

the deviation from the Bragg condition is U = k (g_0 + g_h) - H cos(phi), and the couplings are (k/2) C
chi_h/sqrt(g_0 g_h), for polarisation pi with the cosine C of the angle between both beams inside.  Against a four-wave
solution that is right to 1e-3 of R down to two or three degrees from the surface.  The roots are those of the real part
of chi_0; absorption enters to first order.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from hrxrd_ml.arrays import FloatArray
from hrxrd_ml.complex_step import sqrt
from hrxrd_ml.crystal.reflection import Reflection
from hrxrd_ml.diffraction.deviation import Deviation
from hrxrd_ml.errors import CurveError

_LOWEST_SINE = 0.01
"""Of angles inside; two-beam theory ends before the horizon, and what is beyond is calculated as if it were here."""

_CRITICAL_ANGLES = 2.5
"""Beam that near to the surface is poorly described: the error is 0.7 % of R at 1.2 deg, where GaAs has 0.3 deg."""


@dataclass(frozen=True)
class Beams:
    """Directions of the waves at m angles of incidence.

    Attributes
    ----------
    deviation : Deviation
    dtheta : ndarray, shape (m,)
        Offsets of the incidence angle from the Bragg angle of the reference lattice [rad].
    """

    deviation: Deviation
    dtheta: FloatArray

    def coherent(self, along: Any, chi0_real: Any, chi0_imag: Any) -> Any:
        """Return what the couplings and the deviation of media are at each angle; an array function.

        Parameters
        ----------
        along : array, shape (..., k)
            `Deviation.in_plane` of the media.
        chi0_real, chi0_imag : array, shape (..., k)

        Returns
        -------
        array, shape (..., k, 4, m)
            Real and imaginary part of the deviation without what `Deviation.u0` is [1/Å], and
            C/sqrt(g_0 g_h) for sigma and pi.
        """
        at, real, imag = self.deviation, np.asarray(chi0_real)[..., None], np.asarray(chi0_imag)[..., None]
        k = at.wavenumber
        if at.linear:
            sines = [math.sin(at.bragg_angle + side * at.inclination) for side in (1.0, -1.0)]
            refraction = 0.5 * k * (1.0 / sines[0] + 1.0 / sines[1])
            coupling = 1.0 / math.sqrt(sines[0] * sines[1])
            flat = np.ones_like(self.dtheta)
            rows = [at.per_angle * self.dtheta + refraction * real, refraction * imag * flat]
            rows += [factor * coupling * flat for factor in at.polarization_factors]
            return np.stack(np.broadcast_arrays(*rows), axis=-2)
        sine, cosine, cos_exit, square = self._directions(np.asarray(along)[..., None])
        inner, outer = _root(sine * sine + real), _root(square + real)
        coupling = 1.0 / sqrt(inner * outer)
        normal = at.diffraction_vector * math.cos(at.inclination)
        rows = [
            k * (inner + outer) - normal,
            0.5 * k * imag * (1.0 / inner + 1.0 / outer),
            coupling,
            coupling * (cosine * cos_exit - inner * outer) / (1.0 + real),
        ]
        return np.stack(np.broadcast_arrays(*rows), axis=-2)

    def diffuse(self, along: Any) -> Any:
        """Return what diffuse scattering in media depends on at each angle; an array function, with no linear form.

        Parameters
        ----------
        along : array, shape (..., k)
            `Deviation.in_plane` of the media.

        Returns
        -------
        array, shape (..., k, 4, m)
            Deviation without refraction and without what `Deviation.u0` is [1/Å]; sine of the exit angle; path in the
            medium over depth, 1/gamma_0 + 1/gamma_h; C**2 for pi.
        """
        at = self.deviation
        sine, cosine, cos_exit, square = self._directions(np.asarray(along)[..., None])
        sin_exit = _root(square)
        normal = at.diffraction_vector * math.cos(at.inclination)
        rows = [
            at.wavenumber * (sine + sin_exit) - normal,
            sin_exit,
            1.0 / sine + 1.0 / sin_exit,
            (cosine * cos_exit - sine * sin_exit) ** 2,
        ]
        return np.stack(np.broadcast_arrays(*rows), axis=-2)

    @cached_property
    def sin_incidence(self) -> FloatArray:
        """Sine of the angle of incidence, shape (m,)."""
        return self._directions(0.0)[0]

    def part(self, which: Any) -> Beams:
        """Return those at some of the angles."""
        return Beams(self.deviation, self.dtheta[which])

    def _directions(self, along: Any) -> tuple[FloatArray, FloatArray, Any, Any]:
        """Return sine and cosine of the incidence angle, cosine and square of the sine of the exit angle."""
        incidence = self.deviation.bragg_angle + self.deviation.inclination + self.dtheta
        sine, cosine = np.maximum(np.sin(incidence), _LOWEST_SINE), np.cos(incidence)
        cos_exit = cosine + along
        return sine, cosine, cos_exit, (1.0 - cos_exit) * (1.0 + cos_exit)


def _root(square: Any) -> Any:
    """Return the sine of an angle from its square, at least `_LOWEST_SINE`."""
    return sqrt(np.where(np.real(square) > _LOWEST_SINE**2, square, _LOWEST_SINE**2))


def check_horizon(reflection: Reflection, dtheta: FloatArray, *, exit: bool = True) -> None:
    """Refuse angles at which one of the waves does not pass the surface, and warn where two-beam theory is poor.

    Parameters
    ----------
    reflection : Reflection
    dtheta : ndarray, shape (m,)
        Offsets of the incidence angle from the Bragg angle [rad].
    exit : bool
        Whether the exit angle counts too; films have others than the substrate.

    Raises
    ------
    CurveError

    Warns
    -----
    UserWarning
        Within `_CRITICAL_ANGLES` critical angles of the surface.
    """
    incidence = reflection.bragg_angle + reflection.inclination + np.asarray(dtheta, dtype=float)[[0, -1]]
    along = reflection.diffraction_vector * math.sin(reflection.inclination) / reflection.wavenumber
    critical = math.sqrt(abs(reflection.susceptibility.chi0.real))
    with np.errstate(invalid="ignore"):
        leaving = np.arccos(np.cos(incidence) + along)
    for name, angles in (("incidence", incidence), ("exit", leaving))[: 2 if exit else 1]:
        low = float(np.min(np.where(np.isnan(angles), -1.0, angles)))
        where = f"{name} angle of {math.degrees(low):.3g} deg" if low >= 0.0 else f"{name} below the horizon"
        if not critical < low <= float(np.max(angles)) < math.pi - critical:
            raise CurveError(
                f"the scan goes to an {where}, where waves do not pass the surface (critical angle "
                f"{math.degrees(critical):.2g} deg): leave out that end of the scan, or check reflection, surface, "
                "exit and the unit of the axis"
            )
        if low < _CRITICAL_ANGLES * critical:
            warnings.warn(
                f"the scan goes to an {where}, {low / critical:.2g} critical angles: two-beam theory is wrong by "
                "more than 1 % there; leave out that end of the scan",
                stacklevel=3,
            )
