"""The result of a fit as a labelled dataset: curves, depth profiles, parameters and where they come from.

Nothing here fits or draws. Bands are one standard error, propagated to first order from the covariance of the
free parameters: they hold within the model, and where the covariance does.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hrxrd_ml.errors import ParameterError
from hrxrd_ml.io.files import write_bytes
from hrxrd_ml.io.netcdf import netcdf
from hrxrd_ml.results import derived
from hrxrd_ml.results.layers import layers_of
from hrxrd_ml.simulate import RockingCurve

if TYPE_CHECKING:
    from lmfit import Parameters

    from hrxrd_ml.model.result import RockingCurveResult
    from hrxrd_ml.model.rocking_curve import RockingCurveModel

Array = NDArray[np.float64]

DEPTHS = 501
"""Number of depths at which profiles are given."""


def to_dataset(result: RockingCurveResult, guess: Parameters | None = None) -> xr.Dataset | xr.DataTree:
    """Everything a fit has found, labelled.

    Parameters
    ----------
    result
        Result of `hrxrd_ml.RockingCurveModel.fit`.
    guess
        Start values to show beside the fit; those of the result if None. A fit in several stages has
        others.

    Returns
    -------
    xarray.Dataset, or xarray.DataTree for a joint fit
        Of a joint fit the root holds parameters, strain profile and statistics, and a node for each curve, under its
        label, the rest.

        Dimension ``x``, with the kind and the unit of the input as attributes, and ``dtheta`` [arcsec] beside
        it: ``data``, ``sigma``, ``guess``, ``best_fit``, ``best_fit_sigma``, ``residual`` (in standard
        errors), ``used`` (false: masked), and ``coherent``, ``diffuse``, ``background``, which add up to the
        fit where no count is lost to dead time.

        Dimension ``depth`` [Å]: ``strain``, ``damage`` (L), ``debye_waller`` (E = exp(-L)), each also with
        ``_sigma`` and ``_guess``. Where the model misses the curve, the errors know of it, and of what else the profile
        could be.

        Without a dimension: ``max_strain``, ``max_strain_depth`` [Å], ``surface_strain``, ``damaged_thickness`` [Å],
        ``integrated_strain`` [Å], each also with ``_sigma``.

        Dimension ``layer``, of films from the substrate up: see `hrxrd_ml.results.layers.layers_of`.

        Dimension ``parameter``: ``value``, ``stderr``, ``init``, ``min``, ``max``, ``vary``, ``expr``,
        ``unit``, ``scope``; dimensions ``varied`` and ``varied_2``: ``correlation``.

        Attributes: statistics of the fit, model, reflection, files and versions. Numbers that are not known
        are NaN. Where a model holds several rocking curves, their prefixes come before the names of their
        profiles.
    """
    guess = result.init_params if guess is None else guess
    if len(result.model.members) > 1:
        return _tree(result, guess)
    (part,) = result.parts
    own = result.model.of_member(part.model, guess) if part is not result else guess
    return xr.merge(
        [_curve_and_profiles(part, own), _parameters(result, guess)], combine_attrs="override", join="exact"
    ).assign_attrs(_statistics(result) | provenance(result))


def _curve_and_profiles(result: RockingCurveResult, guess: Parameters) -> xr.Dataset:
    """Return what belongs to one curve."""
    parts = [_curves(result, guess)]
    models = result.model.rocking_curves
    for model in models:
        profile = _profiles(model, result, guess).merge(layers_of(model, result))
        parts.append(profile.rename({name: f"{model.prefix}{name}" for name in profile.variables if models[1:]}))
    return xr.merge(parts, combine_attrs="override", join="exact", compat="no_conflicts")


def _tree(result: RockingCurveResult, guess: Parameters) -> xr.DataTree:
    """Return the fit of several curves: what is of the sample at the root, the curves below."""
    nodes = {}
    for part in result.parts:
        node = _curve_and_profiles(part, result.model.of_member(part.model, guess))
        nodes[part.model.label] = node.assign_attrs(_statistics(part) | provenance(part))
    first = next(iter(nodes.values()))
    ofsample = [
        name
        for name in map(str, first)
        if name.startswith(("strain", "layer")) or name.removesuffix("_sigma") in derived.UNITS
    ]
    ofsample = [name for name in ofsample if not name.startswith("layer_peak")]  # that is of each curve
    profile = first[ofsample].drop_attrs(deep=False)
    root = xr.merge([profile, _parameters(result, guess)], combine_attrs="override", join="exact")
    root = root.drop_vars([name for name in ("x", "dtheta") if name in root.coords])
    root.attrs = _statistics(result) | provenance(result)
    return xr.DataTree.from_dict({"/": root, **nodes}, name="fit")


def curves_of(dataset: xr.Dataset | xr.DataTree) -> dict[str, xr.Dataset]:
    """Return the curves of a fit by their labels; that of a single one has none, the empty text."""
    if isinstance(dataset, xr.Dataset):
        return {"": dataset}
    return {str(name): node.to_dataset() for name, node in dataset.children.items()}


def root_of(dataset: xr.Dataset | xr.DataTree) -> xr.Dataset:
    """Return what a fit has found of the sample and its parameters."""
    return dataset if isinstance(dataset, xr.Dataset) else dataset.to_dataset()


def save_dataset(dataset: xr.Dataset | xr.DataTree, path: str | os.PathLike[str]) -> None:
    """Write a dataset to a netCDF file, complete or not at all.

    Raises
    ------
    InputFileError
        If the folder does not exist.
    """
    write_bytes(path, netcdf(dataset))


def log10_rms(result: RockingCurveResult) -> float:
    """Root mean square of log10(data) - log10(fit): what a plot with a logarithmic axis shows.

    Points without a single count have no logarithm and are left out; NaN if there are no others.
    """
    fit = np.asarray(result.best_fit)
    used = result.used & (result.data > 0.0) & (fit > 0.0)
    if not used.any():
        return math.nan
    return float(np.sqrt(np.mean(np.log10(result.data[used] / fit[used]) ** 2)))


def _curves(result: RockingCurveResult, guess: Parameters) -> xr.Dataset:
    observation, curve, models = result.observation, result.curve, result.model.rocking_curves
    axis = curve[curve.dims[0]]
    unit = str(curve.attrs.get("units", "counts"))
    evaluator = result.model.evaluator(result.userkws)
    residual = observation.likelihood.residual(result.best_fit)
    rows = {
        "data": (result.data, unit, str(curve.name or "data")),
        "sigma": (derived.standard_errors(result), unit, "standard error of the data"),
        "guess": (evaluator.curve(guess.valuesdict()), unit, "model at the start"),
        "best_fit": (result.best_fit, unit, "best fit"),
        "best_fit_sigma": (derived.curve_band(result), unit, "standard error of the best fit"),
        "residual": (np.where(observation.used, residual, np.nan), "1", "residual in standard errors"),
        "used": (observation.used, "1", "whether the point was fitted"),
    }
    if len(result.model.components) == 1:
        parts = derived.components(models[0], result.params, observation.x)
        rows |= {name: (part, unit, name) for name, part in parts.items()}
    coords: dict[str, Any] = {
        "x": ("x", np.asarray(axis.values, dtype=np.float64), {str(k): str(v) for k, v in axis.attrs.items()}),
        "dtheta": ("x", result.offsets, {"units": "arcsec", "long_name": "offset from the Bragg angle"}),
    }
    for name in ("attenuation", "counting_time"):
        if name in curve.coords:
            values = np.broadcast_to(np.asarray(curve.coords[name].values), len(curve))
            coords[name] = ("x", values, dict(curve.coords[name].attrs))
    variables = {
        name: ("x", np.array(values), {"units": units, "long_name": label})
        for name, (values, units, label) in rows.items()
    }
    return xr.Dataset(variables, coords)


def _profiles(model: RockingCurveModel, result: RockingCurveResult, guess: Parameters) -> xr.Dataset:
    simulation = model.simulation
    if not isinstance(simulation, RockingCurve) or simulation.profile is None:
        return xr.Dataset()
    best, start = (derived.feasible_values(model, params.valuesdict()) for params in (result.params, guess))
    end = max(derived.profile_end(simulation, values) for values in (best, start))
    depth = np.linspace(0.0, end, DEPTHS)
    strain, damage = derived.depth_profiles(simulation, best, depth)
    strain_start, damage_start = derived.depth_profiles(simulation, start, depth)
    strain_band = damage_band = np.full(DEPTHS, np.nan)
    if result.covar is not None:
        strain_band, damage_band = derived.profile_bands(model, result, depth)
    rows = {
        "strain": ("strain, out of plane", strain, strain_band, strain_start),
        "damage": ("damage L", damage, damage_band, damage_start),
        "debye_waller": (
            "static Debye-Waller amplitude factor E",
            np.exp(-damage),
            np.exp(-damage) * damage_band,
            np.exp(-damage_start),
        ),
    }
    dataset = xr.Dataset(coords={"depth": ("depth", depth, {"units": "Å", "long_name": "depth"})})
    for name, (label, fit, sigma, at_start) in rows.items():
        dataset[name] = ("depth", fit, {"units": "1", "long_name": label})
        dataset[f"{name}_sigma"] = ("depth", sigma, {"units": "1", "long_name": f"standard error of {name}"})
        dataset[f"{name}_guess"] = ("depth", at_start, {"units": "1", "long_name": f"{name} at the start"})
    for name, (value, sigma) in derived.profile_quantities(model, result).items():
        unit = derived.UNITS[name]
        dataset[name] = ((), value, {"units": unit, "long_name": name.replace("_", " ")})
        dataset[f"{name}_sigma"] = ((), sigma, {"units": unit, "long_name": f"standard error of {name}"})
    return dataset


def _parameters(result: RockingCurveResult, guess: Parameters) -> xr.Dataset:
    params = result.params
    units = result.parameter_units()
    scopes = {name: spec.scope for name, spec in result.model.specs()}
    columns = {
        "value": [float(par.value) for par in params.values()],
        "stderr": [math.nan if par.stderr is None else float(par.stderr) for par in params.values()],
        "init": [float(guess[name].value) if name in guess else math.nan for name in params],
        "min": [par.min for par in params.values()],
        "max": [par.max for par in params.values()],
        "vary": [bool(par.vary) for par in params.values()],
        "expr": [par.expr or "" for par in params.values()],
        "unit": [units.get(name, "") for name in params],
        "scope": [scopes.get(name, "") for name in params],
    }
    dataset = xr.Dataset({name: ("parameter", column) for name, column in columns.items()})
    dataset = dataset.assign_coords(parameter=list(params))
    if result.covar is None:
        return dataset
    error = np.sqrt(np.maximum(np.diag(result.covar), 0.0))
    size = np.where(error > 0.0, error, 1.0)
    dataset["correlation"] = (("varied", "varied_2"), result.covar / np.outer(size, size))
    return dataset.assign_coords(varied=list(result.var_names), varied_2=list(result.var_names))


def _statistics(result: RockingCurveResult) -> dict[str, Any]:
    """Statistics of the fit, as attributes that netCDF can hold (it knows no truth values)."""
    numbers = ("nfev", "ndata", "nvarys", "nfree", "chisqr", "redchi", "aic", "bic", "rsquared")
    return {name: _plain(getattr(result, name, math.nan)) for name in numbers} | {
        "pearson_chi2": result.pearson_chi2(),
        "log10_rms": log10_rms(result),
        "success": int(bool(result.success)),
        "message": str(getattr(result, "message", "")),
        "method": str(result.method),
        "statistics": ", ".join(dict.fromkeys(each.likelihood.name for each in result.observations)),
        "notes": "\n".join((*result.radii(), *result.bound_notes)),
    }


def _plain(value: Any) -> float | int:
    return int(value) if isinstance(value, int | np.integer) else float(value)


def provenance(result: RockingCurveResult) -> dict[str, Any]:
    """Return when and from what a fit was made: model, reflection, settings, files, versions."""
    models = result.model.rocking_curves
    attrs: dict[str, Any] = {
        "title": "fit of an X-ray rocking curve",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": str(result.model.name),
        "reflection": "; ".join(str(model.reflection) for model in models),
        "settings": json.dumps([{key: str(v) for key, v in model.parts.items()} for model in models]),
    }
    attrs |= _origin(result)
    for package in ("hrxrd_ml", "lmfit", "numpy", "scipy"):
        try:
            attrs[f"version_{package}"] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # run from a source tree
            attrs[f"version_{package}"] = "unknown"
    return attrs


def _origin(result: RockingCurveResult) -> dict[str, str]:
    """Return the files that curves and experiments were read from, as far as the curves know."""
    found = {}
    for key in ("source", "experiment"):
        known = [str(each.curve.attrs[key]) for each in result.observations if key in each.curve.attrs]
        if known:
            found[key] = "; ".join(dict.fromkeys(known))
    return found


def compare(results: Mapping[str, RockingCurveResult]) -> xr.Dataset:
    """Information criteria of several fits of the same data, the best one first.

    Parameters
    ----------
    results
        Fits by name: one component and two, an implanted profile and splines, with and without diffuse part.

    Returns
    -------
    xarray.Dataset
        Dimension ``fit``: ``chisqr``, ``nvarys``, ``aic``, ``bic``, ``delta_bic`` (over the lowest) and ``weight``,
        exp(-delta_bic/2) over the sum of all: an approximate probability, if one of the models is right.

    Raises
    ------
    ParameterError
        If there are fewer than two fits, or their data or statistics differ.

    Notes
    -----
    Where the size of the errors is known, -2 ln(likelihood) is chi-square (the deviance of counts) up to a constant,
    and not N ln(chi-square/N), which lmfit's own ``aic`` and ``bic`` rest on.
    """
    if len(results) < 2:
        raise ParameterError(f"expected at least two fits to compare, got {len(results)}")
    first = next(iter(results.values()))
    for name, result in results.items():
        same = np.array_equal(result.data, first.data)
        same &= np.array_equal(result.used, first.used)
        if not same or _kinds(result) != _kinds(first):
            raise ParameterError(
                f"{name!r} is a fit of other data or with other statistics than {next(iter(results))!r}"
            )
    rows = []
    for name, result in results.items():
        known = not result.scale_covar
        misfit = result.chisqr if known else result.ndata * math.log(result.chisqr / result.ndata)
        aic, bic = misfit + 2.0 * result.nvarys, misfit + math.log(result.ndata) * result.nvarys
        rows.append((bic, aic, float(result.chisqr), int(result.nvarys), name))
    bics, aics, squares, numbers, names = zip(*sorted(rows), strict=True)
    delta = np.array(bics) - bics[0]
    weight = np.exp(-0.5 * delta)
    columns = {
        "chisqr": squares,
        "nvarys": numbers,
        "aic": aics,
        "bic": bics,
        "delta_bic": delta,
        "weight": weight / weight.sum(),
    }
    return xr.Dataset({key: ("fit", list(values)) for key, values in columns.items()}, {"fit": list(names)})


def _kinds(result: RockingCurveResult) -> list[str]:
    return [each.likelihood.name for each in result.observations]
