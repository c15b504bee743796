"""What every kernel of dynamical diffraction takes, and what it means.

A damaged crystal is a stack of *lamellae* on a semi-infinite substrate.  The kernels do not know about crystals or
reflections; they see, for every lamella, the deviation

    u(z, i) = u0(z) + U_i + i A_i                                                                       [1/Å]

at incidence angle number ``i`` from the local Bragg condition, and the couplings ``E S_i sigma_h`` and
``E S_i sigma_hbar`` between the direct and the diffracted wave; u0 and E depend on depth within a lamella, U, A and S
on the medium that it is made of (`Beams.coherent`).  They integrate the Riccati form of the Takagi-Taupin equations

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
from hrxrd_ml.diffraction.beams import Beams
from hrxrd_ml.diffraction.deviation import Deviation
from hrxrd_ml.diffraction.media import Media


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
        `Deviation.u0` at the nodes [1/Å].
    debye_waller : ndarray, shape (n, nodes)
        E at the nodes.
    medium : ndarray of int, shape (n,)
        What each lamella is made of.
    waves : ndarray, shape (k, 4, m)
        `Beams.coherent` of the media at m angles; the substrate last.
    couplings : ndarray of complex, shape (k, 4)
        `Media.couplings`, at E = 1.
    substrate_debye_waller : float
        E of the substrate.
    runs : ndarray of int, shape (r, 3), or None
        Of uniform lamellae: first, last and one, how often they are repeated, surface first and one behind the other;
        None where nothing is repeated.
    """

    thickness: FloatArray
    u0: FloatArray
    debye_waller: FloatArray
    medium: IntArray
    waves: FloatArray
    couplings: ComplexArray
    substrate_debye_waller: float = 1.0
    runs: IntArray | None = None

    @property
    def graded(self) -> bool:
        """Whether the lamellae are graded (three nodes) rather than uniform (one node)."""
        return self.u0.shape[1] == 3

    @property
    def order(self) -> list[int]:
        """Numbers of the lamellae from the surface down, what is repeated one after the other."""
        runs = [(0, len(self.thickness), 1)] if self.runs is None else self.runs.tolist()
        return [j for first, last, repeats in runs for _ in range(repeats) for j in range(first, last)]


@dataclass(frozen=True)
class Slopes:
    """Derivatives of lamellae and media by p parameters.

    Attributes
    ----------
    u0, debye_waller : ndarray, shape (p, n, nodes)
    thickness : ndarray, shape (p, n)
    media : ndarray, shape (p, k, 11), or None where no parameter changes them
        Of `Media.along` and `Media.numbers`.
    """

    u0: FloatArray
    debye_waller: FloatArray
    thickness: FloatArray
    media: FloatArray | None = None


def coefficients(reflection: Reflection, lamellae: Lamellae, dtheta: FloatArray, linear: bool = False) -> Coefficients:
    """Return the kernel's coefficients of a stack of lamellae.

    Parameters
    ----------
    reflection : Reflection
    lamellae : Lamellae
    dtheta : ndarray, shape (m,)
        Offset of the incidence angle from the kinematic Bragg angle of the substrate [rad].
    linear : bool
        Use the linear form of the deviation, and everything else as it is at the Bragg angle (for comparison with
        other programs).
    """
    deviation = Deviation.of(reflection, linear)
    beams = Beams(deviation, np.ascontiguousarray(dtheta, dtype=float))
    in_plane = np.zeros(len(lamellae.material)) if lamellae.strain_parallel is None else lamellae.strain_parallel
    own = np.stack([lamellae.material, in_plane], axis=1)
    found, medium = np.unique(own, axis=0, return_inverse=True)
    found = np.concatenate([found, [[len(lamellae.materials) - 1, 0.0]]])
    numbers = np.array([material.numbers for material in lamellae.materials])[found[:, 0].astype(int)]
    media = Media(np.asarray(deviation.in_plane(found[:, 1])), numbers)
    return Coefficients(
        thickness=lamellae.thickness,
        u0=deviation.u0(lamellae.strain, in_plane[:, None]),
        debye_waller=lamellae.debye_waller,
        medium=medium.reshape(-1).astype(np.int64),
        waves=media.coherent(beams),
        couplings=media.couplings(beams),
        substrate_debye_waller=lamellae.substrate_debye_waller,
    )
