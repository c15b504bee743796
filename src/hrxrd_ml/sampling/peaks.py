"""The maxima of a posterior: the one near the best fit, and others that are about as high."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hrxrd_ml._uncertainty import bounded_covariance
from hrxrd_ml.errors import ParameterError
from hrxrd_ml.sampling.probability import LogPosterior

if TYPE_CHECKING:
    from lmfit import Parameters

Array = NDArray[np.float64]

_FAR = 15.0
"""Maxima whose logarithm is so much below the highest one get no walkers."""


@dataclass(frozen=True)
class Peak:
    """A maximum of the posterior: where, its logarithm there, and the covariance about it."""

    place: Array
    value: float
    covariance: Array

    def near(self, other: Peak) -> bool:
        """Tell whether another maximum is the same within the errors."""
        off = (self.place - other.place) ** 2
        return bool((off <= 9.0 * (np.diag(self.covariance) + np.diag(other.covariance))).all())


def peaks_of(target: LogPosterior, starts: Sequence[Parameters]) -> list[Peak]:
    """Return the maximum of the posterior near the best fit, and others as high that lie near the starts.

    Raises
    ------
    ParameterError
        If the best fit is impossible by the priors, or a start lacks a parameter.
    """
    start = target.start()
    if not math.isfinite(target(start)):
        raise _impossible(target, start)
    found = [Peak(*climb(target, start))]
    for params in starts:
        missing = [name for name in target.coordinates.names if name not in params]
        if missing:
            raise ParameterError(f"a start lacks the free parameters {', '.join(missing)}")
        place = start.copy()
        given = np.array([float(params[name].value) for name in target.coordinates.names])
        place[: len(given)] = target.coordinates.inward(given)
        if math.isfinite(target(place)):
            found.append(Peak(*climb(target, place)))
    best = max(peak.value for peak in found)
    chosen: list[Peak] = []
    for peak in found:
        if peak.value > best - _FAR and not any(peak.near(other) for other in chosen):
            chosen.append(peak)
    return chosen


def _impossible(target: LogPosterior, start: Array) -> ParameterError:
    """Return the error that says why the best fit is impossible."""
    for name, prior in target.priors.items():
        value = float(target.outward(start)[target.names.index(name)])
        if not math.isfinite(float(prior(value))):
            return ParameterError(
                f"the prior of {name} excludes the best fit, {value:.6g}; widen it, or fit within its range first"
            )
    return ParameterError("the likelihood of the best fit is not finite; fit again before sampling")


def climb(target: LogPosterior, start: Array, most: int = 60) -> tuple[Array, float, Array]:
    """Return the maximum of the posterior near a place, its value there, and the covariance about it.

    Steps of Newton's method with the expected information, damped (Levenberg) and held inside the box.
    """
    lower, upper = target.lower, target.upper
    y = start
    value, gradient, information = target.expansion(y)
    damping = 1e-3
    for _ in range(most):
        free = np.flatnonzero(~(((y <= lower) & (gradient < 0.0)) | ((y >= upper) & (gradient > 0.0))))
        if not len(free):
            break
        scale = 1.0 / np.sqrt(np.maximum(np.diag(information)[free], 1e-300))
        matrix = information[np.ix_(free, free)] * np.outer(scale, scale)
        better, new = value, y
        for _ in range(8):
            new = y.copy()
            new[free] += scale * np.linalg.solve(matrix + damping * np.eye(len(free)), scale * gradient[free])
            new = np.clip(new, lower, upper)
            better = target(new)
            if better > value:
                break
            damping = max(5.0 * damping, 1e-6)
        if not better > value:
            break
        gain, y, damping = better - value, new, max(damping / 6.0, 1e-9)
        value, gradient, information = target.expansion(y)
        if gain < 0.01:
            break
    return y, value, bounded_covariance(information, -gradient, y, lower, upper).matrix
