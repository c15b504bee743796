"""From profiles of strain and damage, and from films, to lamellae and their derivatives.

Where the nodes lie is decided with real numbers (`cut`).  The derivatives then follow from the same functions with
complex steps, the motion of the nodes included (`hrxrd_ml.complex_step`).  For comparison with programs that use fixed
sublayers, ``sublayers`` cuts the same profile into uniform ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from hrxrd_ml.arrays import FloatArray, IntArray, Values
from hrxrd_ml.complex_step import derivative, stepped
from hrxrd_ml.specimen.cut import THINNEST, plan
from hrxrd_ml.specimen.damage import Damage, Strained
from hrxrd_ml.specimen.profile.base import Profile, extreme
from hrxrd_ml.specimen.stack import Stack


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
    parallel, tilt : ndarray, shape (p, slabs + 1), or None
        With films: of the strain in the plane, and of the tilt [rad].
    susceptibility : ndarray, shape (p, slabs + 1, 10), or None
        With films: of ``Stack.susceptibility``.
    film_strain : ndarray, shape (p, slabs + 1), or None
        With films and a profile: of ``Stack.strain``.
    """

    names: tuple[str, ...]
    strain: FloatArray
    damage: FloatArray
    thickness: FloatArray
    parallel: FloatArray | None = None
    tilt: FloatArray | None = None
    susceptibility: FloatArray | None = None
    film_strain: FloatArray | None = None


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
        With films: which of their slabs a lamella is part of; their number stands for the substrate.
    stack : Stack or None
        The films.
    runs : ndarray of int, shape (r, 3), or None
        Of uniform lamellae: first, last and one, how often they are repeated; None where nothing is.
    """

    thickness: FloatArray
    depth: FloatArray
    strain: FloatArray
    damage: FloatArray
    slopes: LayerSlopes | None = None
    own_strain: FloatArray | None = None
    film: IntArray | None = None
    stack: Stack | None = None
    runs: IntArray | None = None

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
    reach: float = 1.0,
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
    reach : float
        Factor on the strain up to which the lamellae are thin enough.
    """
    where = plan(
        strain,
        damage,
        values,
        films,
        diffraction_vector=diffraction_vector,
        strain_range=strain_range,
        tolerance=tolerance,
        extinction_length=extinction_length,
        line_width=line_width,
        reach=reach,
    )
    at, slopes = where.nodes(values, films), None
    if names is not None:
        steps = stepped(values, names)
        moved = None if films is None else films.at(steps)
        by = where.nodes(steps, moved, stepping=True)
        shape, count = at.depth.shape, len(names)
        slopes = LayerSlopes(
            tuple(names),
            _rows(by.strain, count, shape),
            _rows(by.damage, count, shape),
            _rows(by.thickness, count, shape[:1]),
            None if moved is None else _rows(moved.parallel, count, moved.parallel.shape[-1:]),
            None if moved is None else _rows(moved.tilt, count, moved.tilt.shape[-1:]),
            None if moved is None else _rows(moved.susceptibility, count, moved.susceptibility.shape[-2:]),
            None if moved is None else _rows(moved.strain, count, moved.strain.shape[-1:]),
        )
    own = None if films is None else at.own
    return Layer(np.maximum(at.thickness, THINNEST), at.depth, at.strain, at.damage, slopes, own, where.film, films)


def _rows(result: Any, count: int, shape: tuple[int, ...]) -> FloatArray:
    """Return the derivatives of a result, a row for each parameter, contiguous."""
    return np.ascontiguousarray(np.broadcast_to(derivative(result), (count, *shape)))


def uniform_films(films: Stack, values: Values, names: Sequence[str] | None = None) -> Layer:
    """Return one uniform lamella for each slab, where there is no profile in any of them: arrays with one node.

    Depths are those of the topmost one of what is repeated.
    """
    count, repeated = films.count, films.runs[:, 2]
    thickness = np.maximum(films.thickness, THINNEST)
    strain, damage = films.strain[:-1, None], films.damage[:-1, None]
    slopes = None
    if names is not None:
        moved, p = films.at(stepped(values, names)), len(names)
        slopes = LayerSlopes(
            tuple(names),
            _rows(moved.strain[..., :-1, None], p, (count, 1)),
            _rows(moved.damage[..., :-1, None], p, (count, 1)),
            _rows(moved.thickness, p, (count,)),
            _rows(moved.parallel, p, (count + 1,)),
            _rows(moved.tilt, p, (count + 1,)),
            _rows(moved.susceptibility, p, (count + 1, 10)),
        )
    bottom = np.cumsum(thickness)
    depth = bottom - 0.5 * thickness
    for first, last, repeats in films.runs[repeated > 1].tolist():
        depth[last:] += (repeats - 1) * (bottom[last - 1] - bottom[first] + thickness[first])
    runs = films.runs if np.any(repeated > 1) else None
    return Layer(thickness, depth[:, None], strain, damage, slopes, np.zeros((count, 1)), np.arange(count), films, runs)


def damage_at(
    strain: Profile,
    damage: Damage | None,
    values: Mapping[str, float],
    depth: FloatArray,
    local: FloatArray,
    diffraction_vector: float,
) -> FloatArray:
    """Return L, as a reflection with this diffraction vector sees it, at depths where the strain is ``local``."""
    if damage is None:
        return np.zeros_like(local)
    end = float(strain.segments(values).edges[-1])
    exponent = damage.evaluate(depth, values, Strained(local, extreme(strain, values)[0], end, diffraction_vector))
    return np.asarray(exponent, dtype=float)


def sublayers(
    strain: Profile, damage: Damage | None, values: Values, thickness: float = 20.0, *, diffraction_vector: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Cut the profiles into uniform sublayers of equal thickness: the classic scheme.

    Parameters
    ----------
    strain : Profile
    damage : Damage or None
    values : mapping
    thickness : float
        [Å].
    diffraction_vector : float
        H, of the reflection that sees the damage [1/Å].

    Returns
    -------
    thickness, strain, damage : ndarray, shape (n,)
        The last sublayer ends where the profile ends.
    """
    end = float(strain.segments(values).edges[-1])
    edges = np.append(np.arange(0.0, end - 1e-9, thickness), end)
    middle = 0.5 * (edges[1:] + edges[:-1])
    profile = strain.evaluate(middle, values)
    return np.diff(edges), profile, damage_at(strain, damage, values, middle, profile, diffraction_vector)
