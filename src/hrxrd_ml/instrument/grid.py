"""What the angles of a measurement determine of a simulation: nodes, their coordinates, the convolution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from hrxrd_ml.arrays import FloatArray, IntArray, Values
from hrxrd_ml.diffraction.beams import Beams
from hrxrd_ml.diffraction.diffuse import extinction
from hrxrd_ml.diffraction.media import Scattering, Waves
from hrxrd_ml.instrument.angles import EDGE, AngleGrid
from hrxrd_ml.instrument.convolution import Convolution
from hrxrd_ml.units import ARCSEC

if TYPE_CHECKING:
    from hrxrd_ml.crystal.reflection import Reflection
    from hrxrd_ml.diffraction.reflectivity import Conditions

MARGIN = 100.0
"""How far the nodes reach beyond the data, at least [arcsec]."""

_FAR_PICK = 26.0
"""Distance of the nodes with a diffuse part far off the peak, at most [arcsec]."""

_REACH = 2.25  # of the margin; 3.8 FWHM of a Gaussian of which the margin is at least 1.7
_AXIS_STEPS = 60.0  # arcsec; offset and end of the scan may be that far from where the grid takes them to be

_MOST_OCTAVES = 5


@dataclass(frozen=True)
class Need:
    """What a grid must provide for given values of the parameters, in steps, so that grids can be kept.

    Attributes
    ----------
    depth : int
        Half octaves by which the layer is deeper than usual; see `RockingCurve.deeper`.
    width : int
        Octaves by which the instrument reaches farther than usual.
    length : int
        Octaves by which the diffuse line is narrower than usual.
    tails : int or None
        Half octaves by which the resolution function reaches farther than a Gaussian would that needs this width; None
        where it has tails across the whole scan.
    """

    depth: int = 0
    width: int = 0
    length: int = 0
    tails: int | None = None

    @classmethod
    def of(
        cls, values: Values, reflection: Reflection, *, deeper: int, far: float, reach: float, length: float
    ) -> Need:
        """Return what values of the parameters need.

        Parameters
        ----------
        values : mapping
        reflection : Reflection
        deeper : int
            Half octaves by which the layer is deeper than usual.
        far : float
            How far beyond the data the reflectivity must be known [arcsec].
        reach : float
            How far the resolution function reaches [arcsec].
        length : float
            Of the defects that scatter diffusely [Å]; 0 where there are none.
        """
        # The line falls off at 1/(l k sin 2θ) from its centre; the steps are a quarter of that.
        per_angle = 2.0 * math.pi / reflection.wavelength * math.sin(2.0 * reflection.bragg_angle)
        line = length * per_angle * 4.0 * _FAR_PICK * ARCSEC
        width = _octaves(far / MARGIN)
        tails = (
            None if reach == math.inf else _octaves((reach / (_REACH * MARGIN * 2.0**width)) ** 2, 2 * _MOST_OCTAVES)
        )
        return cls(deeper, width, _octaves(line), tails)

    @property
    def margin(self) -> float:
        """How far the nodes reach beyond the data [rad]."""
        return MARGIN * ARCSEC * 2.0**self.width

    @property
    def reach(self) -> float:
        """How far what is wrapped around must be from the data [rad]."""
        if self.tails is None or self.tails == 2 * _MOST_OCTAVES:
            return math.inf
        return _REACH * self.margin * 2.0 ** (0.5 * self.tails) + _AXIS_STEPS * ARCSEC

    @property
    def farthest_pick(self) -> float:
        """Largest distance of nodes at which the diffuse part is calculated [rad]."""
        return _FAR_PICK * ARCSEC * 0.5**self.length


def _octaves(factor: float, most: int = _MOST_OCTAVES) -> int:
    return min(max(math.ceil(math.log2(max(factor, 1.0)) - 1e-9), 0), most)


@dataclass(frozen=True)
class Grid:
    """What the angles of a measurement determine: nodes, coordinates, convolution.

    Attributes
    ----------
    conditions : Conditions
        What the reflection fixes.
    angles : AngleGrid
    convolution : Convolution
    beams : Beams
        At the calculated nodes.
    substrate : Waves
        Of the substrate at these.
    extinction : ndarray, shape (2, k)
        See ``diffuse.extinction``.
    pick : ndarray of int
        Calculated nodes at which the diffuse part is calculated too.
    strains : tuple of float
        Which strains would diffract at the last and at the first node.
    """

    conditions: Conditions
    angles: AngleGrid
    convolution: Convolution
    beams: Beams
    substrate: Waves
    extinction: FloatArray
    pick: IntArray
    strains: tuple[float, float]

    @classmethod
    def around(
        cls,
        dtheta: FloatArray,
        conditions: Conditions,
        *,
        fringe: float,
        octave: float = 0.0,
        need: Need | None = None,
        finer: int = 1,
    ) -> Grid:
        """Return the grid around offsets ``dtheta`` [rad], its steps halved ``octave`` times.

        With two nodes where one would do, the reflectivity is known well enough to be interpolated; what is finer is
        there for a narrow resolution function.  ``finer`` divides the steps of the uniform grid again.  ``fringe``:
        the shortest period in the curve [rad].
        """
        need, reflection = need or Need(), conditions.reflection
        plateaus = _plateaus(reflection)
        angles = AngleGrid.covering(
            dtheta,
            reflection.darwin_width(),
            need.margin,
            centre=reflection.refraction_shift(),
            plateaus=plateaus,
            fringe=fringe,
            fine=2.0 ** min(octave, 1.0),
            every=2 ** math.ceil(max(octave - 1.0, 0.0)),
            finer=finer,
            reach=need.reach,
        )
        beams = Beams(conditions.deviation, angles.calculated)
        offset = beams.dtheta - reflection.refraction_shift()
        return cls(
            conditions,
            angles,
            Convolution(angles),
            beams,
            conditions.substrate.waves(beams),
            extinction(conditions.substrate, beams),
            _spaced(offset, reflection.darwin_width(), plateaus, need.farthest_pick),
            _strains(conditions, beams),
        )

    @cached_property
    def refinement(self) -> tuple[IntArray, FloatArray]:
        """Neighbours and weights with which `spreading.gather` goes from the nodes picked to all of them."""
        from hrxrd_ml.instrument.spreading import refinement  # loads numba

        return refinement(self.beams.dtheta[self.pick], self.angles.nodes)

    @cached_property
    def picked(self) -> tuple[Beams, Scattering, FloatArray]:
        """Beams at the nodes picked, what diffuse scattering in the substrate depends on there, and its extinction."""
        beams = self.beams.part(self.pick)
        return beams, self.conditions.substrate.scattering(beams), np.ascontiguousarray(self.extinction[:, self.pick])

    def between(self, low: float, high: float) -> Grid:
        """Return the grid with the nodes between two angles [rad] alone; the uniform grid stays what it is."""
        begin, end = np.searchsorted(self.beams.dtheta, (low, high))
        part, every = slice(begin, end), self.angles.every
        whole = slice(begin * every, (end - 1) * every + 1)
        own = self.angles
        angles = replace(own, nodes=own.nodes[whole], quadrature=own.quadrature[whole], even=own.even[whole])
        inside = self.pick[slice(*np.searchsorted(self.pick, (begin + 1, end - 1)))] - begin
        beams = self.beams.part(part)
        return Grid(
            self.conditions,
            angles,
            Convolution(angles),
            beams,
            Waves(np.ascontiguousarray(self.substrate.rows[..., part]), self.substrate.couplings),
            np.ascontiguousarray(self.extinction[:, part]),
            np.concatenate([[0], inside, [end - begin - 1]]),
            _strains(self.conditions, beams),
        )


def _strains(conditions: Conditions, beams: Beams) -> tuple[float, float]:
    """Return which strains would diffract at the last and at the first angle, refraction allowed for."""
    ends = beams.part([0, -1])
    h = conditions.reflection.diffraction_vector
    low, high = ends.diffuse(conditions.substrate.along)[0, 0] / h
    shift = np.abs(conditions.substrate.coherent(ends)[0, 0] / h - (low, high))
    return float(-high - shift[1]), float(-low + shift[0])


def _plateaus(reflection: Reflection) -> list[float]:
    """Return the widths of total reflection of the polarisations in the beam [rad], one of two that are much alike."""
    widths: list[float] = []
    for polarization, weight in enumerate(reflection.polarization_weights):
        width = reflection.darwin_width(polarization)
        if weight > 0.01 and all(abs(width - other) > 0.1 * other for other in widths):
            widths.append(width)
    return widths


def _spaced(offset: FloatArray, darwin_width: float, plateaus: Sequence[float], farthest: float) -> IntArray:
    """Pick nodes for the diffuse part, by their offset from the substrate peak [rad].

    They are an eighth of the Darwin width apart at the peak, ``farthest`` [rad] far off.  Extinction ends at the edges
    of total reflection, and the diffuse part of the substrate leaps there: that takes nodes which are closer.
    """
    closest = min(3.0 * ARCSEC, darwin_width / 8.0)
    target = np.clip(np.abs(offset) / 6.0, closest, max(farthest, closest))
    for width in plateaus:
        from_edge = np.abs(np.abs(offset) - EDGE * width)
        target = np.minimum(target, np.maximum(from_edge / 2.0, width / 60.0))
    number = np.concatenate([[0.0], np.cumsum(np.diff(offset) / target[1:])])
    pick = np.searchsorted(number, np.arange(0.0, number[-1]))
    return np.unique(np.append(pick, len(offset) - 1))
