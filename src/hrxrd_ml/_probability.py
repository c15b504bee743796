"""The logarithm of the posterior probability: likelihood of the fit, flat prior inside every bound, given priors.

It is a function of box coordinates (`NestedCoordinates`), in which the feasible set is a box, and of one number more
where the size of the errors is not known: `noise` (the data's errors are only known up to a factor) or `model_error`
(the model itself is only right up to a relative error).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from hrxrd_ml._nesting import NestedCoordinates
from hrxrd_ml._statistics import GaussianLikelihood, Likelihood, PoissonLikelihood
from hrxrd_ml.errors import ParameterError

if TYPE_CHECKING:
    from hrxrd_ml._result import RockingCurveResult

Array = NDArray[np.float64]
Prior = Callable[[float], float]

NOISE, MODEL_ERROR = "noise_factor", "model_error"
LIMITS = {NOISE: (1e-3, 1e3), MODEL_ERROR: (1e-4, 1.0)}
"""Range of the additional number; its prior is flat in the logarithm, in which it is sampled."""


@dataclass
class LogPosterior:
    """Logarithm of the posterior, up to a constant.

    Attributes
    ----------
    result : RockingCurveResult
        The fit: model, data, parameters, bounds.
    coordinates : NestedCoordinates
        Of the free parameters.
    priors : mapping
        Logarithms of densities of single parameters, beside the flat prior.
    extra : str or None
        `NOISE`, `MODEL_ERROR` or None.
    """

    result: RockingCurveResult
    coordinates: NestedCoordinates
    priors: Mapping[str, Prior]
    extra: str | None = None

    def __post_init__(self) -> None:
        """Prepare what is the same for all points."""
        observation = self.result.observation
        self._used = observation.used
        self._likelihood: Likelihood = observation.likelihood.part(self._used)
        self._tied = any(par.expr is not None for par in self.result.params.values())
        self._params = self.result.params.copy()
        self._evaluator = self.result.model.evaluator(self.result.userkws)
        self._finite_low = [
            link.child for link in self.coordinates.links if np.isfinite(self.coordinates.low[link.child])
        ]

    @property
    def names(self) -> tuple[str, ...]:
        """Free parameters, and the additional number if there is one."""
        return (*self.coordinates.names, *([self.extra] if self.extra else []))

    @property
    def lower(self) -> Array:
        """Lower walls of the box."""
        return np.append(self.coordinates.lower, [math.log(LIMITS[self.extra][0])] if self.extra else [])

    @property
    def upper(self) -> Array:
        """Upper walls of the box."""
        return np.append(self.coordinates.upper, [math.log(LIMITS[self.extra][1])] if self.extra else [])

    def outward(self, y: Array) -> Array:
        """Return the values of `names` at box coordinates."""
        free = len(self.coordinates.names)
        x = self.coordinates.outward(y[:free])
        return np.append(x, np.exp(y[free:]))

    def inward(self, x: Array) -> Array:
        """Return box coordinates of the values of `names`."""
        free = len(self.coordinates.names)
        return np.append(self.coordinates.inward(x[:free]), np.log(x[free:]))

    def curve(self, x: Array) -> Array:
        """Return the model at values of the free parameters, at all points of the data."""
        names = self.coordinates.names
        if self._tied:
            for name, value in zip(names, x.tolist(), strict=False):
                self._params[name].value = value
            self._params.update_constraints()
            return self._evaluator.curve(self._params)
        values = {name: SimpleNamespace(value=par.value) for name, par in self._params.items()}
        for name, value in zip(names, x.tolist(), strict=False):
            values[name].value = value
        return self._evaluator.curve(values)

    def __call__(self, y: Array) -> float:
        """Return the logarithm of the posterior at box coordinates, minus infinity outside the box."""
        if not np.isfinite(y).all() or (y < self.lower).any() or (y > self.upper).any():
            return -math.inf
        x = self.outward(y)
        total = self._log_volume(x)
        for name, prior in self.priors.items():
            total += float(prior(float(x[self.names.index(name)])))
        if not math.isfinite(total):
            return -math.inf
        return total + self._log_likelihood(self.curve(x)[self._used], float(x[-1]) if self.extra else 1.0)

    def _log_volume(self, x: Array) -> float:
        """Return the logarithm of the volume of the users' parameters that a unit of the box stands for."""
        if not self._finite_low:
            return 0.0
        caps, low, width = self.coordinates.caps(x)[0], self.coordinates.low, self.coordinates.width
        room = np.array([(caps[i] - low[i]) / width[i] for i in self._finite_low])
        return float(np.log(np.maximum(room, 1e-300)).sum())

    def _log_likelihood(self, mu: Array, extra: float) -> float:
        if self.extra == MODEL_ERROR:
            return _with_model_error(self._likelihood, mu, extra)
        residual = self._likelihood.residual(mu)
        square = float(residual @ residual)
        if self.extra == NOISE:
            return -0.5 * square / extra**2 - len(mu) * math.log(extra)
        return -0.5 * square


def _with_model_error(likelihood: Likelihood, mu: Array, error: float) -> float:
    """Return the log-likelihood of data about a model that is itself known up to a relative error.

    Counts whose expectation scatters about mu by a gamma distribution have a negative binomial distribution with
    variance mu + (error mu)**2; data with Gaussian errors have the sum of both variances.
    """
    if isinstance(likelihood, PoissonLikelihood):
        expected = np.maximum(mu if likelihood.exposure is None else mu * likelihood.exposure, 1e-8)
        n, shape = likelihood.counts, 1.0 / error**2
        # (n + shape) log1p(...) keeps its accuracy where the shape is large, that is, near the Poisson distribution.
        each = gammaln(n + shape) - gammaln(shape) - n * math.log(shape)
        each += n * np.log(expected) - (n + shape) * np.log1p(expected / shape)
        weight = likelihood.weights
        return float(each.sum() if weight is None else (weight**2 * each).sum())
    assert isinstance(likelihood, GaussianLikelihood)
    precision = np.ones_like(mu) if likelihood.inverse_sigma is None else likelihood.inverse_sigma
    if likelihood.weights is not None:
        precision = precision * np.abs(likelihood.weights)
    variance = precision**-2.0 + (error * mu) ** 2
    return float(-0.5 * ((likelihood.data - mu) ** 2 / variance + np.log(variance)).sum())


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
