"""The logarithm of the posterior probability: likelihood of the fit, flat prior inside every bound, given priors.

It is a function of the box of an `Objective`, and of one number more where the size of the errors is not known:
`noise` (the data's errors are only known up to a factor) or `model_error` (the model itself is only right up to a
relative error).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, gammaln

from hrxrd_ml.errors import ParameterError
from hrxrd_ml.inference.coordinates import NestedCoordinates
from hrxrd_ml.inference.likelihood import GaussianLikelihood, Likelihood, PointTerms, PoissonLikelihood, joined
from hrxrd_ml.inference.objective import Expansion, Objective, TermsOf, plain_terms

Array = NDArray[np.float64]
Prior = Callable[[float], float]

NOISE, MODEL_ERROR = "noise_factor", "model_error"
LIMITS = {NOISE: (1e-3, 1e3), MODEL_ERROR: (1e-4, 1.0)}
"""Range of the additional number; its prior is flat in the logarithm, in which it is sampled."""


@dataclass
class LogPosterior:
    """Logarithm of the posterior, up to a constant: an objective, priors, and the volume of what a place stands for.

    Attributes
    ----------
    result : Any
        The fit: model, data, parameters, bounds.
    priors : mapping
        Logarithms of densities of single parameters, beside the flat prior.
    extra : str or None
        `NOISE`, `MODEL_ERROR` or None.
    objective : Objective
        At the points that are used.
    likelihood : Likelihood
        Of these points.
    best_curve : ndarray
        Of the fit, at these points.
    lower, upper : ndarray
        Walls of the box.
    """

    result: Any
    priors: Mapping[str, Prior]
    extra: str | None = None

    def __post_init__(self) -> None:
        """Prepare what is the same for all points."""
        used = self.result.used
        self.objective: Objective = self.result.objective.part([each.used for each in self.result.observations])
        self.coordinates: NestedCoordinates = self.objective.coordinates
        self.likelihood: Likelihood = joined([curve.likelihood for curve in self.objective.curves])
        self.best_curve: Array = self.result.best_fit[used]
        self._data: Array = np.asarray(self.result.data)[used]
        own = np.log([LIMITS[self.extra]] if self.extra else np.empty((0, 2)))
        self.lower: Array = np.append(self.objective.lower, own[:, 0])
        self.upper: Array = np.append(self.objective.upper, own[:, 1])
        low = self.coordinates.low
        self._finite_low = [link.child for link in self.coordinates.links if np.isfinite(low[link.child])]

    def __reduce__(self) -> tuple[Any, ...]:
        """Send what it is made of to other processes; a simulation is bound to its own."""
        return LogPosterior, (self.result, self.priors, self.extra)

    @property
    def names(self) -> tuple[str, ...]:
        """Free parameters, and the additional number if there is one."""
        return (*self.objective.names, *([self.extra] if self.extra else []))

    def inside(self, y: Array) -> bool:
        """Tell whether a place is finite and between the walls of the box."""
        return bool(np.isfinite(y).all() and (y >= self.lower).all() and (y <= self.upper).all())

    def outward(self, y: Array) -> Array:
        """Return the values of `names` at box coordinates."""
        free = len(self.objective.names)
        return np.append(self.objective.outward(y[:free]), np.exp(y[free:]))

    def inward(self, x: Array) -> Array:
        """Return box coordinates of the values of `names`."""
        free = len(self.objective.names)
        return np.append(self.objective.inward(x[:free]), np.log(x[free:]))

    def start(self) -> Array:
        """Return box coordinates of the best fit, with a fair value of the additional number."""
        x = self.result.best
        if self.extra == NOISE:
            x = np.append(x, np.clip(math.sqrt(max(self.result.redchi, 0.0)), *LIMITS[NOISE]))
        elif self.extra == MODEL_ERROR:
            relative = np.abs(self._data / np.maximum(self.best_curve, 1e-12) - 1.0)
            strong = np.argsort(self.best_curve)[-max(len(self.best_curve) // 3, 5) :]
            x = np.append(x, np.clip(np.median(relative[strong]), 1e-3, 0.3))
        return np.asarray(np.clip(self.inward(x), self.lower, self.upper))

    def off_zero(self, y: Array) -> Array:
        """Return the place with even parameters at least a standard error from zero, where the curve tells of them."""
        x, params = self.outward(y), self.result.params
        for i, name in enumerate(self.objective.names):
            if name in self.result.model.even:
                x[i] = max(x[i], params[name].stderr or 0.0)
        return np.asarray(np.clip(self.inward(x), self.lower, self.upper))

    def curve(self, x: Array) -> Array:
        """Return the model at values of `names`, at all points of the data."""
        return self.result.objective.expected(x[: len(self.objective.names)])

    def used_curve(self, y: Array) -> Array:
        """Return the model at box coordinates, at the points that are used."""
        return self.objective.expected(self.outward(y)[: len(self.objective.names)])

    def __call__(self, y: Array) -> float:
        """Return the logarithm of the posterior at box coordinates, minus infinity outside the box."""
        total, x = self._in_box(y)
        if not math.isfinite(total):
            return -math.inf
        return total + self.objective.log_likelihood(y[: len(self.objective.names)], self._terms_of(x))

    def slope(self, y: Array) -> tuple[float, Array]:
        """Return the logarithm of the posterior and its gradient; minus infinity and zeros outside the box."""
        total, x = self._in_box(y)
        if not math.isfinite(total):
            return -math.inf, np.zeros(len(y))
        about, _, gradient = self._expand(y, x)
        return total + about.terms.value, gradient

    def expansion(self, y: Array) -> tuple[float, Array, Array]:
        """Return the same, and the information: the expected curvature of the likelihood and that of the priors."""
        total, x = self._in_box(y)
        if not math.isfinite(total):
            raise ParameterError("the posterior is zero at this place")
        about, by_box, gradient = self._expand(y, x)
        free, information = len(by_box), np.zeros((len(y), len(y)))
        information[:free, :free] = about.information
        for i, prior, step in self._steps(x):
            sides = [float(prior(float(x[i] + side * step))) for side in (-1, 0, 1)]
            if np.isfinite(sides).all():
                curvature = max(2.0 * sides[1] - sides[0] - sides[2], 0.0) / step**2
                information[:free, :free] += curvature * np.outer(by_box[i], by_box[i])
        if self.extra:
            information[free, free] = about.terms.extra_information
        return total + about.terms.value, gradient, information

    def log_prior(self, y: Array) -> float:
        """Return the logarithm of the prior in the box."""
        return self._in_box(y)[0]

    def _expand(self, y: Array, x: Array) -> tuple[Expansion, Array, Array]:
        """Return the likelihood, the matrix dx/dy, and the gradient of the posterior by y."""
        free = len(self.objective.names)
        about = self.objective.expand(y[:free], self._terms_of(x))
        by_box = self.coordinates.derivatives(y[:free])
        gradient = np.append(about.gradient + self._volume_slope(x, by_box), [about.terms.by_extra][: len(y) - free])
        for i, prior, step in self._steps(x):
            sides = [float(prior(float(x[i] + side * step))) for side in (-1, 1)]
            if np.isfinite(sides).all():
                gradient[:free] += (sides[1] - sides[0]) / (2.0 * step) * by_box[i]
        return about, by_box, gradient

    def _steps(self, x: Array) -> list[tuple[int, Prior, float]]:
        """Return number, prior and step of a difference for each parameter with a prior of its own."""
        found = []
        for name, prior in self.priors.items():
            i = self.names.index(name)
            width = self.coordinates.high[i] - self.coordinates.low[i]
            found.append((i, prior, 1e-5 * (float(width) if np.isfinite(width) else max(abs(float(x[i])), 1e-3))))
        return found

    def _in_box(self, y: Array) -> tuple[float, Array]:
        """Return the logarithm of the prior in the box, and the values of `names`."""
        if not self.inside(y):
            return -math.inf, y
        x = self.outward(y)
        total = self._log_volume(x)
        for name, prior in self.priors.items():
            total += float(prior(float(x[self.names.index(name)])))
        return (total if math.isfinite(total) else -math.inf), x

    def _log_volume(self, x: Array) -> float:
        """Return the logarithm of the volume of the users' parameters that a unit of the box stands for."""
        if not self._finite_low:
            return 0.0
        caps, low, width = self.coordinates.caps(x)[0], self.coordinates.low, self.coordinates.width
        room = np.array([(caps[i] - low[i]) / width[i] for i in self._finite_low])
        return float(np.log(np.maximum(room, 1e-300)).sum())

    def _volume_slope(self, x: Array, by_box: Array) -> Array:
        slope = np.zeros(len(by_box))
        if self._finite_low:
            caps, active = self.coordinates.caps(x)
            for i in self._finite_low:
                link = active[i]
                if link is not None and caps[i] > self.coordinates.low[i]:
                    slope += link.slope * by_box[link.parent] / (caps[i] - self.coordinates.low[i])
        return slope

    def points(self, mu: Array, x: Array) -> PointTerms:
        """Return what the used points say about expected values ``mu`` and the values ``x`` of `names`."""
        return self._terms_of(x)(self.likelihood, mu)

    def _terms_of(self, x: Array) -> TermsOf:
        """Return what likelihoods say about expected values, beside the last of the values ``x`` of `names`."""
        if self.extra == MODEL_ERROR:
            return lambda likelihood, mu: with_model_error(likelihood, mu, float(x[-1]))
        if self.extra == NOISE:
            return lambda likelihood, mu: with_noise(likelihood, mu, float(x[-1]))
        return plain_terms


def with_noise(likelihood: Likelihood, mu: Array, factor: float) -> PointTerms:
    """Return the log-likelihood of data whose errors are ``factor`` times as large as was assumed."""
    terms, scale, n = likelihood.terms(mu), factor**-2.0, len(mu)
    value = scale * terms.value + 0.5 * n * math.log(scale)
    return PointTerms(value, scale * terms.by_curve, scale * terms.information, -2.0 * scale * terms.value - n, 2.0 * n)


def with_model_error(likelihood: Likelihood, mu: Array, error: float) -> PointTerms:
    """Return the log-likelihood of data about a model that is itself known up to a relative error.

    Counts whose expectation scatters about mu by a gamma distribution have a negative binomial distribution with
    variance mu + (error mu)**2; data with Gaussian errors have the sum of both variances.
    """
    if isinstance(likelihood, PoissonLikelihood):
        exposure = 1.0 if likelihood.exposure is None else likelihood.exposure
        expected = np.maximum(mu * exposure, 1e-8)
        n, shape = likelihood.counts, 1.0 / error**2
        # (n + shape) log1p(...) keeps its accuracy where the shape is large, that is, near the Poisson distribution.
        each = gammaln(n + shape) - gammaln(shape) - n * math.log(shape)
        each += n * np.log(expected) - (n + shape) * np.log1p(expected / shape)
        slope = np.where(mu * exposure > 1e-8, n / expected - (n + shape) / (expected + shape), 0.0) * exposure
        by_shape = digamma(n + shape) - digamma(shape) - n / shape - np.log1p(expected / shape)
        by_shape += (n + shape) * expected / (shape * (shape + expected))
        by_error = -2.0 * shape * by_shape
        weight = np.ones_like(mu) if likelihood.weights is None else likelihood.weights**2
        variance = expected * (1.0 + expected / shape)
        information, share = exposure**2 / variance, expected / (shape + expected)
    else:
        assert isinstance(likelihood, GaussianLikelihood)
        precision = np.ones_like(mu) if likelihood.inverse_sigma is None else likelihood.inverse_sigma
        weight = np.ones_like(mu)
        if likelihood.weights is not None:
            precision = precision * np.abs(likelihood.weights)
            weight[precision == 0.0] = 0.0
        variance = np.maximum(precision, 1e-150) ** -2.0 + (error * mu) ** 2
        off, share = likelihood.data - mu, (error * mu) ** 2 / variance
        each = -0.5 * (off**2 / variance + np.log(variance))
        excess = off**2 / variance - 1.0
        slope = off / variance + excess * error**2 * mu / variance
        by_error = excess * share
        information = 1.0 / variance
    # Both have, near enough, the information of a normal distribution about its variance.
    about_error = 2.0 * float((weight * share**2).sum())
    return PointTerms(
        float((weight * each).sum()),
        weight * slope,
        weight * information,
        float((weight * by_error).sum()),
        about_error,
    )


def checked_priors(priors: Mapping[str, Any] | None, names: tuple[str, ...]) -> dict[str, Prior]:
    """Return priors as functions; scipy.stats distributions stand for their ``logpdf``.

    Raises
    ------
    ParameterError
        If one is for a parameter that is not free, or is neither a distribution nor a function.
    """
    found: dict[str, Prior] = {}
    for name, prior in (priors or {}).items():
        if name not in names:
            raise ParameterError(f"a prior for {name!r}: it is not a free parameter; free are {', '.join(names)}")
        function = getattr(prior, "logpdf", prior)
        if not callable(function):
            raise ParameterError(
                f"the prior of {name} is {prior!r}: expected a distribution of scipy.stats, such as norm(25, 3), or a "
                "function that returns the logarithm of a density"
            )
        found[name] = function
    return found
