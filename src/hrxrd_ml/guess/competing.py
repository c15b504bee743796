"""A competing minimum: a second profile that describes a curve about as well as the one that a search has found.

A surface part D02 that ends above the maximum may be as small as its bound allows.  One that reaches below the maximum
raises the strain there, and with less Dmax1 makes nearly the same curve: between the two lies a barrier of about the
noise, which neither a search nor a standard error sees across.

Two more compete with what a search has found: a larger strain, where the scan ends inside the layer and so does not see
it, and the specimen as it was described, which no guess may be worse than.
"""

from __future__ import annotations

import numpy as np

from hrxrd_ml.guess.landmarks import Landmarks
from hrxrd_ml.guess.search import Problem, Values, tied
from hrxrd_ml.guess.starts import start_values
from hrxrd_ml.model.plausible import unseen
from hrxrd_ml.specimen.profile.implanted import MINIMUM_STRAIN, ImplantedProfile
from hrxrd_ml.units import ARCSEC

_READ_OFF = ("scale", "offset", "fwhm", "eta", "background")

_TRADING = ("Dmax1", "D01", "D02", "L2")

_NO_WORSE = 1.0
"""By how much half the sum of squares may be larger where the standard errors reach across."""

_AS_GOOD = 3.0
"""Up to which difference in half the sum of squares both are worth knowing."""

_NEAR_THE_END = 1.3
"""How much farther than the largest strain a scan has to reach for larger ones not to be tried."""

_LARGER = (1.5, 2.2, 3.3)
"""Strains that are tried instead, in units of the one that was found."""

_ADEQUATE = 1.2
"""χ² over the points, with an error of 4 % beside the noise, up to which a curve counts as described."""

_NOISE = 5.0
"""Standard deviations above the noise up to which a start needs no competitor."""

_EVALUATIONS = 40


def with_larger_strain(
    problem: Problem, values: Values, competing: Values | None = None
) -> tuple[Values, Values | None]:
    """Return start values and another profile about as good where the scan may end inside the layer.

    Of two that are alike within the noise, the first stays and the one with the largest strain competes.
    """
    dtheta = problem.arcsec * ARCSEC
    if "Dmax1" not in problem.free or not unseen(problem.simulation, values, dtheta, _NEAR_THE_END):
        return values, competing
    # An average of the curves of many strains takes long, and one of larger strains longer.
    spread = {name: values[name] for name in ("strain_spread",) if name in problem.free}
    exact = problem.exact([name for name in problem.free if name not in spread])
    sharp, largest = values | dict.fromkeys(spread, 0.0), float(problem.params["Dmax1"].max)
    ends = [exact.run(sharp, _EVALUATIONS)]
    for factor in _LARGER:
        trial = sharp | {"Dmax1": min(factor * values["Dmax1"], 0.9 * largest)}
        ends.append(exact.run(problem.simulation.space.clip(trial, bounds=False), _EVALUATIONS))
    cost, best = min(ends, key=lambda end: end[0])
    alike = [end for _, end in ends if _ < cost + _AS_GOOD]
    other = max(alike, key=lambda end: abs(end["Dmax1"] - best["Dmax1"]))
    return best | spread, competing if other is best else other | spread


def with_description(problem: Problem, marks: Landmarks, values: Values) -> Values:
    """Return start values, or the description as it stands where that describes the curve better.

    It is tried with the instrument as described, for the highest peak may not be the substrate's, and with what was
    read off the curve.  Where the start is not down at the noise, both are followed equally far before.
    Only films are described: what a profile has before a guess is not meant to be near anything.
    """
    if not problem.simulation.films:
        return values
    near, exact = problem.search(), problem.exact()
    given = problem.described()
    read = start_values(problem, marks)
    trials = [given, {**given, **{name: read[name] for name in _READ_OFF if name in read}}]
    for _ in range(3):  # a scale may be off by more than one step corrects
        trials = [near.scaled(problem.simulation.space.clip(trial, bounds=False))[1] for trial in trials]
    trial = min(trials, key=near.cost)
    cost = exact.cost(tied(problem.ties, values))
    if problem.excess(values) > _NOISE and 2.0 * near.cost(values) > _ADEQUATE * len(problem.intensity):
        trial = exact.run(near.run(trial, _EVALUATIONS)[1], _EVALUATIONS)[1]
        cost = min(cost, exact.run(near.run(values, _EVALUATIONS)[1], _EVALUATIONS)[0])
    return trial if exact.cost(trial) < cost else values


def with_competing_minimum(problem: Problem, values: Values) -> tuple[Values, Values | None]:
    """Return start values and, where there is one, another profile about as good.

    Of two that are alike within the noise the one with the wider surface part is taken: its standard errors reach to
    the other, those of the other do not reach back.

    Parameters
    ----------
    problem : Problem
    values : dict
        Where a search has ended.
    """
    profile = problem.simulation.profile
    if not isinstance(profile, ImplantedProfile) or not set(_TRADING) <= set(problem.free):
        return values, None
    least = max(float(problem.params["D02"].min), MINIMUM_STRAIN)
    if values["D02"] > 2.0 * least or values["L2"] > 0.85 * values["Rp1"]:
        return values, None
    exact = problem.exact()
    cost, values = exact.run(values, 15, 1e-3)
    total = values["D01"] + values["D02"]
    held = problem.exact([name for name in problem.free if name != "D02"])
    for share in (0.6, 0.4):
        wide = {**values, "D02": max(share * total, 1.4 * least), "L2": min(2.2 * values["L2"], 0.95 * values["L1"])}
        wide["D01"] = total - wide["D02"]
        surface_part = float(profile.evaluate(np.array([wide["Rp1"]]), wide)[0]) - wide["Dmax1"]  # at the maximum
        wide["Dmax1"] = max(wide["Dmax1"] - surface_part, wide["D01"])
        valley_cost, valley = held.run(problem.simulation.space.clip(wide, bounds=False), 30, 1e-3)
        if valley_cost > cost + _AS_GOOD:
            continue
        other_cost, other = exact.run(valley, 30, 1e-4)
        if other["D02"] < 0.7 * valley["D02"]:  # no minimum of its own, but nothing keeps the truth from lying there
            other_cost, other = valley_cost, valley
        if cost > other_cost + _AS_GOOD:
            return other, None
        return (other, values) if other_cost < cost + _NO_WORSE else (values, other)
    return values, None
