"""Where lamellae lie: decided with real numbers, so that the depths of their nodes are smooth in the parameters.

The grid follows the profile: nodes sit on its kinks and move with its parameters, and the lamellae are as thick as a
stated tolerance allows.  The thickness is therefore a numerical setting and not a parameter of the physics.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from hrxrd_ml.arrays import FloatArray, IntArray, Values
from hrxrd_ml.errors import ParameterError
from hrxrd_ml.specimen.damage import Damage, Strained
from hrxrd_ml.specimen.profile.base import Profile, Segments, extent, extreme, steepest
from hrxrd_ml.specimen.stack import Stack

PHASE_LIMIT = 5.0
"""Largest abs(u) t/2 over a lamella [rad]; the kernel's series are good to 8."""

_LOOSE_LIMIT = 7.5
"""The same where the tolerance is loose."""

FILM_PHASE_LIMIT = 3.0
"""The same in films, whose fringes reach as far as the scan does."""

THINNEST = 1e-9
"""Thickness of a lamella that has none [Å]: where two kinks coincide, what lies between them keeps its derivative."""


MOST_LAMELLAE = 50_000
"""More than anything needs that is still a layer; what would be more is found before it is made."""


def too_much(what: str, lengths: Iterable[float], strain: float) -> str:
    """Say that a layer is too deep, or too much strained, to be calculated."""
    return (
        f"{what}: the layer is {sum(lengths):.4g} Å deep, with strains up to {strain:.3g}; lower the depth (L1, depth, "
        "or the thickness of films), the strain, or their upper bounds, or give a narrower scan"
    )


_NOTHING = Segments(np.zeros(1), np.zeros(0))
"""Of no profile: the surface."""


@dataclass(frozen=True)
class Cut:
    """Where lamellae lie: in which piece, and at which fractions of it.

    Attributes
    ----------
    edge : ndarray of int, shape (n,)
        Number of the piece, between edges ``edge`` and ``edge + 1``.
    above, below : ndarray, shape (n, 3)
        Weights of these edges in the depths of top, middle and bottom.
    share : ndarray, shape (n,)
        Of the piece.
    """

    edge: IntArray
    above: FloatArray
    below: FloatArray
    share: FloatArray

    @classmethod
    @lru_cache(maxsize=64)
    def into(cls, counts: tuple[int, ...]) -> Cut:
        """Cut pieces evenly into so many lamellae; a fit asks for the same numbers again and again."""
        number = np.concatenate([np.arange(count) for count in counts])
        edge = np.repeat(np.arange(len(counts)), counts)
        whole = np.array(counts)[edge][:, None]
        below = (number[:, None] + np.array([0.0, 0.5, 1.0])) / whole
        return cls(edge, 1.0 - below, below, 1.0 / whole[:, 0])

    def depth(self, edges: Any) -> Any:
        """Return the depths of the nodes, shape (..., n, 3)."""
        return edges[..., self.edge, None] * self.above + edges[..., self.edge + 1, None] * self.below

    def thickness(self, edges: Any) -> Any:
        """Return the thicknesses, shape (..., n)."""
        return (edges[..., 1:] - edges[..., :-1])[..., self.edge] * self.share


@dataclass(frozen=True)
class Pieces:
    """Pieces between kinks and interfaces, and what each is part of.

    Attributes
    ----------
    order : ndarray of int, shape (k + 1,)
        How edges of the profile, then interfaces, are sorted by depth.
    film : ndarray of int, shape (k,)
        The slab of the films that a piece is part of.
    part : ndarray of int, shape (k,)
        The piece of the profile that it is part of.
    """

    order: IntArray
    film: IntArray
    part: IntArray

    @classmethod
    def of(cls, segments: Segments, interfaces: FloatArray, slabs: IntArray) -> Pieces:
        """Sort, counting what has been passed: so it is clear at coinciding edges, too, what lies between them."""
        known = len(segments.edges)
        order = np.argsort(np.concatenate([segments.edges, interfaces]), kind="stable")
        interface = (order >= known).astype(np.int64)
        return cls(order, slabs[np.cumsum(interface)[:-1]], np.cumsum(1 - interface)[:-1] - 1)


@dataclass(frozen=True)
class Nodes:
    """Lamellae at values of the parameters: floats, or complex rows of steps in front.

    Attributes
    ----------
    depth : ndarray, shape (..., n, 3)
        Of top, middle and bottom [Å].
    thickness : ndarray, shape (..., n)
    own : ndarray, shape (..., n, 3)
        Strain relative to the crystal that a lamella is made of.
    strain : ndarray, shape (..., n, 3)
        Strain relative to the substrate.
    damage : ndarray, shape (..., n, 3)
        L.
    """

    depth: Any
    thickness: Any
    own: Any
    strain: Any
    damage: Any


@dataclass(frozen=True)
class Plan:
    """Where the lamellae of profiles and films lie.

    Attributes
    ----------
    profile : Profile or None
    damage_profile : Damage or None
    segments : Segments
        Of the profile.
    cut : Cut
    pieces : Pieces or None
        With films.
    largest : float
        Largest strain of the profile in size.
    part, share : int, float
        The piece of the profile where that is, and at which fraction of it.
    diffraction_vector : float
        H [1/Å].
    """

    profile: Profile | None
    damage_profile: Damage | None
    segments: Segments
    cut: Cut
    pieces: Pieces | None
    largest: float
    part: int
    share: float
    diffraction_vector: float

    @property
    def film(self) -> IntArray | None:
        """Which slab of the films each lamella is part of, shape (n,)."""
        return None if self.pieces is None else self.pieces.film[self.cut.edge]

    def nodes(self, values: Values, stack: Stack | None, *, stepping: bool = False) -> Nodes:
        """Return the lamellae at values of the parameters; ``stepping`` where these are complex."""
        profile, pieces = self.profile, self.pieces
        kinks = profile.segments(values).edges if stepping and profile is not None else self.segments.edges
        edges = kinks
        if pieces is not None:
            assert stack is not None
            interfaces = stack.interfaces
            lead = np.broadcast_shapes(kinks.shape[:-1], interfaces.shape[:-1])
            both = [np.broadcast_to(a, (*lead, a.shape[-1])) for a in (kinks, interfaces)]
            edges = np.concatenate(both, axis=-1)[..., pieces.order]
        depth, thickness = self.cut.depth(edges), self.cut.thickness(edges)
        if stack is None or pieces is None:
            own, exponent = self._strained(depth, kinks, values, stepping)
            return Nodes(depth, thickness, own, own, exponent)
        reached, film = (pieces.part < len(self.segments.scale))[self.cut.edge], self.film
        own = exponent = np.zeros(depth.shape[-2:])
        if profile is not None:
            inside = self._strained(depth[..., reached, :], kinks, values, stepping)
            own, exponent = (_put(part, reached, depth.shape) for part in inside)
        total = (1.0 + stack.strain[..., film, None]) * (1.0 + own) - 1.0
        return Nodes(depth, thickness, own, total, exponent + stack.damage[..., film, None])

    def _strained(self, z: Any, kinks: Any, values: Values, stepping: bool) -> tuple[Any, Any]:
        """Return strain and L of the profile at depths that it reaches."""
        profile, damage = self.profile, self.damage_profile
        assert profile is not None
        own = profile.evaluate(z, values)
        if damage is None:
            return own, np.zeros(np.shape(z)[-2:])
        largest: Any = self.largest
        if stepping:  # it moves with its piece; inside of that its slope is zero
            top, bottom = kinks[..., self.part], kinks[..., self.part + 1]
            largest = profile.evaluate((top + self.share * (bottom - top))[..., None, None], values)
        strained = Strained(own, largest, kinks[..., -1, None, None], self.diffraction_vector)
        return own, damage.evaluate(z, values, strained)


def plan(
    strain: Profile | None,
    damage: Damage | None,
    values: Values,
    films: Stack | None,
    *,
    diffraction_vector: float,
    strain_range: float | tuple[float, float],
    tolerance: float,
    extinction_length: float,
    line_width: float,
    reach: float = 1.0,
) -> Plan:
    """Return where lamellae lie; see `layers.discretise` for the arguments."""
    segments = _NOTHING if strain is None else strain.segments(values)
    kinks = segments.edges.tolist()
    if not all(-1e-9 <= below - above < math.inf for above, below in itertools.pairwise(kinks)):
        raise ParameterError(f"the strain profile's kinks must be finite and ordered in depth, got {segments.edges} Å")
    largest, where = (0.0, 0.0) if strain is None else extreme(strain, values)
    size, edges, scale, pieces = reach * max(abs(largest), 1e-3), segments.edges, segments.scale, None
    if films is not None:
        size += float(np.abs(films.strain).max())
        pieces = Pieces.of(segments, films.interfaces, films.order)
        edges = np.concatenate([edges, films.interfaces])[pieces.order]
        scale = np.append(scale, math.inf)[np.minimum(pieces.part, len(scale))]
    lowest, highest = strain_range if isinstance(strain_range, tuple) else (-strain_range, strain_range)
    # Far from all Bragg conditions, what is left of the wave is small and its error grows with the phase as below.
    limit = PHASE_LIMIT if films is None else FILM_PHASE_LIMIT
    phase = limit * max(tolerance / 1e-4, 1.0) ** 0.25 / (max(-lowest, highest) + size)
    low, high = (
        (-size, size) if strain is None or films is not None else extent(strain, values, largest, segments.edges)
    )
    farthest = max(max(reach * high, 1e-3) - lowest, highest - min(reach * low, 0.0))
    thickest = 2.0 / diffraction_vector * min(phase, (PHASE_LIMIT if tolerance <= 1e-4 else _LOOSE_LIMIT) / farthest)
    # The kernel's error grows with the third power of the thickness over the extinction length, too.
    thickest = min(thickest, 0.01 * (tolerance / 1e-4) ** (1.0 / 3.0) * extinction_length)
    # The phase error of a parabola through three nodes is H strain'' t**4/scale**3; the factors are calibrated in
    # benchmarks/convergence.py.
    loose = (tolerance / 1e-4) ** 0.25
    curved, bent = 1.9 * loose / (diffraction_vector * size) ** 0.25, 0.17 * loose
    limits = [min(curved * length**0.75, bent * length, thickest) for length in scale.tolist()]
    # The diffuse line is integrated over what a lamella spans of it.
    if strain is not None and any(line_width * own < size * t for own, t in zip(scale.tolist(), limits, strict=True)):
        slopes = (reach * steepest(strain, values, Segments(edges, scale), kinks[-1])).tolist()
        limits = [min(t, line_width / max(slope, 1e-12)) for t, slope in zip(limits, slopes, strict=True)]
    # Each piece has one lamella at least: what has no thickness has a derivative by it.
    lengths = (edges[1:] - edges[:-1]).tolist()
    number = sum(length / t if t > 0.0 else math.inf for length, t in zip(lengths, limits, strict=True))
    if not number < MOST_LAMELLAE:
        raise ParameterError(too_much(f"{number:.3g} lamellae, expected at most {MOST_LAMELLAE}", lengths, size))
    cut = Cut.into(tuple(max(math.ceil(length / t), 1) for length, t in zip(lengths, limits, strict=True)))
    part, share = 0, 0.0
    if strain is not None:
        part = min(max(bisect.bisect_left(kinks, where) - 1, 0), len(kinks) - 2)
        share = (where - kinks[part]) / max(kinks[part + 1] - kinks[part], THINNEST)
    return Plan(strain, damage, segments, cut, pieces, largest, part, share, diffraction_vector)


def _put(part: Any, where: Any, shape: tuple[int, ...]) -> Any:
    """Return zeros of a shape with ``part`` in the lamellae that the profile reaches."""
    full = np.zeros((*np.shape(part)[:-2], *shape[-2:]), dtype=np.asarray(part).dtype)
    full[..., where, :] = part
    return full
