"""The likelihood near the best curve: a scale on which noise is 1, and the quadratic function that it is there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from hrxrd_ml.inference.likelihood import PoissonLikelihood
from hrxrd_ml.inference.sampling.probability import NOISE, LogPosterior

Array = NDArray[np.float64]

_LEAST_ERROR = 1e-6
"""So that a scale without an error of the model needs no formula of its own."""

_SIZES = 9, 2.0
"""Values of the additional number at which the likelihood is expanded: at least, and for each unit of their range."""


@dataclass(frozen=True)
class Scale:
    """Scale of a curve on which noise, and a relative error of the model, are about 1 everywhere.

    With the variance mu + (error mu)**2 of counts it is 2 asinh(error sqrt(mu)) / error, with sigma**2 + (error mu)**2
    it is asinh(error mu / sigma) / error; without such an error, 2 sqrt(mu) and mu / sigma.
    """

    width: Array
    root: bool
    error: float

    @classmethod
    def of(cls, target: LogPosterior, error: float = 0.0) -> Scale:
        """Return the scale for the data of a posterior, and a relative error of the model."""
        likelihood = target.likelihood
        n, error = len(target.best_curve), max(error, _LEAST_ERROR)
        if isinstance(likelihood, PoissonLikelihood):
            return cls(np.ones(n) if likelihood.exposure is None else 1.0 / likelihood.exposure, True, error)
        information = likelihood.information(target.best_curve)
        size = 1.0
        if target.extra == NOISE:
            size = float(np.sqrt(np.mean((likelihood.residual(target.best_curve)) ** 2))) or 1.0
        least = 1e-6 * information.max()
        return cls(size / np.maximum(information, least), False, error)

    def inward(self, mu: Array) -> Array:
        """Return the scaled curve."""
        scaled = mu / self.width
        if self.root:
            return np.asarray(2.0 / self.error * np.arcsinh(self.error * np.sqrt(np.maximum(scaled, 0.0))))
        return np.asarray(np.arcsinh(self.error * scaled) / self.error)

    def outward(self, scaled: Array) -> tuple[Array, Array]:
        """Return the curve, and its derivative with respect to the scaled one."""
        angle = self.error * scaled * (0.5 if self.root else 1.0)
        size, slope = np.sinh(angle) / self.error, np.cosh(angle)
        return (
            (self.width * size**2, self.width * size * slope) if self.root else (self.width * size, self.width * slope)
        )


class Quadratic(NamedTuple):
    """Logarithm of a likelihood, value + slope·c - c·curvature·c/2, of the components c of the scaled curve.

    Each is a Chebyshev series (the first axis) in the additional number between two limits, if there is one.
    """

    limits: Array
    value: Array
    slope: Array
    curvature: Array

    @classmethod
    def of(cls, target: LogPosterior, scale: Scale, mean: Array, components: Array, extras: Array) -> Quadratic:
        """Return the expansion about the best curve, for components about a mean curve and a range of extras."""
        limits = np.array([-1.0, 1.0])
        if extras.size:
            # Wide: beyond the limits nothing would hold a walker back.
            beyond = max(0.5, float(np.ptp(extras)))
            limits = np.clip([extras.min() - beyond, extras.max() + beyond], target.lower[-1], target.upper[-1])
        nodes = chebyshev.chebpts1(round(_SIZES[0] + _SIZES[1] * float(np.ptp(limits))) if extras.size else 1)
        about = scale.inward(target.best_curve)
        off = mean - about
        rows = []
        for node in nodes:
            size = np.array([math.exp(limits[0] + 0.5 * (node + 1.0) * (limits[1] - limits[0]))])
            value, slope, curvature = _expansion(target, scale, about, size)
            rows.append(
                np.concatenate(
                    [
                        [value + float(np.sum(slope * off - 0.5 * curvature * off**2))],
                        components @ (slope - curvature * off),
                        ((components * curvature) @ components.T).ravel(),
                    ]
                )
            )
        series = chebyshev.chebfit(nodes, np.array(rows), len(nodes) - 1)
        k = len(components)
        parts = (series[:, 0], series[:, 1 : k + 1], series[:, k + 1 :].reshape(-1, k, k))
        return cls(limits, *(np.ascontiguousarray(part) for part in parts))


def _expansion(target: LogPosterior, scale: Scale, about: Array, size: Array) -> tuple[float, Array, Array]:
    """Return the logarithm of the likelihood at a scaled curve, and its first and second derivative by each point."""

    def terms(scaled: Array) -> tuple[float, Array]:
        mu, by_scaled = scale.outward(scaled)
        found = target.points(mu, size)
        return found.value, found.by_curve * by_scaled

    (value, slope), step = terms(about), np.minimum(0.1, 0.5 * np.abs(about) + 1e-3)
    curvature = (terms(about - step)[1] - terms(about + step)[1]) / (2.0 * step)
    return value, slope, np.maximum(curvature, 1e-3)
