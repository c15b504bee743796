"""What crystals do to waves: deviation, absorption, couplings, and the strength of what they scatter diffusely."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from hrxrd_ml.arrays import ComplexArray, FloatArray
from hrxrd_ml.complex_step import STEP, derivative
from hrxrd_ml.diffraction.beams import Beams

COLUMNS = 11
"""What a medium is described by: `Deviation.in_plane` and `Material.numbers`."""


_TOGETHER = 8


def _starts(count: int) -> range:
    """Return where parts of so many media begin that are calculated together."""
    return range(0, max(count, 1), _TOGETHER)


@dataclass(frozen=True)
class Waves:
    """What k media do to the coherent wave at m angles.

    Attributes
    ----------
    rows : ndarray, shape (k, 4, m)
        `Beams.coherent`.
    couplings : ndarray of complex, shape (k, 4)
        `Media.couplings`.
    """

    rows: FloatArray
    couplings: ComplexArray

    def on(self, substrate: Waves) -> Waves:
        """Return the same of these media and, last, of a substrate."""
        return Waves(np.concatenate([self.rows, substrate.rows]), np.concatenate([self.couplings, substrate.couplings]))


@dataclass(frozen=True)
class Scattering:
    """What diffuse scattering in k media depends on, at m angles.

    Attributes
    ----------
    directions : ndarray, shape (k, 4, m)
        `Beams.diffuse`.
    strengths : ndarray, shape (k, 2)
    absorption : ndarray, shape (k,)
        Those of `Media`.
    """

    directions: FloatArray
    strengths: FloatArray
    absorption: FloatArray

    def on(self, substrate: Scattering) -> Scattering:
        """Return the same of these media and, last, of a substrate."""
        pairs = zip(vars(self).values(), vars(substrate).values(), strict=True)
        return Scattering(*(np.concatenate(pair) for pair in pairs))


@dataclass(frozen=True)
class Media:
    """k materials, each with its strain in the plane; the substrate last.

    Attributes
    ----------
    along : ndarray, shape (k,)
        `Deviation.in_plane`.
    numbers : ndarray, shape (k, 10)
        `Material.numbers`.
    """

    along: FloatArray
    numbers: FloatArray

    def waves(self, beams: Beams) -> Waves:
        """Return what the media do to the coherent wave."""
        return Waves(self.coherent(beams), self.couplings(beams))

    def scattering(self, beams: Beams) -> Scattering:
        """Return what diffuse scattering in the media depends on."""
        directions = np.ascontiguousarray(beams.diffuse(self.along))
        return Scattering(directions, self.strengths(beams), self.absorption(beams))

    def couplings(self, beams: Beams) -> ComplexArray:
        """Return (k/2) chi_h for both polarisations and (k/2) chi_hbar for both, shape (k, 4) [1/Å]."""
        half = 0.5 * beams.deviation.wavenumber
        return np.ascontiguousarray(half * (self.numbers[:, 2::2] + 1j * self.numbers[:, 3::2]))

    def coherent(self, beams: Beams) -> FloatArray:
        """Return `Beams.coherent` of the media, shape (k, 4, m)."""
        state = self.along, self.numbers[:, 0], self.numbers[:, 1]
        # What fits into the cache is three times as fast.
        parts = (beams.coherent(*(each[k : k + _TOGETHER] for each in state)) for k in _starts(len(self.along)))
        return np.concatenate(list(parts))

    def strengths(self, beams: Beams) -> FloatArray:
        """Return 2 (pi abs(chi_h)/lambda)**2 for both polarisations, shape (k, 2) [1/Å**2]."""
        factor = 0.5 * beams.deviation.wavenumber**2
        return np.ascontiguousarray(factor * (self.numbers[:, 2:6:2] ** 2 + self.numbers[:, 3:7:2] ** 2))

    def absorption(self, beams: Beams) -> FloatArray:
        """Return k chi0'', shape (k,) [1/Å]."""
        return np.ascontiguousarray(beams.deviation.wavenumber * self.numbers[:, 1])

    def by_parameters(self, beams: Beams, by: FloatArray, slopes: FloatArray) -> FloatArray:
        """Return derivatives by p parameters from those by what the media do to the coherent wave.

        Parameters
        ----------
        beams : Beams
        by : ndarray, shape (k, 13, m)
            Derivatives by `Beams.coherent`, by real and imaginary parts of `couplings`, and by the absorption in the
            middle of the block of angles (`graded.block_middles`).
        slopes : ndarray, shape (p, k, 11)
            Of ``along`` and ``numbers`` by the parameters.

        Returns
        -------
        ndarray, shape (p, m)
        """
        from hrxrd_ml.diffraction.kernels.graded import block_middles  # loads numba

        middles = block_middles(by.shape[-1])
        total = np.tensordot(0.5 * beams.deviation.wavenumber * slopes[..., 3:], by[:, 4:12], 2)
        state = [self.along, self.numbers[:, 0], self.numbers[:, 1]]
        for column, first in itertools.product(range(3), _starts(len(self.along))):
            part = slice(first, first + _TOGETHER)
            if not np.any(slopes[:, part, column]):
                continue
            moved = [value[part] + 1j * STEP if place == column else value[part] for place, value in enumerate(state)]
            slope = derivative(beams.coherent(*moved))
            one = np.einsum("krm,krm->km", by[part, :4], slope) + by[part, 12] * slope[:, 1, middles]
            total += slopes[:, part, column] @ one
        return total

    def by_columns_of_diffuse(self, beams: Beams, by: FloatArray) -> FloatArray:
        """Return the same of the diffuse part.

        Parameters
        ----------
        beams : Beams
        by : ndarray, shape (k, 7, m)
            Derivatives by `Beams.diffuse`, `strengths` and `absorption`.

        Returns
        -------
        ndarray, shape (k, 11, m)
        """
        out = np.zeros((len(self.along), COLUMNS, by.shape[-1]))
        slope = derivative(beams.diffuse(self.along + 1j * STEP))
        out[:, 0] = (by[:, :4] * slope).sum(axis=1)
        k, numbers = beams.deviation.wavenumber, self.numbers[..., None]
        out[:, 2] = k * by[:, 6]
        for polarisation in range(2):
            first = 2 + 2 * polarisation
            out[:, 1 + first] = k**2 * numbers[:, first] * by[:, 4 + polarisation]
            out[:, 2 + first] = k**2 * numbers[:, first + 1] * by[:, 4 + polarisation]
        return out
