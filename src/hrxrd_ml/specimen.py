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
from .profile import ImplantedProfile, Profile, SplineProfile, extreme

FloatArray = NDArray[np.float64]
Values = Mapping[str, float]

PHASE_LIMIT = 5.0
"""Largest abs(u) t/2 over a lamella [rad]; the kernel's series are good to 8."""


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
    """A strained and damaged layer as graded lamellae, surface first.

    Attributes
    ----------
    thickness : ndarray, shape (n,)
        [Å].
    depth : ndarray, shape (n, 3)
        Depths of top, middle and bottom of each lamella [Å].
    strain, damage : ndarray, shape (n, 3)
        Strain and L there.
    chain : Chain or None
        Derivatives, where asked for.
    """

    thickness: FloatArray
    depth: FloatArray
    strain: FloatArray
    damage: FloatArray
    chain: Chain | None = None

    @cached_property
    def debye_waller(self) -> FloatArray:
        """E = exp(-L) at the nodes."""
        return np.exp(-self.damage)


def discretise(
    strain: Profile,
    damage: Damage,
    values: Values,
    *,
    diffraction_vector: float,
    strain_range: float | tuple[float, float],
    tolerance: float = 1e-4,
    derivatives: bool = False,
) -> Layer:
    """Cut the profiles into graded lamellae.

    Parameters
    ----------
    strain : Profile
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
    """
    segments = strain.segments(values)
    lengths = segments.edges[1:] - segments.edges[:-1]
    if not (lengths.min() >= -1e-9 and lengths.max() < math.inf):
        raise ParameterError(f"the strain profile's kinks must be finite and ordered in depth, got {segments.edges} Å")
    largest, where = extreme(strain, values)
    size = max(abs(largest), 1e-3)
    # The phase error of a parabola through three nodes is H strain'' t**4/scale**3; the factor is calibrated in
    # benchmarks/convergence.py.
    thickest = 1.9 * (tolerance / 1e-4 * segments.scale**3 / (diffraction_vector * size)) ** 0.25
    thickest = np.minimum(thickest, 0.17 * (tolerance / 1e-4) ** 0.25 * segments.scale)
    lowest, highest = strain_range if isinstance(strain_range, tuple) else (-strain_range, strain_range)
    # Far from all Bragg conditions, what is left of the wave is small and its error grows with the phase as above.
    phase = PHASE_LIMIT * max(tolerance / 1e-4, 1.0) ** 0.25 / (max(-lowest, highest) + size)
    farthest = max(size - lowest, highest + (0.0 if isinstance(strain, ImplantedProfile) else size))
    thickest = np.minimum(thickest, 2.0 / diffraction_vector * min(phase, PHASE_LIMIT / farthest))
    number, fraction, depth, thickness = _cut(segments.edges, lengths, thickest)
    if not derivatives:
        profile = strain.evaluate(depth, values)
        return Layer(
            thickness,
            depth,
            profile,
            _damage(damage, profile, depth, values, abs(largest), segments.edges[-1]),
        )

    profile, gradient, partial = strain.derivatives(depth, values)
    names = (*partial, *(spec.name for spec in damage.space if spec.name not in partial))
    moves = {
        name: slope[number][:, None] * (1.0 - fraction) + slope[number + 1][:, None] * fraction
        for name, slope in segments.slopes.items()
    }
    strain_slopes = {
        name: slope + gradient * moves[name] if name in moves else slope for name, slope in partial.items()
    }
    exponent = _damage(damage, profile, depth, values, abs(largest), segments.edges[-1])
    damage_slopes = _damage_slopes(
        damage, strain, profile, strain_slopes, exponent, depth, moves, segments.slopes, values,
        (largest, where), float(segments.edges[-1]),
    )  # fmt: skip

    entries = np.zeros((len(thickness), len(names), 7))
    e = np.exp(-exponent)
    for i, name in enumerate(names):
        if name in strain_slopes:
            entries[:, i, :3] = strain_slopes[name]
        if name in damage_slopes:
            entries[:, i, 3:6] = -e * damage_slopes[name]
        if name in segments.slopes:
            slope = segments.slopes[name]
            entries[:, i, 6] = (slope[number + 1] - slope[number]) * (fraction[:, 2] - fraction[:, 0])
    lamella, parameter = np.nonzero(entries.any(axis=2))
    pointer = np.searchsorted(lamella, np.arange(len(thickness) + 1))
    chain = Chain(names, pointer, parameter, np.ascontiguousarray(entries[lamella, parameter]))
    return Layer(thickness, depth, profile, exponent, chain)


def _cut(
    edges: FloatArray, lengths: FloatArray, thickest: FloatArray
) -> tuple[NDArray[np.int64], FloatArray, FloatArray, FloatArray]:
    """Cut pieces evenly into lamellae no thicker than asked for.

    Returns of each the piece that it is in, the fractions of the piece and the depths of its nodes, and the thickness.
    """
    counts = np.where(lengths > 1e-6, np.ceil(lengths / thickest), 0.0).astype(np.int64)
    number = np.repeat(np.arange(len(counts)), counts)
    before = np.cumsum(counts) - counts
    node = (np.arange(len(number)) - before[number])[:, None] + np.array([0.0, 0.5, 1.0])
    fraction = node / counts[number, None]
    # An endpoint belongs to the piece that it closes, rounding or not.
    depth = np.minimum(edges[number, None] + lengths[number, None] * fraction, edges[number + 1, None])
    return number, fraction, depth, (lengths / np.maximum(counts, 1))[number]


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
    edge_slopes: dict[str, FloatArray],
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
            name: factor * sign * slope - exponent / largest * np.sign(peak[0]) * float(at_peak[name][0])
            for name, slope in strain_slopes.items()
        }
        return slopes | {"damage": np.abs(strain) / largest}
    _value, gradient, partial = damage.spline.derivatives(depth, {**values, "depth": end})
    by_end = partial.pop("depth")
    for name, move in moves.items():
        own = gradient * move + by_end * edge_slopes[name][-1]
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
