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
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hrxrd_ml.diffraction.kernels.compiling import entry, helper
from hrxrd_ml.inference.sampling.hamiltonian import End, Metric, Position, dot, move, times, times_transposed
from hrxrd_ml.inference.sampling.polynomial import Monomials, Polynomial, products, pull
from hrxrd_ml.inference.sampling.probability import MODEL_ERROR, LogPosterior
from hrxrd_ml.inference.sampling.quadratic import Quadratic, Scale

Array = NDArray[np.float64]

_ENOUGH, _HIGHEST = 2.5, 4
"""Curves for each coefficient, and the highest degree."""

_NEGLIGIBLE = 0.01
"""Part of the noise that the components left out may have in the mean."""


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


@helper
def _fill_slope(y: Array, shape: _Shape, gradient: Array) -> float:
    """Return the logarithm of the density of a surrogate at a place inside the box, and fill its gradient."""
    free, quadratic, size = shape.centre.shape[0], shape.quadratic, y.shape[0]
    parts = shape.coefficients.shape[1] - 1
    off, z, values, by_c = np.empty(size), np.empty(free), np.empty(parts + 1), np.empty(parts + 1)
    bent = np.empty(parts + 1)
    for i in range(free):
        off[i], z[i] = y[i] - shape.centre[i], 0.0
    for i in range(size):
        gradient[i] = 0.0
    for i in range(parts + 1):
        values[i], by_c[i] = 0.0, 0.0
    times(shape.back, off, 1.0, z)
    monomials = products(z, shape.monomials)
    times_transposed(shape.coefficients, monomials, 1.0, values)  # the components c, and the logarithm of the prior
    # Chebyshev polynomials of the additional number; beyond the limits nothing changes any more.
    u, by_limits = 0.0, 0.0
    if size > free:
        low, high = quadratic.limits[0], quadratic.limits[1]
        u = 2.0 * (y[free] - low) / (high - low) - 1.0
        if -1.0 < u < 1.0:
            by_limits = 2.0 / (high - low)
        else:
            u = -1.0 if u < 0.0 else 1.0
    value, t, before, by_u, by_before = values[parts], 1.0, u, 0.0, 1.0
    by_extra = 0.0
    for j in range(quadratic.value.shape[0]):
        for i in range(parts):
            bent[i] = 0.0
        times(quadratic.curvature[j], values, 1.0, bent)
        term = quadratic.value[j]
        for i in range(parts):
            slope = quadratic.slope[j, i]
            term += values[i] * (slope - 0.5 * bent[i])
            by_c[i] += t * (slope - bent[i])
        value += t * term
        by_extra += by_u * term
        t, before, by_u, by_before = 2.0 * u * t - before, t, 2.0 * t + 2.0 * u * by_u - by_before, by_u
    by_c[parts] = 1.0
    by = np.empty(monomials.shape[0])
    for m in range(by.shape[0]):
        by[m] = 0.0
    times(shape.coefficients, by_c, 1.0, by)
    times_transposed(shape.back, pull(z, monomials, shape.monomials, by), 1.0, gradient)
    if size > free:
        gradient[free] = by_extra * by_limits
    if shape.hold > 0.0:
        held = np.empty(size)
        for i in range(size):
            off[i], held[i] = y[i] - shape.held_centre[i], 0.0
        times(shape.held_back, off, 1.0, held)
        value -= 0.5 * shape.hold * dot(held, held)
        times_transposed(shape.held_back, held, -shape.hold, gradient)
    for i in range(size):
        gradient[i] *= shape.heat
    return shape.heat * value


@entry
def _slope(y: Array, shape: _Shape) -> tuple[float, Array]:
    """Return the logarithm of the density of a surrogate and its gradient, at a place inside the box."""
    gradient = np.empty(y.shape[0])
    value = _fill_slope(y, shape, gradient)
    return value, gradient


@entry
def _trajectory(
    centre: Array, root: Array, z: Array, place: Array, gradient: Array, momentum: Array, step: float, count: int,
    shape: _Shape,
) -> tuple[float, bool]:  # fmt: skip
    """Do what `leapfrog` does, compiled and in place; the place need not be given."""
    value = 0.0
    for _ in range(count):
        times_transposed(root, gradient, 0.5 * step, momentum)
        if not move(centre, root, z, momentum, step, shape.lower, shape.upper, place):
            return value, False
        value = _fill_slope(place, shape, gradient)
        if not math.isfinite(value):
            return value, False
        times_transposed(root, gradient, 0.5 * step, momentum)
    return value, True


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

    def trajectory(self, metric: Metric, start: Position, momentum: Array, step: float, count: int) -> End | None:
        """Return where a trajectory along the gradient ends; None if it gets lost."""
        place, gradient, after = np.empty_like(start.place), start.gradient.copy(), momentum.copy()
        z = metric.inward(start.place)
        value, arrived = _trajectory(metric.centre, metric.root, z, place, gradient, after, step, count, self._shape)
        return (place, after, value, gradient) if arrived else None
