"""How an unattended fit gets from start values to a result.

Real samples are bent, their dose varies across the beam, and no resolution function is a textbook one.  The parameters
for that are fixed at "none" unless a user frees them, since a good curve does not need them and they correlate with
others.  ``stepwise`` frees them where the plain model leaves a misfit that counting noise does not explain, and keeps
them only if they pay for themselves.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from hrxrd_ml.guess.classical import ClassicalGuess
from hrxrd_ml.guess.task import guess_by
from hrxrd_ml.model.provider import guess_provider

if TYPE_CHECKING:
    from lmfit import Parameters

    from hrxrd_ml.model.result import RockingCurveResult
    from hrxrd_ml.model.rocking_curve import RockingCurveModel

REFINEMENTS = ("curvature", "curvature_skew", "tail", "strain_spread", "dead_time")
"""Parameters of sample and instrument that are fixed by default."""

DECLARED_REFINEMENTS = ("fwhm", "strain_spread", "bend_skew", "line_centre")
"""The same with a declared diffractometer: what sample and slits are, and no shapes.

No dead time: it belongs to the detector, and a single curve takes it for whatever flattens the peak."""

GOOD_ENOUGH = 1.2
"""Reduced chi-square up to which the plain model is kept without a second look."""


def one_step(
    model: RockingCurveModel, curve: xr.DataArray, params: Parameters, *, held: Collection[str] = (), **settings: Any
) -> RockingCurveResult:
    """Fit all free parameters at once: the simplest strategy."""
    return model.fit(curve, params, **settings)


def stepwise(
    model: RockingCurveModel, curve: xr.DataArray, params: Parameters, *, held: Collection[str] = (), **settings: Any
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
    **settings
        ``weights``, ``method``, ``max_nfev`` and ``iter_cb`` of ``RockingCurveModel.fit``.
    """
    plain = model.fit(curve, params, **settings)
    refinements = REFINEMENTS if model.simulation.diffractometer is None else DECLARED_REFINEMENTS
    untouched = [name for name in refinements if name in model.space and name not in held]
    untouched = [name for name in untouched if _is_default(model, params, name)]
    # Of a scaled intensity, or behind a changing attenuator, nothing is known of the counts that the detector saw.
    scaled = curve.attrs.get("kind") != "counts" or np.ptp(np.asarray(curve.coords.get("attenuation", 1.0))) > 0.0
    if scaled and "dead_time" in untouched:
        untouched.remove("dead_time")
    if plain.redchi <= GOOD_ENOUGH or not untouched:
        return plain
    refined = copy.deepcopy(model)
    for name in untouched:
        refined.set_param_hint(name, vary=True)
    weights = settings.get("weights")
    kept = curve if weights is None else curve[np.asarray(weights) > 0.0]
    result = refined.fit(curve, ClassicalGuess().widen(refined, kept, plain.params), **settings)
    if result.redchi > GOOD_ENOUGH and guess_by(params).get("provider") == "network":
        # Where the model misses something, several minima are about as deep: another start is worth its time.
        network: Any = guess_provider("network")
        likely = replace(network, rounds=network.rounds[:1])  # no further draws: they cannot mend what the model lacks
        other = refined.fit(curve, refined.guess(kept, provider=likely), **settings)
        result = min(result, other, key=lambda fit: float(fit.chisqr))
    return result if result.bic < plain.bic else plain


def _is_default(model: RockingCurveModel, params: Parameters, name: str) -> bool:
    """Whether nobody has touched a refinement."""
    spec, par = model.space[name], params[model.prefix + name]
    return par.expr is None and not par.vary and par.value == spec.value
