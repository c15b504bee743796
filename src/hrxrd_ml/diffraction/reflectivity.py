"""Lamellae as waves see them: from strains and materials to what the kernels take, with all derivatives."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from hrxrd_ml.arrays import FloatArray, IntArray
from hrxrd_ml.complex_step import STEP, derivative
from hrxrd_ml.crystal.material import Material
from hrxrd_ml.crystal.reflection import Reflection
from hrxrd_ml.diffraction.beams import Beams
from hrxrd_ml.diffraction.deviation import Deviation
from hrxrd_ml.diffraction.diffuse import Scatterers
from hrxrd_ml.diffraction.lamellae import Coefficients, Slopes
from hrxrd_ml.diffraction.media import Media, Scattering, Waves
from hrxrd_ml.errors import ParameterError
from hrxrd_ml.specimen.layers import Layer
from hrxrd_ml.specimen.stack import Stack


@dataclass(frozen=True)
class Conditions:
    """What a reflection fixes, whatever the sample.

    Attributes
    ----------
    reflection : Reflection
    deviation : Deviation
    substrate : Media
        The one material of the substrate.
    """

    reflection: Reflection
    deviation: Deviation
    substrate: Media

    @classmethod
    def of(cls, reflection: Reflection) -> Conditions:
        """Return those of a reflection."""
        deviation = Deviation.of(reflection)
        substrate = Media(np.array([deviation.in_plane()]), np.array([Material.of(reflection).numbers]))
        return cls(reflection, deviation, substrate)


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
        `Deviation.u0` at the nodes [1/Å].
    media : Media
    medium : ndarray of int, shape (n,)
        What each lamella is made of.
    slopes : Slopes or None
        Derivatives by the p parameters of the sample.
    runs : ndarray of int, shape (r, 3), or None
        Of ``Layer``.
    """

    conditions: Conditions
    thickness: FloatArray
    debye_waller: FloatArray
    u0: FloatArray
    media: Media
    medium: IntArray
    slopes: Slopes | None = None
    runs: IntArray | None = None

    @classmethod
    def of(cls, conditions: Conditions, layer: Layer) -> Diffracting:
        """Return what strains and materials of a layer mean to waves.

        Raises
        ------
        ParameterError
            A film so strained in the plane that its lattice sends no wave out through the surface.
        """
        deviation, changes, stack = conditions.deviation, layer.slopes, layer.stack
        if stack is None or layer.film is None:
            u0, medium = deviation.u0(layer.strain), np.zeros(len(layer.thickness), np.int64)
            seen = cls(conditions, layer.thickness, layer.debye_waller, u0, conditions.substrate, medium)
            if changes is None:
                return seen
            by_u0, by_e = deviation.u0_slope(layer.strain) * changes.strain, -layer.debye_waller * changes.damage
            return replace(seen, slopes=Slopes(by_u0, by_e, changes.thickness))
        media = Media(deviation.in_plane(stack.parallel, stack.tilt), stack.susceptibility)
        _check_exits(deviation, stack, media)
        tilt = stack.tilt[layer.film][:, None]
        u0 = deviation.u0(layer.strain, tilt=tilt)
        seen = cls(conditions, layer.thickness, layer.debye_waller, u0, media, layer.film, runs=layer.runs)
        if changes is None or changes.parallel is None or changes.susceptibility is None or changes.tilt is None:
            return seen
        by_tilt = changes.tilt[:, layer.film][..., None]
        moved = stack.parallel + 1j * STEP * changes.parallel, stack.tilt + 1j * STEP * changes.tilt
        by_along = derivative(deviation.in_plane(*moved))
        by_media = np.concatenate([by_along[..., None], changes.susceptibility], axis=-1)
        by_u0 = derivative(deviation.u0(layer.strain + 1j * STEP * changes.strain, tilt=tilt + 1j * STEP * by_tilt))
        return replace(seen, slopes=Slopes(by_u0, -layer.debye_waller * changes.damage, changes.thickness, by_media))

    @cached_property
    def films(self) -> Media:
        """The media above the substrate."""
        return Media(self.media.along[:-1], self.media.numbers[:-1])

    def coefficients(self, beams: Beams, substrate: Waves, substrate_debye_waller: float) -> Coefficients:
        """Return what the kernels of coherent scattering take.

        Parameters
        ----------
        beams : Beams
        substrate : Waves
            Those of the substrate, which no parameter changes.
        substrate_debye_waller : float
        """
        waves = self.films.waves(beams).on(substrate) if len(self.films.along) else substrate
        return Coefficients(
            self.thickness, self.u0, self.debye_waller, self.medium, waves.rows, waves.couplings,
            substrate_debye_waller, self.runs,
        )  # fmt: skip

    def scatterers(
        self, beams: Beams, substrate: Scattering, extinction: FloatArray, weights: FloatArray
    ) -> Scatterers:
        """Return the same as diffuse scattering sees it, at angles as in `Scatterers`."""
        scattering = self.films.scattering(beams).on(substrate) if len(self.films.along) else substrate
        return Scatterers(
            beams, extinction, weights, self.thickness, self.u0, self.debye_waller, self.media, self.medium, scattering,
            self.slopes,
        )  # fmt: skip


def _check_exits(deviation: Deviation, stack: Stack, media: Media) -> None:
    """Refuse a film whose Bragg angle cannot be reached through the surface."""
    whole = deviation.diffraction_vector / deviation.wavenumber
    normal = whole * np.cos(deviation.inclination + stack.tilt) / (1.0 + stack.strain)
    across, along = normal[:-1], media.along[:-1]
    sine, turned = 0.5 * np.hypot(across, along), np.arctan2(along, across)
    for k in np.flatnonzero((sine >= 1.0) | (np.abs(turned) >= np.arcsin(np.minimum(sine, 1.0))))[:1]:
        exit, angle = "grazing exit" if along[k] > 0.0 else "grazing incidence", math.degrees(abs(turned[k]))
        raise ParameterError(
            f"film {stack.names[k]}: at its Bragg angle its planes, inclined by {angle:.3g} deg, "
            f"send no wave out through the surface ({exit}); measure it with another reflection or the other exit"
        )
