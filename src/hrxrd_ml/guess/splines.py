"""Splines for the strain: several starts, raced on a part of the curve, and the best of their ends."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from hrxrd_ml.guess.landmarks import Landmarks
from hrxrd_ml.guess.search import Problem, Values
from hrxrd_ml.guess.stationary import Thicknesses, spline_starts, thicknesses

_RACED, _STEPS = 4, 8
"""How many starts are followed so many evaluations."""

_KEPT, _SETTLED = 2, 20
"""How many of these are followed on, and for how many evaluations on the whole curve."""

_BEHIND = 1.05
"""Cost over that of the best one from which on an end is given up."""

_BEYOND = 1.12
"""How far the scan is looked at, over the largest strain."""

_NOISE = 2.0
"""Standard deviations above the noise up to which an end needs no competitor."""

_DEEPEST = 12_000.0
"""Thickness of the layer [Å] from which on no seven-parameter profile is tried."""

End = tuple[float, Values]


def best_spline(
    problem: Problem, marks: Landmarks, values: Values, family: Callable[[], Sequence[Values]], *, first: bool
) -> Values:
    """Return the best splines that are found from several starts.

    Parameters
    ----------
    problem : Problem
    marks : Landmarks
    values : dict
        Start values of everything but the profile.
    family : callable
        Gives splines through seven-parameter profiles.
    first : bool
        Whether these are tried first: where they are found fast.
    """
    seen = thicknesses(problem, marks)

    def by_intensity() -> list[End]:
        return [] if seen is None else raced(problem, seen, spline_starts(problem, seen, values))

    def by_family() -> list[End]:
        if seen is not None and seen.beyond[0] > _DEEPEST:
            return []
        near = problem.search(relative=0.04)
        return [settled(problem, min((near.run(trial, 20, 1e-3) for trial in family()), key=_cost)[1])]

    ends: list[End] = []
    for search in (by_family, by_intensity) if first else (by_intensity, by_family):
        ends += search()
        if ends and problem.excess(min(ends, key=_cost)[1]) < _NOISE:
            break
    return min(ends, key=_cost)[1] if ends else values


def raced(problem: Problem, seen: Thicknesses, starts: Sequence[Values]) -> list[End]:
    """Return where the best of some starts end, each with its cost by the residuals of the fit.

    First without the points beyond the largest strain, which make lamellae thin and say nothing but the background.
    """
    strain = seen.of(problem.arcsec)
    part = (strain < _BEYOND * seen.largest) & (strain > -0.25 * seen.largest)
    names = [name for name in problem.free if name != "background"]
    rough = problem.search(relative=0.1, region=part, names=names)
    trials = sorted((rough.scaled(start) for start in starts), key=_cost)
    ends = sorted((rough.run(trial, _STEPS, 1e-2) for _, trial in trials[:_RACED]), key=_cost)
    ends = sorted((rough.run(end, 3 * _STEPS, 1e-3) for _, end in ends[:_KEPT]), key=_cost)
    return [settled(problem, end) for cost, end in ends if cost < _BEHIND * ends[0][0]]


def settled(problem: Problem, values: Values) -> End:
    """Return a start that is followed on the whole curve, with its cost by the residuals of the fit."""
    if problem.likelihood is None or not problem.likelihood.scale_covar:  # else the residuals of the fit are like these
        values = problem.search(relative=0.04).run(values, _SETTLED, 1e-2)[1]
    return problem.exact(loose=True).run(values, 2 * _SETTLED, 1e-4)


def _cost(end: End) -> float:
    return end[0]
