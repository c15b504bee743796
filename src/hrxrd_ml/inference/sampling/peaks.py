"""The maxima of a posterior: the one near the best fit, and others that are about as high."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hrxrd_ml.errors import ParameterError
from hrxrd_ml.inference.covariance import bounded_covariance
from hrxrd_ml.inference.levenberg import Function, descend
from hrxrd_ml.inference.sampling.probability import LogPosterior

if TYPE_CHECKING:
    from lmfit import Parameters

Array = NDArray[np.float64]

_FAR = 15.0
"""Maxima whose logarithm is so much below the highest one get no walkers."""

_EXACT = 1e-3
"""Twice the logarithm that may be missing at a maximum: a thirtieth of a standard error."""


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


def nearest(chain: Array, peaks: Array) -> NDArray[np.intp]:
    """Return at which of the maxima (k, n) each walker of a chain (steps, walkers, n) is."""
    middle = np.median(chain, axis=0)
    scale = np.median(np.abs(chain - middle), axis=(0, 1))
    apart = (middle[:, None] - peaks) / np.where(scale > 0.0, scale, 1.0)
    return np.asarray(np.argmin(np.linalg.norm(apart, axis=2), axis=1))


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
    """Return the maximum of the posterior near a place, its value there, and the covariance about it."""
    found = descend(_TwiceNegative(target), start, target.lower, target.upper, ftol=0.0, edm=_EXACT, evaluations=most)
    place, hessian = target.off_zero(found.x), found.hessian
    if np.any(place != found.x):
        hessian = target.expansion(place)[2]
    covariance = bounded_covariance(hessian, found.gradient, found.x, target.lower, target.upper)
    return found.x, target(found.x), covariance.matrix


class _TwiceNegative(Function):
    """A posterior as a function to be minimised, twice its negative logarithm, which is chi-square and more."""

    def __init__(self, target: LogPosterior) -> None:
        self.target = target

    def value(self, y: Array, expanded: bool) -> float:
        return -2.0 * self.target(y)

    def expand(self, y: Array) -> tuple[Array, Array]:
        _, gradient, information = self.target.expansion(y)
        return -gradient, information
