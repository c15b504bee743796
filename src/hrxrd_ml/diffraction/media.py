"""What crystals do to waves: deviation, absorption, couplings, and the strength of what they scatter diffusely."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev

from hrxrd_ml.arrays import ComplexArray, FloatArray
from hrxrd_ml.complex_step import STEP, derivative
from hrxrd_ml.diffraction.beams import Beams

COLUMNS = 11
"""What a medium is described by: `Deviation.in_plane` and `Material.numbers`."""


_TOGETHER = 8
"""Media calculated at once: what fits into the cache is three times as fast."""

_NODES = 6
"""Values of chi0' at which slabs of graded films are calculated, where they are many."""

_FROM_NODES = np.linalg.inv(chebyshev.chebvander(chebyshev.chebpts1(_NODES), _NODES - 1))


@dataclass(frozen=True)
class _Interpolated:
    """What many media of nearly one chi0 do to the coherent wave: polynomials of fifth degree in chi0'.

    With susceptibilities within 1e-5 of each other they are right to 1e-12 at sines above 0.03.

    Attributes
    ----------
    centre, half : float
        Of the range of chi0'.
    table : ndarray, shape (6, 4, m)
        `Beams.coherent` at the nodes, with chi0'' = 1.
    """

    centre: float
    half: float
    table: FloatArray

    @classmethod
    def of(cls, beams: Beams, along: float, chi0_real: FloatArray) -> _Interpolated:
        centre, half = 0.5 * (chi0_real.max() + chi0_real.min()), max(0.5 * np.ptp(chi0_real), 1e-12)
        nodes = centre + half * chebyshev.chebpts1(_NODES)
        return cls(centre, half, np.asarray(beams.coherent(np.full(_NODES, along), nodes, np.ones(_NODES))))

    def weights(self, chi0_real: Any) -> Any:
        """Return what the nodes weigh at values of chi0', shape (k, 6); an array function."""
        return chebyshev.chebvander((chi0_real - self.centre) / self.half, _NODES - 1) @ _FROM_NODES

    def rows(self, weights: FloatArray, absorbing: FloatArray) -> FloatArray:
        """Return `Beams.coherent` for weights of the nodes and values of chi0''."""
        rows = np.tensordot(weights, self.table, 1)
        rows[:, 1] *= absorbing[:, None]
        return rows


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
        if (found := self._interpolated(beams)) is not None:
            return found.rows(found.weights(self.numbers[:, 0]), self.numbers[:, 1])
        return np.concatenate([np.asarray(beams.coherent(*state)) for _, state in self._parts()])

    def _interpolated(self, beams: Beams) -> _Interpolated | None:
        """Return the interpolation of many media with one lattice in the plane."""
        if len(self.along) <= 2 * _NODES or np.ptp(self.along) > 0.0 or beams.deviation.linear:
            return None
        return _Interpolated.of(beams, float(self.along[0]), self.numbers[:, 0])

    def _parts(self) -> Iterator[tuple[slice, list[FloatArray]]]:
        """Yield some media after the other, and what `Beams.coherent` takes of them."""
        for first in range(0, max(len(self.along), 1), _TOGETHER):
            part = slice(first, first + _TOGETHER)
            yield part, [self.along[part], self.numbers[part, 0], self.numbers[part, 1]]

    def _coherent_slopes(self, beams: Beams, columns: Iterable[int]) -> Iterator[tuple[int, slice, FloatArray]]:
        """Yield the derivatives of `coherent` by what is in columns up to 2, some media after the other."""
        found = self._interpolated(beams)
        for column in columns:
            if found is not None and column > 0:
                absorbing = self.numbers[:, 1]
                if column == 1:
                    weights = derivative(found.weights(self.numbers[:, 0] + 1j * STEP))
                    yield column, slice(None), found.rows(weights, absorbing)
                else:
                    rows = np.zeros((len(absorbing), 4, found.table.shape[-1]))
                    rows[:, 1] = found.weights(self.numbers[:, 0]) @ found.table[:, 1]
                    yield column, slice(None), rows
                continue
            for part, state in self._parts():
                stepping: list[Any] = list(state)
                stepping[column] = state[column] + 1j * STEP
                yield column, part, derivative(beams.coherent(*stepping))

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
        wanted = [column for column in range(3) if np.any(slopes[..., column])]
        for column, part, slope in self._coherent_slopes(beams, wanted):
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
