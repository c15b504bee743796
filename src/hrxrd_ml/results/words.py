"""A fit in words: what is known, what only in combination, what is at a bound, and what would help."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from hrxrd_ml.inference.misfit import misses
from hrxrd_ml.results.derived import UNITS, profile_quantities
from hrxrd_ml.results.tables import with_error
from hrxrd_ml.simulate import RockingCurve
from hrxrd_ml.units import from_radians

if TYPE_CHECKING:
    from hrxrd_ml.model.result import RockingCurveResult

Array = NDArray[np.float64]

_KNOWN = 0.1
"""Relative error up to which a parameter is known."""

_TOGETHER = 0.95
"""Correlation from which parameters are known in combination only."""

_WINDOW = 0.05
"""Part of a scan in which more counts are recommended."""

_QUOTED = {
    "max_strain": "a largest strain of",
    "max_strain_depth": "at a depth of",
    "damaged_thickness": "a damaged thickness of",
    "integrated_strain": "an integrated strain of",
}


def in_words(result: RockingCurveResult) -> str:
    """Return one paragraph about a fit that can be copied.

    It says whether the model describes the curve, which parameters of the sample are known (to a tenth), which only in
    combination, which are at a bound or hardly determined; what follows for the profile; whether halves of the data
    agree; and where more counts, or whether another reflection, would help.

    Parameters
    ----------
    result : RockingCurveResult
        A fit of one curve or of several.

    Returns
    -------
    str
    """
    said = [_quality(result)]
    if result.covar is None:
        return " ".join([*said, "It has no standard errors."])
    sample = [name for name, spec in result.model.specs() if spec.scope == "sample" or spec.power_of_h]
    free = [name for name in dict.fromkeys(map(result.model.renamed, sample)) if name in result.var_names]
    units = result.parameter_units()
    held = [name for name in free if _on_bound(result, name)]
    groups = _together(result, [name for name in free if name not in held])
    joined = {name for group in groups for name in group}
    alone = [name for name in free if name not in joined and name not in held]
    known = [name for name in alone if _relative(result, name) < _KNOWN]
    vague = [name for name in alone if name not in known]
    if known:
        said.append(f"Known are {_listed([_value(result, name, units) for name in known])}.")
    for group in groups:
        values = [_value(result, name, units) for name in group]
        said.append(f"Only combinations are known of {_listed(values)}, which trade with each other.")
    if vague:
        said.append(f"Hardly determined: {_listed([_value(result, name, units) for name in vague])}.")
    if held:
        said.append(f"At a bound: {_listed([_value(result, name, units) for name in held])}.")
    said += [*_profile(result), *_halves(result), *_help(result, [*vague, *joined], bool(joined))]
    return " ".join(said)


def _quality(result: RockingCurveResult) -> str:
    seen = [model.reflection for model in result.model.rocking_curves]
    labels = ", ".join(f"{each.crystal.name} ({' '.join(map(str, each.hkl))})" for each in seen)
    about = f"{result.ndata} points, {result.nvarys} free parameters"
    if result.scale_covar:
        return f"{labels}: {about}; the errors of the data are not known, and follow from how they scatter."
    quality = f"χ²/N = {result.pearson_chi2():.3g}, {about}"
    if not misses(result.objective, result.best):
        return f"{labels}: the model describes the data to their noise ({quality})."
    noise = result.noise_errors() if result.covar is not None else {}
    ratios = [float(result.params[n].stderr or 0.0) / error for n, error in noise.items() if error > 0.0]
    included = ""
    if ratios and result.errors == "misfit":
        included = f"; the errors include that, and are {np.median(ratios):.1f} times those by the noise in the median"
    return f"{labels}: the model misses more than the noise ({quality}){included}."


def _value(result: RockingCurveResult, name: str, units: dict[str, str]) -> str:
    par = result.params[name]
    value, error = with_error(float(par.value), float(par.stderr or 0.0))
    return f"{name} = {value} ± {error} {units.get(name, '')}".rstrip()


def _relative(result: RockingCurveResult, name: str) -> float:
    par = result.params[name]
    return float(par.stderr or 0.0) / max(abs(float(par.value)), 1e-300)


def _on_bound(result: RockingCurveResult, name: str) -> bool:
    return any(note.startswith((f"{name} is at ", f"the data hardly determine {name} ")) for note in result.bound_notes)


def _together(result: RockingCurveResult, names: Sequence[str]) -> list[list[str]]:
    """Return groups of parameters that are known in combination only, and not well by themselves."""
    rows = [result.var_names.index(name) for name in names]
    error = np.sqrt(np.maximum(np.diag(result.covar), 1e-300))
    correlation = np.abs(result.covar / np.outer(error, error))[np.ix_(rows, rows)]
    count, label = connected_components(correlation > _TOGETHER, directed=False)
    groups = [[names[i] for i in np.flatnonzero(label == k).tolist()] for k in range(count)]
    return [g for g in groups if len(g) > 1 and max(_relative(result, name) for name in g) > 0.5 * _KNOWN]


def _profile(result: RockingCurveResult) -> list[str]:
    part = result.parts[0]
    model = part.model.rocking_curves[0]
    if not isinstance(model.simulation, RockingCurve) or model.simulation.profile is None:
        return []
    found = profile_quantities(model, part)
    text = []
    for name, called in _QUOTED.items():
        value, error = with_error(*found[name])
        unit = "" if UNITS[name] == "1" else f" {UNITS[name]}"
        text.append(f"{called} {value} ± {error}{unit}")
    return [f"The profile has {text[0]} {_listed(text[1:])}."]


def _halves(result: RockingCurveResult) -> list[str]:
    said = result.halves_in_words()
    return [f"{said[0].upper()}{said[1:]}."] if said else []


def _help(result: RockingCurveResult, vague: Sequence[str], trading: bool) -> list[str]:
    """Return where more counts would lower the largest relative error most, and whether another reflection would."""
    objective, x = result.objective, result.best
    names = list(vague) or list(result.var_names)
    worst = max(names, key=lambda name: _relative(result, name))
    jacobian = objective.jacobian_at(x)
    scale = np.linalg.norm(jacobian, axis=0)
    scale = np.where(scale > 0.0, scale, 1.0)
    # The variance of a parameter is the sum over the points of the squares of a row of the pseudo-inverse.
    row = np.linalg.pinv(jacobian / scale, rcond=1e-10)[result.var_names.index(worst)] ** 2
    start, said = 0, []
    best: tuple[float, str] = (0.0, "")
    for observation, model in zip(result.observations, result.model.members, strict=True):
        size = len(observation.x)
        width = max(int(_WINDOW * size), 1)
        share = np.convolve(row[start : start + size], np.ones(width), mode="valid") / max(row.sum(), 1e-300)
        k, offset = int(np.argmax(share)), from_radians(model.frame.offsets(observation.x), "arcsec")
        where = f" of {model.label}" if len(result.observations) > 1 else ""
        low, high = sorted((float(offset[k]), float(offset[k + width - 1])))
        best = max(best, (float(share[k]), f'from {low:.0f}" to {high:.0f}"{where}'))
        start += size
    if best[0] > 2.0 * _WINDOW:
        said.append(f"More counts {best[1]} would lower the error of {worst} most.")
    if trading and len(result.observations) == 1:
        said.append("Another reflection of the sample would tell apart what trades; `hrxrd_ml.plan` says which.")
    return said


def _listed(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
