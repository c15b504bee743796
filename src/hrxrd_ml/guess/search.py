"""Bounded least squares on one curve, at any smoothing: the engine of the guesses."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from hrxrd_ml.arrays import FloatArray
from hrxrd_ml.inference.coordinates import NestedCoordinates, nested_coordinates
from hrxrd_ml.inference.levenberg import minimise_in_box
from hrxrd_ml.inference.likelihood import GaussianLikelihood, Likelihood
from hrxrd_ml.inference.objective import MeasuredCurve, Objective
from hrxrd_ml.simulate import RockingCurve
from hrxrd_ml.units import ARCSEC

if TYPE_CHECKING:
    from lmfit import Parameters

Values = dict[str, float]

_RESOLUTION = {"fwhm": 0.0, "eta": 0.1, "tail": 1.0, "asymmetry": 0.0}  # held while the curve is smoothed
_DECLARED = ("line_window", "line_centre", "bend", "bend_skew")  # keep their values meanwhile
_LOOSE = 1e-3

_FAIR = 2.5
"""Mean square of residuals over what their own scatter makes, up to which they count as noise."""


@dataclass(frozen=True)
class Search:
    """Least squares of a curve and some of its parameters, from any values of the others.

    Attributes
    ----------
    curve : MeasuredCurve
        Its likelihood is the one that is searched.
    noise : GaussianLikelihood
        Data and errors by which trials are scaled.
    coordinates : NestedCoordinates
        Of the parameters that are searched.
    fixed : dict
        Values that replace those of the start, while it lasts.
    """

    curve: MeasuredCurve
    noise: GaussianLikelihood
    coordinates: NestedCoordinates
    fixed: Mapping[str, float]
    ties: Parameters | None = None

    def cost(self, values: Mapping[str, float]) -> float:
        """Return half the sum of squares of the residuals at values of all parameters."""
        residual = self.curve.likelihood.residual(self.curve.expected({**values, **self.fixed}))
        return 0.5 * float(residual @ residual)

    def run(self, start: Mapping[str, float], evaluations: int, tolerance: float = 1e-4) -> tuple[float, Values]:
        """Return cost and values after so many evaluations, or once the cost falls by less than ``tolerance``."""
        start = tied(self.ties, start)
        ties = None if self.ties is None else _set_to(self.ties, {**start, **self.fixed})
        objective = Objective((self.curve,), self.coordinates, {**start, **self.fixed}, ties)
        found = minimise_in_box(
            objective.residual,
            objective.jacobian,
            objective.inward(objective.free(start)),
            objective.lower,
            objective.upper,
            ftol=tolerance,
            xtol=1e-6,
            edm=1e-3,
            evaluations=evaluations,
        )
        values = objective.values(objective.outward(found.x))
        return found.cost, {**values, **{name: start[name] for name in self.fixed}}

    def scaled(self, values: Mapping[str, float]) -> tuple[float, Values]:
        """Return the cost of a trial once its scale is adjusted, and the trial."""
        values = tied(self.ties, values)
        curve = self.curve.expected({**values, **self.fixed}) - values["background"]
        weight, target = self.noise.information(curve) ** 2, self.noise.data - values["background"]
        factor = float(np.sum(weight * curve * target) / max(np.sum(weight * curve**2), 1e-300))
        factor = min(max(factor, 1e-2), 1e2)
        cost = 0.5 * float(np.sum(weight * (factor * curve - target) ** 2))
        return cost, {**values, "scale": values["scale"] * factor}


@dataclass(frozen=True)
class Problem:
    """A curve and the model that is to be fitted to it.

    Attributes
    ----------
    simulation : RockingCurve
    params : lmfit.Parameters
        Bounds and what is free; without prefix.
    free : tuple of str
    arcsec, intensity, noise : ndarray, shape (n,)
        Nominal offsets, data, standard errors of the data.
    likelihood : Likelihood or None
        Of the fit.
    """

    simulation: RockingCurve
    params: Parameters
    free: tuple[str, ...]
    arcsec: FloatArray
    intensity: FloatArray
    noise: FloatArray
    likelihood: Likelihood | None = None

    @classmethod
    def of(
        cls,
        model: Any,
        params: Parameters,
        arcsec: FloatArray,
        intensity: FloatArray,
        noise: FloatArray,
        likelihood: Likelihood | None = None,
    ) -> Problem:
        """Return the problem of a model whose parameters may have a prefix."""
        plain = _unprefixed(params, model)
        free = tuple(name for name in model.space.names if plain[name].vary and plain[name].expr is None)
        return cls(model.simulation, plain, free, arcsec, intensity, noise, likelihood)

    def exact(self, names: Collection[str] | None = None, *, loose: bool = False) -> Search:
        """Return the search with the residuals that the fit itself will have, where they are known.

        ``names``: parameters to fit; all free ones if None. ``loose``: whether the curve is calculated less accurately.
        """
        search = self.search(relative=0.0, names=names, loose=loose)
        if self.likelihood is None:
            return search
        return replace(search, curve=replace(search.curve, likelihood=self.likelihood))

    def excess(self, values: Mapping[str, float]) -> float:
        """Return by how many standard deviations the sum of squares at ``values`` exceeds what noise alone makes.

        Infinite where the noise is not known.
        """
        if self.likelihood is None:
            return math.inf
        curve = self.simulation.bind(self.arcsec * ARCSEC).curve(dict(values))
        expected = self.likelihood.expectation(curve)
        if expected is None:
            return math.inf
        residual = self.likelihood.residual(curve)
        return (float(residual @ residual) - expected[0] + len(self.free)) / expected[1]

    def search(
        self,
        smoothing: float = 0.0,
        relative: float = 0.04,
        names: Collection[str] | None = None,
        region: NDArray[np.bool_] | None = None,
        widths: Mapping[str, float] | None = None,
        loose: bool = False,
    ) -> Search:
        """Return the search at one smoothing.

        Parameters
        ----------
        smoothing : float
            FWHM of a Gaussian that data and model are folded with [arcsec]; the resolution is held meanwhile.
        relative : float
            Relative error added to the noise, which keeps the strong points from ruling the search.
        names : collection of str, optional
            Parameters to fit; all free ones if None.
        region : ndarray of bool, optional
            Points to use, of the unsmoothed curve.
        widths : mapping, optional
            Current values of the resolution, for the smoothing to be added to.
        loose : bool
            Whether the curve is calculated less accurately, as it is with errors of some per cent.
        """
        chosen = [name for name in self.free if names is None or name in names]
        fixed: Values = {}
        if smoothing > 0.0:
            fixed = {name: value for name, value in _RESOLUTION.items() if name in self.simulation.space}
            if widths is not None and "fwhm" in fixed:
                fixed["fwhm"] = math.hypot(widths["fwhm"], smoothing)
            chosen = [name for name in chosen if name not in fixed and name not in _DECLARED]
            step = float(np.median(np.diff(self.arcsec)))
            every = max(1, int(smoothing / 4.0 / step))
            pick = slice(every // 2, None, every)
            at = self.arcsec[pick]
            target = gaussian_filter1d(self.intensity, smoothing / 2.355 / step, mode="nearest")[pick]
            noise = gaussian_filter1d(self.noise, smoothing / 2.355 / step, mode="nearest")[pick]
        else:
            kept = slice(None) if region is None else region
            at, target, noise = self.arcsec[kept], self.intensity[kept], self.noise[kept]
        space = self.simulation.space
        coordinates = nested_coordinates(self.params, chosen, space.nested, space.even)
        # Where errors of some per cent are let pass, the model need not be more accurate than a part of that.
        simulation = replace(self.simulation, tolerance=_LOOSE) if relative >= 0.02 or loose else self.simulation
        bound = simulation.bind(at * ARCSEC)
        likelihood = GaussianLikelihood(target, 1.0 / np.hypot(noise, relative * target))
        measured = MeasuredCurve(bound, simulation.space.names, likelihood)
        return Search(measured, likelihood, coordinates, fixed, self.ties)

    @property
    def ties(self) -> Parameters | None:
        """The parameters, where some are tied by expressions."""
        return self.params if any(par.expr is not None for par in self.params.values()) else None

    def described(self) -> Values:
        """Return the values that the parameters had before anything was guessed."""
        return {name: float(par.value) for name, par in self.params.items()}

    def follow(
        self, start: Mapping[str, float], smoothings: Collection[float], evaluations: int = 25
    ) -> tuple[float, Values]:
        """Follow one start while the smoothing is reduced; the last stage is the measured curve itself."""
        cost, values = math.inf, dict(start)
        for smoothing in (*smoothings, 0.0):
            relative = 0.08 if smoothing > 0.0 else 0.04
            cost, values = self.search(smoothing, relative, widths=values).run(values, evaluations)
        return cost, values


def misses_something(residual: FloatArray) -> bool:
    """Whether residuals, their errors only assumed, are larger than their scatter from point to point makes them."""
    return bool(np.mean(residual**2) > _FAIR * 0.5 * np.mean(np.diff(residual) ** 2))


def tied(ties: Parameters | None, values: Mapping[str, float]) -> Values:
    """Return values in which those that are tied follow the others."""
    return dict(values) if ties is None else {**values, **_followed(_set_to(ties, values))}


def _set_to(ties: Parameters, values: Mapping[str, float]) -> Parameters:
    """Return a copy of parameters at values."""
    copy = ties.copy()
    for name, par in copy.items():
        if par.expr is None and name in values:
            par.value = values[name]
    copy.update_constraints()
    return copy


def _followed(params: Parameters) -> Values:
    return {name: float(par.value) for name, par in params.items() if par.expr is not None}


def _unprefixed(params: Parameters, model: Any) -> Parameters:
    """Parameters without the model's prefix, in their expressions too."""
    if not model.prefix:
        return params
    from lmfit import Parameters as Plain

    plain, names = Plain(), set(model.space.names)
    for name in model.space.names:
        own = params[model.prefix + name]
        plain.add(name, value=own.value, min=own.min, max=own.max, vary=own.vary and own.expr is None)

    def bare(word: re.Match[str]) -> str:
        return word[1] if word[1] in names else word[0]

    for name in model.space.names:
        if (text := params[model.prefix + name].expr) is not None:
            plain[name].expr = re.sub(rf"\b{re.escape(model.prefix)}(\w+)\b", bare, text)
    return plain
