"""Deviation from the Bragg condition, and the angle coordinates that it is linear in."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from hrxrd_ml.arrays import FloatArray
from hrxrd_ml.complex_step import STEP, derivative
from hrxrd_ml.crystal.reflection import Reflection
from hrxrd_ml.errors import ParameterError


@dataclass(frozen=True)
class _Geometry:
    """What the deviation of every lamella has in common.

    Attributes
    ----------
    wavenumber : float
        k, which is q1 of the exact form [1/Å].
    normal, along : float
        H cos(phi) [1/Å], and the same along the surface, over k.
    gammah, cos_exit : float
        Sine and cosine of the exit angle.
    per_y : float
        What in-plane strain changes by Y.
    """

    wavenumber: float
    normal: float
    along: float
    gammah: float
    cos_exit: float
    per_y: float

    @classmethod
    def of(cls, deviation: Deviation) -> _Geometry:
        """Return the geometry of the exact form."""
        entry, exit = deviation.bragg_angle + deviation.inclination, deviation.bragg_angle - deviation.inclination
        gamma0, gammah, cos_exit = math.sin(entry), math.sin(exit), math.cos(exit)
        wavenumber = 2.0 * deviation.prefactor * gammah
        return cls(
            wavenumber,
            2.0 * wavenumber * deviation.sin_bragg * math.cos(deviation.inclination),
            2.0 * deviation.sin_bragg * math.sin(deviation.inclination),
            gammah,
            cos_exit,
            gamma0 / gammah**3 / (math.cos(entry) / gamma0**2 + cos_exit * gamma0 / gammah**3),
        )


@dataclass(frozen=True)
class Deviation:
    """Deviation from the local Bragg condition, ``u = u0 + q1 X + q2 Y``, as a function of the local strain.

    The exact form is the mismatch of normal momentum ``K_hz - K_0z - H_z`` of waves whose momentum along the surface is
    conserved, ``k (sin(exit) + sin(incidence)) - H cos(phi)/(1 + strain)``: linear in ``strain/(1 + strain)``, and
    right for wide scans, large strains and grazing angles alike.  X is its dependence on the angle, and Y that of the
    refraction, ``1/gamma_0 + 1/gamma_h``.  The linear one is the textbook ``2 sin(2 theta_B) (dtheta - delta)``.  Both
    are written so that nothing of order one cancels (float32 kernels need that).

    Attributes
    ----------
    prefactor : float
        pi/(lambda gamma_h) [1/Å].
    sin_bragg, bragg_angle, inclination : float
        Of the reference lattice [-, rad, rad].
    linear : bool
        Use the linear form.
    """

    prefactor: float
    sin_bragg: float
    bragg_angle: float
    inclination: float
    linear: bool = False

    @classmethod
    def of(cls, reflection: Reflection, linear: bool = False) -> Deviation:
        """Return the deviation function of a reflection."""
        return cls(
            np.pi / (reflection.wavelength * reflection.gammah),
            float(np.sin(reflection.bragg_angle)),
            reflection.bragg_angle,
            reflection.inclination,
            linear,
        )

    @cached_property
    def _geometry(self) -> _Geometry:
        return _Geometry.of(self)

    def axes(self, dtheta: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the angle coordinates X and Y.

        Parameters
        ----------
        dtheta : ndarray
            Offset of the incidence angle from the Bragg angle of the reference lattice [rad].
        """
        dtheta = np.ascontiguousarray(dtheta, dtype=float)
        if self.linear:
            return dtheta, np.zeros_like(dtheta)
        x, y = angle_coordinates(self.bragg_angle + self.inclination, self.bragg_angle - self.inclination, dtheta)
        return np.asarray(x), np.asarray(y)

    def flux(self, dtheta: FloatArray) -> FloatArray:
        """Return gamma_0 gamma_h at the Bragg angle over that at each angle.

        The kernels take the couplings at the Bragg angle.  Where that matters, the reflectivity is weak and
        proportional to their product: this is the factor f that is missing there.  ``R f/(1 + R (f - 1))`` applies
        it where R is weak and leaves total reflection alone.
        """
        if self.linear:
            return np.ones_like(dtheta)
        return np.asarray(flux(self.bragg_angle + self.inclination, self.bragg_angle - self.inclination, dtheta))

    @property
    def q1(self) -> float:
        """Derivative of the deviation with X, the same for every lamella [1/Å]."""
        if self.linear:
            return self.prefactor * 2.0 * math.sin(2.0 * self.bragg_angle)
        return self._geometry.wavenumber

    def u0(self, strain: Any, parallel: Any = 0.0) -> Any:
        """Return the deviation at the Bragg angle of the reference lattice, without refraction [1/Å].

        An array function of strains of any shape, out of the plane and in the plane.
        """
        if self.linear:
            sin_p, cos_p = math.sin(self.inclination), math.cos(self.inclination)
            tan_b = math.tan(self.bragg_angle)
            return self.q1 * (
                strain * (cos_p**2 * tan_b - sin_p * cos_p) + parallel * (sin_p**2 * tan_b + sin_p * cos_p)
            )
        g = self._geometry
        u0 = g.normal * (strain / (1.0 + strain))
        if isinstance(parallel, float) and parallel == 0.0:
            return u0
        # In-plane strain turns the exit angle; how much depends on that angle, to first order as Y does.
        shift = self._shift(parallel)
        lift = shift * (2.0 * g.cos_exit - shift)
        if np.any(g.gammah**2 + np.real(lift) < 0.0):
            raise ParameterError(
                f"a film strained by {float(np.min(np.real(parallel))):.3g} in the plane sends no wave out through the "
                "surface at this grazing exit; measure it with another reflection, or at grazing incidence"
            )
        return u0 + g.wavenumber * lift / (np.sqrt(g.gammah**2 + lift) + g.gammah)

    def u0_slope(self, strain: FloatArray, parallel: FloatArray | float = 0.0) -> FloatArray:
        """Return the derivative of `u0` by the strain out of the plane."""
        return derivative(self.u0(strain + 1j * STEP, parallel))

    def u0_slope_in_plane(self, strain: FloatArray, parallel: FloatArray) -> FloatArray:
        """Return the derivative of `u0` by the strain in the plane."""
        return derivative(self.u0(strain, parallel + 1j * STEP))

    def q2(self, parallel: Any = 0.0) -> Any:
        """Return the derivative of the deviation with Y, without refraction [1/Å]."""
        return (
            0.0 * parallel if self.linear else self._geometry.wavenumber * self._geometry.per_y * self._shift(parallel)
        )

    def _shift(self, parallel: Any) -> Any:
        return self._geometry.along * parallel / (1.0 + parallel)


def angle_coordinates(entry: Any, exit: Any, dtheta: Any, arrays: Any = np) -> tuple[Any, Any]:
    """Return the angle coordinates X and Y of ``Deviation``, for one reflection or for a batch of them.

    Parameters
    ----------
    entry, exit : float, or array of shape (B, 1)
        Angles of incidence and exit at the Bragg angle [rad].
    dtheta : array, shape (m,) or (B, m)
        Offsets of the incidence angle from the Bragg angle [rad].
    arrays : module
        Whose arrays these are: numpy, or torch with NumPy's names.
    """
    sines, start = _sines(entry, exit, dtheta, arrays), _sines(entry, exit, arrays.zeros_like(dtheta[..., :1]), arrays)
    chord = 2.0 * arrays.sin(0.5 * dtheta)
    rise = chord * arrays.cos(entry + 0.5 * dtheta)
    tilt = -chord * arrays.sin(entry + 0.5 * dtheta)
    # sin(exit) - sin(exit at the Bragg angle), without cancellation
    exit_rise = -tilt * (2.0 * arrays.cos(exit) + tilt) / (sines[1] + start[1])
    return rise + exit_rise, -rise / (sines[0] * start[0]) - exit_rise / (sines[1] * start[1])


def flux(entry: Any, exit: Any, dtheta: Any, arrays: Any = np) -> Any:
    """Return gamma_0 gamma_h at the Bragg angle over that at each angle; arguments as in `angle_coordinates`."""
    sines, start = _sines(entry, exit, dtheta, arrays), _sines(entry, exit, arrays.zeros_like(dtheta[..., :1]), arrays)
    return start[0] * start[1] / (sines[0] * sines[1])


def _sines(entry: Any, exit: Any, dtheta: Any, arrays: Any) -> tuple[Any, Any]:
    """Return the sines of incidence and exit angle, at least 0.02: two-beam theory ends before the horizon."""
    cos_exit = arrays.cos(exit) - 2.0 * arrays.sin(entry + 0.5 * dtheta) * arrays.sin(0.5 * dtheta)
    square = (1.0 - cos_exit) * (1.0 + cos_exit)
    return arrays.clip(arrays.sin(entry + dtheta), 0.02, None), arrays.sqrt(arrays.clip(square, 4e-4, None))
