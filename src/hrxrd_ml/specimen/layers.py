"""From profiles of strain and damage, and from films, to lamellae and their derivatives.

The grid follows the profile: nodes sit on its kinks and move smoothly with its parameters, and the lamellae are as
thick as a stated tolerance allows.  The thickness is therefore a numerical setting and not a parameter of the
physics; for comparison with programs that use fixed sublayers, ``sublayers`` cuts the same profile into uniform ones.

Where the nodes lie is decided with real numbers.  The derivatives then follow from the same functions with complex
steps, the motion of the nodes included (`hrxrd_ml.complex_step`).
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from hrxrd_ml.arrays import FloatArray, IntArray, Values
from hrxrd_ml.complex_step import derivative, stepped
from hrxrd_ml.errors import ParameterError
from hrxrd_ml.specimen.damage import Damage, Strained
from hrxrd_ml.specimen.film import Stack
from hrxrd_ml.specimen.profile.base import Profile, Segments, extreme, steepest
from hrxrd_ml.specimen.profile.implanted import ImplantedProfile

PHASE_LIMIT = 5.0
"""Largest abs(u) t/2 over a lamella [rad]; the kernel's series are good to 8."""

FILM_PHASE_LIMIT = 3.0
"""The same in films, whose fringes reach as far as the scan does."""

THINNEST = 1e-9
"""Thickness of a lamella that has none [Å]: where two kinks coincide, what lies between them keeps its derivative."""


@dataclass(frozen=True)
class LayerSlopes:
    """Derivatives of lamellae by parameters.

    Attributes
    ----------
    names : tuple of str
        The p parameters.
    strain, damage : ndarray, shape (p, n, nodes)
        Of strain out of the plane and of L at the nodes.
    thickness : ndarray, shape (p, n)
    parallel : ndarray, shape (p, films + 1), or None
        With films: of the strain in the plane.
    susceptibility : ndarray, shape (p, films + 1, 10), or None
        With films: of ``Stack.susceptibility``.
    """

    names: tuple[str, ...]
    strain: FloatArray
    damage: FloatArray
    thickness: FloatArray
    parallel: FloatArray | None = None
    susceptibility: FloatArray | None = None


@dataclass(frozen=True)
class Layer:
    """A strained and damaged layer as graded lamellae, surface first (films without a profile: as uniform ones).

    Attributes
    ----------
    thickness : ndarray, shape (n,)
        [Å].
    depth : ndarray, shape (n, 3)
        Depths of top, middle and bottom of each lamella [Å].
    strain, damage : ndarray, shape (n, 3)
        Strain, relative to the substrate, and L there.
    slopes : LayerSlopes or None
        Derivatives, where asked for.
    own_strain : ndarray, shape (n, 3), or None
        With films: strain relative to the crystal that a lamella is made of.
    film : ndarray of int, shape (n,), or None
        With films: which one a lamella is part of, surface first; their number stands for the substrate.
    stack : Stack or None
        The films.
    """

    thickness: FloatArray
    depth: FloatArray
    strain: FloatArray
    damage: FloatArray
    slopes: LayerSlopes | None = None
    own_strain: FloatArray | None = None
    film: IntArray | None = None
    stack: Stack | None = None

    @cached_property
    def debye_waller(self) -> FloatArray:
        """E = exp(-L) at the nodes."""
        return np.exp(-self.damage)

    @classmethod
    def nothing(cls, names: Sequence[str] | None = None) -> Layer:
        """Return no lamellae; with ``names``, no derivatives of them."""
        empty = np.zeros((0, 3))
        slopes = None
        if names is not None:
            count = len(names)
            slopes = LayerSlopes(tuple(names), np.zeros((count, 0, 3)), np.zeros((count, 0, 3)), np.zeros((count, 0)))
        return cls(np.zeros(0), empty, empty, empty, slopes)


@dataclass(frozen=True)
class _Cut:
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
    def into(cls, counts: tuple[int, ...]) -> _Cut:
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
class _Pieces:
    """Pieces between kinks and interfaces, and what each is part of.

    Attributes
    ----------
    order : ndarray of int, shape (k + 1,)
        How edges of the profile, then interfaces, are sorted by depth.
    film : ndarray of int, shape (k,)
        The film that a piece is part of.
    part : ndarray of int, shape (k,)
        The piece of the profile that it is part of.
    """

    order: IntArray
    film: IntArray
    part: IntArray

    @classmethod
    def of(cls, segments: Segments, interfaces: FloatArray) -> _Pieces:
        """Sort, counting what has been passed: so it is clear at coinciding edges, too, what lies between them."""
        known = len(segments.edges)
        order = np.argsort(np.concatenate([segments.edges, interfaces]), kind="stable")
        interface = (order >= known).astype(np.int64)
        return cls(order, np.cumsum(interface)[:-1], np.cumsum(1 - interface)[:-1] - 1)


def discretise(
    strain: Profile | None,
    damage: Damage | None,
    values: Values,
    *,
    diffraction_vector: float,
    strain_range: float | tuple[float, float],
    tolerance: float = 1e-4,
    names: Sequence[str] | None = None,
    films: Stack | None = None,
    extinction_length: float = math.inf,
    line_width: float = math.inf,
) -> Layer:
    """Cut the profiles, and the films that they reach through, into graded lamellae.

    Parameters
    ----------
    strain : Profile or None
    damage : Damage or None
    values : mapping
        Values of all their parameters.
    diffraction_vector : float
        H [1/Å].
    strain_range : float or tuple of float
        Strains that would diffract at both ends of the scan: distances from the Bragg condition of the substrate,
        over H; one number stands for both signs.
    tolerance : float
        Aimed-at error of the reflectivity, relative to R + 1e-6.
    names : sequence of str, optional
        Parameters by which derivatives are wanted.
    films : Stack, optional
        With films, the profile is relative to the lattice of each: the strain relative to the substrate is
        ``(1 + profile) (1 + strain of the film) - 1``.
    extinction_length : float
        Of the substrate, λ √(γ_0 γ_h)/(π |χ_h|) [Å].
    line_width : float
        Strain over which the diffuse line of a lamella changes.
    """
    segments = _NOTHING if strain is None else strain.segments(values)
    kinks = segments.edges.tolist()
    if not all(-1e-9 <= below - above < math.inf for above, below in itertools.pairwise(kinks)):
        raise ParameterError(f"the strain profile's kinks must be finite and ordered in depth, got {segments.edges} Å")
    largest, where = (0.0, 0.0) if strain is None else extreme(strain, values)
    size, edges, scale, pieces = max(abs(largest), 1e-3), segments.edges, segments.scale, None
    if films is not None:
        size += float(np.abs(films.strain).max())
        pieces = _Pieces.of(segments, films.interfaces)
        edges = np.concatenate([edges, films.interfaces])[pieces.order]
        scale = np.append(scale, math.inf)[np.minimum(pieces.part, len(scale))]
    lowest, highest = strain_range if isinstance(strain_range, tuple) else (-strain_range, strain_range)
    # Far from all Bragg conditions, what is left of the wave is small and its error grows with the phase as below.
    limit = PHASE_LIMIT if films is None else FILM_PHASE_LIMIT
    phase = limit * max(tolerance / 1e-4, 1.0) ** 0.25 / (max(-lowest, highest) + size)
    tensile = isinstance(strain, ImplantedProfile) and films is None
    farthest = max(size - lowest, highest + (0.0 if tensile else size))
    thickest = 2.0 / diffraction_vector * min(phase, PHASE_LIMIT / farthest)
    # The kernel's error grows with the third power of the thickness over the extinction length, too.
    thickest = min(thickest, 0.01 * (tolerance / 1e-4) ** (1.0 / 3.0) * extinction_length)
    # The phase error of a parabola through three nodes is H strain'' t**4/scale**3; the factors are calibrated in
    # benchmarks/convergence.py.
    loose = (tolerance / 1e-4) ** 0.25
    curved, bent = 1.9 * loose / (diffraction_vector * size) ** 0.25, 0.17 * loose
    limits = [min(curved * length**0.75, bent * length, thickest) for length in scale.tolist()]
    # The diffuse line is integrated over what a lamella spans of it.
    if strain is not None and any(line_width * own < size * t for own, t in zip(scale.tolist(), limits, strict=True)):
        slopes = steepest(strain, values, Segments(edges, scale), kinks[-1]).tolist()
        limits = [min(t, line_width / max(slope, 1e-12)) for t, slope in zip(limits, slopes, strict=True)]
    # Each piece has one lamella at least: what has no thickness has a derivative by it.
    lengths = (edges[1:] - edges[:-1]).tolist()
    cut = _Cut.into(tuple(max(math.ceil(length / t), 1) for length, t in zip(lengths, limits, strict=True)))
    reached = None if pieces is None else (pieces.part < len(segments.scale))[cut.edge]
    film = None if pieces is None else pieces.film[cut.edge]
    part, share = 0, 0.0
    if strain is not None:
        part = min(max(bisect.bisect_left(kinks, where) - 1, 0), len(kinks) - 2)
        share = (where - kinks[part]) / max(kinks[part + 1] - kinks[part], THINNEST)

    def nodes(values: Values, stack: Stack | None, stepping: bool = False) -> tuple[Any, ...]:
        """Depth, thickness, own strain, strain and L; of floats as of complex steps."""
        own_edges = strain.segments(values).edges if stepping and strain is not None else segments.edges
        all_edges = own_edges
        if pieces is not None:
            assert stack is not None
            interfaces = stack.interfaces
            lead = np.broadcast_shapes(own_edges.shape[:-1], interfaces.shape[:-1])
            both = [np.broadcast_to(a, (*lead, a.shape[-1])) for a in (own_edges, interfaces)]
            all_edges = np.concatenate(both, axis=-1)[..., pieces.order]
        depth, thickness = cut.depth(all_edges), cut.thickness(all_edges)
        profile: Any = np.zeros(cut.below.shape) if damage is None or reached is not None else None
        exponent: Any = profile
        if strain is not None:
            at = depth if reached is None else depth[..., reached, :]
            own = strain.evaluate(at, values)
            caused = None
            if damage is not None:
                peak: Any = largest
                if stepping:  # it moves with its piece; inside of that its slope is zero
                    top, bottom = own_edges[..., part], own_edges[..., part + 1]
                    peak = strain.evaluate((top + share * (bottom - top))[..., None, None], values)
                caused = damage.evaluate(at, values, Strained(own, peak, own_edges[..., -1, None, None]))
            if reached is None:
                profile, exponent = own, exponent if caused is None else caused
            else:
                profile = _put(own, reached, depth.shape)
                exponent = profile * 0.0 if caused is None else _put(caused, reached, depth.shape)
        if stack is None:
            return depth, thickness, profile, profile, exponent
        total = (1.0 + stack.strain[..., film, None]) * (1.0 + profile) - 1.0
        return depth, thickness, profile, total, exponent + stack.damage[..., film, None]

    depth, thickness, own, total, exponent = nodes(values, films)
    slopes = None
    if names is not None:
        steps = stepped(values, names)
        moved = None if films is None else films.at(steps)
        _, *rest = nodes(steps, moved, stepping=True)
        shape, count = depth.shape, len(names)
        slopes = LayerSlopes(
            tuple(names),
            _rows(rest[2], count, shape),
            _rows(rest[3], count, shape),
            _rows(rest[0], count, shape[:1]),
            None if moved is None else _rows(moved.parallel, count, moved.parallel.shape[-1:]),
            None if moved is None else _rows(moved.susceptibility, count, moved.susceptibility.shape[-2:]),
        )
    exponent = exponent if exponent.shape == depth.shape else np.broadcast_to(exponent, depth.shape)
    own_strain = None if films is None else own
    return Layer(np.maximum(thickness, THINNEST), depth, total, exponent, slopes, own_strain, film, films)


_NOTHING = Segments(np.zeros(1), np.zeros(0))
"""Of no profile: the surface."""


def _put(part: Any, where: Any, shape: tuple[int, ...]) -> Any:
    """Return zeros of a shape with ``part`` in the lamellae that the profile reaches."""
    full = np.zeros((*np.shape(part)[:-2], *shape[-2:]), dtype=np.asarray(part).dtype)
    full[..., where, :] = part
    return full


def _rows(result: Any, count: int, shape: tuple[int, ...]) -> FloatArray:
    """Return the derivatives of a result, a row for each parameter, contiguous."""
    return np.ascontiguousarray(np.broadcast_to(derivative(result), (count, *shape)))


def uniform_films(films: Stack, values: Values, names: Sequence[str] | None = None) -> Layer:
    """Return one uniform lamella for each film, where there is no profile in any of them: arrays with one node."""
    count = films.count
    thickness, strain, damage = films.thickness, films.strain[:-1, None], films.damage[:-1, None]
    slopes = None
    if names is not None:
        moved, p = films.at(stepped(values, names)), len(names)
        slopes = LayerSlopes(
            tuple(names),
            _rows(moved.strain[..., :-1, None], p, (count, 1)),
            _rows(moved.damage[..., :-1, None], p, (count, 1)),
            _rows(moved.thickness, p, (count,)),
            _rows(moved.parallel, p, (count + 1,)),
            _rows(moved.susceptibility, p, (count + 1, 10)),
        )
    depth = (films.interfaces - 0.5 * thickness)[:, None]
    return Layer(thickness, depth, strain, damage, slopes, np.zeros((count, 1)), np.arange(count), films)


def damage_at(
    strain: Profile, damage: Damage | None, values: Mapping[str, float], depth: FloatArray, local: FloatArray
) -> FloatArray:
    """Return L at depths where the strain is ``local``."""
    if damage is None:
        return np.zeros_like(local)
    end = float(strain.segments(values).edges[-1])
    exponent = damage.evaluate(depth, values, Strained(local, extreme(strain, values)[0], end))
    return np.asarray(exponent, dtype=float)


def sublayers(
    strain: Profile, damage: Damage | None, values: Values, thickness: float = 20.0
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Cut the profiles into uniform sublayers of equal thickness: the classic scheme.

    Returns
    -------
    thickness, strain, damage : ndarray, shape (n,)
        The last sublayer ends where the profile ends.
    """
    end = float(strain.segments(values).edges[-1])
    edges = np.append(np.arange(0.0, end - 1e-9, thickness), end)
    middle = 0.5 * (edges[1:] + edges[:-1])
    profile = strain.evaluate(middle, values)
    return np.diff(edges), profile, damage_at(strain, damage, values, middle, profile)
