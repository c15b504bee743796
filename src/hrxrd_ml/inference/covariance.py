"""Covariances of parameters inside bounds."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_SINGULAR = 1.0e-13
"""Smallest eigenvalue of the unit-diagonal information matrix that rounding leaves meaningful."""


_NEAR = 0.05


_CROSSING = 0.01


@dataclass(frozen=True)
class Covariance:
    """Covariance, and the numbers of the parameters that sit on a bound or are not determined by the data."""

    matrix: Array
    at_lower: tuple[int, ...] = ()
    at_upper: tuple[int, ...] = ()
    undetermined: tuple[int, ...] = ()


def bounded_covariance(information: Array, gradient: Array, value: Array, lower: Array, upper: Array) -> Covariance:
    """Covariance at the minimum of half a sum of squares inside a box.

    Parameters
    ----------
    information
        Fisher information (or JᵀJ), shape (n, n).
    gradient
        Jᵀr, shape (n,).
    value, lower, upper
        Where the minimum lies, and the box, shape (n,).

    Notes
    -----
    A parameter whose bound holds it back (the unconstrained step would carry it across) is taken out, since
    with it the quadratic form is not centred on the minimum. Its distance d from the bound has the one-sided
    distribution exp(-g·d - H·d²/2), with the gradient g and the curvature H that is left when the others
    follow; the root mean square of d is its error. As it moves, the others follow it: their covariance is that
    beside the bound plus what this brings. Directions that the data say nothing about take the variance of a
    uniform distribution between the bounds. No error is larger than the width of the box.
    """
    size = len(value)
    spread = np.where(np.isfinite(upper - lower), upper - lower, np.inf)
    free = np.ones(size, dtype=bool)
    at_lower: list[int] = []
    at_upper: list[int] = []
    while free.any():
        covariance, vague = _inverse(information[np.ix_(free, free)], spread[free])
        sigma = np.sqrt(np.diag(covariance))
        step = -covariance @ gradient[free]
        room = np.where(step < 0.0, value[free] - lower[free], upper[free] - value[free])
        with np.errstate(invalid="ignore"):
            crossing = np.where((room < _NEAR * sigma) & (sigma > 0.0), (np.abs(step) - room) / sigma, 0.0)
        worst = int(np.argmax(crossing))
        if not crossing[worst] > _CROSSING:
            break
        number = int(np.flatnonzero(free)[worst])
        (at_lower if step[worst] < 0.0 else at_upper).append(number)
        free[number] = False
    matrix = np.zeros((size, size))
    undetermined: tuple[int, ...] = ()
    if free.any():
        matrix[np.ix_(free, free)] = covariance
        undetermined = tuple(int(i) for i in np.flatnonzero(free)[vague])
    inside = np.flatnonzero(free)
    beside = matrix[np.ix_(inside, inside)].copy()
    for number in (*at_lower, *at_upper):
        follow = -beside @ information[inside, number]
        left = max(information[number, number] + information[number, inside] @ follow, 0.0)
        square = _mean_square(abs(gradient[number]), left, upper[number] - lower[number])
        matrix[number, number] = square
        matrix[number, inside] = matrix[inside, number] = follow * square
        matrix[np.ix_(inside, inside)] += np.outer(follow, follow) * square
    # Errors of the others stay what they are: with smaller ones, their intervals held less often.
    most = np.minimum(1.0, spread / np.sqrt(np.maximum(np.diag(matrix), 1e-300)))
    matrix = matrix * np.outer(most, most)
    return Covariance(matrix, tuple(sorted(at_lower)), tuple(sorted(at_upper)), undetermined)


def _mean_square(slope: float, curvature: float, width: float) -> float:
    """Return the mean of d² for a density exp(-slope·d - curvature·d²/2) of d between 0 and ``width``."""
    reach = min(width, 12.0 / max(slope + math.sqrt(curvature), 12.0 / width if math.isfinite(width) else 1e-300))
    d = reach * np.linspace(0.0, 1.0, 1001)
    density = np.exp(-slope * d - 0.5 * curvature * d**2)
    return float(np.trapezoid(density * d**2, d) / np.trapezoid(density, d))


def _inverse(information: Array, spread: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Inverse of an information matrix, and which parameters it says nothing about (alone or together)."""
    none = np.zeros(len(spread), dtype=bool)
    values, vectors, scale = _spectrum(information)
    if values[0] > _SINGULAR * values[-1]:
        return (vectors / values) @ vectors.T * np.outer(scale, scale), none
    vague = np.any(np.abs(vectors[:, values <= _SINGULAR * values[-1]]) > 0.1, axis=1)
    values, vectors, scale = _spectrum(information + np.diag(np.where(np.isfinite(spread), 12.0 / spread**2, 0.0)))
    inverse = np.where(values > _SINGULAR * values[-1], 1.0 / np.maximum(values, _SINGULAR * values[-1]), 0.0)
    return (vectors * inverse) @ vectors.T * np.outer(scale, scale), vague


def _spectrum(information: Array) -> tuple[Array, Array, Array]:
    diagonal = np.diag(information)
    scale = 1.0 / np.sqrt(np.where(diagonal > 0.0, diagonal, 1.0))
    values, vectors = np.linalg.eigh(information * np.outer(scale, scale))
    return values, vectors, scale


def roots_of(covariance: Array, floor: float = _SINGULAR) -> tuple[Array, Array]:
    """Return a matrix R with R Rᵀ = covariance, and its inverse.

    Directions with less than a part ``floor`` of the largest variance, in units of the standard errors, get that part.
    """
    size = np.sqrt(np.maximum(np.diag(covariance), 1e-300))
    values, vectors = np.linalg.eigh(covariance / np.outer(size, size))
    values = np.maximum(values, floor * values[-1])
    return vectors * np.sqrt(values) * size[:, None], (vectors / np.sqrt(values)).T / size


def draw_inside(
    rng: np.random.Generator, centre: Array, covariance: Array, lower: Array, upper: Array, size: int
) -> Array:
    """Draws from a Gaussian, reflected at the walls of a box that holds its centre, shape (size, n)."""
    scale = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    safe = np.where(scale > 0.0, scale, 1.0)
    values, vectors = np.linalg.eigh(covariance / np.outer(safe, safe))
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    return reflected(centre + (rng.standard_normal((size, len(centre))) @ root.T) * scale, lower, upper)


def reflected(drawn: Array, lower: Array, upper: Array) -> Array:
    """Return places, shape (…, n), reflected at the walls of a box."""
    width = upper - lower
    both = np.isfinite(width)
    folded = np.mod(drawn - np.where(both, lower, 0.0), 2.0 * np.where(both, width, 1.0))
    inside = np.where(both, lower, 0.0) + np.minimum(folded, 2.0 * np.where(both, width, 1.0) - folded)
    with np.errstate(invalid="ignore"):
        above = lower + np.abs(drawn - lower)
        below = upper - np.abs(upper - drawn)
        one_sided = np.where(np.isfinite(lower), above, np.where(np.isfinite(upper), below, drawn))
    return np.where(both, inside, one_sided)
