"""Covariance of parameters that may sit on a bound, or that the data do not determine."""

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


def bounded_covariance(
    information: Array, gradient: Array, value: Array, lower: Array, upper: Array
) -> Covariance:
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
    with it the quadratic form is not centred on the minimum: the others get the covariance that they have
    beside it, and it gets, uncorrelated, the width 1/√(H + g²) of the one-sided distribution exp(-g·d -
    H·d²/2) of its distance d. Directions that the data say nothing about take the variance of a uniform
    distribution between the bounds.
    """
    size = len(value)
    spread = np.where(np.isfinite(upper - lower), upper - lower, np.inf)
    free = np.ones(size, dtype=bool)
    at_lower, at_upper = [], []
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
    for number in (*at_lower, *at_upper):
        matrix[number, number] = 1.0 / (information[number, number] + gradient[number] ** 2)
    return Covariance(matrix, tuple(sorted(at_lower)), tuple(sorted(at_upper)), undetermined)


def _inverse(information: Array, spread: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Inverse of an information matrix, and which parameters it says nothing about (alone or together)."""
    none = np.zeros(len(spread), dtype=bool)
    values, vectors, scale = _spectrum(information)
    if values[0] > _SINGULAR * values[-1]:
        return (vectors / values) @ vectors.T * np.outer(scale, scale), none
    vague = (np.abs(vectors[:, values <= _SINGULAR * values[-1]]) > 0.1).any(axis=1)
    values, vectors, scale = _spectrum(
        information + np.diag(np.where(np.isfinite(spread), 12.0 / spread**2, 0.0))
    )
    inverse = np.where(values > _SINGULAR * values[-1], 1.0 / np.maximum(values, _SINGULAR * values[-1]), 0.0)
    return (vectors * inverse) @ vectors.T * np.outer(scale, scale), vague


def _spectrum(information: Array) -> tuple[Array, Array, Array]:
    diagonal = np.diag(information)
    scale = 1.0 / np.sqrt(np.where(diagonal > 0.0, diagonal, 1.0))
    values, vectors = np.linalg.eigh(information * np.outer(scale, scale))
    return values, vectors, scale


def draw_inside(
    rng: np.random.Generator, centre: Array, covariance: Array, lower: Array, upper: Array, size: int
) -> Array:
    """Draws from a Gaussian, reflected at the walls of a box that holds its centre, shape (size, n)."""
    scale = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    safe = np.where(scale > 0.0, scale, 1.0)
    values, vectors = np.linalg.eigh(covariance / np.outer(safe, safe))
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    drawn = centre + (rng.standard_normal((size, len(centre))) @ root.T) * scale
    width = upper - lower
    both = np.isfinite(width)
    folded = np.mod(drawn - np.where(both, lower, 0.0), 2.0 * np.where(both, width, 1.0))
    inside = np.where(both, lower, 0.0) + np.minimum(folded, 2.0 * np.where(both, width, 1.0) - folded)
    above = lower + np.abs(drawn - lower)
    below = upper - np.abs(upper - drawn)
    with np.errstate(invalid="ignore"):
        one_sided = np.where(np.isfinite(lower), above, np.where(np.isfinite(upper), below, drawn))
    return np.where(both, inside, one_sided)
