"""Errors that follow a curved valley of chi-square: how far the least determined parameter takes the others.

A covariance is the curvature at the minimum.  Where a parameter is hardly determined, the valley that it moves in is
curved, or has a second minimum, and the others go farther than the curvature says.  The parameter is moved by its error
to either side, the others follow for a few evaluations, and the covariance is widened, in the one direction that leads
there, until no place that was visited is farther away in its metric than its rise of chi-square says.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from hrxrd_ml.inference.covariance import Covariance, roots_of
from hrxrd_ml.inference.levenberg import minimise_in_box
from hrxrd_ml.inference.objective import Objective

Array = NDArray[np.float64]

_THINNEST = 1e-12
"""Least variance of a direction, in parts of the largest one."""

_LEAST_STEP = 0.2
"""In standard errors; where a wall is nearer, that side is left out."""


def widened(
    objective: Objective, y: Array, covariance: Covariance, names: Collection[str], evaluations: int, size: float = 1.0
) -> tuple[Array, str]:
    """Return a covariance in the box that knows of places beside the minimum, and which parameter led there.

    Parameters
    ----------
    objective : Objective
    y : ndarray, shape (n,)
        The minimum in the box.
    covariance : Covariance
        There.
    names : collection of str
        Of these the one is moved whose error is the largest part of its box.
    evaluations : int
        In which the others follow, on each side.
    size : float
        Variance of the residuals; the covariance is in units of it.
    """
    matrix, width = covariance.matrix.copy(), objective.upper - objective.lower
    error = np.sqrt(np.maximum(np.diag(matrix), 0.0))
    part = np.where(np.isfinite(width) & (width > 0.0), error / np.where(width > 0.0, width, 1.0), 0.0)
    for i, name in enumerate(objective.names):
        if name not in names or i in covariance.undetermined:
            part[i] = 0.0
    moved = int(np.argmax(part))
    if not part[moved] > 0.0 or len(y) < 2:
        return matrix, ""
    residual = objective.residual(y)
    lowest = float(residual @ residual)
    for wall in (objective.lower[moved], objective.upper[moved]):
        step = float(np.clip(wall - y[moved], -error[moved], error[moved]))
        if abs(step) < _LEAST_STEP * error[moved]:
            continue
        place, square = _followed(
            objective, y + covariance.matrix[:, moved] / error[moved] ** 2 * step, moved, evaluations
        )
        matrix = _reaching(matrix, place - y, max((square - lowest) / size, (step / error[moved]) ** 2))
    return matrix, objective.names[moved]


def _followed(objective: Objective, start: Array, held: int, evaluations: int) -> tuple[Array, float]:
    """Return where the others go, and the sum of squares there, while one coordinate is held where it is."""
    start = np.clip(start, objective.lower, objective.upper)
    others = np.delete(np.arange(len(start)), held)

    def whole(free: Array) -> Array:
        place = start.copy()
        place[others] = free
        return place

    def residual(free: Array, expanded: bool = False) -> Array:
        return objective.residual(whole(free), expanded)

    found = minimise_in_box(
        residual,
        lambda free: objective.jacobian(whole(free))[:, others],
        start[others],
        objective.lower[others],
        objective.upper[others],
        evaluations=evaluations,
        noise=1.0,
    )
    return whole(found.x), 2.0 * found.cost


def _reaching(matrix: Array, way: Array, square: float) -> Array:
    """Return the smallest covariance above one whose distance ``way`` has at most this square in its metric."""
    root, inverse = roots_of(matrix, _THINNEST)
    seen = inverse @ way
    far = float(seen @ seen)
    if far <= square:
        return matrix
    direction = root @ seen / np.sqrt(far)
    return np.asarray(matrix + (far / square - 1.0) * np.outer(direction, direction))
