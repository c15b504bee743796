"""What the angles of a measurement determine of a simulation: nodes, their coordinates, the convolution."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .diffuse import extinction
from .instrument import AngleGrid, Convolution
from .units import ARCSEC

if TYPE_CHECKING:
    from .simulate import RockingCurve

FloatArray = NDArray[np.float64]

MARGIN = 100.0
"""How far the nodes reach beyond the data [arcsec]."""


@dataclass(frozen=True)
class Grid:
    """What the angles of a measurement determine: nodes, coordinates, convolution.

    Attributes
    ----------
    angles : AngleGrid
    convolution : Convolution
    correction : ndarray
        What divides the splines out of spectra.
    nodes, x, y : ndarray, shape (k,)
        Calculated nodes and their angle coordinates.
    flux : ndarray, shape (k,)
        See ``Deviation.flux``.
    extinction : ndarray, shape (2, k)
        See ``diffuse.extinction``.
    pick : ndarray of int
        Calculated nodes at which the diffuse part is calculated too.
    strains : tuple of float
        Which strains would diffract at the last and at the first node.
    """

    angles: AngleGrid
    convolution: Convolution
    correction: FloatArray
    nodes: FloatArray
    x: FloatArray
    y: FloatArray
    flux: FloatArray
    extinction: FloatArray
    pick: NDArray[np.int64]
    strains: tuple[float, float]

    @classmethod
    def around(cls, model: RockingCurve, dtheta: FloatArray, octave: float = 0.0) -> Grid:
        """Return the grid around offsets ``dtheta`` [rad], its steps halved ``octave`` times.

        With two nodes where one would do, the reflectivity is known well enough to be interpolated; what is finer is
        there for a narrow resolution function.
        """
        reflection, deviation = model.reflection, model.deviation
        angles = AngleGrid.covering(
            dtheta,
            reflection.darwin_width(),
            MARGIN * ARCSEC,
            centre=reflection.refraction_shift(),
            fringe=model.fringe,
            fine=2.0 ** min(octave, 1.0),
            every=2 ** math.ceil(max(octave - 1.0, 0.0)),
        )
        nodes = angles.calculated
        x, y = deviation.axes(nodes)
        convolution = Convolution(angles)
        return cls(
            angles,
            convolution,
            convolution.correction(),
            nodes,
            x,
            y,
            deviation.flux(nodes),
            extinction(reflection, deviation, x, y),
            _spaced(nodes, reflection.refraction_shift(), reflection.darwin_width()),
            _strains(model, x, y),
        )

    def between(self, model: RockingCurve, low: float, high: float) -> Grid:
        """Return the grid with the nodes between two angles [rad] alone; the uniform grid stays what it is."""
        begin, end = np.searchsorted(self.nodes, (low, high))
        part, every = slice(begin, end), self.angles.every
        whole = slice(begin * every, (end - 1) * every + 1)
        own = self.angles
        angles = replace(own, nodes=own.nodes[whole], quadrature=own.quadrature[whole], even=own.even[whole])
        inside = self.pick[slice(*np.searchsorted(self.pick, (begin + 1, end - 1)))] - begin
        x, y = self.x[part], self.y[part]
        return Grid(
            angles,
            Convolution(angles),
            self.correction,
            self.nodes[part],
            x,
            y,
            self.flux[part],
            self.extinction[:, part],
            np.concatenate([[0], inside, [end - begin - 1]]),
            _strains(model, x, y),
        )


def _strains(model: RockingCurve, x: FloatArray, y: FloatArray) -> tuple[float, float]:
    """Return which strains would diffract at the last and at the first angle, refraction allowed for."""
    by_x, by_y = model.strain_scale
    return float(-by_x * x[-1] - by_y * abs(y[-1])), float(-by_x * x[0] + by_y * abs(y[0]))


def _spaced(nodes: FloatArray, centre: float, darwin_width: float) -> NDArray[np.int64]:
    """Pick nodes for the diffuse part: an eighth of the Darwin width apart at the substrate peak, 26 arcsec far off."""
    closest = min(3.0 * ARCSEC, darwin_width / 8.0)
    target = np.clip(np.abs(nodes - centre) / 6.0, closest, 26.0 * ARCSEC)
    number = np.concatenate([[0.0], np.cumsum(np.diff(nodes) / target[1:])])
    pick = np.searchsorted(number, np.arange(0.0, number[-1]))
    return np.unique(np.append(pick, len(nodes) - 1))
