"""Convolution from the nodes of a grid to any angles: a product in Fourier space.

Samples at the nodes are spread over a uniform grid with cubic B-splines, and the result is a cubic spline; both are
divided out in Fourier space, so that the convolution sees the samples themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from scipy.fft import irfft, rfft

from hrxrd_ml.arrays import ComplexArray, FloatArray, IntArray
from hrxrd_ml.instrument.angles import AngleGrid


@dataclass(frozen=True)
class Convolution:
    """Convolution from the nodes of a grid to any angles."""

    grid: AngleGrid

    def spectrum(self, rows: FloatArray) -> ComplexArray:
        """Return the transform of rows of samples at the nodes, ready to be multiplied with the resolution's."""
        from hrxrd_ml.instrument.spreading import spread  # loads numba

        out = np.zeros((len(rows), self.grid.size))
        spread(*self._nodes, np.ascontiguousarray(rows), out)
        return np.asarray(rfft(out, axis=-1))

    @cached_property
    def _nodes(self) -> tuple[IntArray, FloatArray]:
        """Which grid points the nodes lie among, and their weights times those of the quadrature."""
        from hrxrd_ml.instrument.spreading import cells  # loads numba

        first, weights, _ = cells(self.positions(self.grid.nodes))
        return first, weights * (self.grid.quadrature / self.grid.step)[:, None]

    def correction(self) -> FloatArray:
        """Return what divides out the splines of spreading and interpolation."""
        return _correction(self.grid.size)

    def coefficients(self, spectrum: ComplexArray) -> FloatArray:
        """Return the spline coefficients of the convolved curve on the uniform grid; ``spectrum`` is used up."""
        return np.asarray(irfft(spectrum, n=self.grid.size, axis=-1, overwrite_x=True))

    def positions(self, dtheta: FloatArray) -> FloatArray:
        """Return angles in grid steps."""
        return (dtheta - self.grid.first) / self.grid.step


@lru_cache(maxsize=64)
def _correction(size: int) -> FloatArray:
    """Return one over the transforms of the cubic B-spline and of its samples (1/6, 2/3, 1/6)."""
    cycles = np.fft.rfftfreq(size)
    basis, sampled = np.sinc(cycles) ** 4, (2.0 + np.cos(2.0 * np.pi * cycles)) / 3.0
    correction = np.asarray(1.0 / (basis * sampled))
    correction.flags.writeable = False
    return correction
