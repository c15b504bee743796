"""Lamellae as waves see them: from strains and materials to what the kernels take, with all derivatives."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hrxrd_ml.arrays import FloatArray, IntArray
from hrxrd_ml.complex_step import STEP, derivative
from hrxrd_ml.crystal.material import Material
from hrxrd_ml.crystal.reflection import Reflection
from hrxrd_ml.diffraction.deviation import Deviation
from hrxrd_ml.diffraction.diffuse import Scatterers
from hrxrd_ml.diffraction.lamellae import Coefficients, Slopes, assemble
from hrxrd_ml.diffraction.media import Media, Optics, strengths
from hrxrd_ml.specimen.layers import Layer


@dataclass(frozen=True)
class Conditions:
    """What a reflection fixes, whatever the sample.

    Attributes
    ----------
    reflection : Reflection
    deviation : Deviation
    optics : Optics
    substrate : Media
        The one material of the substrate.
    """

    reflection: Reflection
    deviation: Deviation
    optics: Optics
    substrate: Media

    @classmethod
    def of(cls, reflection: Reflection) -> Conditions:
        """Return those of a reflection."""
        optics = Optics.of(reflection)
        substrate = Media.of(reflection, optics, np.array([Material.of(reflection).numbers]))
        return cls(reflection, Deviation.of(reflection), optics, substrate)


@dataclass(frozen=True)
class Diffracting:
    """Lamellae as waves see them.

    Attributes
    ----------
    conditions : Conditions
    thickness : ndarray, shape (n,)
        [Å].
    debye_waller : ndarray, shape (n, nodes)
        E at the nodes.
    u0 : ndarray, shape (n, nodes)
        Deviation at the nodes, without refraction [1/Å].
    q2 : ndarray, shape (n,)
        Its derivative with Y.
    media : Media
    which : ndarray of int, shape (n,)
        Which of the materials each lamella is made of.
    slopes : Slopes or None
        Derivatives by the p parameters of the sample, refraction included.
    bare : Slopes or None
        Without refraction; ``optics`` holds those of q2 and of `Material.numbers`, shape (p, n, 11) or (p, 0, 11).
    """

    conditions: Conditions
    thickness: FloatArray
    debye_waller: FloatArray
    u0: FloatArray
    q2: FloatArray
    media: Media
    which: IntArray
    slopes: Slopes | None = None
    bare: Slopes | None = None

    @classmethod
    def of(cls, conditions: Conditions, layer: Layer) -> Diffracting:
        """Return what strains and materials of a layer mean to waves."""
        deviation, optics, count = conditions.deviation, conditions.optics, len(layer.thickness)
        changes, stack, film = layer.slopes, layer.stack, layer.film
        if stack is None or film is None:
            u0, q2, which = deviation.u0(layer.strain), np.zeros(count), np.zeros(count, np.int64)
            seen = cls(conditions, layer.thickness, layer.debye_waller, u0, q2, conditions.substrate, which)
            if changes is None:
                return seen
            by_u0 = deviation.u0_slope(layer.strain) * changes.strain
            by_e = -layer.debye_waller * changes.damage
            slopes = Slopes(by_u0, by_e, changes.thickness, np.zeros((len(by_u0), 0, 11)))
            return replace(seen, slopes=slopes, bare=slopes)
        parallel = stack.parallel[film]
        u0, q2 = deviation.u0(layer.strain, parallel[:, None]), deviation.q2(parallel)
        media = Media.of(conditions.reflection, optics, stack.susceptibility)
        seen = cls(conditions, layer.thickness, layer.debye_waller, u0, q2, media, film)
        if changes is None or changes.parallel is None or changes.susceptibility is None:
            return seen
        by_parallel, by_numbers = changes.parallel[:, film], changes.susceptibility[:, film]
        by_u0 = deviation.u0_slope(layer.strain, parallel[:, None]) * changes.strain
        by_u0 += deviation.u0_slope_in_plane(layer.strain, parallel[:, None]) * by_parallel[..., None]
        by_q2 = derivative(deviation.q2(parallel + 1j * STEP)) * by_parallel
        by_e, by_t = -layer.debye_waller * changes.damage, changes.thickness
        bare = Slopes(by_u0, by_e, by_t, np.concatenate([by_q2[..., None], by_numbers], axis=-1))
        refracted = by_u0 + optics.refraction * by_numbers[..., :1]
        return replace(seen, slopes=Slopes(refracted, by_e, by_t, optics.changes(by_numbers, by_q2)), bare=bare)

    def coefficients(self, substrate_debye_waller: float) -> Coefficients:
        """Return what the kernels of coherent scattering take."""
        at = self.conditions
        return assemble(
            at.deviation, at.optics, self.thickness, self.u0, self.q2, self.debye_waller, self.media, self.which,
            substrate_debye_waller,
        )  # fmt: skip

    def scatterers(self, x: FloatArray, y: FloatArray, extinction: FloatArray, weights: FloatArray) -> Scatterers:
        """Return the same as diffuse scattering sees it, at angles as in `Scatterers`."""
        at, media, slopes = self.conditions, self.media, self.bare
        which = np.append(self.which, len(media.numbers) - 1)
        if slopes is not None and slopes.optics.shape[1]:
            steps = media.numbers[self.which] + 1j * STEP * slopes.optics[..., 1:]
            by_strength, by_mu0 = (derivative(part) for part in strengths(at.reflection, steps))
            optics = np.concatenate([slopes.optics[..., :1], by_strength, by_mu0[..., None]], axis=-1)
            slopes = replace(slopes, optics=optics)
        return Scatterers(
            at.reflection, x, y, extinction, weights, self.thickness, self.u0, at.deviation.q1, self.q2,
            self.debye_waller, media.strength[which], media.mu0[which], slopes,
        )  # fmt: skip
