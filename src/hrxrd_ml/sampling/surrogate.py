"""A polynomial in place of the simulation, to guide trajectories through a posterior.

Within a posterior, a curve changes by little more than its noise; a polynomial of second to fourth degree in the
parameters, fitted to some hundred simulated curves, follows it to a few hundredths of that, and the logarithm of the
likelihood is a quadratic function of so small a change.  Gradients of both cost next to nothing, and compiled code
follows a whole trajectory.  Where it ends is then judged by the simulation itself, so that the chain has the exact
distribution whatever the polynomial misses: it only costs accepted steps.  (Surrogate transitions: Liu, Monte Carlo
Strategies in Scientific Computing (2001), section 9.4.3; gradients of an approximation: Neal, in: Handbook of Markov
Chain Monte Carlo (2011), section 5.5.3.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from itertools import combinations_with_replacement
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from hrxrd_ml._statistics import PoissonLikelihood
from hrxrd_ml.sampling.hamiltonian import Arrival, Footing, Metric, drift
from hrxrd_ml.sampling.probability import MODEL_ERROR, NOISE, LogPosterior

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]

_RIDGE = 1e-2
_ENOUGH, _HIGHEST = 2.5, 4
"""Curves for each coefficient, and the highest degree."""

_NEGLIGIBLE = 0.01
"""Part of the noise that the components left out may have in the mean."""

_LEAST_ERROR = 1e-6
"""So that a scale without an error of the model needs no formula of its own."""

_SIZES = 9, 2.0
"""Values of the additional number at which the likelihood is expanded: at least, and for each unit of their range."""


class Monomials(NamedTuple):
    """Products of variables, each one (but the first, 1) that of a shorter product and of one more variable."""

    shorter: Numbers
    variable: Numbers

    @classmethod
    def of(cls, size: int, degree: int) -> Monomials:
        """Return all products of up to ``degree`` out of ``size`` variables."""
        products = [p for n in range(degree + 1) for p in combinations_with_replacement(range(size), n)]
        number = {product: i for i, product in enumerate(products)}
        shorter = [0] + [number[product[:-1]] for product in products[1:]]
        return cls(np.array(shorter), np.array([0] + [product[-1] for product in products[1:]]))


@dataclass(frozen=True)
class Polynomial:
    """Polynomials in d variables of about unit size.

    Attributes
    ----------
    monomials : Monomials
        m of them.
    coefficients : ndarray, shape (m, k)
    """

    monomials: Monomials
    coefficients: Array

    @classmethod
    def fit(cls, z: Array, values: Array, degree: int, weights: Array) -> Polynomial:
        """Return polynomials through values (n, k) at places (n, d), by weighted least squares with a slight ridge."""
        monomials = Monomials.of(z.shape[1], degree)
        columns = np.array([_products(place, monomials) for place in z])
        penalty = np.full(columns.shape[1], _RIDGE)
        penalty[0] = 0.0  # the constant
        weighted = columns.T * weights
        solved = np.linalg.solve(weighted @ columns + np.diag(penalty), weighted @ values)
        return cls(monomials, np.ascontiguousarray(solved, dtype=np.float64))

    def __call__(self, z: Array) -> Array:
        """Return the values, shape (k,), at a place (d,)."""
        return np.asarray(_products(z, self.monomials) @ self.coefficients)

    def pull(self, z: Array, weights: Array) -> Array:
        """Return the gradient, shape (d,), of the sum of the values times weights (k,)."""
        return np.asarray(_pull(z, _products(z, self.monomials), self.monomials, self.coefficients @ weights))


@njit(cache=True)
def _products(z: Array, monomials: Monomials) -> Array:
    products = np.ones(len(monomials.shorter))
    for m in range(1, len(products)):
        products[m] = products[monomials.shorter[m]] * z[monomials.variable[m]]
    return products


@njit(cache=True)
def _pull(z: Array, products: Array, monomials: Monomials, by: Array) -> Array:
    """Return the gradient of the sum of the products times ``by``, which is overwritten: the chain rule backwards."""
    gradient = np.zeros(len(z))
    for m in range(len(products) - 1, 0, -1):
        shorter, variable = monomials.shorter[m], monomials.variable[m]
        gradient[variable] += by[m] * products[shorter]
        by[shorter] += by[m] * z[variable]
    return gradient


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


class _Shape(NamedTuple):
    """What compiled code needs of a surrogate."""

    lower: Array
    upper: Array
    centre: Array
    back: Array
    monomials: Monomials
    coefficients: Array
    quadratic: Quadratic
    held_centre: Array
    held_back: Array
    hold: float
    heat: float


@njit(cache=True)
def _slope(y: Array, shape: _Shape) -> tuple[float, Array]:
    """Return the logarithm of the density of a surrogate and its gradient, at a place inside the box."""
    free, quadratic, gradient = len(shape.centre), shape.quadratic, np.zeros(len(y))
    z = shape.back @ (y[:free] - shape.centre)
    products = _products(z, shape.monomials)
    values = products @ shape.coefficients
    c = values[:-1]
    # Chebyshev polynomials of the additional number; beyond the limits nothing changes any more.
    u = 0.0
    if len(y) > free:
        low, high = quadratic.limits
        u = min(max(2.0 * (y[free] - low) / (high - low) - 1.0, -1.0), 1.0)
    value, pull, t, before, by_u, by_before = values[-1], np.zeros(len(c)), 1.0, u, 0.0, 1.0
    by_extra = 0.0
    for j in range(len(quadratic.value)):
        bent = quadratic.curvature[j] @ c
        term = quadratic.value[j] + quadratic.slope[j] @ c - 0.5 * (c @ bent)
        value += t * term
        by_extra += by_u * term
        pull += t * (quadratic.slope[j] - bent)
        t, before, by_u, by_before = 2.0 * u * t - before, t, 2.0 * t + 2.0 * u * by_u - by_before, by_u
    by = shape.coefficients @ np.append(pull, 1.0)
    gradient[:free] = shape.back.T @ _pull(z, products, shape.monomials, by)
    if len(y) > free and -1.0 < u < 1.0:
        gradient[free] = by_extra * 2.0 / (high - low)
    if shape.hold > 0.0:
        off = shape.held_back @ (y - shape.held_centre)
        value -= 0.5 * shape.hold * (off @ off)
        gradient -= shape.hold * (shape.held_back.T @ off)
    return shape.heat * value, shape.heat * gradient


@njit(cache=True)
def _trajectory(
    centre: Array, root: Array, z: Array, place: Array, gradient: Array, momentum: Array, step: float, count: int,
    shape: _Shape,
) -> tuple[Array, Array, float, Array, bool]:  # fmt: skip
    """Do what `leapfrog` does, compiled."""
    value, kick = 0.0, 0.5 * step * root.T
    for _ in range(count):
        momentum = momentum + kick @ gradient
        z, place, momentum, arrived = drift(centre, root, z, momentum, step, shape.lower, shape.upper)
        if not arrived:
            return place, momentum, value, gradient, False
        value, gradient = _slope(place, shape)
        if not math.isfinite(value):
            return place, momentum, value, gradient, False
        momentum = momentum + kick @ gradient
    return place, momentum, value, gradient, True


@dataclass(frozen=True)
class Surrogate:
    """A posterior whose curve is a polynomial, a `Guide` for trajectories.

    Attributes
    ----------
    target : LogPosterior
        What it stands for.
    metric : Metric
        Makes the parameters of the curve variables of about unit size.
    polynomial : Polynomial
        Components of the scaled curve, and the logarithm of the prior.
    quadratic : Quadratic
        Likelihood of the components.
    anchor : Metric or None
        About what the surrogate is held, so that nobody goes where it was not fitted yet.
    hold : float
        How strongly: as by so many normal distributions of this metric.
    heat : float
        Multiplies the logarithm; below 1, the distribution is wider.
    """

    target: LogPosterior
    metric: Metric
    polynomial: Polynomial
    quadratic: Quadratic
    anchor: Metric | None = None
    hold: float = 0.0
    heat: float = 1.0
    _shape: _Shape = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Pack what compiled code needs."""
        held = self.anchor or Metric.of(np.zeros(len(self.lower)), np.eye(len(self.lower)))
        shape = _Shape(
            self.lower, self.upper, self.metric.centre, np.ascontiguousarray(self.metric.back),
            self.polynomial.monomials, self.polynomial.coefficients, self.quadratic, held.centre,
            np.ascontiguousarray(held.back), float(self.hold) if self.anchor else 0.0, float(self.heat),
        )  # fmt: skip
        object.__setattr__(self, "_shape", shape)

    @classmethod
    def fit(
        cls, target: LogPosterior, metric: Metric, places: Array, curves: Array, weights: Array, most: int
    ) -> Surrogate:
        """Return the surrogate through the curves (m, n) at places (m, d), of the degree that they suffice for.

        Weights, shape (m,), say which curves it must follow best; it has at most ``most`` coefficients.
        """
        free = len(target.coordinates.names)
        own = Metric.of(metric.centre[:free], metric.covariance[:free, :free])
        z = (places[:, :free] - own.centre) @ own.back.T
        scale = Scale.of(target, math.exp(float(np.median(places[:, free]))) if target.extra == MODEL_ERROR else 0.0)
        scaled = scale.inward(curves)
        mean = scaled.mean(axis=0)
        _, sizes, components = np.linalg.svd(scaled - mean, full_matrices=False)
        left = np.cumsum(sizes[::-1] ** 2)[::-1] / scaled.size
        components = components[: max(int((left > _NEGLIGIBLE**2).sum()), 1)]
        prior = np.array([target.log_prior(place) for place in places])
        values = np.column_stack([(scaled - mean) @ components.T, prior])
        degree = 1
        while degree < _HIGHEST and min(len(z) / _ENOUGH, most) >= math.comb(free + degree + 1, degree + 1):
            degree += 1
        quadratic = Quadratic.of(target, scale, mean, components, places[:, free:])
        return cls(target, own, Polynomial.fit(z, values, degree, weights), quadratic)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what makes it, as arrays, to be kept in a file."""
        polynomial = {**self.polynomial.monomials._asdict(), "coefficients": self.polynomial.coefficients}
        return {**vars(self.metric), **polynomial, **self.quadratic._asdict()}

    @classmethod
    def of(cls, target: LogPosterior, arrays: Mapping[str, NDArray[Any]]) -> Surrogate:
        """Return what `arrays` has taken apart."""
        metric = Metric(*(arrays[part.name] for part in fields(Metric)))
        monomials = Monomials(*(arrays[name] for name in Monomials._fields))
        quadratic = Quadratic(*(arrays[name] for name in Quadratic._fields))
        return cls(target, metric, Polynomial(monomials, arrays["coefficients"]), quadratic)

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
        value, gradient = _slope(y, self._shape)
        return float(value), gradient

    def trajectory(self, metric: Metric, start: Footing, momentum: Array, step: float, count: int) -> Arrival | None:
        """Return where a trajectory along the gradient ends; None if it gets lost."""
        place, momentum, value, gradient, arrived = _trajectory(
            metric.centre, metric.root, metric.inward(start.place), start.place, start.gradient, momentum, step, count,
            self._shape,
        )  # fmt: skip
        return (place, momentum, value, gradient) if arrived else None


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
