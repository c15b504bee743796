"""What the residuals of a fit mean: Poisson counts, known sigmas, a relative error, or none of these.

Every likelihood turns expected values μ (the model curve) into residuals r of the sign (data - model) whose
sum of squares is minimised, and gives dr/dμ, so that one Jacobian of the model serves all of them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, xlogy

from hrxrd_ml.errors import CurveError, ParameterError

Array = NDArray[np.float64]

STATISTICS = ("auto", "poisson", "sigma", "relative", "none")
"""Values of the option ``statistics`` of a model; "auto" chooses by the data, see `choose_statistics`."""

_SERIES = tuple(2.0 * (-1.0) ** k / (k + 2.0) for k in range(10))
_SERIES_RANGE = 0.02
_FLOOR = 1.0e-8
"""Expected counts below which the Poisson residual goes on as a straight line, which turns any solver back."""


@dataclass(frozen=True)
class PointTerms:
    """What data say about expected values, and about the size of their errors where that is sampled.

    Attributes
    ----------
    value : float
        Logarithm of the likelihood, up to a constant.
    by_curve, information : ndarray, shape (n,)
        Its derivative with respect to the expected values, and their Fisher information.
    by_extra, extra_information : float
        The same for the logarithm of a number that describes the errors.
    """

    value: float
    by_curve: Array
    information: Array
    by_extra: float = 0.0
    extra_information: float = 0.0

    @classmethod
    def total(cls, parts: "Sequence[PointTerms]") -> "PointTerms":
        """What several sets of data say together, one after the other."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            sum(part.value for part in parts),
            np.concatenate([part.by_curve for part in parts]),
            np.concatenate([part.information for part in parts]),
            sum(part.by_extra for part in parts),
            sum(part.extra_information for part in parts),
        )


class Likelihood(Protocol):
    """Residuals of a curve, their derivatives, and what each point says about its expected value."""

    @property
    def name(self) -> str:
        """Which statistics: "poisson", "sigma", "relative" or "none"."""

    @property
    def weights(self) -> Array | None:
        """Factors of the residuals; 0 masks a point."""

    def residual(self, mu: Array) -> Array:
        """Residuals, shape as ``mu``; the sum of squares is what a fit minimises."""

    def slope(self, mu: Array) -> Array:
        """Derivative dr/dμ, point by point."""

    def information(self, mu: Array) -> Array:
        """Root of the expected Fisher information of each point about its μ, times its weight."""

    def terms(self, mu: Array) -> PointTerms:
        """Logarithm of the likelihood: minus half the sum of squared residuals."""

    def pearson(self, mu: Array) -> Array:
        """Residuals over the root of their expected variance, without weights: their mean square should be 1."""

    def expectation(self, mu: Array) -> tuple[float, float] | None:
        """Mean and standard deviation of the sum of squared residuals of data drawn about ``mu``; None if unknown."""

    def part(self, chosen: NDArray[np.bool_]) -> "Likelihood":
        """The same for some of the points."""

    @property
    def scale_covar(self) -> bool:
        """Whether the size of the errors is a guess, so that covariances are scaled by the reduced chi-square."""


@dataclass(frozen=True)
class PoissonLikelihood:
    """Deviance residuals sign(n - m)·√(2(m - n + n ln(n/m))) of counts n with expectation m = exposure·μ.

    Their sum of squares is the Poisson deviance (Cash, Astrophys. J. 228 (1979) 939): its minimum is the
    maximum of the likelihood, without the bias of 1/√N weights at low counts. Near n = m they are (n - m)/√m
    to first order.
    """

    counts: Array
    exposure: Array | None = None
    weights: Array | None = None
    name: str = "poisson"

    @property
    def scale_covar(self) -> bool:
        """Counting noise is known: never scaled."""
        return False

    def _expected(self, mu: Array) -> Array:
        return mu if self.exposure is None else mu * self.exposure

    @staticmethod
    def _root(ratio: Array, quotient: Array) -> Array:
        """√h, h(t) = 2(t - ln(1 + t))/t² with 1 + t = ``quotient``: smooth, but cancelling at t = 0 if written so."""
        near = np.abs(ratio) < _SERIES_RANGE
        inside = np.where(near, ratio, 0.0)
        series = np.full_like(inside, _SERIES[-1])
        for coefficient in _SERIES[-2::-1]:
            series = series * inside + coefficient
        outside = np.where(near, 1.0, ratio)
        closed = 2.0 * (outside - np.log(quotient)) / outside**2
        return np.sqrt(np.where(near, series, closed))

    def _terms(self, mu: Array) -> tuple[Array, Array]:
        expected = self._expected(mu)
        safe = np.maximum(expected, _FLOOR)
        some = self.counts > 0.0
        counts = np.where(some, self.counts, 1.0)
        ratio = (safe - counts) / counts
        root = self._root(ratio, safe / counts)
        residual = np.where(some, -np.sqrt(counts) * ratio * root, -np.sqrt(2.0 * safe))
        slope = np.where(some, -np.sqrt(counts) / (safe * root), -1.0 / np.sqrt(2.0 * safe))
        residual = residual + slope * np.minimum(expected - _FLOOR, 0.0)
        if self.exposure is not None:
            slope = slope * self.exposure
        if self.weights is not None:
            residual, slope = residual * self.weights, slope * self.weights
        return residual, slope

    def residual(self, mu: Array) -> Array:
        """Signed roots of the deviance of each point."""
        return self._terms(mu)[0]

    def slope(self, mu: Array) -> Array:
        """Derivative of the residual with respect to μ."""
        return self._terms(mu)[1]

    def information(self, mu: Array) -> Array:
        """√(exposure/μ): the variance of a count is its expectation."""
        expected = np.maximum(self._expected(mu), _FLOOR)
        root = 1.0 / np.sqrt(expected)
        if self.exposure is not None:
            root = root * self.exposure
        return root if self.weights is None else root * np.abs(self.weights)

    def terms(self, mu: Array) -> PointTerms:
        """Minus half the deviance, without the roots that the residuals are."""
        expected = np.maximum(self._expected(mu), _FLOOR)
        ratio = self.counts / expected
        each = self.counts - expected - xlogy(self.counts, ratio)
        by_curve, information = ratio - 1.0, 1.0 / expected
        if self.exposure is not None:
            by_curve, information = by_curve * self.exposure, information * self.exposure**2
        if self.weights is not None:
            weight = self.weights**2
            each, by_curve, information = each * weight, by_curve * weight, information * weight
        return PointTerms(float(each.sum()), by_curve, information)

    def pearson(self, mu: Array) -> Array:
        """(n - m)/√m."""
        expected = np.maximum(self._expected(mu), _FLOOR)
        return (self.counts - expected) / np.sqrt(expected)

    def expectation(self, mu: Array) -> tuple[float, float]:
        """Moments of the deviance: 1 and √2 of a point with many counts, 1.15 at two, hardly any below 0.1."""
        mean, variance = deviance_moments(np.maximum(self._expected(mu), _FLOOR))
        square = np.ones_like(mean) if self.weights is None else self.weights**2
        return float(square @ mean), float(np.sqrt(square**2 @ variance))

    def part(self, chosen: NDArray[np.bool_]) -> "PoissonLikelihood":
        """The same for some of the points."""
        return PoissonLikelihood(self.counts[chosen], _chosen(self.exposure, chosen), _chosen(self.weights, chosen))


@dataclass(frozen=True)
class GaussianLikelihood:
    """Residuals (data - μ)·scale, with scale = weight/sigma (1 where there is neither).

    ``name`` says where the sigmas come from: "sigma" (given), "relative" (a guess) or "none".
    """

    data: Array
    inverse_sigma: Array | None = None
    weights: Array | None = None
    name: str = "none"

    @property
    def scale_covar(self) -> bool:
        """Only given sigmas are trusted."""
        return self.name != "sigma"

    def _scaled(self, values: Array) -> Array:
        if self.inverse_sigma is not None:
            values = values * self.inverse_sigma
        return values if self.weights is None else values * self.weights

    def residual(self, mu: Array) -> Array:
        """(data - μ)·scale."""
        return self._scaled(self.data - mu)

    def slope(self, mu: Array) -> Array:
        """-scale."""
        return self._scaled(np.full_like(mu, -1.0))

    def information(self, mu: Array) -> Array:
        """|scale|."""
        return np.abs(self._scaled(np.ones_like(mu)))

    def terms(self, mu: Array) -> PointTerms:
        """Minus half the sum of squares."""
        residual = self.residual(mu)
        return PointTerms(-0.5 * float(residual @ residual), -residual * self.slope(mu), self.information(mu) ** 2)

    def pearson(self, mu: Array) -> Array:
        """(data - μ)/sigma; weights stand for 1/sigma where no sigma is known."""
        if self.inverse_sigma is None:
            return self.residual(mu)
        return (self.data - mu) * self.inverse_sigma

    def expectation(self, mu: Array) -> tuple[float, float] | None:
        """1 and √2 of each point, where the sigmas are known."""
        if self.name != "sigma":
            return None
        if self.weights is None:
            square = np.ones_like(mu)
        else:  # which stand for the sigmas where there are none
            square = np.where(self.weights != 0.0, 1.0, 0.0) if self.inverse_sigma is None else self.weights**2
        return float(square.sum()), math.sqrt(2.0 * float((square**2).sum()))

    def part(self, chosen: NDArray[np.bool_]) -> "GaussianLikelihood":
        """The same for some of the points."""
        return GaussianLikelihood(
            self.data[chosen], _chosen(self.inverse_sigma, chosen), _chosen(self.weights, chosen), self.name
        )


def _scatter_below(values: Array) -> float:
    """Return the standard error that second differences of the lowest quarter of data tell; 0 of fewer than 8 points.

    Those of white noise have six times its variance, those of a smooth curve none.
    """
    mean = (values[:-2] + values[1:-1] + values[2:]) / 3.0
    low = mean <= np.percentile(values, 25.0) if len(mean) else mean > 0.0
    if np.count_nonzero(low) < 8:
        return 0.0
    second = np.abs(values[:-2] - 2.0 * values[1:-1] + values[2:])[low]
    return float(1.4826 * np.median(second) / math.sqrt(6.0))


def _chosen(array: Array | None, chosen: NDArray[np.bool_]) -> Array | None:
    return None if array is None else array[chosen]


def deviance_moments(mu: Array) -> tuple[Array, Array]:
    """Mean and variance of the Poisson deviance of counts about expected ones ``mu`` [n], both of shape [n].

    From sums over the distribution below 60 expected counts, and from the first terms of the series in 1/μ above.
    """
    grid, mean, variance = _deviance_table()
    place = np.log(np.clip(mu, _FLOOR, 60.0))
    many = np.maximum(mu, 60.0)
    exact = mu < 60.0
    return (
        np.where(exact, np.interp(place, grid, mean), 1.0 + 1.0 / (6.0 * many)),
        np.where(exact, np.interp(place, grid, variance), 2.0 + 2.0 / (3.0 * many)),
    )


@lru_cache(maxsize=1)
def _deviance_table() -> tuple[Array, Array, Array]:
    grid = np.linspace(math.log(_FLOOR), math.log(60.0), 2000)
    mu, n = np.exp(grid)[:, None], np.arange(160.0)[None, :]
    probability = np.exp(xlogy(n, mu) - mu - gammaln(n + 1.0))
    deviance = 2.0 * (mu - n + xlogy(n, np.maximum(n, 1.0) / mu))
    mean = (probability * deviance).sum(axis=1)
    return grid, mean, (probability * deviance**2).sum(axis=1) - mean**2


def joined(parts: Sequence[Likelihood]) -> Likelihood:
    """Return the likelihood of all data of several curves, one after the other.

    Raises
    ------
    ParameterError
        If their statistics differ.
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    if len({part.name for part in parts}) > 1:
        names = ", ".join(part.name for part in parts)
        raise ParameterError(f"expected curves of the same statistics, got {names}; build their models alike")
    weights = _joined([part.weights for part in parts], parts)
    if isinstance(first, PoissonLikelihood):
        exposures = [getattr(part, "exposure", None) for part in parts]
        return PoissonLikelihood(np.concatenate([_data(part) for part in parts]), _joined(exposures, parts), weights)
    inverse = _joined([getattr(part, "inverse_sigma", None) for part in parts], parts)
    return GaussianLikelihood(np.concatenate([_data(part) for part in parts]), inverse, weights, first.name)


def _data(part: Likelihood) -> Array:
    return part.counts if isinstance(part, PoissonLikelihood) else np.asarray(getattr(part, "data"))  # noqa: B009


def _joined(arrays: Sequence[Array | None], parts: Sequence[Likelihood]) -> Array | None:
    """Return factors of all data, 1 where there are none; None if there are none at all."""
    if all(array is None for array in arrays):
        return None
    pairs = zip(arrays, parts, strict=True)
    return np.concatenate([np.ones(len(_data(part))) if array is None else array for array, part in pairs])


def choose_statistics(option: str, kind: str | None, values: Array, weights: Array | None, sigma: Array | None) -> str:
    """Resolve the option ``statistics``.

    "auto" is, in this order: "none" if there are weights other than 0 and 1 (lmfit's (data - model)·weights);
    "sigma" if sigmas are given; "poisson" for counts, that is data of kind "counts" or, where no kind is
    known, whole numbers of which none is negative; else "relative".

    Raises
    ------
    ParameterError
        If the option is none of `STATISTICS`.
    """
    if option not in STATISTICS:
        raise ParameterError(f"unknown statistics {option!r}: expected one of {', '.join(STATISTICS)}")
    if option != "auto":
        return option
    if weights is not None and not np.isin(weights, (0.0, 1.0)).all():
        return "none" if sigma is None else "sigma"
    if sigma is not None:
        return "sigma"
    whole = bool((values >= 0.0).all() and (values == np.round(values)).all())
    return "poisson" if kind == "counts" or (kind is None and whole) else "relative"


def make_likelihood(
    statistics: str,
    values: Array,
    *,
    exposure: Array | None = None,
    sigma: Array | None = None,
    weights: Array | None = None,
    relative_error: float = 0.05,
    floor: float | None = None,
) -> Likelihood:
    """Likelihood of data.

    Parameters
    ----------
    statistics
        "poisson", "sigma", "relative" or "none".
    values
        Data in the unit of the model curve; counts are given per unit of exposure.
    exposure
        Counts that one unit of the model curve gives; 1 if None.
    sigma
        Standard errors of the data.
    weights
        Multiply the residuals; 0 masks a point. With "sigma" and no ``sigma`` they are taken as 1/sigma.
    relative_error, floor
        "relative" means sigma² = (relative_error·data)² + floor²; the floor defaults to the error of the 10th
        percentile of the data or, if that is more, to how much the lowest quarter of them scatters from point to point:
        so that the lowest points do not rule the fit, nor pull it below their mean.

    Raises
    ------
    CurveError
        If "sigma" is asked for without sigmas.
    """
    match statistics:
        case "poisson":
            return PoissonLikelihood(values if exposure is None else values * exposure, exposure, weights)
        case "sigma":
            if sigma is None and weights is None:
                raise CurveError('statistics="sigma" needs standard errors: give sigma=, or weights=1/sigma')
            return GaussianLikelihood(values, None if sigma is None else 1.0 / sigma, weights, "sigma")
        case "relative":
            size = np.abs(values)
            if floor is None:
                positive = size[size > 0.0]
                floor = relative_error * float(np.percentile(positive, 10.0)) if positive.size else 1.0
                floor = max(floor, _scatter_below(values))
            return GaussianLikelihood(values, 1.0 / np.hypot(relative_error * size, floor), weights, "relative")
        case "none":
            return GaussianLikelihood(values, None, weights, "none")
    raise ParameterError(f"unknown statistics {statistics!r}: expected one of {', '.join(STATISTICS[1:])}")
