"""How an unattended fit gets from start values to a result.

Real samples are bent, their dose varies across the beam, and no resolution function is a textbook one.  The parameters
for that are fixed at "none" unless a user frees them, since a good curve does not need them and they correlate with
others.  ``stepwise`` frees them where the plain model leaves a misfit that counting noise does not explain, and keeps
them only if they pay for themselves.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from hrxrd_ml.errors import HrxrdError
from hrxrd_ml.guess.classical import ClassicalGuess
from hrxrd_ml.guess.search import misses_something
from hrxrd_ml.guess.task import guess_by
from hrxrd_ml.inference.coordinates import lower_to_caps
from hrxrd_ml.inference.levenberg import OUT_OF_TIME
from hrxrd_ml.model.plausible import shift_of_strain
from hrxrd_ml.model.provider import guess_provider
from hrxrd_ml.model.rocking_curve import RockingCurveModel
from hrxrd_ml.simulate import RockingCurve
from hrxrd_ml.specimen.profile.implanted import ImplantedProfile

if TYPE_CHECKING:
    from lmfit import Parameters

    from hrxrd_ml.model.result import RockingCurveResult

REFINEMENTS = ("curvature", "curvature_skew", "tail", "strain_spread", "dead_time")
"""Parameters of sample and instrument that are fixed by default."""

DECLARED_REFINEMENTS = ("fwhm", "strain_spread", "bend_skew", "line_centre")
"""The same with a declared diffractometer: what sample and slits are, and no shapes.

No dead time: it belongs to the detector, and a single curve takes it for whatever flattens the peak."""

_STRAINS, _DEPTHS = ("Dmax1", "D01", "D02"), ("L1", "Rp1", "L2", "Rp2")

_LINES = ("CuKa1", "CoKa1", "MoKa1", "CrKa1", "AgKa1")
"""Lines that are asked for in place of one that does not describe a curve."""

_DOUBT, _CLEARLY, _SAME_LINE = 1.4, 1.25, 1e-3
"""Reduced chi-square above which they are, its ratio at which one is named, and how near a line is the same one."""

_FIRST, _PROMISING, _QUESTION = 12, 2.0, 60
"""Evaluations that each line gets; those that then are not farther above what was found than this go on to the last."""

SECONDS = 60.0
"""Time of the processor that an unattended fit of a curve takes at most; most need some seconds."""

_SECOND = 0.5
"""Part of the time that has to be left for a second start."""

_EXPONENTS = ("msd_exponent", "substrate_correlation_exponent")
"""By which power damage grows from reflection to reflection: what one reflection cannot tell."""

_OFF_BOUND = 0.01
"""Part of its range by which a parameter that is freed begins off its bound."""

GOOD_ENOUGH = 1.2
"""Reduced chi-square up to which the plain model is kept without a second look."""


def one_step(
    model: RockingCurveModel, curve: xr.DataArray, params: Parameters, *, held: Collection[str] = (), **settings: Any
) -> RockingCurveResult:
    """Fit all free parameters at once: the simplest strategy; ``seconds`` as in `stepwise`, no limit if not given."""
    clock = _Clock(settings.pop("seconds", math.inf))
    return clock.noted(clock.fit(model, curve, params, settings))


class _Clock:
    """Fits that share a time, as far as they are by the solver that keeps what it has when it stops."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self._end = seconds, time.thread_time() + seconds
        self.ran_out = False

    def fit(self, model: Any, curve: Any, params: Parameters, settings: dict[str, Any]) -> RockingCurveResult:
        """Fit as long as there is time."""
        if settings.get("method", "least_squares") == "least_squares" and math.isfinite(self.seconds):
            options = {**(settings.get("fit_kws") or {}), "seconds": self.share_left * self.seconds}
            settings = settings | {"fit_kws": options}
        result: RockingCurveResult = model.fit(curve, params, **settings)
        self.ran_out |= _out_of_time(result)
        return result

    @property
    def share_left(self) -> float:
        """Part of the time that is left."""
        return max(self._end - time.thread_time(), 0.0) / self.seconds if math.isfinite(self.seconds) else 1.0

    def noted(self, result: RockingCurveResult) -> RockingCurveResult:
        """Return a result that says so where its time, or that of another fit, ran out."""
        if self.ran_out:
            what = "the fit" if _out_of_time(result) else "a fit with more parameters freed"
            note = (
                f"{what} was stopped after {self.seconds:.3g} s of the processor, with the best values so far; give it "
                "more by [fit] seconds (in Python, stepwise(…, seconds=…)), or another start"
            )
            result.bound_notes = (note, *result.bound_notes)
        return result


def _out_of_time(result: RockingCurveResult) -> bool:
    return getattr(result, "status", None) == OUT_OF_TIME


def stepwise(
    model: RockingCurveModel,
    curve: xr.DataArray,
    params: Parameters,
    *,
    held: Collection[str] = (),
    seconds: float = SECONDS,
    **settings: Any,
) -> RockingCurveResult:
    """Fit the plain model and, where it does not describe the curve, again with its refinements freed.

    The second fit starts from the first one and, if that leaves a misfit as well, from what the network makes of the
    freer model; the better one is kept if the Bayesian information criterion prefers it.
    Parameters that ``held`` names, are free or have another value than their default are left as they are.

    Parameters
    ----------
    model : RockingCurveModel
    curve : DataArray
    params : lmfit.Parameters
        Start values.
    held : collection of str
        Parameters, without prefix, that are not to be freed.
    seconds : float
        Time of the processor for all of it, for each curve, with the method "least_squares".  A fit that reaches it
        keeps the best values so far, and a note says so.
    **settings
        ``weights``, ``method``, ``max_nfev``, ``iter_cb`` and ``errors`` of ``RockingCurveModel.fit``.
    """
    if model.members[0] is not model:
        return jointly(model, curve, params, held=held, seconds=seconds, **settings)
    clock = _Clock(seconds)
    result = clock.noted(_refined(model, curve, params, held, settings, clock))
    if not clock.ran_out:
        result.explore_errors()
    note = "" if clock.ran_out else other_wavelength(model, curve, result)
    if note:
        result.bound_notes = (note, *result.bound_notes)
    return result


def jointly(
    model: Any,
    curves: Any,
    params: Parameters,
    *,
    held: Collection[str] = (),
    seconds: float = SECONDS,
    **settings: Any,
) -> RockingCurveResult:
    """Fit several curves of one sample, and again with more that is free, as long as that pays for itself.

    First the steps of all scans but the first one, then what bends and spreads, then what follows the first curve by
    its diffraction vector. Each is kept if the Bayesian information criterion prefers it.

    Parameters
    ----------
    model : JointModel
    curves : sequence of DataArray
    params : lmfit.Parameters
        Start values.
    held : collection of str
        Parameters that are not to be freed.
    seconds, **settings
        As for `stepwise`.
    """
    clock = _Clock(seconds * len(model.rocking_curves))
    result = clock.fit(model, curves, params, settings)
    for group in _joint_steps(model, params, held):
        if result.redchi <= GOOD_ENOUGH or clock.ran_out:
            break
        freed = result.params.copy()
        for name in group:
            par = freed[name]
            par.set(expr="", vary=True)
            if par.value <= par.min and math.isfinite(par.max):
                par.value = par.min + _OFF_BOUND * (par.max - par.min)
        other = clock.fit(model, curves, freed, settings)
        if other.bic < result.bic:
            result = other
    if not clock.ran_out:
        result.explore_errors()
    return clock.noted(result)


def _joint_steps(model: Any, params: Parameters, held: Collection[str]) -> list[list[str]]:
    """Return groups of parameters to be freed one after the other."""
    specs = {name: spec for name, spec in model.specs() if name not in held and spec.name not in held}
    untouched = [
        n for n, s in specs.items() if params[n].expr is None and not params[n].vary and params[n].value == s.value
    ]
    declared = any(getattr(curve.simulation, "diffractometer", None) for curve in model.rocking_curves)
    refinements = DECLARED_REFINEMENTS if declared else REFINEMENTS
    scans = [model.renamed(f"{curve.prefix}step") for curve in model.rocking_curves]
    following = [model.renamed(name) for name, (first, _) in model.followers.items() if name != first]
    lengths = {round(curve.reflection.diffraction_vector, 6) for curve in model.rocking_curves}
    groups = [
        [name for name in scans[1:] if name in untouched],
        [name for name in untouched if specs[name].name in refinements],
        [name for name in following if name in specs and params[name].expr is not None],
        *([name] for name in untouched if specs[name].name in _EXPONENTS and len(lengths) > 1),
    ]
    return [group for group in groups if group]


def _refined(
    model: RockingCurveModel,
    curve: xr.DataArray,
    params: Parameters,
    held: Collection[str],
    settings: dict[str, Any],
    clock: _Clock,
) -> RockingCurveResult:
    """Do what `stepwise` does."""
    plain = clock.fit(model, curve, params, settings)
    refinements = REFINEMENTS if model.simulation.diffractometer is None else DECLARED_REFINEMENTS
    untouched = [name for name in refinements if name in model.space and name not in held]
    untouched = [name for name in untouched if _is_default(model, params, name)]
    # Of a scaled intensity, or behind a changing attenuator, nothing is known of the counts that the detector saw.
    scaled = curve.attrs.get("kind") != "counts" or np.ptp(np.asarray(curve.coords.get("attenuation", 1.0))) > 0.0
    if scaled and "dead_time" in untouched:
        untouched.remove("dead_time")
    if not _misses_something(plain) or not untouched or clock.ran_out:
        return plain
    refined = copy.deepcopy(model)
    for name in untouched:
        refined.set_param_hint(name, vary=True)
    weights = settings.get("weights")
    kept = curve if weights is None else curve[np.asarray(weights) > 0.0]
    result = clock.fit(refined, curve, ClassicalGuess().widen(refined, kept, plain.params), settings)
    if result.redchi > GOOD_ENOUGH and clock.share_left > _SECOND and guess_by(params).get("provider") == "network":
        # Where the model misses something, several minima are about as deep: another start is worth its time.
        network: Any = guess_provider("network")
        likely = replace(network, rounds=network.rounds[:1])  # no further draws: they cannot mend what the model lacks
        other = clock.fit(refined, curve, refined.guess(kept, provider=likely), settings)
        result = min(result, other, key=lambda fit: float(fit.chisqr))
    return result if result.bic < plain.bic else plain


def other_wavelength(model: RockingCurveModel, curve: xr.DataArray, result: RockingCurveResult) -> str:
    """Return a note where another line describes a curve better than the one that was named; empty where none does.

    Offsets do not tell the wavelength, but the width of the substrate peak, refraction and the damping of the fringes
    do. The fit is repeated with the same fringes and the same place of the damage edge. It is a question that is asked
    only where the model misses the curve, the axis has no absolute angles and the file names no wavelength.

    Parameters
    ----------
    model : RockingCurveModel
    curve : DataArray
    result : RockingCurveResult
    """
    simulation = model.simulation
    absolute = curve[curve.dims[0]].attrs.get("kind", model.axis_kind) != "offset" or "wavelength" in curve.attrs
    implanted = isinstance(simulation, RockingCurve) and isinstance(simulation.profile, ImplantedProfile)
    if result.scale_covar or result.redchi <= _DOUBT or absolute or not implanted or simulation.films:
        return ""
    reflection, best = model.reflection, (result.redchi, "")
    for line in _LINES:
        try:
            other = replace(simulation, reflection=reflection.replace(wavelength=line))
        except HrxrdError:  # the reflection, or one of a monochromator, does not exist there
            continue
        if abs(other.reflection.wavelength / reflection.wavelength - 1.0) < _SAME_LINE:
            continue
        strain = shift_of_strain(simulation) / shift_of_strain(other)
        depth = other.reflection.wavelength / reflection.wavelength
        depth *= math.cos(reflection.bragg_angle) / math.cos(other.reflection.bragg_angle)
        start = result.params.copy()
        start[f"{model.prefix}strain_spread"].set(value=0.0, vary=False, expr="")  # an average of curves takes long
        for name, factor in {**dict.fromkeys(_STRAINS, strain), **dict.fromkeys(_DEPTHS, depth)}.items():
            par = start[model.prefix + name]
            if par.expr is None:
                par.value = par.value * factor
        alike = RockingCurveModel(
            simulation=other,
            statistics=model.statistics,
            axis_kind=model.axis_kind,
            unit=model.unit,
            prefix=model.prefix,
        )
        lower_to_caps(start, alike.nested)
        for evaluations in (_FIRST, _QUESTION):
            options = {"evaluations": evaluations}
            found = alike.fit(curve, start, weights=result.weights, calc_covar=False, fit_kws=options)
            start = found.params
            if found.redchi > _PROMISING * result.redchi:
                break
            best = min(best, (found.redchi, line))
            if found.success:
                break
    if not best[1] or best[0] > result.redchi / _CLEARLY:
        return ""
    return (
        f"with {best[1]} in place of {reflection.wavelength:.5g} Å, chi-square over the degrees of freedom is "
        f"{best[0]:.2f} instead of {result.redchi:.2f}: is the wavelength right? All strains and depths hang on it"
    )


def _misses_something(result: RockingCurveResult) -> bool:
    """Whether residuals are larger than their noise: by the data or, if errors are only assumed, by their scatter."""
    if not result.scale_covar:
        return bool(result.redchi > GOOD_ENOUGH)
    return misses_something(np.asarray(result.residual))


def _is_default(model: RockingCurveModel, params: Parameters, name: str) -> bool:
    """Whether nobody has touched a refinement."""
    spec, par = model.space[name], params[model.prefix + name]
    return par.expr is None and not par.vary and par.value == spec.value
