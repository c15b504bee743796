"""Errors where the model misses something: what happens to a minimum when parts of the scan are left out.

Where a model is wrong, its residuals are not noise: neighbouring points are missed together, and the values depend on
which part of the scan is there.  A covariance from the noise, with or without the reduced chi-square as a factor, does
not know of that.  The jackknife over blocks of neighbouring points does (Künsch, Ann. Statist. 17, 1217 (1989)); one
Gauss-Newton step from the minimum of all data stands for a fit without a block, so that it costs no curve.

Assumed: a block is longer than the misfit stays the same, and what is missed in one block says nothing of the next.  It
does not know of what all blocks miss alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import levene, norm

from hrxrd_ml.inference.covariance import roots_of
from hrxrd_ml.inference.objective import Objective

Array = NDArray[np.float64]

BLOCKS = 20
"""Blocks of a curve."""

DIVISIONS = (12, 20)
"""Numbers of blocks whose errors are averaged, so that they depend less on where the edges are."""

FARTHER = 1.5
"""By how much errors by one step are taken to be larger: chosen on fits without blocks (`block_errors` with ``exact``)
of measured curves, and in benchmarks/wrong_model.py."""

FEWEST = 4
"""Blocks without which there is no scatter, and points of a block."""

_MEMORY = 8
"""Neighbours on one side that are looked at."""

_SURE = 3.0
"""By how many standard deviations residuals must differ from noise."""


def misses(objective: Objective, x: Array) -> bool:
    """Whether a model at its best values ``x`` misses more of the data than noise explains.

    Where the errors of the data are known, chi-square tells.  Neighbouring residuals that agree tell too, and where
    the errors are not known, residuals that are larger in one block than in another.
    """
    values = objective.values(x)
    over, variance = float(len(x)), 0.0  # so much of chi-square has the fit taken away
    for curve in objective.curves:
        mu = curve.expected(values)
        residual = curve.likelihood.residual(mu)[_used(curve.likelihood.weights, len(mu))]
        expected = curve.likelihood.expectation(mu)
        if expected is not None:
            over, variance = over + float(residual @ residual) - expected[0], variance + expected[1] ** 2
        if _alike(residual) or (expected is None and _uneven(residual)):
            return True
    return over > _SURE * math.sqrt(variance) > 0.0


def _alike(residual: Array) -> bool:
    """Whether residuals agree with their neighbours, the next or the next few, more than those without a memory do."""
    square, count = float(residual @ residual), len(residual)
    if square == 0.0 or count < FEWEST * _MEMORY:
        return False
    correlation = [float(residual[k:] @ residual[:-k]) / square * math.sqrt(count) for k in range(1, _MEMORY + 1)]
    return max(correlation[0], sum(correlation) / math.sqrt(_MEMORY)) > _SURE


def _uneven(residual: Array) -> bool:
    """Whether residuals are larger in some block than those of one size are."""
    blocks = np.array_split(residual, max(min(BLOCKS, len(residual) // FEWEST), 1))
    return len(blocks) >= FEWEST and bool(residual.any()) and bool(levene(*blocks).pvalue < 2.0 * norm.sf(_SURE))


def blocks_of(objective: Objective, x: Array, count: int = BLOCKS) -> list[NDArray[np.intp]]:
    """Return the numbers of the points of each block: neighbours in one curve, masked ones left out.

    Of each curve ``count`` blocks, fewer where these would have less than 4 points.
    """
    values = objective.values(x)
    found: list[NDArray[np.intp]] = []
    number = 0
    for curve in objective.curves:
        size = len(curve.expected(values))
        points = number + np.flatnonzero(_used(curve.likelihood.weights, size))
        found += np.array_split(points, max(min(count, len(points) // FEWEST), 1))
        number += size
    return found


def halves_of(objective: Objective, x: Array) -> dict[str, tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Return the numbers of the points of two ways to halve every curve: odd and even points, left and right."""
    odd, even, left, right = (list[NDArray[np.intp]]() for _ in range(4))
    for curve in blocks_of(objective, x, 1):
        odd.append(curve[::2])
        even.append(curve[1::2])
        left.append(curve[: len(curve) // 2])
        right.append(curve[len(curve) // 2 :])
    return {
        "odd and even points": (np.concatenate(odd), np.concatenate(even)),
        "left and right half": (np.concatenate(left), np.concatenate(right)),
    }


def steps_without(residual: Array, jacobian: Array, blocks: Sequence[NDArray[np.intp]], spread: Array) -> Array:
    """Return by how much a minimum of least squares moves when blocks of the data are left out, shape (blocks, p).

    One Gauss-Newton step each, from a minimum of all data.

    Parameters
    ----------
    residual, jacobian : ndarray, shapes (n,) and (n, p)
    blocks : sequence of ndarray of int
        Numbers of the points of each block.
    spread : ndarray, shape (p,)
        Widths of the box, which hold what the rest of the data says nothing about.
    """
    scale, weak = _scaled(jacobian, spread)
    scaled = jacobian / scale
    whole, steps = scaled.T @ scaled + weak, []
    for block in blocks:
        part = scaled[block]
        steps.append(np.linalg.lstsq(whole - part.T @ part, part.T @ residual[block], rcond=1e-13)[0] / scale)
    return np.array(steps)


def covariance_of(jacobian: Array, spread: Array) -> Array:
    """Return the covariance by the noise of some points alone, shape (p, p); for the arguments see `steps_without`."""
    scale, weak = _scaled(jacobian, spread)
    scaled = jacobian / scale
    return np.asarray(np.linalg.pinv(scaled.T @ scaled + weak, rcond=1e-13, hermitian=True) / np.outer(scale, scale))


def _scaled(jacobian: Array, spread: Array) -> tuple[Array, Array]:
    """Return the sizes of the columns, and what the box says of parameters in these units."""
    norm = np.linalg.norm(jacobian, axis=0)
    scale = np.where(norm > 0.0, norm, 1.0)
    return scale, np.diag(np.where(np.isfinite(spread), 12.0 / (spread * scale) ** 2, 0.0))


def jackknife(values: Array) -> Array:
    """Return the covariance of parameters from their values, shape (k, p), each without another of k blocks."""
    count, off = len(values), values - values.mean(axis=0)
    return np.asarray((count - 1.0) / count * off.T @ off)


def block_covariance(steps: Array) -> Array:
    """Return the covariance by one Gauss-Newton step for each block, shape (k, p): larger than what they scatter.

    From few blocks, errors come out too small as often as too large, and fits without a block go farther than a step.
    """
    return np.asarray(FARTHER**2 * jackknife(steps))


def at_least(covariances: Sequence[Array], noise: Array) -> Array:
    """Return the matrix that takes errors of noise to what covariances say, in no direction to less than noise.

    With ``noise`` = N and the result T, T N Tᵀ is nowhere below N.  Of one covariance it has the variances in its own
    directions (seen in units of N) where these are larger; of several, their geometric mean.
    """
    root, inverse = roots_of(noise)
    logarithms = []
    for covariance in covariances:
        seen, directions = np.linalg.eigh(inverse @ covariance @ inverse.T)
        logarithms.append((directions * np.log(np.maximum(seen, 1.0))) @ directions.T)
    mean, directions = np.linalg.eigh(np.mean(logarithms, axis=0))
    larger = (directions * np.exp(0.5 * mean)) @ directions.T
    return np.asarray(root @ larger @ inverse)


def _used(weights: Array | None, size: int) -> NDArray[np.bool_]:
    return np.ones(size, dtype=bool) if weights is None else np.asarray(weights) != 0.0
