"""Films and superlattices cut into slabs, each of one material: sharp or soft interfaces, gradients, repeats.

At an interface of width w the sample is a mixture: with F_j(z) = (1 + erf[(z - z_j)/(sqrt(2) w_j)])/2, the part that
lies below interface j, film j has the weight F_(j-1) - F_j in strains, susceptibilities and L alike.  The weights add
up to 1.

Where the material changes with depth, slabs come in pairs.  Both have numbers that are mixed from those at the two
Gauss points of the pair, each the nearer one with 1/2 + 1/sqrt(3), the other one with 1/2 - 1/sqrt(3): the
commutator-free Magnus step of fourth order (Blanes & Moan, Appl. Numer. Math. 56 (2006) 1519), where one slab with the
numbers of its middle would be of second order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from scipy.special import erf

from hrxrd_ml.arrays import FloatArray, IntArray, Values
from hrxrd_ml.complex_step import columns, extended, real
from hrxrd_ml.crystal.material import Material
from hrxrd_ml.crystal.reflection import Reflection
from hrxrd_ml.errors import ParameterError
from hrxrd_ml.specimen.film import Film, row
from hrxrd_ml.specimen.superlattice import Part, Superlattice, depth_of, films_of

MOST_SLABS = 20_000
"""More than anything needs that is still a curve within seconds."""

_STEPS = np.linspace(-5.0, 5.0, 17)
"""Where a soft interface is cut, in widths: sixteen pairs of slabs.

Cut off at 3 or 4 widths, where 1e-3 or 3e-5 of the change is left, it is a sharp one of that height: with 20 repeats,
an error of 17 or 0.9 % in the minima of the curve, 0.3 or 0.02 % in the median.
"""

_LOOSE_STEPS = np.linspace(-4.0, 4.0, 7)
"""The same where the tolerance is loose, as in a search."""

_TAIL = 6.0
"""Widths from an interface at which there is nothing of the other side."""

_NARROWEST = 1e-3
"""What stands for an interface of no width, whose parameter keeps its derivative [Å]."""

_GAUSS = 0.5 + np.array([-0.5, 0.5]) / math.sqrt(3.0)
_NEAR = 0.5 + 1.0 / math.sqrt(3.0)
_PROBES = np.array([_GAUSS[0], 0.5, _GAUSS[1]])

_ERROR = 5e-5
"""Aimed at of a gradient, relative to its amplitude: of a pair of slabs it is beta x**2/30."""

_LEAST_CHANGE = 3e-4
"""Strain by which a film with a gradient is taken to change at least: derivatives need its slabs, too."""


_step_up = extended(lambda x: 0.5 * (1.0 + erf(x)), lambda x: np.exp(-x * x) / math.sqrt(math.pi))


@dataclass(frozen=True)
class Fineness:
    """How finely films are cut where they change with depth.

    Attributes
    ----------
    span : float
        Largest strain that the scan reaches.
    tolerance : float
        Aimed-at error of the reflectivity, as in `RockingCurve`.
    """

    span: float = 0.01
    tolerance: float = 1e-4

    @property
    def steps(self) -> FloatArray:
        """Where a soft interface is cut, in widths."""
        return _STEPS if self.tolerance < 5e-4 else _LOOSE_STEPS

    @property
    def error(self) -> float:
        """Aimed at in a pair of slabs."""
        return _ERROR * max(self.tolerance / 1e-4, 1.0)


@dataclass(frozen=True)
class _Place:
    """A film where it lies: number of its part, thickness and width of the interface below it (None: sharp)."""

    film: Film
    part: int
    thickness: Any
    width: Any

    @property
    def graded(self) -> bool:
        """Whether the film changes between its ends; films that users write do not."""
        return isinstance(self.film, Film) and self.film.graded

    @property
    def kinks(self) -> tuple[float, ...]:
        """Heights in it at which a gradient changes."""
        return self.film.kinks if self.graded else ()


@dataclass(frozen=True)
class Stack:
    """Films at values of their parameters as slabs, surface first; one entry more is the substrate's.

    Of floats the arrays have the shapes below; of complex steps they have rows in front, one for each parameter.

    Attributes
    ----------
    films : tuple of Film and Superlattice
        From the substrate up.
    reflection : Reflection
        Of the substrate.
    fineness : Fineness
    expanded : frozenset of str
        Superlattices whose repeats are listed one by one, since they are not alike.
    thickness : ndarray, shape (k,)
        [Å].
    strain, parallel, tilt, damage : ndarray, shape (k + 1,)
        Strains relative to the substrate's lattice, out of the plane and in the plane, tilt against it [rad], and L.
    susceptibility : ndarray, shape (k + 1, 10)
        ``Material.numbers``.
    runs : ndarray of int, shape (r, 3)
        First slab, last one and one, and how often they are repeated; one behind the other.
    names : tuple of str
        The film that each slab is part of.
    part : ndarray of int, shape (k,)
        The place in ``films`` that each slab is part of.
    """

    films: tuple[Part, ...]
    reflection: Reflection
    fineness: Fineness
    expanded: frozenset[str]
    thickness: Any
    strain: Any
    parallel: Any
    tilt: Any
    damage: Any
    susceptibility: Any
    runs: IntArray
    names: tuple[str, ...]
    part: IntArray

    @classmethod
    def of(
        cls,
        films: Sequence[Part],
        values: Values,
        reflection: Reflection,
        *,
        fineness: Fineness | None = None,
        names: Sequence[str] | None = None,
    ) -> Stack:
        """Return films, given from the substrate up, at values of their parameters.

        Parameters
        ----------
        films : sequence of Film and Superlattice
        values : mapping
        reflection : Reflection
            Of the substrate.
        fineness : Fineness, optional
        names : sequence of str, optional
            Parameters by which derivatives will be wanted.
        """
        drifts = {part.name: f"{part.name}_drift" for part in films if isinstance(part, Superlattice)}
        apart = frozenset(
            name for name, drift in drifts.items() if real(values[drift]) != 0.0 or drift in (names or ())
        )
        return cls._at(tuple(films), values, reflection, fineness or Fineness(), apart)

    @classmethod
    def _at(
        cls,
        films: tuple[Part, ...],
        values: Values,
        reflection: Reflection,
        fineness: Fineness,
        expanded: frozenset[str],
    ) -> Stack:
        places, runs = _placed(films, values, expanded, float(fineness.steps[-1]))
        cut = _Slabs.of(places, runs, values, reflection, fineness)
        numbers = cut.numbers
        return cls(
            films,
            reflection,
            fineness,
            expanded,
            cut.thickness,
            numbers[..., 0],
            numbers[..., 1],
            numbers[..., 2],
            numbers[..., 3],
            numbers[..., 4:],
            cut.runs,
            tuple(places[k].film.name for k in cut.place),
            np.array([place.part for place in places], dtype=np.int64)[cut.place],
        )

    def at(self, values: Values) -> Stack:
        """Return the same films at other values."""
        return Stack._at(self.films, values, self.reflection, self.fineness, self.expanded)

    @property
    def count(self) -> int:
        """Number of slabs, repeats not counted."""
        return len(self.names)

    @cached_property
    def order(self) -> IntArray:
        """Numbers of the slabs from the surface down, repeats one after the other; last the substrate."""
        sequence = [np.tile(np.arange(first, last), repeats) for first, last, repeats in self.runs.tolist()]
        if sum(map(len, sequence)) > MOST_SLABS:
            raise ParameterError(
                f"films: with all repeats, expected at most {MOST_SLABS} slabs, got {sum(map(len, sequence))}; leave "
                "out profile and diffuse component, or the drift of superlattices"
            )
        return np.concatenate([*sequence, [self.count]]).astype(np.int64)

    @property
    def interfaces(self) -> Any:
        """Depths of the lower ends of the slabs, in their `order` [Å]."""
        return np.cumsum(self.thickness[..., self.order[:-1]], axis=-1)

    @property
    def parts(self) -> list[tuple[str, float, float]]:
        """Name, thickness [Å] and mean strain of each film and superlattice, from the substrate up."""
        thickness = self.thickness * np.repeat(self.runs[:, 2], self.runs[:, 1] - self.runs[:, 0])
        total = np.bincount(self.part, thickness, len(self.films))
        mean = np.bincount(self.part, thickness * self.strain[:-1], len(self.films)) / np.maximum(total, 1e-9)
        return [(part.name, *pair) for part, *pair in zip(self.films, total.tolist(), mean.tolist(), strict=True)]


def _placed(
    parts: Sequence[Part], values: Values, expanded: frozenset[str], tail: float
) -> tuple[list[_Place], list[tuple[int, int, int]]]:
    """Return films surface first, and which of them stand for how many repeats: first, last and one, repeats.

    Of a superlattice with soft interfaces nearby, the outermost repeats are listed, since they have other neighbours.
    """
    widths = {id(film): _width(part, film, values) for part in parts for film in films_of(part)}
    reach = tail * max((real(width) for width in widths.values() if width is not None), default=0.0)
    below: list[_Place] = []
    runs: list[tuple[int, int, int]] = []
    for number, part in enumerate(parts):
        if not isinstance(part, Superlattice):
            below.append(_Place(part, number, row(depth_of(part, values)), widths[id(part)]))
            continue
        thicknesses = [row(thickness) for thickness in part.thicknesses(values)]
        period = sum(map(real, thicknesses))
        apart = math.ceil(reach / period)
        listed = part.repeats if part.name in expanded else min(part.repeats, 2 * apart + 1)
        if listed * len(part.layers) > MOST_SLABS:
            raise ParameterError(
                f"{part.name}: expected at most {MOST_SLABS} layers, got {listed * len(part.layers)}: repeats are "
                "listed one by one, since they drift or their interfaces are wider than the period"
            )
        if listed < part.repeats:
            first = len(below) + apart * len(part.layers)
            runs.append((first, first + len(part.layers), part.repeats - listed + 1))
        drift = row(values[f"{part.name}_drift"])
        for k in range(listed):
            factor = 1.0 + drift * (k / (listed - 1) - 0.5) if listed == part.repeats > 1 else 1.0
            pairs = zip(part.layers, thicknesses, strict=True)
            below += [_Place(film, number, factor * thickness, widths[id(film)]) for film, thickness in pairs]
    count = len(below)
    return below[::-1], [(count - last, count - first, repeats) for first, last, repeats in runs[::-1]]


def _width(part: Part, film: Film, values: Values) -> Any:
    """Return the width of the interface below a film, None where it is sharp."""
    owner = next((each for each in (film, part) if getattr(each, "interface", None) is not None), None)
    if owner is None:
        return None
    width = row(values[f"{owner.name}_interface"])
    return np.sqrt(width * width + _NARROWEST**2)


@dataclass(frozen=True)
class _Slabs:
    """Slabs, surface first: thickness (..., k), numbers (..., k + 1, 14), runs (r, 3) and place of each (k,)."""

    thickness: Any
    numbers: Any
    runs: IntArray
    place: IntArray

    @classmethod
    def of(
        cls,
        places: Sequence[_Place],
        runs: Sequence[tuple[int, int, int]],
        values: Values,
        reflection: Reflection,
        fineness: Fineness,
    ) -> _Slabs:
        mixture = _Mixture(places, values, reflection, fineness)
        thickness = columns(*(place.thickness for place in places))
        if not mixture.changing:
            repeated = _ranges(runs, range(len(places) + 1))
            states = [mixture.states[id(place.film)] for place in places]
            return cls(thickness, _stacked([*states, mixture.substrate]), repeated, np.arange(len(places)))
        edges, ends = mixture.edges(thickness)
        length = edges[..., 1:] - edges[..., :-1]
        pairs, place = mixture.pairs(np.real(edges).reshape(-1, edges.shape[-1])[0])
        cut = _Cut.into(pairs)
        depth = edges[..., cut.node_piece] * (1.0 - cut.node_share) + edges[..., cut.node_piece + 1] * cut.node_share
        own = mixture.numbers(depth)
        # What the wave sees of strains is 1/(1 + strain), and mixtures of that are what converges fast.
        own[..., :2] /= 1.0 + own[..., :2]
        numbers = own[..., cut.node, :] * cut.weight[:, None] + own[..., cut.other, :] * (1.0 - cut.weight[:, None])
        numbers[..., :2] /= 1.0 - numbers[..., :2]
        substrate = np.broadcast_to(mixture.substrate, (*numbers.shape[:-2], 1, numbers.shape[-1]))
        first = np.searchsorted(cut.piece, ends)
        return cls(
            length[..., cut.piece] * cut.share,
            np.concatenate([numbers, substrate], axis=-2),
            _ranges(runs, [*first.tolist(), len(cut.piece)]),
            place[cut.piece],
        )


def _stacked(states: Sequence[Any]) -> Any:
    """Return the numbers of films, (14,) or (rows, 1, 14) each, as rows of one array (..., k, 14)."""
    lead = max((state.shape[:1] for state in states if state.ndim == 3), default=())
    return np.stack([np.broadcast_to(state.reshape(-1, 14) if lead else state, (*lead, 14)) for state in states], -2)


def _ranges(runs: Sequence[tuple[int, int, int]], first: Sequence[int]) -> IntArray:
    """Return all runs, what is not repeated included; ``first`` is the first slab of each place, then their number."""
    found, done = [], 0
    for begin, end, repeats in runs:
        found += [(done, first[begin], 1), (first[begin], first[end], repeats)]
        done = first[end]
    found.append((done, first[-1], 1))
    return np.array([run for run in found if run[0] < run[1]], dtype=np.int64).reshape(-1, 3)


class _Mixture:
    """What the material is at any depth."""

    def __init__(self, places: Sequence[_Place], values: Values, reflection: Reflection, fineness: Fineness) -> None:
        self.places, self.values, self.reflection, self.fineness = places, values, reflection, fineness
        self.states: dict[int, Any] = {}
        for place in places:
            if id(place.film) not in self.states and not place.graded:
                self.states[id(place.film)] = place.film.state(values, reflection).numbers
        self.substrate = np.array([0.0, 0.0, 0.0, 0.0, *Material.of(reflection).numbers])

    @property
    def changing(self) -> bool:
        """Whether the material changes with depth but for steps."""
        return any(place.width is not None or place.graded for place in self.places)

    def edges(self, thickness: Any) -> tuple[Any, IntArray]:
        """Return where the material is cut (..., K + 1), the surface first, and the edges at the ends of the films.

        Of two soft interfaces that are near each other, each is cut as far as their widths share what is in between, so
        that the edges of one never pass those of the other.
        """
        self.lower = np.cumsum(thickness, axis=-1)
        self.thickness = thickness
        widths = columns(*(0.0 if place.width is None else place.width for place in self.places))
        self.widths = np.real(widths).reshape(-1, len(self.places))[0]
        number: list[int] = []
        steps: list[float] = []
        shares: list[float] = []
        centre = [0]
        for j, place in enumerate(self.places):
            own = self.fineness.steps if place.width is not None else np.zeros(1)
            centre.append(1 + len(number) + len(own) // 2)
            number += [j] * (len(own) + len(place.kinks))
            steps += [*own.tolist(), *(0.0 for _ in place.kinks)]
            shares += [*(0.0 for _ in own), *place.kinks]
        none, far = np.zeros((*widths.shape[:-1], 1)), np.full((*thickness.shape[:-1], 1), 1e12)
        total = widths + np.concatenate([none, widths[..., :-1]], axis=-1)
        farthest = float(self.fineness.steps[-1])
        up = _nearer(farthest, widths, thickness * widths / np.where(np.real(total) > 0.0, total, 1.0))
        total = widths + np.concatenate([widths[..., 1:], none], axis=-1)
        gap = np.concatenate([thickness[..., 1:], far], axis=-1)
        down = _nearer(farthest, widths, gap * widths / np.where(np.real(total) > 0.0, total, 1.0))
        reach = np.where(np.array(steps) < 0.0, up[..., number], down[..., number])
        edges = self.lower[..., number] + reach * steps - thickness[..., number] * shares
        edges = np.concatenate([np.zeros((*edges.shape[:-1], 1)), edges], axis=-1)
        order = np.argsort(np.real(edges).reshape(-1, edges.shape[-1])[0], kind="stable")
        return edges[..., order], np.argsort(order)[centre]

    def pairs(self, edges: FloatArray) -> tuple[tuple[int, ...], IntArray]:
        """Return into how many pairs of slabs each piece is cut, 0 for one slab, and the place that it is part of."""
        lower = np.real(self.lower).reshape(-1, len(self.places))[0]
        middle, length = 0.5 * (edges[1:] + edges[:-1]), np.diff(edges)
        place = np.minimum(np.searchsorted(lower, middle), len(self.places) - 1)
        graded = np.array([each.graded for each in self.places])[place] & (middle < lower[-1])
        changing = graded.copy()
        for j in np.flatnonzero(self.widths > 0.0):
            first, last = np.searchsorted(
                middle, lower[j] + self.fineness.steps[-1] * self.widths[j] * np.array([-1.0, 1.0])
            )
            changing[first:last] = True
        # Three probes of each piece say how it changes; the real parts are all that counts here.
        probes = np.real(self.numbers((edges[:-1, None] + length[:, None] * _PROBES).ravel()))
        probes = probes.reshape(-1, *probes.shape[-2:])[0].reshape(len(length), 3, 14)
        change = math.sqrt(3.0) * (probes.max(axis=1) - probes.min(axis=1))
        strain = np.where(graded, np.maximum(change[:, 0], _LEAST_CHANGE), change[:, 0])
        strongest = np.abs(probes[..., 6:8]).sum(axis=-1).max(initial=1e-12)
        h = self.reflection.diffraction_vector
        curvature = h * strain * length / 8.0 + change[:, 6:8].sum(axis=-1) / strongest
        x = 0.5 * h * length * (self.fineness.span + float(np.abs(probes[..., 0]).max(initial=0.0)))
        count = np.maximum(np.ceil((curvature * x * x / (30.0 * self.fineness.error)) ** 0.25), 1.0)
        if (total := float(count[changing].sum())) > MOST_SLABS / 2:
            raise ParameterError(
                f"films: gradients and soft interfaces would take {2.0 * total:.3g} slabs, expected at most "
                f"{MOST_SLABS}; lower the thickness of films with a gradient, fix the drift of superlattices at 0, or "
                "give a narrower scan"
            )
        return tuple(np.where(changing, count, 0.0).astype(int).tolist()), place

    def numbers(self, depth: Any) -> Any:
        """Return the numbers of the material at ascending depths (..., n), shape (..., n, 14)."""
        where = np.real(depth).reshape(-1, depth.shape[-1])[0]
        pieces = []
        for j, (first, last) in enumerate(self._reaches(where)):
            z = depth[..., first:last]
            weight = self._below(j - 1, z) - self._below(j, z)
            pieces.append((first, last, weight[..., None] * self._state(j, z)))
        lead = max((piece.shape[:-2] for *_, piece in pieces), key=len)
        kind = np.result_type(*(piece for *_, piece in pieces))
        mixed = np.zeros((*lead, len(where), 14), dtype=kind)
        for first, last, piece in pieces:
            mixed[..., first:last, :] += piece
        return mixed

    def _reaches(self, where: FloatArray) -> Iterator[tuple[int, int]]:
        """Return which of some depths each film, and the substrate, has a share in."""
        lower = np.real(self.lower).reshape(-1, len(self.places))[0]
        above = np.searchsorted(where, lower - _TAIL * self.widths, side="right").tolist()
        below = np.searchsorted(where, lower + _TAIL * self.widths, side="right").tolist()
        count = len(where)
        above, below = [0, *above, count], [0, *below, count]
        for j in range(len(self.places) + 1):
            yield min(above[j], above[j + 1]), max(below[j], below[j + 1])

    def _below(self, j: int, z: Any) -> Any:
        """Return which part of the material at depths lies below the interface under film ``j``."""
        if j < 0:
            return np.ones(z.shape)
        if j == len(self.places):
            return np.zeros(z.shape)
        at, width = self.lower[..., j, None], self.places[j].width
        if width is None:
            return (np.real(z) > np.real(at)).astype(float)
        return _step_up((z - at) / (math.sqrt(2.0) * width))

    def _state(self, j: int, z: Any) -> Any:
        if j == len(self.places):
            return self.substrate
        film = self.places[j].film
        if not self.places[j].graded:
            return self.states[id(film)]
        height = (self.lower[..., j, None] - z) / self.thickness[..., j, None]
        return film.state(self.values, self.reflection, height).numbers


def _nearer(steps: float, width: Any, share: Any) -> Any:
    """Return the width, or less where all steps would go farther than a share of the distance to the next interface."""
    share = share / steps
    return np.where(np.real(share) < np.real(width), share, width)


@dataclass(frozen=True)
class _Cut:
    """How pieces are cut into pairs of slabs, or into one.

    Attributes
    ----------
    piece : ndarray of int, shape (k,)
        Of each slab.
    share : ndarray, shape (k,)
        Of the piece.
    node, other : ndarray of int, shape (k,)
        Nodes whose numbers a slab has, with ``weight`` and 1 - ``weight``.
    weight : ndarray, shape (k,)
    node_piece : ndarray of int, shape (n,)
        Of each node.
    node_share : ndarray, shape (n,)
        Where it lies in the piece.
    """

    piece: IntArray
    share: FloatArray
    node: IntArray
    other: IntArray
    weight: FloatArray
    node_piece: IntArray
    node_share: FloatArray

    @classmethod
    @lru_cache(maxsize=64)
    def into(cls, pairs: tuple[int, ...]) -> _Cut:
        """Cut pieces into so many pairs; a fit asks for the same numbers again and again."""
        count = np.maximum(2 * np.array(pairs), 1)
        piece = np.repeat(np.arange(len(pairs)), count)
        within = np.arange(len(piece)) - np.repeat(np.cumsum(count) - count, count)
        single = (np.array(pairs) == 0)[piece]
        whole = np.where(single, 1, count[piece] // 2)
        share = np.where(single, 0.5, (within // 2 + _GAUSS[within % 2]) / whole)
        number = np.arange(len(piece))
        other = np.where(single, number, number + 1 - 2 * (within % 2))
        return cls(piece, 1.0 / count[piece], number, other, np.where(single, 1.0, _NEAR), piece, share)
