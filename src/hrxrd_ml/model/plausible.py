"""Checks of a fit against its data: what the curve cannot have told, and what a detector or a wrong model did to it.

Pure functions that return notes, each with what to do; none changes a value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from lmfit import Parameters
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from hrxrd_ml.diffraction.diffuse import DefectDiffuse
from hrxrd_ml.inference.likelihood import Likelihood
from hrxrd_ml.simulate import RockingCurve
from hrxrd_ml.specimen.damage import SUBSTRATE
from hrxrd_ml.specimen.defects import number_density, powers_of_scale
from hrxrd_ml.specimen.profile.base import extreme
from hrxrd_ml.specimen.profile.implanted import ImplantedProfile
from hrxrd_ml.specimen.stack import Stack
from hrxrd_ml.units import ARCSEC

Array = NDArray[np.float64]

_BEYOND = 1.03
"""How much farther than a peak of strain, from the Bragg angle, the scan has to reach."""

_GAP_STEPS, _GAP_SHARE = 5.0, 0.1
"""A gap is wider than so many steps, and than this part of its distance from the substrate peak."""

_MISFIT, _NO_FIT = 1.5, 5.0
"""Reduced chi-square above which a fit gets a note, and above which its values mean little."""

_TOO_GOOD = 0.6
"""Part of the chi-square of noise alone below which the data scatter less than counts can."""

_SURE = 5.0
"""Standard deviations that make sure of a misfit."""

_OFF, _OFF_SHARE = 0.5, 0.2
"""Relative misfit of a point that is off, and the part of such points at which a curve is not described."""

_RESPONSE = ("scale", "offset", "fwhm", "curvature", "bend", "line_window")
"""Parameters of the instrument that have no business at a bound; zero is a place of its own, and no such bound."""

_ON_BOUND, _MANY, _MANY_SHARE = 1e-3, 5, 1.0 / 3.0
"""Distance from a bound in parts of its range, and how many of the free parameters at one are too many."""

_OF_DEFECTS = (
    "damage", "msd", "defect_fraction", "defect_radius", "cluster_strain", "correlation_length", "diffuse_mix",
    "background",
)  # fmt: skip
_TRADED = 0.98
"""What names of parameters of damage and defects end in, and the correlation from which one curve does not tell two."""

_PLATEAU, _SATURATED = 3, 1000.0
"""Neighbours at the highest value, and the counts from which noise does not make them equal."""

_WRAPS = (32_768.0, 65_536.0)
_SPIKE, _EMPTY = 8.0, 20.0
"""Standard deviations by which a single point stands out, and expected counts that do not give zero."""


# --- what the scan can see ---


@dataclass(frozen=True)
class Unseen:
    """A strained part of the specimen that diffracts where the scan has no points.

    Attributes
    ----------
    name : str
        What it is.
    angle : float
        Offset at which it diffracts [rad].
    low, high : float
        Ends of the stretch without points [rad]; infinite beyond the scan.
    parameter : str or None
        Parameter that is the strain itself, without prefix.
    strains : (float, float)
        Strains that diffract at the ends, the smaller first; infinite beyond the scan.
    """

    name: str
    angle: float
    low: float
    high: float
    parameter: str | None
    strains: tuple[float, float]


def shift_of_strain(simulation: RockingCurve) -> float:
    """Return by how much a strain of 1 normal to the surface shifts a peak, to first order [rad]; negative."""
    reflection = simulation.reflection
    return -reflection.gammah * math.cos(reflection.inclination) / math.cos(reflection.bragg_angle)


def unseen(simulation: Any, values: Mapping[str, float], dtheta: Array, beyond: float = _BEYOND) -> list[Unseen]:
    """Return the strained parts that diffract outside the scan, or in a gap of it.

    Parameters
    ----------
    simulation : RockingCurve
        Of another kind, nothing is known.
    values : mapping
        Of its parameters.
    dtheta : ndarray, shape (n,)
        Offsets of the points that were used [rad], ascending.
    beyond : float
        How much farther than a peak of strain the scan has to reach.
    """
    if not isinstance(simulation, RockingCurve):
        return []
    parts: list[tuple[str, float, str | None]] = []
    if simulation.profile is not None:
        profile, own = simulation.profile, None
        largest = extreme(profile, values)[0]
        if isinstance(profile, ImplantedProfile):  # its surface may be strained more, but too thinly for a peak
            own, largest = "Dmax1", float(profile.evaluate(np.array([values["Rp1"]]), values)[0])
        parts.append(("the largest strain of the profile", largest, own))
    if simulation.on_substrate:
        films = Stack.of(simulation.on_substrate, values, simulation.reflection).parts
        thickest = max(thickness for _, thickness, _ in films)  # thin ones have no peak of their own
        parts += [(f"film {name}", strain, None) for name, thickness, strain in films if thickness >= 0.5 * thickest]
    slope, zero = shift_of_strain(simulation), values["offset"] * ARCSEC + simulation.reflection.refraction_shift()
    found = []
    for name, strain, parameter in parts:
        stretch = _without_points(zero + beyond * slope * strain, dtheta, _GAP_SHARE * abs(slope * strain))
        if stretch is not None and strain != 0.0:
            ends = sorted((edge - zero) / slope for edge in stretch)
            found.append(Unseen(name, zero + slope * strain, *stretch, parameter, (ends[0], ends[1])))
    return found


def _without_points(angle: float, dtheta: Array, least: float) -> tuple[float, float] | None:
    """Return the ends of the stretch without points that holds an angle, None where points are near."""
    place = int(np.searchsorted(dtheta, angle))
    low = float(dtheta[place - 1]) if place > 0 else -math.inf
    high = float(dtheta[place]) if place < len(dtheta) else math.inf
    return None if high - low <= max(_GAP_STEPS * float(np.median(np.diff(dtheta))), least) else (low, high)


def of_range(parts: Sequence[Unseen], prefix: str = "") -> list[str]:
    """Say what diffracts where the scan has no points."""
    notes = []
    for part in parts:
        at = f"{prefix}{part.name} diffracts at {part.angle / ARCSEC:.0f} arcsec from the substrate's Bragg angle"
        if math.isfinite(part.low) and math.isfinite(part.high):
            where = f"in the gap of the data from {part.low / ARCSEC:.0f} to {part.high / ARCSEC:.0f} arcsec"
            advice = "measure there, or fix it"
        else:
            end = part.high if math.isinf(part.low) else part.low
            advice = "measure farther out, or fix it"
            where = f"where the scan, which ends at {end / ARCSEC:.0f} arcsec, has shown too little"
        what = (
            f"{prefix}{part.parameter} is not determined: its stderr is what its bounds leave there"
            if part.parameter
            else ""
        )
        notes.append(f"{at}, {where}; {what or 'its strain is not determined'}; {advice}")
    return notes


# --- how well the model describes the data ---


def of_noise(chisqr: float, free: int, likelihood: Likelihood, curve: Array, used: NDArray[np.bool_]) -> list[str]:
    """Say what chi-square means where the errors of the data are known.

    Parameters
    ----------
    chisqr : float
    free : int
        Number of free parameters.
    likelihood : Likelihood
    curve : ndarray, shape (n,)
        Fitted curve.
    used : ndarray of bool, shape (n,)
        Points that are not masked.
    """
    points = int(used.sum())
    expected = likelihood.expectation(curve)
    if likelihood.scale_covar or expected is None or points <= free:
        return []
    reduced, room = chisqr / (points - free), max(expected[0] - free, 0.1 * expected[0])
    sigmas, part = (chisqr - room) / expected[1], chisqr / room
    # A model that misses the curve hides in the differences of neighbours only: they scatter as noise does, or more.
    apart = np.diff(likelihood.pearson(curve)[used])
    scatter, room_of_scatter = 0.5 * float(np.mean(apart**2)), _SURE * math.sqrt(3.0 / len(apart))
    smooth = scatter < min(_TOO_GOOD, 1.0 - room_of_scatter)
    if smooth or (part < _TOO_GOOD and sigmas < -_SURE):
        part = min(part, scatter)
        why = (
            "are they counts as detected? Counts that were divided, rates, smoothed or averaged data are not: give the "
            "counts with attenuation and counting time, or sigma"
            if likelihood.name == "poisson"
            else "is sigma too large, or were the data smoothed?"
        )
        return [
            f"the data scatter less than their errors say, {part:.2g} of what noise alone makes: {why}. "
            f"As it is, standard errors are about {1.0 / math.sqrt(part):.1f} times too large"
        ]
    if reduced > _NO_FIT:
        return [
            f"chi-square over the degrees of freedom is {reduced:.3g}: the model does not describe the curve "
            "to the noise; values and standard errors mean little before it does"
        ]
    if reduced > _MISFIT and sigmas > _SURE:
        return [
            f"chi-square over the degrees of freedom is {reduced:.2f} where noise alone makes 1: the curve shows "
            "something that the model lacks, and standard errors, which know of noise only, are too small"
        ]
    return []


def verdict(data: Array, curve: Array, noise: Array, params: Parameters, names: Sequence[str]) -> str:
    """Return one plain sentence where a model does not describe its curve, empty where it does.

    Parameters
    ----------
    data, curve, noise : ndarray, shape (n,)
        Data, fitted curve and standard errors of the points that were used; NaN where these are not known.
    params : lmfit.Parameters
    names : sequence of str
        Those that are free.
    """
    far = np.abs(data - curve) > _SURE * np.nan_to_num(noise)
    share = float(np.mean(far & (np.abs(data - curve) > _OFF * np.maximum(np.abs(data), np.abs(curve)))))
    check = "check crystal, reflection, wavelength, the kind of the axis and what is masked"
    if share > _OFF_SHARE:
        return f"the model does not describe this curve: {100.0 * share:.0f} % of its points are off by half; {check}"
    ends = [name for name in names if _at_end(params[name])]
    own = [name for name in ends if name.endswith(_RESPONSE)]
    vague = [n for n in names if n.endswith("scale") and (params[n].stderr or 0.0) > 3.0 * abs(params[n].value)]
    if own or vague or len(ends) >= max(_MANY, _MANY_SHARE * len(names)):
        listed = ", ".join(f"{name} = {params[name].value:.4g}" for name in (own or vague or ends))
        what = "with a scale that says nothing" if vague and not own else "with parameters at their bounds"
        return (
            f"the model describes this curve only {what} ({listed}): another effect, or another physics, may be behind "
            f"it; {check}"
        )
    return ""


def _at_end(par: Any) -> bool:
    span = par.max - par.min
    near = _ON_BOUND * min(span, abs(par.value))
    return bool(par.max - par.value <= near or (par.value - par.min <= near and par.min != 0.0))


# --- what damage and defects have in common ---


def of_defects(params: Parameters, names: Sequence[str]) -> list[str]:
    """Say which quantities of damage and defects a single curve has not told apart.

    Parameters
    ----------
    params : lmfit.Parameters
    names : sequence of str
        Those that are free.
    """
    own = [name for name in names if name.endswith(_OF_DEFECTS)]
    known = np.array([[abs(float((params[a].correl or {}).get(b, 0.0))) for b in own] for a in own])
    count, group = connected_components(known > _TRADED, directed=False) if own else (0, np.zeros(0))
    notes = []
    for k in range(count):
        members = np.flatnonzero(group == k)
        if len(members) > 1:
            listed = f"{', '.join(own[i] for i in members[:-1])} and {own[members[-1]]}"
            largest = known[np.ix_(members, members)].max()
            notes.append(
                f"this curve does not tell {listed} apart (correlations up to {largest:.3f}): fit another reflection "
                "of the sample with it (hx.JointModel), or hold one of them"
            )
    return notes


def of_scale(simulation: Any, params: Parameters, named: Callable[[str], str]) -> list[str]:
    """Say for which Burgers vector, or strain of clusters, fraction and radius of defects are what they are.

    Parameters
    ----------
    simulation : RockingCurve
        Of another kind, nothing is known.
    params : lmfit.Parameters
    named : callable
        Gives the name that a parameter of the simulation has there.
    """
    diffuse = getattr(simulation, "diffuse", None)
    if not isinstance(diffuse, DefectDiffuse):
        return []
    notes, values = [], {name: float(params[named(name)].value) for name in simulation.space.names}
    for where in ("", SUBSTRATE):
        amount, (radius, held) = f"{where}defect_fraction", diffuse.measure.others(where)
        if not values.get(amount) or not values[radius.name] or not values[held.name] or params[named(held.name)].vary:
            continue
        powers = powers_of_scale(diffuse.measure, values, simulation.reflection.diffraction_vector, where)
        unit = f" {held.unit}" if held.unit else ""
        given = f"{named(held.name)} = {values[held.name]:.4g}{unit}"
        density = 1e24 * number_density(values, where)
        notes.append(
            f"{named(amount)} and {named(radius.name)} are those for {given}, which is held, and mean {density:.2g} "
            f"defects/cm³; for another one, they go as its power {powers[0]:.2f} and {powers[1]:.2f}"
        )
    return notes


# --- what the detector did ---


def of_detector(counts: Array, curve: Array, angles: Array) -> list[str]:
    """Name what a detector did to counts: saturation, overflow, spikes and dropouts, with a mask for each.

    Parameters
    ----------
    counts : ndarray, shape (n,)
        As detected.
    curve : ndarray, shape (n,)
        Fitted curve, on their scale.
    angles : ndarray, shape (n,)
        On the axis of the data, ascending.
    """
    if len(counts) < 11:
        return []
    wrapped = _wrapped(counts)
    single = _outliers(counts, curve) & ~wrapped
    found = (
        (_plateau(counts), "the highest value repeats itself, as a saturated detector does"),
        (wrapped, "counts fall by half the range of a counter between neighbours, as one that overflows does"),
        (single & (counts > curve), "single points stand far out of their neighbours and of the fit"),
        (single & (counts < curve), "points without or with far fewer counts lie between good ones"),
    )
    return [
        f"{text}: they are no measure of the curve; leave them out, mask = {_ranges(bad, angles)}"
        for bad, text in found
        if bad.any()
    ]


def _runs(marked: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return first and last number of every run of marked points."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], marked, [False]]).astype(int)))
    return [(int(a), int(b) - 1) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _ranges(marked: NDArray[np.bool_], angles: Array, most: int = 4) -> str:
    half = 0.5 * float(np.median(np.diff(angles)))
    runs = _runs(marked)
    listed = ", ".join(f"[{angles[a] - half:.7g}, {angles[b] + half:.7g}]" for a, b in runs[:most])
    return f"[{listed}]" + (f" and {len(runs) - most} more" if len(runs) > most else "")


def _plateau(counts: Array) -> NDArray[np.bool_]:
    top = counts == counts.max()
    if counts.max() < _SATURATED or max(b - a + 1 for a, b in _runs(top)) < _PLATEAU:
        return np.zeros(len(counts), dtype=bool)
    return top


def _wrapped(counts: Array) -> NDArray[np.bool_]:
    """Mark points between a fall and a rise by half the range, which with the range added continue their neighbours."""
    marked = np.zeros(len(counts), dtype=bool)
    for size in _WRAPS:
        if counts.max() >= size:
            continue
        change = np.diff(counts)
        turns = np.cumsum((change < -0.5 * size).astype(int) - (change > 0.5 * size))  # of the counter, after a point
        for fall in np.flatnonzero(change < -0.5 * size):
            above = turns[fall:] - turns[fall] + 1
            back = np.flatnonzero(above == 0)
            if not len(back):
                continue
            inside = counts[fall + 1 : fall + 1 + back[0]] + size * above[: back[0]]
            # A valley between two peaks is lowest inside; the top of one that is cut off is highest there.
            if len(inside) <= 2 or inside[1:-1].max() >= inside[[0, -1]].max():
                marked[fall + 1 : fall + 1 + back[0]] = True
    return marked


def _outliers(counts: Array, curve: Array) -> NDArray[np.bool_]:
    """Mark one or two points that neither their neighbours nor the fit come near, and zeros where many are expected."""
    marked = np.zeros(len(counts), dtype=bool)
    here, fit = counts[2:-2], np.maximum(curve[2:-2], 0.0)
    sides = np.stack([[counts[:-4], counts[1:-3]], [counts[4:], counts[3:-1]]])
    high = np.maximum(sides.min(axis=1).max(axis=0), fit)
    low = np.minimum(sides.max(axis=1).min(axis=0), fit)
    marked[2:-2] = (here > 2.0 * high) & (here - high > _SPIKE * np.sqrt(high + 1.0))
    marked[2:-2] |= (here < 0.5 * low) & (low - here > _SPIKE * np.sqrt(low))
    around = np.lib.stride_tricks.sliding_window_view(np.pad(counts, 5, mode="edge"), 11)
    return marked | ((counts == 0.0) & (curve > _EMPTY) & (np.median(around, axis=1) > _EMPTY))
