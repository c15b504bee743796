"""A competing minimum: a second profile that describes a curve about as well as the one that a search has found.

A surface part D02 that ends above the maximum may be as small as its bound allows.  One that reaches below the maximum
raises the strain there, and with less Dmax1 makes nearly the same curve: between the two lies a barrier of about the
noise, which neither a search nor a standard error sees across.
"""

from __future__ import annotations

import numpy as np

from hrxrd_ml.guess.search import Problem, Values
from hrxrd_ml.specimen.profile.implanted import MINIMUM_STRAIN, ImplantedProfile

_TRADING = ("Dmax1", "D01", "D02", "L2")

_NO_WORSE = 1.0
"""By how much half the sum of squares may be larger where the standard errors reach across."""

_AS_GOOD = 3.0
"""Up to which difference in half the sum of squares both are worth knowing."""


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
