"""What every twin of the dynamical kernel takes and what it means.

A damaged crystal is a pile of *lamellae* on a semi-infinite substrate.  The kernels do not know about crystals or
reflections; they see, for every lamella, the deviation

    u(z, i) = u0(z) + q1(z) X_i + q2(z) Y_i                                                             [1/Å]

of incidence angle number ``i`` from the local Bragg condition, and the couplings ``E sigma_h`` and ``E sigma_hbar``
between the direct and the diffracted wave.  They integrate the Riccati form of the Takagi-Taupin equations

    dr/dz = -i (sigma_h + u r + sigma_hbar r**2),      r = sqrt(gamma_h/gamma_0) D_h/D_0

from the substrate to the surface.  This module makes those coefficients from the physics.

Two kinds of lamella share the contract, told apart by the number of nodes that describe one:

* one node: a *uniform* lamella, integrated exactly (the classic layer recursion);
* three nodes: a *graded* lamella.  Strain and static Debye-Waller factor are given on top, in the middle and below, and are
  parabolas in between; the kernel treats the phase exactly and expands in the (small) coupling.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..reflection import Reflection

FloatArray = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]


@dataclass(frozen=True)
class Material:
    """Susceptibilities of one kind of crystal, for the polarisations sigma and pi, without the polarisation factor.

    Attributes
    ----------
    chi0 : complex
    chih, chihbar : tuple of complex
        One value for each of sigma and pi.
    """

    chi0: complex
    chih: tuple[complex, complex]
    chihbar: tuple[complex, complex]

    @classmethod
    def of(cls, reflection: Reflection) -> Material:
        """Return the susceptibilities of a reflection's own crystal."""
        pairs = [reflection.susceptibility.pair(polarization) for polarization in (0, 1)]
        return cls(reflection.susceptibility.chi0, (pairs[0][0], pairs[1][0]), (pairs[0][1], pairs[1][1]))


@dataclass(frozen=True)
class Lamellae:
    """A pile of lamellae, surface first, on a semi-infinite unstrained substrate.

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
    strain_parallel : ndarray, shape (n, nodes), optional
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
        if self.strain_parallel is not None and self.strain_parallel.shape != self.strain.shape:
            raise ValueError(f"strain_parallel: expected shape {self.strain.shape}, got {self.strain_parallel.shape}")
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
class Deviation:
    """Deviation from the local Bragg condition, ``u = u0 + q1 X + q2 Y``, as a function of the local strain.

    The exact form follows from the length of the wave vector in the diffracted direction,
    ``alpha = (|k + h|**2 - k**2)/k**2`` with the reciprocal-lattice vector of the strained cell; the linear one is the
    textbook ``-alpha = 2 sin(2 theta_B) (dtheta - delta)``.  Both are written so that nothing of order one cancels
    (float32 kernels need that).

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
        middle = self.bragg_angle + self.inclination + 0.5 * dtheta
        chord = 2.0 * np.sin(0.5 * dtheta)
        return chord * np.cos(middle), -chord * np.sin(middle)

    @property
    def turn(self) -> float:
        """dY/dX at the Bragg angle of the reference lattice."""
        return 0.0 if self.linear else -float(np.tan(self.bragg_angle + self.inclination))

    def coefficients(
        self, strain: FloatArray, strain_parallel: FloatArray | float = 0.0
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return u0 (geometry only, no refraction), q1 and q2 [1/Å] for strains of any shape."""
        sin_p, cos_p = np.sin(self.inclination), np.cos(self.inclination)
        if self.linear:
            tan_b = np.tan(self.bragg_angle)
            delta = -(strain * (cos_p**2 * tan_b - sin_p * cos_p) + strain_parallel * (sin_p**2 * tan_b + sin_p * cos_p))
            slope = self.prefactor * 2.0 * np.sin(2.0 * self.bragg_angle)
            return -slope * delta, np.full_like(strain, slope), np.zeros_like(strain)
        s, angle = self.sin_bragg, self.bragg_angle + self.inclination
        eta, eta_p = strain / (1.0 + strain), strain_parallel / (1.0 + strain_parallel)
        alpha = 4.0 * s**2 * (cos_p**2 * eta * (eta - 2.0) + sin_p**2 * eta_p * (eta_p - 2.0)) + 4.0 * s * (
            cos_p * np.sin(angle) * eta - sin_p * np.cos(angle) * eta_p
        )
        scale = 4.0 * self.prefactor * s
        q2 = np.broadcast_to(-scale * sin_p * (1.0 - eta_p), np.shape(strain))
        return -self.prefactor * alpha, scale * cos_p * (1.0 - eta), np.array(q2)

    def strain_derivatives(self, strain: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return d(u0)/d(strain) and d(q1)/d(strain) for out-of-plane strain; q2 does not depend on it."""
        cos_p = np.cos(self.inclination)
        if self.linear:
            tan_b, sin_p = np.tan(self.bragg_angle), np.sin(self.inclination)
            slope = self.prefactor * 2.0 * np.sin(2.0 * self.bragg_angle)
            return np.full_like(strain, slope * (cos_p**2 * tan_b - sin_p * cos_p)), np.zeros_like(strain)
        s, angle = self.sin_bragg, self.bragg_angle + self.inclination
        eta, eta_slope = strain / (1.0 + strain), 1.0 / (1.0 + strain) ** 2
        alpha_slope = (8.0 * s**2 * cos_p**2 * (eta - 1.0) + 4.0 * s * cos_p * np.sin(angle)) * eta_slope
        return -self.prefactor * alpha_slope, -4.0 * self.prefactor * s * cos_p * eta_slope


@dataclass(frozen=True)
class Coefficients:
    """Everything that a kernel needs: plain arrays, surface first.

    Attributes
    ----------
    thickness : ndarray, shape (n,)
        [Å].
    u0, q1, q2 : ndarray, shape (n, nodes)
        Real part of the deviation at the nodes [1/Å].
    absorption : ndarray, shape (n,)
        Imaginary part of the deviation, constant in a lamella [1/Å].
    debye_waller : ndarray, shape (n, nodes)
        E at the nodes.
    sigma_h, sigma_hbar : ndarray, shape (n, 2)
        Couplings at E = 1 for the polarisations sigma and pi, the polarisation factor included [1/Å].
    substrate_u0 : complex
    substrate_q1, substrate_q2 : float
    substrate_sigma_h, substrate_sigma_hbar : ndarray, shape (2,)
        The same for the substrate, its E included.
    turn : float
        dY/dX at the Bragg angle.
    """

    thickness: FloatArray
    u0: FloatArray
    q1: FloatArray
    q2: FloatArray
    absorption: FloatArray
    debye_waller: FloatArray
    sigma_h: ComplexArray
    sigma_hbar: ComplexArray
    substrate_u0: complex
    substrate_q1: float
    substrate_q2: float
    substrate_sigma_h: ComplexArray
    substrate_sigma_hbar: ComplexArray
    turn: float


def coefficients(reflection: Reflection, lamellae: Lamellae, linear: bool = False) -> Coefficients:
    """Return the kernel's coefficients of a pile of lamellae.

    Parameters
    ----------
    reflection : Reflection
    lamellae : Lamellae
    linear : bool
        Use the linear form of the deviation (for comparison with other programs).
    """
    wavelength, gamma0, gammah = reflection.wavelength, reflection.gamma0, reflection.gammah
    deviation = Deviation.of(reflection, linear)
    parallel = 0.0 if lamellae.strain_parallel is None else lamellae.strain_parallel
    u0, q1, q2 = deviation.coefficients(lamellae.strain, parallel)

    refraction = np.pi / wavelength * (1.0 / gamma0 + 1.0 / gammah)
    coupling = np.pi / (wavelength * np.sqrt(gamma0 * gammah)) * np.array(reflection.polarization_factors)
    chi0 = np.array([material.chi0 for material in lamellae.materials])
    sigma_h = coupling * np.array([material.chih for material in lamellae.materials])
    sigma_hbar = coupling * np.array([material.chihbar for material in lamellae.materials])
    which = lamellae.material
    substrate_q = deviation.coefficients(np.zeros(1))
    return Coefficients(
        thickness=lamellae.thickness,
        u0=u0 + refraction * chi0.real[which, None],
        q1=q1,
        q2=q2,
        absorption=refraction * chi0.imag[which],
        debye_waller=lamellae.debye_waller,
        sigma_h=sigma_h[which],
        sigma_hbar=sigma_hbar[which],
        substrate_u0=complex(refraction * chi0[-1]),
        substrate_q1=float(substrate_q[1][0]),
        substrate_q2=float(substrate_q[2][0]),
        substrate_sigma_h=sigma_h[-1] * lamellae.substrate_debye_waller,
        substrate_sigma_hbar=sigma_hbar[-1] * lamellae.substrate_debye_waller,
        turn=deviation.turn,
    )
