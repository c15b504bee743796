"""Profiles of chi-square: where the free parameters go while one of them is moved; confidence intervals from them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from lmfit import Parameter, Parameters
from lmfit.confidence import ConfidenceInterval
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import norm

Array = NDArray[np.float64]

_EXACT = 2e-3
"""How exactly a limit is found, in standard errors."""

_FARTHEST = 8.0
"""Number of standard deviations beyond which probabilities are 1 to the last digit."""

_APART = 0.3
"""Two places give a slope where they are so far apart, at least, compared with the way that is still to go."""


class ProfilePath:
    """What is known of the profiles through a best fit: it proposes starts for the next point of one of them.

    Parameters
    ----------
    params : Parameters
        Best fit.
    names : sequence of str
        Its free parameters.
    """

    def __init__(self, params: Parameters, names: Sequence[str]) -> None:
        self.names = list(names)
        self._best = self._values(params)
        self._known: dict[str, list[Array]] = {}

    def _values(self, params: Parameters) -> Array:
        return np.array([float(params[name].value) for name in self.names])

    def held(self, params: Parameters) -> str | None:
        """Return the parameter that is held where all others are free; None if it is not just one."""
        fixed = [name for name in self.names if not params[name].vary]
        return fixed[0] if len(fixed) == 1 else None

    def starts(self, held: str, value: float) -> list[Array]:
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

    def move(self, params: Parameters, held: str, place: Array) -> None:
        """Put the parameters to a place, inside their bounds, but for the one that is held."""
        for name, value in zip(self.names, place.tolist(), strict=True):
            if name != held:
                params[name].value = min(max(value, params[name].min), params[name].max)

    def add(self, params: Parameters, held: str) -> None:
        """Take over a point that was found."""
        self._known.setdefault(held, [self._best]).append(self._values(params))


class ProfileIntervals(ConfidenceInterval):
    """lmfit's confidence intervals, with limits found in half the fits.

    What is looked for is not where the probability has a value but where the number of standard deviations that belong
    to it has one, which changes nearly linearly with the parameter.
    """

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
