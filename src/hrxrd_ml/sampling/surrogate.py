"""A polynomial in place of the simulation, to guide trajectories through a posterior.

Within a posterior, a curve changes by little more than its noise; a polynomial of second to fourth degree in the
parameters, fitted to some hundred simulated curves, follows it to a few hundredths of that.  Gradients of a polynomial
cost next to nothing.  Where a trajectory ends is then judged by the simulation itself, so that the chain has the exact
distribution whatever the polynomial misses: it only costs accepted steps.  (Surrogate transitions: Liu, Monte Carlo
Strategies in Scientific Computing (2001), section 9.4.3; gradients of an approximation: Neal, in: Handbook of Markov
Chain Monte Carlo (2011), section 5.5.3.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hrxrd_ml._statistics import PoissonLikelihood
from hrxrd_ml.sampling.hamiltonian import Metric
from hrxrd_ml.sampling.probability import LogPosterior

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]

_RIDGE = 1e-2
_ENOUGH, _HIGHEST = 2.5, 4
"""Curves for each coefficient, and the highest degree."""

_NEGLIGIBLE = 0.01
"""Part of the noise that the components left out may have in the mean."""


@dataclass(frozen=True)
class Polynomial:
    """Polynomials in d variables of about unit size, with common monomials.

    Attributes
    ----------
    factors : ndarray of int, shape (degree, m)
        Which variables each monomial is the product of; the number d stands for 1.
    coefficients : ndarray, shape (m, k)
    """

    factors: Numbers
    coefficients: Array

    @classmethod
    def fit(cls, z: Array, values: Array, degree: int) -> Polynomial:
        """Return polynomials through values (n, k) at places (n, d), by least squares with a slight ridge."""
        size = z.shape[1]
        chosen = list(combinations_with_replacement(range(size + 1), degree))
        factors = np.ascontiguousarray(np.array(chosen, dtype=np.int64).T)
        variables = np.concatenate([z, np.ones((len(z), 1))], axis=1)
        columns = np.prod(variables[:, factors], axis=1)
        penalty = np.full(len(chosen), _RIDGE)
        penalty[-1] = 0.0  # the constant
        normal = columns.T @ columns + np.diag(penalty)
        return cls(factors, np.asarray(np.linalg.solve(normal, columns.T @ values), dtype=np.float64))

    def __call__(self, z: Array) -> Array:
        """Return the values, shape (k,), at a place (d,)."""
        return np.asarray(_monomials(z, self.factors) @ self.coefficients)

    def pull(self, z: Array, weights: Array) -> Array:
        """Return the gradient, shape (d,), of the sum of the values times weights (k,)."""
        return np.asarray(_pull(z, self.factors, self.coefficients @ weights))


@njit(cache=True)
def _monomials(z: Array, factors: Numbers) -> Array:
    degree, count = factors.shape
    variables = np.append(z, 1.0)
    columns = np.ones(count)
    for i in range(degree):
        for m in range(count):
            columns[m] *= variables[factors[i, m]]
    return columns


@njit(cache=True)
def _pull(z: Array, factors: Numbers, by: Array) -> Array:
    degree, count = factors.shape
    variables = np.append(z, 1.0)
    gradient = np.zeros(variables.size)
    for m in range(count):
        for i in range(degree):
            others = by[m]
            for j in range(degree):
                if j != i:
                    others *= variables[factors[j, m]]
            gradient[factors[i, m]] += others
    return gradient[:-1]


@dataclass(frozen=True)
class Surrogate:
    """A posterior whose curve is a polynomial; it has the interface of `LogPosterior` that trajectories need.

    Attributes
    ----------
    target : LogPosterior
        What it stands for.
    metric : Metric
        Makes the parameters of the curve variables of about unit size.
    polynomial : Polynomial
        Components of the scaled curve, and the logarithm of the prior.
    mean, components : ndarray, shapes (n,) and (k, n)
        Of the scaled curve.
    scale : Scale
    anchor : Metric or None
        About what the surrogate is held, so that nobody goes where it was not fitted yet.
    hold : float
        How strongly: as by so many normal distributions of this metric.
    """

    target: LogPosterior
    metric: Metric
    polynomial: Polynomial
    mean: Array
    components: Array
    scale: Scale
    anchor: Metric | None = None
    hold: float = 0.0

    @classmethod
    def fit(cls, target: LogPosterior, metric: Metric, places: Array, curves: Array) -> Surrogate:
        """Return the surrogate through the curves (m, n) at places (m, d), of the degree that they suffice for."""
        free = len(target.coordinates.names)
        own = Metric.of(metric.centre[:free], metric.covariance[:free, :free])
        z = (places[:, :free] - own.centre) @ own.back.T
        scale = Scale.of(target)
        scaled = scale.inward(curves)
        mean = scaled.mean(axis=0)
        _, sizes, components = np.linalg.svd(scaled - mean, full_matrices=False)
        left = np.cumsum(sizes[::-1] ** 2)[::-1] / scaled.size
        components = components[: max(int((left > _NEGLIGIBLE**2).sum()), 1)]
        prior = np.array([target.log_prior(place) for place in places])
        values = np.column_stack([(scaled - mean) @ components.T, prior])
        degree = 1
        while degree < _HIGHEST and len(z) >= _ENOUGH * math.comb(free + degree + 1, degree + 1):
            degree += 1
        return cls(target, own, Polynomial.fit(z, values, degree), mean, components, scale)

    @property
    def lower(self) -> Array:
        """Lower walls of the box."""
        return self.target.lower

    @property
    def upper(self) -> Array:
        """Upper walls of the box."""
        return self.target.upper

    def __call__(self, y: Array) -> float:
        """Return the logarithm of the approximate posterior."""
        return self.slope(y)[0]

    def slope(self, y: Array) -> tuple[float, Array]:
        """Return the logarithm of the approximate posterior and its gradient."""
        if not self.target.inside(y):
            return -math.inf, np.zeros(len(y))
        free = len(self.metric.centre)
        z = self.metric.inward(y[:free])
        values = self.polynomial(z)
        scaled = self.mean + values[:-1] @ self.components
        mu, by_scaled = self.scale.outward(scaled)
        terms = self.target.points(mu, self.target.outward(y))
        weights = np.append(self.components @ (terms.by_curve * by_scaled), 1.0)
        gradient = self.metric.back.T @ self.polynomial.pull(z, weights)
        value, gradient = terms.value + float(values[-1]), np.append(gradient, [terms.by_extra] * (len(y) - free))
        if self.anchor is not None and self.hold > 0.0:
            off = self.anchor.inward(y)
            value, gradient = (
                value - 0.5 * self.hold * float(off @ off),
                gradient - self.hold * (self.anchor.back.T @ off),
            )
        return value, gradient


@dataclass(frozen=True)
class Scale:
    """Scale of a curve on which noise is about 1 everywhere: twice the root of counts, or intensity over sigma."""

    width: Array
    root: bool

    @classmethod
    def of(cls, target: LogPosterior) -> Scale:
        """Return the scale for the data of a posterior."""
        likelihood = target.likelihood
        n = len(target.best_curve)
        if isinstance(likelihood, PoissonLikelihood):
            return cls(np.ones(n) if likelihood.exposure is None else 1.0 / likelihood.exposure, True)
        information = likelihood.information(target.best_curve)
        size = float(np.sqrt(np.mean((likelihood.residual(target.best_curve)) ** 2))) or 1.0
        least = 1e-6 * information.max()
        return cls(size / np.maximum(information, least), False)

    def inward(self, mu: Array) -> Array:
        """Return the scaled curve."""
        scaled = mu / self.width
        return 2.0 * np.sqrt(np.maximum(scaled, 0.0)) if self.root else scaled

    def outward(self, scaled: Array) -> tuple[Array, Array]:
        """Return the curve, and its derivative with respect to the scaled one."""
        if self.root:
            return self.width * (0.5 * scaled) ** 2, 0.5 * self.width * scaled
        return self.width * scaled, self.width
