"""Nodes at which the reflectivity is calculated, and the uniform grid on which it is convolved.

The nodes have a smoothly varying density: dense at the substrate peak, where the reflectivity has structure of the
Darwin width, densest at the edges of total reflection, coarse elsewhere, where it is band-limited by the depth of the
layer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.fft import next_fast_len

from hrxrd_ml.arrays import FloatArray
from hrxrd_ml.errors import CurveError
from hrxrd_ml.units import ARCSEC

EDGE = 0.4925
"""Where total reflection ends, over its width from the middle; in a damaged substrate it ends earlier."""

MOST_NODES = 500_000
"""Of a grid; a curve in steps of an hundredth of the Darwin width across a degree has some ten thousand."""


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
        reach: float = math.inf,
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
        reach : float
            Beyond this distance the resolution function is zero [rad]: what is that far away may be anything, also
            what is wrapped around.
        """
        low, high = min(float(dtheta[0]) - margin, -margin), max(float(dtheta[-1]) + margin, margin)
        data_step = float(np.median(np.diff(dtheta)))
        widest = cls.coarse_step(data_step, fringe)
        if not (high - low) * fine * every * finer < MOST_NODES * min(widest, data_step):
            raise CurveError(
                f"a curve over {math.degrees(high - low):.3g}° in steps of {data_step / ARCSEC:.3g} arcsec, with "
                f"fringes {fringe / ARCSEC:.3g} arcsec apart, needs more than {MOST_NODES} angles: give fewer "
                "angles or a narrower range, or lower what makes the fringes narrow (L1, depth, max_depth, the "
                "thickness of films)"
            )
        bumps = _bumps(darwin_width, plateaus, fine)
        nodes, quadrature = _graded_nodes(low - centre, high - centre, widest / fine, bumps, every)
        step = cls.even_step(data_step, fringe, darwin_width) / (fine * every * finer)
        # Nothing may reach a point of the data from the wrong side: with tails, that takes twice the range.
        period = min(2.0 * (high - low), high - low - margin + reach)
        size = next_fast_len(int(period / step) + 16, real=True)
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
        from hrxrd_ml.instrument.spreading import subdivide  # loads numba

        return np.asarray(subdivide(rows * self.even[:: self.every], self.every) / self.even)

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
