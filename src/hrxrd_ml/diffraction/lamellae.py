"""What every kernel of dynamical diffraction takes, and what it means.

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

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hrxrd_ml.arrays import ComplexArray, FloatArray, IntArray
from hrxrd_ml.crystal.material import Material
from hrxrd_ml.crystal.reflection import Reflection
from hrxrd_ml.diffraction.deviation import Deviation
from hrxrd_ml.diffraction.media import Media, Optics


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
