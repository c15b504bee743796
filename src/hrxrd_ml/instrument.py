"""What the instrument does to the reflectivity: the grid of angles, convolution, background, counting noise.

The reflectivity is calculated at nodes of a smoothly varying density (dense at the substrate peak, where it has
structure of the Darwin width, densest at the edges of total reflection, coarse elsewhere, where it is band-limited by
the depth of the layer) and convolved on a uniform grid that is wider than the data.  Convolution is a product in
Fourier space; where the resolution function has a closed transform, that is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft

from . import _gridding
from .errors import ParameterError
from .arrays import Values

FloatArray = NDArray[np.float64]
ComplexArray = NDArray[Any]

EDGE = 0.4925
"""Where total reflection ends, over its width from the middle; in a damaged substrate it ends earlier."""


@dataclass(frozen=True)
class AngleGrid:
    """Nodes at which the reflectivity is calculated, and the uniform grid on which it is convolved.

    Attributes
    ----------
    nodes : ndarray, shape (m,)
        Offsets from the Bragg angle, ascending [rad].
    quadrature : ndarray, shape (m,)
        Their weights [rad].
    first, step : float
        First point and step of the uniform grid [rad].
    size : int
        Its length, margins for the wrap-around included.
    every : int
        The reflectivity is calculated at each so-many-th node and interpolated at the others.
    even : ndarray, shape (m,)
        What takes the decay of the substrate peak away, for the interpolation.
    """

    nodes: FloatArray
    quadrature: FloatArray
    first: float
    step: float
    size: int
    every: int
    even: FloatArray

    @classmethod
    def covering(
        cls,
        dtheta: FloatArray,
        darwin_width: float,
        margin: float,
        *,
        centre: float = 0.0,
        plateaus: Sequence[float] = (),
        fringe: float = math.inf,
        fine: float = 1.0,
        every: int = 1,
        finer: int = 1,
    ) -> AngleGrid:
        """Return a grid for data at ``dtheta``.

        Parameters
        ----------
        dtheta : ndarray
            Offsets of the data [rad].
        darwin_width : float
            Width of the substrate peak [rad]; the nodes there are at most a thirtieth of it apart.
        margin : float
            How far the grid reaches beyond the data [rad].
        centre : float
            Offset of the substrate peak, which refraction moves [rad].
        plateaus : sequence of float
            Widths of total reflection about the centre, one for each polarisation [rad]; at their edges the nodes are
            at most a three-hundredth of them apart.
        fringe : float
            Shortest period in the curve [rad]; the coarse nodes are a fifth of it apart, or 1.6 data steps if that
            is less.
        fine : float
            Divides all steps: 2 for a grid twice as fine.
        every : int
            Divides them again, by nodes at which the reflectivity is interpolated.
        finer : int
            Divides the step of the uniform grid alone.
        """
        low, high = min(float(dtheta[0]) - margin, -margin), max(float(dtheta[-1]) + margin, margin)
        data_step = float(np.median(np.diff(dtheta)))
        widest = cls.coarse_step(data_step, fringe)
        bumps = _bumps(darwin_width, plateaus, fine)
        nodes, quadrature = _graded_nodes(low - centre, high - centre, widest / fine, bumps, every)
        step = cls.even_step(data_step, fringe, darwin_width) / (fine * every * finer)
        # Twice the range: then nothing that is folded reaches a point of it from the wrong side.
        size = next_fast_len(int(2.0 * (high - low) / step) + 16, real=True)
        even = 1.0 + (nodes / darwin_width) ** 2
        return cls(nodes + centre, quadrature, low - 4.0 * step, step, size, every, even)

    @staticmethod
    def coarse_step(data_step: float, fringe: float) -> float:
        """Return the largest step between nodes [rad]: 1.6 steps of the data or a fifth of a fringe."""
        return min(1.6 * data_step, fringe / 5.0)

    @classmethod
    def even_step(cls, data_step: float, fringe: float, darwin_width: float) -> float:
        """Return the largest step of the uniform grid [rad]: points far apart do not make the curve any smoother."""
        own = min(data_step, cls.coarse_step(data_step, fringe))
        return min(own, max(0.25 * darwin_width, own / 4.0))

    @property
    def calculated(self) -> FloatArray:
        """Nodes at which the reflectivity is calculated [rad]."""
        return np.ascontiguousarray(self.nodes[:: self.every])

    def fill(self, rows: FloatArray) -> FloatArray:
        """Return rows (p, k) of values at the calculated nodes at all nodes, (p, m)."""
        if self.every == 1:
            return rows
        return _gridding.subdivide(rows * self.even[:: self.every], self.every) / self.even

    @property
    def omega(self) -> FloatArray:
        """Angular frequencies of the real transform [1/rad]."""
        return _frequencies(self.size, self.step)


@lru_cache(maxsize=64)
def _frequencies(size: int, step: float) -> FloatArray:
    omega = np.asarray(2.0 * np.pi * np.fft.rfftfreq(size, step), dtype=np.float64)
    omega.flags.writeable = False
    return omega


@dataclass(frozen=True)
class _Bump:
    """Where nodes are denser: a Lorentzian in the density of nodes."""

    centre: float
    width: float
    height: float

    def density(self, x: FloatArray) -> FloatArray:
        return np.asarray(self.height / (1.0 + ((x - self.centre) / self.width) ** 2))

    def number(self, x: FloatArray) -> FloatArray:
        return np.asarray(self.height * self.width * np.arctan((x - self.centre) / self.width))

    def evenly(self, low: float, high: float, count: int) -> FloatArray:
        """Return angles between two ends that are even in the number of the bump."""
        ends = math.atan((low - self.centre) / self.width), math.atan((high - self.centre) / self.width)
        return np.clip(self.centre + self.width * np.tan(np.linspace(*ends, count)), low, high)


def _bumps(darwin_width: float, plateaus: Sequence[float], fine: float) -> list[_Bump]:
    """Return where the substrate peak needs nodes: all over it, and most at the edges of total reflection.

    Without much absorption the reflectivity falls off there as a square root, on which quadrature is poor.
    """
    found = [_Bump(0.0, 0.6 * darwin_width, fine * 30.0 / darwin_width)]
    for width in plateaus:
        found += [_Bump(side * EDGE * width, 0.04 * width, fine * 300.0 / width) for side in (-1.0, 1.0)]
    return found


def _graded_nodes(
    low: float, high: float, coarse: float, bumps: Sequence[_Bump], every: int
) -> tuple[FloatArray, FloatArray]:
    """Return nodes with a step that goes smoothly from ``coarse`` to less at the bumps, and their weights.

    The steps are divided by ``every``.

    The node number is the integral of the density; equal weights in the node number integrate smooth functions with
    the accuracy of the trapezoidal rule for periodic ones.
    """

    def density(x: FloatArray) -> FloatArray:
        return 1.0 / coarse + sum((bump.density(x) for bump in bumps), np.zeros_like(x))

    def number(x: FloatArray) -> FloatArray:
        return x / coarse + sum((bump.number(x) for bump in bumps), np.zeros_like(x))

    table = np.unique(np.concatenate([[low, high], *(bump.evenly(low, high, 401) for bump in bumps)]))
    known = number(table)
    wanted, step = np.linspace(known[0], known[-1], (int(known[-1] - known[0]) + 1) * every + 1, retstep=True)
    nodes = np.interp(wanted, known, table)
    nodes[1:-1] -= ((number(nodes) - wanted) / density(nodes))[1:-1]
    return nodes, step / density(nodes)


def count(expected: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Return counts drawn from the Poisson distribution around expected ones: the noise that likelihoods assume."""
    return rng.poisson(np.maximum(expected, 0.0)).astype(float)


@dataclass(frozen=True)
class Convolution:
    """Convolution from the nodes of a grid to any angles."""

    grid: AngleGrid

    def spectrum(self, rows: FloatArray) -> ComplexArray:
        """Return the transform of rows of samples at the nodes, ready to be multiplied with the resolution's."""
        grid = self.grid
        position = (grid.nodes - grid.first) / grid.step
        spread = _gridding.spread(position, grid.quadrature / grid.step, np.ascontiguousarray(rows), grid.size)
        return rfft(spread, axis=-1)

    def correction(self) -> FloatArray:
        """Return what divides out the splines of spreading and interpolation."""
        omega, step = self.grid.omega, self.grid.step
        return 1.0 / (_gridding.transform(omega, step) * _gridding.discrete_transform(omega, step))

    def coefficients(self, spectrum: ComplexArray) -> FloatArray:
        """Return the spline coefficients of the convolved curve on the uniform grid."""
        return irfft(spectrum, n=self.grid.size, axis=-1)

    def positions(self, dtheta: FloatArray) -> FloatArray:
        """Return angles in grid steps."""
        return (dtheta - self.grid.first) / self.grid.step


Background = Callable[[FloatArray, Values], tuple[FloatArray, dict[str, FloatArray]]]


def _constant(arcsec: FloatArray, values: Values) -> tuple[FloatArray, dict[str, FloatArray]]:
    ones = np.ones_like(arcsec)
    return values["background"] * ones, {"background": ones}


def _linear(arcsec: FloatArray, values: Values) -> tuple[FloatArray, dict[str, FloatArray]]:
    ones = np.ones_like(arcsec)
    return values["background"] + values["slope"] * arcsec, {"background": ones, "slope": arcsec}


def _exponential(arcsec: FloatArray, values: Values) -> tuple[FloatArray, dict[str, FloatArray]]:
    exponent = values["slope"] * arcsec
    held = np.abs(exponent) > 100.0  # far beyond any measurement; keeps the numbers finite
    shape = np.exp(np.clip(exponent, -100.0, 100.0))
    by_slope = np.where(held, 0.0, values["background"] * arcsec * shape)
    return values["background"] * shape, {"background": shape, "slope": by_slope}


_BACKGROUNDS: dict[str, Background] = {"constant": _constant, "linear": _linear, "exponential": _exponential}


def background(kind: str) -> Background:
    """Return a background of the offset in arcsec, with its derivatives."""
    if kind not in _BACKGROUNDS:
        raise ParameterError(f"unknown background {kind!r}: expected one of {', '.join(_BACKGROUNDS)}")
    return _BACKGROUNDS[kind]
