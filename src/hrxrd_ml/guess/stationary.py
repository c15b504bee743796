"""Start profiles from the intensities alone, for any depth and shape.

At an angle far from the substrate peak a layer diffracts from where its strain s meets the Bragg condition.  By the
method of stationary phase such a place adds ``2 pi sigma**2/(H abs(ds/dz))`` to the reflectivity, times exp(-2 L), so
that the intensity beyond s, over that of the substrate peak, is the thickness t(s) of all that is strained by more than
s.  It does not tell the order in which the strains lie: of two profiles with the same t(s), only the fringes know which
one it is.  So a handful of orders are proposed: of t(s), a part lies behind the maximum and the rest in front of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter1d

from hrxrd_ml.arrays import FloatArray
from hrxrd_ml.guess.landmarks import Landmarks
from hrxrd_ml.guess.search import Problem, Values
from hrxrd_ml.guess.starts import through
from hrxrd_ml.simulate import RockingCurve
from hrxrd_ml.specimen.profile.spline import WHERE
from hrxrd_ml.units import ARCSEC

_NEAREST = 1.5
"""Distance from the substrate peak at which the layer begins to be seen, over the width of the peak."""

_SEEN = 4.0
"""Intensity beyond the largest strain, over its standard error."""

_TOGETHER, _SMOOTH = 5, 3.0
"""Points whose sum is looked at, and the width of the Gaussian with which the background is looked for, in points."""

_LEVELS = 300


@dataclass(frozen=True)
class Thicknesses:
    """What of a layer is strained by more than what.

    Attributes
    ----------
    strain : ndarray, shape (n,)
        Ascending; in size.
    beyond : ndarray, shape (n,)
        Thickness that is strained by more than that, without damage [Å].
    sign : float
        1 for a layer that is expanded, -1 for one that is compressed.
    peak, per_arcsec : float
        Of the substrate [arcsec], and strain for an arcsec below it.
    background : float
        Intensity beyond the largest strain.
    """

    strain: FloatArray
    beyond: FloatArray
    sign: float
    peak: float
    per_arcsec: float
    background: float

    @property
    def largest(self) -> float:
        """The largest strain."""
        return float(self.strain[-1])

    def of(self, arcsec: FloatArray) -> FloatArray:
        """Return which strain diffracts at offsets [arcsec]; positive on the side of the layer."""
        return self.sign * self.per_arcsec * (self.peak - arcsec)

    def damaged(self, damage: float) -> Thicknesses:
        """Return the same for a damage L that follows the strain and is so large at its maximum."""
        pieces = -np.diff(self.beyond, append=0.0) * np.exp(2.0 * damage * self.strain / self.largest)
        return replace(self, beyond=np.cumsum(pieces[::-1])[::-1])

    def profile(self, behind: float) -> tuple[FloatArray, FloatArray, float]:
        """Return depths [Å] and strains of one order, and the depth of the maximum.

        Parameters
        ----------
        behind : float
            Part of the thickness at half the largest strain that lies behind the maximum, where the strain falls like
            a Gaussian; 1 if all of it does, which then begins at the surface.
        """
        back = self.beyond.copy()
        if behind < 1.0:
            half = float(np.interp(0.5 * self.largest, self.strain, self.beyond))
            width = behind * half / math.sqrt(math.log(2.0))
            back = np.minimum(width * np.sqrt(np.log(self.largest / self.strain)), self.beyond)
        front = self.beyond - back
        maximum = float(front[0])
        z = np.concatenate([maximum - front, (maximum + back)[::-1]])
        return z, self.sign * np.concatenate([self.strain, self.strain[::-1]]), maximum

    def drawn(self, rng: np.random.Generator) -> tuple[FloatArray, FloatArray, float]:
        """Return the same for an order as in a drawn profile with two maxima, of which one may hide in the other."""
        fraction = (np.arange(_SLICES) + 0.5) / _SLICES
        thickness = float(self.beyond[0])
        falling = np.interp(fraction * thickness, self.beyond[::-1], self.strain[::-1])
        centres, widths = rng.uniform(-0.1, 1.1, 2), np.exp(rng.uniform(math.log(0.05), math.log(0.6), 2))
        first, second = np.exp(-(((fraction[:, None] - centres) / widths) ** 2)).T
        order = np.argsort(-first - rng.uniform() * second)
        strain = np.empty(_SLICES)
        strain[order] = falling
        return fraction * thickness, self.sign * strain, float(fraction[order[0]] * thickness)


def thicknesses(problem: Problem, marks: Landmarks) -> Thicknesses | None:
    """Return what the intensities say about a layer; None where there is nothing of one."""
    simulation = problem.simulation
    reflection = simulation.reflection
    per_arcsec = ARCSEC / math.tan(reflection.bragg_angle)
    strain = (marks.peak - problem.arcsec) * per_arcsec
    background = float(np.percentile(gaussian_filter1d(problem.intensity, _SMOOTH, mode="nearest"), 5.0))
    above, nearest = problem.intensity - background, _NEAREST * marks.width * per_arcsec
    sides = [above[strain > nearest].sum(), above[strain < -nearest].sum()]
    sign = 1.0 if sides[0] >= sides[1] else -1.0
    order = np.argsort(sign * strain)
    s, above, noise = sign * strain[order], above[order], problem.noise[order]
    width = np.gradient(s)
    seen = s > nearest
    strongest, above = above, above - _tail(s, above, nearest)
    # The largest strain is where, from the far end on, some points together stand out of their noise.
    together = np.ones(_TOGETHER)
    signal, error = np.convolve(above, together, "same"), np.sqrt(np.convolve(noise**2, together, "same"))
    inside = np.flatnonzero(seen & (signal > _SEEN * error))
    if len(inside) < 4:
        return None
    part = slice(int(np.flatnonzero(seen)[0]), int(inside[-1]) + 1)
    piled = np.cumsum((above * width)[: part.stop][::-1])[::-1]
    beyond = np.maximum.accumulate(np.maximum(piled[part], 0.0)[::-1])[::-1]
    beyond = beyond * per_intensity(simulation, float((strongest * width)[np.abs(s) < nearest].sum()))
    level = np.geomspace(s[part][0], s[part][-1], _LEVELS)
    return Thicknesses(level, np.interp(level, s[part], beyond), sign, marks.peak, per_arcsec, background)


def _tail(s: FloatArray, above: FloatArray, nearest: float) -> FloatArray:
    """Return what the substrate peak has on the side of the layer: as on the other one and, beyond, falling as 1/s²."""
    other = s < -nearest
    if np.count_nonzero(other) < 8:
        return np.zeros_like(s)
    distance, level = -s[other][::-1], np.maximum(gaussian_filter1d(above, _SMOOTH)[other][::-1], 0.0)
    last = float(distance[-1])
    # The mean of the last quarter stands for the noise of the last point.
    far = distance > 0.75 * last
    end = float(np.mean(level[far] * distance[far] ** 2))
    tail = np.where(s < last, np.interp(s, distance, level), end / np.maximum(s, last) ** 2)
    return np.where(s > nearest, tail, 0.0)


def per_intensity(simulation: RockingCurve, peak: float) -> float:
    """Return the thickness that one unit of intensity, integrated over the strain, stands for [Å].

    ``peak`` is the same integral of the substrate peak, ``16 sigma/(3 H)`` without absorption.
    """
    h, weights = simulation.reflection.diffraction_vector, simulation.reflection.polarization_weights
    per_angle = 0.25 * h / math.tan(simulation.reflection.bragg_angle)
    sigma = [per_angle * simulation.reflection.darwin_width(p) for p in range(2)]
    dynamical = sum(w * 16.0 * each / (3.0 * h) for w, each in zip(weights, sigma, strict=True))
    kinematical = sum(w * 2.0 * math.pi * each**2 / h for w, each in zip(weights, sigma, strict=True))
    return float(dynamical / kinematical / max(peak, 1e-300))


BEHIND, DAMAGE = (0.1, 0.3, 0.5, 0.8, 1.0), (0.05, 0.5)
"""Parts of the thickness behind the maximum, and damages at the maximum, that are tried."""

_SLICES, _SEED = 200, 1
"""Slices of equal thickness of which a drawn profile consists, and the seed of the draws."""

_BURIED = 6.0
"""Depth over the thickness at half the largest strain from which on the knots of a spline crowd."""


def spline_starts(problem: Problem, found: Thicknesses, values: Values, drawn: int = 0) -> list[Values]:
    """Return splines through profiles that the intensities suggest.

    Parameters
    ----------
    problem : Problem
        Of a model with a spline profile.
    found : Thicknesses
    values : dict
        Start values of everything but the profile.
    drawn : int
        How many orders are drawn for each damage, beside those with one maximum.
    """
    simulation, space, starts = problem.simulation, problem.simulation.space, []
    fixed = {name: own.value for name in WHERE if (own := problem.params[name]).value != space[name].value}
    values = {**values, "background": found.background if "background" in problem.free else values["background"]}
    measure = getattr(simulation.damage, "measure", None)
    per_amount = measure.exponent(values, simulation.reflection.diffraction_vector) if measure else 1.0
    rng = np.random.default_rng(_SEED)
    for damage in DAMAGE:
        level = found.damaged(damage)
        half = float(np.interp(0.5 * level.largest, level.strain, level.beyond))
        orders = [level.profile(behind) for behind in BEHIND] + [level.drawn(rng) for _ in range(drawn)]
        for z, strain, maximum in orders:
            where = {"depth": min(1.05 * float(z[-1]), problem.params["depth"].max)}
            if z[-1] > _BURIED * half:
                where |= {"knot_centre": maximum, "knot_crowding": where["depth"] / half}
            starts.append(through(simulation, {**values, **where, **fixed}, z, strain, damage / per_amount))
    return starts
