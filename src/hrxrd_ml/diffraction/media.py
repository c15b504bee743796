"""What crystals do to waves: deviation, absorption, couplings, and the strength of what they scatter diffusely."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hrxrd_ml.arrays import ComplexArray, FloatArray
from hrxrd_ml.complex_step import STEP, derivative
from hrxrd_ml.diffraction.beams import Beams

COLUMNS = 11
"""What a medium is described by: `Deviation.in_plane` and `Material.numbers`."""


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
        return np.asarray(beams.coherent(self.along, self.numbers[:, 0], self.numbers[:, 1]))

    def strengths(self, beams: Beams) -> FloatArray:
        """Return 2 (pi abs(chi_h)/lambda)**2 for both polarisations, shape (k, 2) [1/Å**2]."""
        factor = 0.5 * beams.deviation.wavenumber**2
        return np.ascontiguousarray(factor * (self.numbers[:, 2:6:2] ** 2 + self.numbers[:, 3:7:2] ** 2))

    def absorption(self, beams: Beams) -> FloatArray:
        """Return k chi0'', shape (k,) [1/Å]."""
        return np.ascontiguousarray(beams.deviation.wavenumber * self.numbers[:, 1])

    def by_columns(self, beams: Beams, by: FloatArray) -> FloatArray:
        """Return derivatives by what describes the media from those by what they do to the coherent wave.

        Parameters
        ----------
        beams : Beams
        by : ndarray, shape (k, 13, m)
            Derivatives by `Beams.coherent`, by real and imaginary parts of `couplings`, and by the absorption in the
            middle of the block of angles (`graded.block_middles`).

        Returns
        -------
        ndarray, shape (k, 11, m)
            By ``along`` and by ``numbers``.
        """
        from hrxrd_ml.diffraction.kernels.graded import block_middles  # loads numba

        out, middles = np.empty((len(self.along), COLUMNS, by.shape[-1])), block_middles(by.shape[-1])
        state = [self.along, self.numbers[:, 0], self.numbers[:, 1]]
        for column in range(3):
            moved = [value + 1j * STEP if place == column else value for place, value in enumerate(state)]
            slope = derivative(beams.coherent(*moved))
            out[:, column] = (by[:, :4] * slope).sum(axis=1)
            out[:, column] += by[:, 12] * slope[:, 1, middles]
        out[:, 3:] = 0.5 * beams.deviation.wavenumber * by[:, 4:12]
        return out

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
