"""From profiles of strain and damage to lamellae, with the derivatives of every lamella.

The grid follows the profile: nodes sit on its kinks and move smoothly with its parameters, and the lamellae are as
thick as a stated tolerance allows.  The thickness is therefore a numerical setting and not a parameter of the
physics; for comparison with programs that use fixed sublayers, ``sublayers`` cuts the same profile into uniform ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .errors import ParameterError
from .parameters import ParameterSpace, damage_space
from .profile import ImplantedProfile, Profile, Segments, SplineProfile, extreme

FloatArray = NDArray[np.float64]
Values = Mapping[str, float]

PHASE_LIMIT = 5.0
"""Largest abs(u) t/2 over a lamella [rad]; the kernel's series are good to 8."""

FILM_PHASE_LIMIT = 3.0
"""The same in films, whose fringes reach as far as the scan does."""


@dataclass(frozen=True)
class Damage:
    """How the static Debye-Waller exponent L(z), E = exp(-L), follows from the parameters.

    Parameters
    ----------
    kind : {"none", "tied", "bspline"}
        No damage; ``L = damage * strain/max(strain)``; or a spline of its own over the depth of the strain profile.
    count : int
        Number of spline coefficients ``w0, w1, ...``.
    """

    kind: str = "tied"
    count: int = 6

    def __post_init__(self) -> None:
        """Check the kind."""
        damage_space(self.kind, self.count)

    @property
    def space(self) -> ParameterSpace:
        """Parameters with units and bounds."""
        return damage_space(self.kind, self.count)

    @property
    def spline(self) -> SplineProfile:
        """The spline of L(z)."""
        return SplineProfile(self.count, "w")


@dataclass(frozen=True)
class Chain:
    """Sparse derivatives of the lamellae, in the layout of the kernels.

    Entries ``pointer[j]:pointer[j+1]`` belong to lamella j: row ``value[e]`` holds the derivatives of its strain and
    E on top, in the middle and below, and of its thickness, with respect to parameter number ``parameter[e]`` of
    ``names``.
    """

    names: tuple[str, ...]
    pointer: NDArray[np.int64]
    parameter: NDArray[np.int64]
    value: FloatArray


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
    chain : Chain or None
        Derivatives, where asked for.
    own_strain : ndarray, shape (n, 3), or None
        With films: strain relative to the crystal that a lamella is made of.
    film : ndarray of int, shape (n,), or None
        With films: which one a lamella is part of, surface first; their number stands for the substrate.
    """

    thickness: FloatArray
    depth: FloatArray
    strain: FloatArray
    damage: FloatArray
    chain: Chain | None = None
    own_strain: FloatArray | None = None
    film: NDArray[np.int64] | None = None

    @cached_property
    def debye_waller(self) -> FloatArray:
        """E = exp(-L) at the nodes."""
        return np.exp(-self.damage)


@dataclass(frozen=True)
class Pile:
    """Films, surface first; the last entry of what has one more is the substrate.

    Attributes
    ----------
    names : tuple of str
        Of the films.
    thickness : ndarray, shape (k,)
        [Å].
    strain, parallel, damage : ndarray, shape (k + 1,)
        Strains relative to the substrate's lattice, out of the plane and in the plane, and L.
    strain_slopes : dict of dict of float
        For each film, derivatives of its strain out of the plane by names of parameters.
    """

    names: tuple[str, ...]
    thickness: FloatArray
    strain: FloatArray
    parallel: FloatArray
    damage: FloatArray
    strain_slopes: Mapping[str, Mapping[str, float]]


def discretise(
    strain: Profile | None,
    damage: Damage,
    values: Values,
    *,
    diffraction_vector: float,
    strain_range: float | tuple[float, float],
    tolerance: float = 1e-4,
    derivatives: bool = False,
    films: Pile | None = None,
    extinction_length: float = math.inf,
) -> Layer:
    """Cut the profiles, and the films that they reach through, into graded lamellae.

    Parameters
    ----------
    strain : Profile or None
    damage : Damage
    values : mapping
        Values of all their parameters.
    diffraction_vector : float
        H [1/Å].
    strain_range : float or tuple of float
        Strains that would diffract at both ends of the scan: distances from the Bragg condition of the substrate,
        over H; one number stands for both signs.
    tolerance : float
        Aimed-at error of the reflectivity, relative to R + 1e-6.
    derivatives : bool
        Whether to fill the chain.
    films : Pile, optional
        With films, the profile is relative to the lattice of each: the strain relative to the substrate is
        ``(1 + profile) (1 + strain of the film) - 1``.
    extinction_length : float
        Of the substrate, λ √(γ_0 γ_h)/(π |χ_h|) [Å].
    """
    from . import _numba_profile  # compiled at first use

    segments = _NOTHING if strain is None else strain.segments(values)
    lengths = segments.edges[1:] - segments.edges[:-1]
    if not (lengths.min() >= -1e-9 and lengths.max() < math.inf):
        raise ParameterError(f"the strain profile's kinks must be finite and ordered in depth, got {segments.edges} Å")
    largest, where = (0.0, 0.0) if strain is None else extreme(strain, values)
    size = max(abs(largest), 1e-3)
    pieces, end = segments, float(segments.edges[-1])
    if films is not None:
        size += float(np.abs(films.strain).max())
        segments, own = _with_interfaces(segments, films)
    # The phase error of a parabola through three nodes is H strain'' t**4/scale**3; the factor is calibrated in
    # benchmarks/convergence.py.
    thickest = 1.9 * (tolerance / 1e-4 * segments.scale**3 / (diffraction_vector * size)) ** 0.25
    thickest = np.minimum(thickest, 0.17 * (tolerance / 1e-4) ** 0.25 * segments.scale)
    # The kernel's error grows with the third power of the thickness over the extinction length, too.
    thickest = np.minimum(thickest, 0.01 * (tolerance / 1e-4) ** (1.0 / 3.0) * extinction_length)
    # The diffuse line is integrated over what a lamella spans of it.
    length = values.get("correlation_length", 0.0)
    if length > 0.0:
        span = 2.0 / (diffraction_vector * length)
        if strain is not None and np.any(span * segments.scale < size * thickest):
            thickest = np.minimum(thickest, span / np.maximum(_steepest(strain, values, segments, end), 1e-12))
    lowest, highest = strain_range if isinstance(strain_range, tuple) else (-strain_range, strain_range)
    # Far from all Bragg conditions, what is left of the wave is small and its error grows with the phase as above.
    limit = PHASE_LIMIT if films is None else FILM_PHASE_LIMIT
    phase = limit * max(tolerance / 1e-4, 1.0) ** 0.25 / (max(-lowest, highest) + size)
    tensile = isinstance(strain, ImplantedProfile) and films is None
    farthest = max(size - lowest, highest + (0.0 if tensile else size))
    thickest = np.minimum(thickest, 2.0 / diffraction_vector * min(phase, PHASE_LIMIT / farthest))
    number, fraction, depth, thickness = _numba_profile.cut(segments.edges, thickest)
    if films is None and not derivatives:
        assert strain is not None, "without films there is a profile"
        profile = strain.evaluate(depth, values)
        return Layer(thickness, depth, profile, _damage(damage, profile, depth, values, abs(largest), end))
    end_slopes = {name: float(slope[-1]) for name, slope in pieces.slopes.items()}
    if films is not None:
        return _of_films(
            strain, damage, values, films, segments, own, (number, fraction, depth, thickness), (largest, where),
            (end, end_slopes), derivatives,
        )  # fmt: skip
    assert strain is not None, "without films there is a profile"

    profile, gradient, partial = strain.derivatives(depth, values)
    names = (*partial, *(spec.name for spec in damage.space if spec.name not in partial))
    moves = _moves(segments, number, fraction)
    strain_slopes = {
        name: slope + gradient * moves[name] if name in moves else slope for name, slope in partial.items()
    }
    exponent = _damage(damage, profile, depth, values, abs(largest), end)
    damage_slopes = _damage_slopes(
        damage, strain, profile, strain_slopes, exponent, depth, moves, end_slopes, values, (largest, where), end
    )
    chain = _chain(names, strain_slopes, damage_slopes, segments, number, fraction, np.exp(-exponent))
    return Layer(thickness, depth, profile, exponent, chain)


def _steepest(profile: Profile, values: Values, segments: Segments, end: float) -> FloatArray:
    """Return the largest slope of a profile in each piece [1/Å], none below its end."""
    edges = np.minimum(segments.edges, end)
    counts = np.clip(np.ceil(6.0 * np.diff(edges) / segments.scale), 4, 400).astype(int)
    depths = [np.linspace(a, b, n + 1) for a, b, n in zip(edges[:-1], edges[1:], counts, strict=True)]
    strain = profile.evaluate(np.concatenate(depths), values)
    slopes = []
    for part, z in zip(np.split(strain, np.cumsum(counts + 1)[:-1]), depths, strict=True):
        slopes.append(float(np.abs(np.diff(part)).max()) / max(z[1] - z[0], 1e-6))
    return np.array(slopes)


_NOTHING = Segments(np.zeros(2), {}, np.ones(1))
"""Of no profile: one piece without thickness."""


def _with_interfaces(segments: Segments, films: Pile) -> tuple[Segments, NDArray[np.int64]]:
    """Return the pieces between kinks and interfaces, and the film that each is part of."""
    depths = np.cumsum(films.thickness)
    edges = np.concatenate([segments.edges, depths])
    order = np.argsort(edges, kind="stable")
    edges, known = edges[order], len(segments.edges)
    slopes = {name: np.append(slope, np.zeros(len(depths)))[order] for name, slope in segments.slopes.items()}
    for i, name in enumerate(films.names):
        # An interface moves with the thickness of each film above it.
        slopes[f"{name}_thickness"] = np.append(np.zeros(known), np.arange(len(depths)) >= i).astype(float)[order]
    middle = 0.5 * (edges[1:] + edges[:-1])
    piece = np.searchsorted(segments.edges, middle) - 1
    inside = middle < segments.edges[-1]
    scale = np.where(inside, segments.scale[np.clip(piece, 0, len(segments.scale) - 1)], math.inf)
    return Segments(edges, slopes, scale), np.searchsorted(depths, middle)


def _of_films(
    strain: Profile | None,
    damage: Damage,
    values: Values,
    films: Pile,
    segments: Segments,
    own: NDArray[np.int64],
    cut: tuple[NDArray[np.int64], FloatArray, FloatArray, FloatArray],
    peak: tuple[float, float],
    ending: tuple[float, dict[str, float]],
    derivatives: bool,
) -> Layer:
    """Return the lamellae of films with a profile in those that it reaches."""
    number, fraction, depth, thickness = cut
    end, end_slopes = ending
    film, reached = own[number], 0.5 * (depth[:, 0] + depth[:, 2]) < end
    stretch = 1.0 + films.strain[film][:, None]
    profile, exponent = np.zeros_like(depth), np.repeat(films.damage[film][:, None], 3, axis=1)
    strain_slopes: dict[str, FloatArray] = {}
    damage_slopes: dict[str, FloatArray] = {}

    def everywhere(slopes: Mapping[str, FloatArray], factor: FloatArray) -> dict[str, FloatArray]:
        found = {name: np.zeros_like(depth) for name in slopes}
        for name, slope in slopes.items():
            found[name][reached] = slope
        return {name: slope * factor for name, slope in found.items()}

    if strain is not None and reached.any():
        at = depth[reached]
        profile[reached] = strain.evaluate(at, values)
        caused = _damage(damage, profile[reached], at, values, abs(peak[0]), end)
        exponent[reached] += caused
        if derivatives:
            _, gradient, partial = strain.derivatives(at, values)
            moves = {name: move[reached] for name, move in _moves(segments, number, fraction).items()}
            own_slopes = {name: np.zeros_like(at) + slope for name, slope in partial.items()}
            for name, move in moves.items():
                own_slopes[name] = own_slopes.get(name, 0.0) + gradient * move
            strain_slopes = everywhere(own_slopes, stretch)
            damage_slopes = everywhere(
                _damage_slopes(
                    damage, strain, profile[reached], own_slopes, caused, at, moves, end_slopes, values, peak, end
                ),
                np.ones((1, 1)),
            )
    total = stretch * (1.0 + profile) - 1.0
    if not derivatives:
        return Layer(thickness, depth, total, exponent, None, profile, film)
    for i, name in enumerate(films.names):
        part = (film == i)[:, None]
        for parameter, slope in films.strain_slopes[name].items():
            strain_slopes[parameter] = part * (1.0 + profile) * slope
        damage_slopes[f"{name}_damage"] = part * np.ones((1, 3))
    names = tuple(dict.fromkeys([*strain_slopes, *damage_slopes, *segments.slopes]))
    chain = _chain(names, strain_slopes, damage_slopes, segments, number, fraction, np.exp(-exponent))
    return Layer(thickness, depth, total, exponent, chain, profile, film)


def uniform_films(films: Pile, derivatives: bool = False) -> Layer:
    """Return one uniform lamella for each film, where there is no profile in any of them.

    Arrays have one node, and rows of the chain are derivatives of strain, E and thickness.
    """
    count = len(films.names)
    strain, damage = films.strain[:-1, None], films.damage[:-1, None]
    bottom = np.cumsum(films.thickness)
    chain = None
    if derivatives:
        names, rows = [], []
        for i, name in enumerate(films.names):
            for parameter, slope in films.strain_slopes[name].items():
                names.append(parameter)
                rows.append((i, (slope, 0.0, 0.0)))
            names += [f"{name}_damage", f"{name}_thickness"]
            rows += [(i, (0.0, -math.exp(-damage[i, 0]), 0.0)), (i, (0.0, 0.0, 1.0))]
        lamella = np.array([row[0] for row in rows])
        pointer, value = np.searchsorted(lamella, np.arange(count + 1)), np.array([row[1] for row in rows])
        chain = Chain(tuple(names), pointer, np.arange(len(rows)), value)
    depth = (bottom - 0.5 * films.thickness)[:, None]
    return Layer(films.thickness, depth, strain, damage, chain, np.zeros((count, 1)), np.arange(count))


def _moves(segments: Segments, number: NDArray[np.int64], fraction: FloatArray) -> dict[str, FloatArray]:
    """Return how the nodes move with the parameters that move edges."""
    return {
        name: slope[number][:, None] * (1.0 - fraction) + slope[number + 1][:, None] * fraction
        for name, slope in segments.slopes.items()
    }


def _chain(
    names: tuple[str, ...],
    strain_slopes: Mapping[str, FloatArray],
    damage_slopes: Mapping[str, FloatArray],
    segments: Segments,
    number: NDArray[np.int64],
    fraction: FloatArray,
    debye_waller: FloatArray,
) -> Chain:
    """Return the sparse chain of derivatives of strain and L at the nodes, and of the thickness."""
    entries = np.zeros((len(number), len(names), 7))
    for i, name in enumerate(names):
        if name in strain_slopes:
            entries[:, i, :3] = strain_slopes[name]
        if name in damage_slopes:
            entries[:, i, 3:6] = -debye_waller * damage_slopes[name]
        if name in segments.slopes:
            slope = segments.slopes[name]
            entries[:, i, 6] = (slope[number + 1] - slope[number]) * (fraction[:, 2] - fraction[:, 0])
    lamella, parameter = np.nonzero(entries.any(axis=2))
    pointer = np.searchsorted(lamella, np.arange(len(number) + 1))
    return Chain(names, pointer, parameter, np.ascontiguousarray(entries[lamella, parameter]))


def _damage(
    damage: Damage, strain: FloatArray, depth: FloatArray, values: Values, largest: float, end: float
) -> FloatArray:
    """L at the nodes."""
    if damage.kind == "none":
        return np.zeros_like(strain)
    if damage.kind == "tied":
        return values["damage"] * np.abs(strain) / max(largest, 1e-12)
    return damage.spline.evaluate(depth, {**values, "depth": end})


def _damage_slopes(
    damage: Damage,
    profile: Profile,
    strain: FloatArray,
    strain_slopes: dict[str, FloatArray],
    exponent: FloatArray,
    depth: FloatArray,
    moves: dict[str, FloatArray],
    end_slopes: dict[str, float],
    values: Values,
    peak: tuple[float, float],
    end: float,
) -> dict[str, FloatArray]:
    """Total derivatives of L at the nodes, the motion of the nodes included."""
    if damage.kind == "none":
        return {}
    if damage.kind == "tied":
        largest, where = max(abs(peak[0]), 1e-12), peak[1]
        # By the envelope theorem the maximum changes as the profile does at a fixed depth.
        _value, _gradient, at_peak = profile.derivatives(np.array([where]), values)
        factor, sign = values["damage"] / largest, np.sign(strain)
        slopes = {
            name: factor * sign * slope
            - exponent / largest * np.sign(peak[0]) * (float(at_peak[name][0]) if name in at_peak else 0.0)
            for name, slope in strain_slopes.items()
        }
        return slopes | {"damage": np.abs(strain) / largest}
    _value, gradient, partial = damage.spline.derivatives(depth, {**values, "depth": end})
    by_end = partial.pop("depth")
    for name, move in moves.items():
        own = gradient * move + by_end * end_slopes.get(name, 0.0)
        partial[name] = partial[name] + own if name in partial else own
    return partial


def sublayers(
    strain: Profile, damage: Damage, values: Values, thickness: float = 20.0
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
    largest = abs(extreme(strain, values)[0])
    return np.diff(edges), profile, _damage(damage, profile, middle, values, largest, end)
