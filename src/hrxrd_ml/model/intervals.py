"""Profiles of chi-square: where the free parameters go while one of them is moved; confidence intervals from them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from copy import copy, deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
from lmfit import Parameter, Parameters
from lmfit.confidence import ConfidenceInterval
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import norm

from hrxrd_ml.model.minimizer import CurveMinimizer
from hrxrd_ml.model.uncertainty import FitStatistics

Array = NDArray[np.float64]

_EXACT = 2e-3
"""How exactly a limit is found, in standard errors."""

_FARTHEST = 8.0
"""Number of standard deviations beyond which probabilities are 1 to the last digit."""

_APART = 0.3
"""Two places give a slope where they are so far apart, at least, compared with the way that is still to go."""


class Profiles:
    """Profiles of chi-square through a best fit: fits with some parameters held, from where the profiles lead.

    It is what lmfit's confidence intervals take for a minimizer.

    Parameters
    ----------
    minimizer : CurveMinimizer
        Its own, which nobody else uses.
    params : Parameters
        Best fit.
    names : sequence of str
        Its free parameters.
    """

    def __init__(self, minimizer: CurveMinimizer, params: Parameters, names: Sequence[str]) -> None:
        self.minimizer = minimizer
        self.names = list(names)
        self._best = self._values(params)
        self._known: dict[str, list[Array]] = {}

    def _values(self, params: Parameters) -> Array:
        return np.array([float(params[name].value) for name in self.names])

    def prepare_fit(self, params: Parameters) -> None:
        """Take parameters, of which one is held."""
        self._params = params

    def leastsq(self) -> FitStatistics:
        """Fit the others, from the best of the places to which the profile of the one that is held leads."""
        params = deepcopy(self._params)
        fixed = [name for name in self.names if not params[name].vary]
        if len(fixed) != 1:
            return self.minimizer.search(params)[0]
        (held,) = fixed
        squares = []
        for place in self._starts(held, float(params[held].value)):
            _move(params, self.names, held, place)
            squares.append((self.chisqr(params), place))
        lowest = min(squares, key=lambda pair: pair[0])
        if np.isfinite(lowest[0]):
            _move(params, self.names, held, lowest[1])
        result = self.minimizer.search(params)[0]
        self._known.setdefault(held, [self._best]).append(self._values(result.params))
        return result

    def chisqr(self, params: Parameters) -> float:
        """Return chi-square at parameters."""
        values = params.valuesdict()
        residuals = (curve.likelihood.residual(curve.expected(values)) for curve in self.minimizer.curves)
        return float(sum(residual @ residual for residual in residuals))

    def near(self, held: str, shift: Array, bounds: Parameters, most: int) -> float:
        """Return chi-square where all are shifted and one is held there, after some evaluations; NaN beyond its bounds.

        Parameters
        ----------
        held : str
        shift : ndarray, shape (n,)
        bounds : Parameters
            Best fit, with all bounds.
        most : int
            Evaluations in which the others follow.
        """
        if not bounds[held].min < float(bounds[held].value) + shift[self.names.index(held)] < bounds[held].max:
            return math.nan
        params = deepcopy(bounds)
        for name, off in zip(self.names, shift, strict=True):
            params[name].value = float(params[name].value) + off
        params[held].vary = False
        return self.chisqr(params) if len(shift) == 1 else float(self.minimizer.search(params, most)[0].chisqr)

    def _starts(self, held: str, value: float) -> list[Array]:
        """Return places to start from for a value of the parameter that is held.

        The others at the best fit; where they were at the nearest value that is known; and on the straight line
        through two such places.
        """
        k = self.names.index(held)
        known = sorted(self._known.get(held, [self._best]), key=lambda place: abs(place[k] - value))
        near, way = known[0], value - known[0][k]
        places = [self._best] if near is self._best else [self._best, near]
        for other in known[1:]:
            if abs(other[k] - near[k]) > _APART * abs(way):
                places.append(near + way * (other - near) / (other[k] - near[k]))
                break
        return places


def _move(params: Parameters, names: Sequence[str], held: str, place: Array) -> None:
    """Put parameters to a place, inside their bounds, but for the one that is held."""
    for name, value in zip(names, place.tolist(), strict=True):
        if name != held:
            params[name].value = min(max(value, params[name].min), params[name].max)


class ProfileIntervals(ConfidenceInterval):
    """lmfit's confidence intervals, with limits found in half the fits.

    What is looked for is not where the probability has a value but where the number of standard deviations that belong
    to it has one, which changes nearly linearly with the parameter.

    Parameters
    ----------
    *args
        Of lmfit's.
    rises : mapping
        By parameter, which part of the rise of chi-square counts along its profile: less than 1 where its standard
        error is larger than that by the noise.  The profile keeps its shape (Chandler & Bate, Biometrika 94, 167
        (2007), do the same with the likelihood).
    """

    prob_func: Callable[..., float]

    def __init__(self, *args: Any, rises: Mapping[str, float]) -> None:
        super().__init__(*args)
        self._inner: Callable[..., float] = self.prob_func
        self._rises, self._held = rises, ""
        self.prob_func = self._probability

    def _probability(self, best: FitStatistics, other: FitStatistics) -> float:
        seen = copy(other)
        seen.chisqr = best.chisqr + self._rises[self._held] * (other.chisqr - best.chisqr)
        return float(self._inner(best, seen))

    def calc_prob(self, para: Parameter, val: float, offset: float = 0.0, restore: bool = False) -> float:
        """Return the probability that belongs to a value; see lmfit's."""
        self._held = para.name
        return float(super().calc_prob(para, val, offset, restore))

    def calc_ci(self, para: str | Parameter, direction: int) -> list[tuple[float, float]]:
        """Return the limits on one side, (probability, value); infinite where a bound is nearer."""
        par: Parameter = self.params[para] if isinstance(para, str) else para
        self.reset_vals()
        best = float(par.value)
        par.vary = False
        side = _Side(par, direction, best, {0.0: 0.0})

        def level(way: float) -> float:
            if way not in side.known:
                side.known[way] = _deviations(self.calc_prob(par, side.value(way)))
            return side.known[way]

        limits: list[tuple[float, float]] = []
        for prob in self.probs:
            wanted = _deviations(prob)
            near, far = self._bracket(side, level, wanted)
            if far is None:
                limits += [(missed, direction * math.inf) for missed in self.probs[len(limits) :]]
                break
            exactly = _EXACT * (far - near) / max(level(far) - level(near), 1.0)
            root = brentq(lambda way, wanted=wanted: level(way) - wanted, near, far, xtol=exactly)
            limits.append((prob, side.value(float(root))))
        par.vary = True
        self.reset_vals()
        return limits

    def _bracket(self, side: _Side, level: Callable[[float], float], wanted: float) -> tuple[float, float | None]:
        """Return two places with the wanted level between them; None for the second if there is none."""
        par, wall = side.par, side.wall
        pace = float(par.stderr) if par.stderr > 0.0 else max(0.2 * abs(side.best), 1e-3)
        near = 0.0
        for _ in range(self.maxiter):
            far = min((way for way, found in side.known.items() if found >= wanted), default=math.inf)
            near = max(way for way, found in side.known.items() if found < wanted and way < far)
            if math.isfinite(far):
                return near, far
            if near == wall:
                _warn(f"the bound of {par.name}, {side.value(wall):g}, is nearer than the limit of its interval")
                return near, None
            # On along the line through the last two places, a little farther; faster where the profile flattens.
            if near > 0.0:
                before = max(way for way in side.known if way < near)
                gained = max(level(near) - level(before), 0.0)
                if gained < self.min_rel_change and math.isinf(wall):
                    break
                pace = min((near - before) / max(gained, 1e-12), 3.0 * pace)
            level(min(near + pace * max(1.02 * (wanted - level(near)), 0.1), wall))
        _warn(f"the interval of {par.name} has no limit as far as {side.value(near):g}")
        return near, None


@dataclass(frozen=True)
class _Side:
    """One side of a profile; places on it are distances from the best value, with what is known there."""

    par: Parameter
    direction: int
    best: float
    known: dict[float, float]

    @property
    def wall(self) -> float:
        """Distance of the bound."""
        return float(self.par.max - self.best if self.direction > 0 else self.best - self.par.min)

    def value(self, way: float) -> float:
        """Return the value of the parameter at a place."""
        if way == self.wall:
            return float(self.par.max if self.direction > 0 else self.par.min)
        return self.best + self.direction * way


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=2)


def _deviations(probability: float) -> float:
    """Return the number of standard deviations within which a normal distribution has a probability."""
    return min(float(norm.ppf(0.5 + 0.5 * probability)), _FARTHEST)
