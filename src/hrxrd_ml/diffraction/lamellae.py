"""What every twin of the dynamical kernel takes and what it means.

A damaged crystal is a stack of *lamellae* on a semi-infinite substrate.  The kernels do not know about crystals or
reflections; they see, for every lamella, the deviation

    u(z, i) = u0(z) + q1 X_i + q2 Y_i                                                                   [1/Å]

of incidence angle number ``i`` from the local Bragg condition, and the couplings ``E sigma_h`` and ``E sigma_hbar``
between the direct and the diffracted wave; u0 and E depend on depth within a lamella.  They integrate the Riccati form
of the Takagi-Taupin equations

    dr/dz = -i (sigma_h + u r + sigma_hbar r**2),      r = sqrt(gamma_h/gamma_0) D_h/D_0

from the substrate to the surface.  This module makes those coefficients from the physics.

Two kinds of lamella share the contract, told apart by the number of nodes that describe one:

* one node: a *uniform* lamella, integrated exactly (the classic layer recursion);
* three nodes: a *graded* lamella.  Strain and static Debye-Waller factor are given on top, in the middle and below, and
  are parabolas in between; the kernel treats the phase exactly and expands in the (small) coupling.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrxrd_ml.arrays import ComplexArray, FloatArray, IntArray
from hrxrd_ml.complex_step import STEP, derivative
from hrxrd_ml.crystal.material import Material
from hrxrd_ml.crystal.reflection import Reflection
from hrxrd_ml.errors import ParameterError


@dataclass(frozen=True)
class Lamellae:
    """A stack of lamellae, surface first, on a semi-infinite unstrained substrate.

    Attributes
    ----------
    thickness : ndarray, shape (n,)
        Thickness [Å].
    strain : ndarray, shape (n, nodes)
        Out-of-plane strain relative to the substrate, in the middle (uniform) or on top, in the middle and below
        (graded).
    debye_waller : ndarray, shape (n, nodes)
        Static Debye-Waller amplitude factor E at the same nodes.
    materials : tuple of Material
        The materials that occur; the last one is the substrate.
    material : ndarray of int, shape (n,)
        Which of the materials each lamella is made of.
    strain_parallel : ndarray, shape (n,), optional
        In-plane strain relative to the substrate; zero where left out.
    substrate_debye_waller : float
        E of the substrate.
    """

    thickness: FloatArray
    strain: FloatArray
    debye_waller: FloatArray
    materials: tuple[Material, ...]
    material: NDArray[np.int64]
    strain_parallel: FloatArray | None = None
    substrate_debye_waller: float = 1.0

    def __post_init__(self) -> None:
        """Check shapes, so that a mistake is named here and not deep in a kernel."""
        n = len(self.thickness)
        if self.strain.ndim != 2 or self.strain.shape[0] != n or self.strain.shape[1] not in (1, 3):
            raise ValueError(f"strain: expected shape ({n}, 1) or ({n}, 3), got {self.strain.shape}")
        if self.debye_waller.shape != self.strain.shape:
            raise ValueError(f"debye_waller: expected shape {self.strain.shape}, got {self.debye_waller.shape}")
        if self.strain_parallel is not None and self.strain_parallel.shape != (n,):
            raise ValueError(f"strain_parallel: expected shape ({n},), got {self.strain_parallel.shape}")
        if self.material.shape != (n,):
            raise ValueError(f"material: expected shape ({n},), got {self.material.shape}")

    @property
    def graded(self) -> bool:
        """Whether the lamellae are graded (three nodes) rather than uniform (one node)."""
        return self.strain.shape[1] == 3

    @classmethod
    def of_one_crystal(
        cls,
        reflection: Reflection,
        thickness: FloatArray,
        strain: FloatArray,
        debye_waller: FloatArray,
        substrate_debye_waller: float = 1.0,
    ) -> Lamellae:
        """Return the lamellae of a crystal that is strained and damaged but otherwise the substrate's own."""
        n = len(thickness)
        return cls(
            np.ascontiguousarray(thickness, dtype=float),
            np.asarray(strain, dtype=float).reshape(n, np.shape(strain)[1] if np.ndim(strain) == 2 else 1),
            np.asarray(debye_waller, dtype=float).reshape(n, np.shape(strain)[1] if np.ndim(strain) == 2 else 1),
            (Material.of(reflection),),
            np.zeros(n, dtype=np.int64),
            substrate_debye_waller=substrate_debye_waller,
        )


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


@dataclass(frozen=True)
class Coefficients:
    """Everything that a kernel needs: plain arrays, surface first.

    Attributes
    ----------
    thickness : ndarray, shape (n,)
        [Å].
    u0 : ndarray, shape (n, nodes)
        Real part of the deviation at the nodes, at X = Y = 0 [1/Å].
    q1 : float
        Its derivative with X.
    q2 : ndarray, shape (n,)
        Its derivative with Y.
    absorption : ndarray, shape (n,)
        Imaginary part of the deviation, constant in a lamella [1/Å].
    debye_waller : ndarray, shape (n, nodes)
        E at the nodes.
    sigma_h, sigma_hbar : ndarray, shape (n, 2)
        Couplings at E = 1 for the polarisations sigma and pi, the polarisation factor included [1/Å].
    substrate_u0 : complex
    substrate_q2 : float
    substrate_sigma_h, substrate_sigma_hbar : ndarray, shape (2,)
        The same for the substrate, its E included.
    """

    thickness: FloatArray
    u0: FloatArray
    q1: float
    q2: FloatArray
    absorption: FloatArray
    debye_waller: FloatArray
    sigma_h: ComplexArray
    sigma_hbar: ComplexArray
    substrate_u0: complex
    substrate_q2: float
    substrate_sigma_h: ComplexArray
    substrate_sigma_hbar: ComplexArray

    @property
    def graded(self) -> bool:
        """Whether the lamellae are graded (three nodes) rather than uniform (one node)."""
        return self.u0.shape[1] == 3


@dataclass(frozen=True)
class Slopes:
    """Derivatives of the coefficients by p parameters.

    Attributes
    ----------
    u0, debye_waller : ndarray, shape (p, n, nodes)
    thickness : ndarray, shape (p, n)
    optics : ndarray, shape (p, n, 10), or (p, 0, 10) where no parameter changes them
        Of q2, the absorption, then real and imaginary parts of sigma_h for both polarisations, and of sigma_hbar.
    """

    u0: FloatArray
    debye_waller: FloatArray
    thickness: FloatArray
    optics: FloatArray


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
        return (numbers[..., 2::2] + 1j * numbers[..., 3::2]) * self.coupling

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


def coefficients(reflection: Reflection, lamellae: Lamellae, linear: bool = False) -> Coefficients:
    """Return the kernel's coefficients of a stack of lamellae.

    Parameters
    ----------
    reflection : Reflection
    lamellae : Lamellae
    linear : bool
        Use the linear form of the deviation (for comparison with other programs).
    """
    deviation, optics = Deviation.of(reflection, linear), Optics.of(reflection, linear)
    in_plane = lamellae.strain_parallel
    return assemble(
        deviation,
        optics,
        lamellae.thickness,
        deviation.u0(lamellae.strain) if in_plane is None else deviation.u0(lamellae.strain, in_plane[:, None]),
        np.zeros(len(lamellae.material)) if in_plane is None else deviation.q2(in_plane),
        lamellae.debye_waller,
        Media.of(reflection, optics, np.array([material.numbers for material in lamellae.materials])),
        lamellae.material,
        lamellae.substrate_debye_waller,
    )


def assemble(
    deviation: Deviation,
    optics: Optics,
    thickness: FloatArray,
    u0: FloatArray,
    q2: FloatArray,
    debye_waller: FloatArray,
    media: Media,
    which: IntArray,
    substrate_debye_waller: float,
) -> Coefficients:
    """Add what susceptibilities do to what strain does.

    Parameters
    ----------
    deviation : Deviation
    optics : Optics
    thickness : ndarray, shape (n,)
    u0 : ndarray, shape (n, nodes)
        ``Deviation.u0`` of the lamellae.
    q2 : ndarray, shape (n,)
        ``Deviation.q2`` of them.
    debye_waller : ndarray, shape (n, nodes)
    media : Media
    which : ndarray of int, shape (n,)
        Which of the materials each lamella is made of.
    substrate_debye_waller : float
    """
    below, own = media.couplings[-1] * substrate_debye_waller, media.couplings[which]
    refraction, bend = media.refraction[which], optics.bend / optics.refraction
    return Coefficients(
        thickness=thickness,
        u0=u0 + refraction[:, None],
        q1=deviation.q1,
        q2=q2 + bend * refraction,
        absorption=media.absorption[which],
        debye_waller=debye_waller,
        sigma_h=own[:, :2],
        sigma_hbar=own[:, 2:],
        substrate_u0=complex(media.refraction[-1], media.absorption[-1]),
        substrate_q2=float(bend * media.refraction[-1]),
        substrate_sigma_h=below[:2],
        substrate_sigma_hbar=below[2:],
    )
