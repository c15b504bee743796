"""Models and results as text files: JSON with a version, never a pickle, so that reading one runs nothing.

A file holds numbers, texts and the names of this package's own dataclasses (`_json_values`).
"""

import json
import operator
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lmfit
import numpy as np
import xarray as xr
from lmfit import Parameter, Parameters
from lmfit.model import CompositeModel, Model

from hrxrd_ml._fitting import CurveFitting
from hrxrd_ml._json_values import decode, encode
from hrxrd_ml._observation import Observation
from hrxrd_ml._result import RockingCurveResult
from hrxrd_ml._statistics import GaussianLikelihood, Likelihood, PoissonLikelihood
from hrxrd_ml._uncertainty import FitStatistics
from hrxrd_ml.errors import HrxrdError, InputFileError, ParameterError, in_short
from hrxrd_ml.files import write_text
from hrxrd_ml.model import CurveComposite, RockingCurveModel

VERSION = 1
"""Version of the format; raised whenever an older reader would misread a file."""

_OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "truediv": operator.truediv,
}
_MODEL_SETTINGS = ("statistics", "relative_error", "floor", "axis_kind", "unit", "analytic_jacobian", "nan_policy")
_STATISTICS = [
    "aborted",
    "success",
    "message",
    "nfev",
    "ndata",
    "nvarys",
    "nfree",
    "chisqr",
    "redchi",
    "aic",
    "bic",
    "errorbars",
    "ier",
    "lmdif_message",
    "var_names",
    "init_vals",
    "init_values",
    "covar",
    "bound_notes",
    "method",
    "n_used",
]
_SETTINGS = ("method", "nan_policy", "scale_covar", "calc_covar", "max_nfev")


def model_text(model: CurveFitting) -> str:
    """Text of a model, as `save_model` writes it."""
    return _text("model", {"model": _model_to_data(model)})


def save_model(model: CurveFitting, path: str | os.PathLike[str]) -> None:
    """Write configuration and parameter hints of a model to ``path``.

    Raises
    ------
    ParameterError
        If the model holds something that text cannot hold, such as a function of the user.
    InputFileError
        If the file cannot be written there.
    """
    write_text(path, model_text(model))


def load_model(path: str | os.PathLike[str]) -> CurveFitting:
    """Read a model that `RockingCurveModel.save` wrote.

    Raises
    ------
    InputFileError
        If the file cannot be read, is no such file, or has a version that this package does not know.
    """

    def build(data: Mapping[str, Any]) -> CurveFitting:
        model: CurveFitting = _model_from_data(data["model"])
        repr(model), model.make_params()  # what is wrong with names and hints shows here, not in the next fit
        return model

    return _read(path, "model", build)


def save_result(result: RockingCurveResult, path: str | os.PathLike[str]) -> None:
    """Write a result to ``path``: model, data, start, parameters, covariance and statistics (no emcee chain)."""
    write_text(path, result_text(result))


def result_text(result: RockingCurveResult) -> str:
    """Text of a result, as `save_result` writes it."""
    observation = result.observation
    return _text(
        "result",
        {
            "model": _model_to_data(result.model),
            "settings": {name: encode(getattr(result, name)) for name in _SETTINGS},
            "params": _params_to_data(result.params),
            "init_params": _params_to_data(result.init_params),
            "curve": _curve_to_data(observation.curve),
            "observation": {
                "x": encode(observation.x),
                "values": encode(observation.values),
                "weights": encode(observation.weights),
                "exposure": encode(observation.exposure),
                "sigma": encode(observation.sigma),
                "statistics": observation.likelihood.name,
                "inverse_sigma": encode(getattr(observation.likelihood, "inverse_sigma", None)),
            },
            "outcome": {n: encode(getattr(result, n)) for n in _STATISTICS if hasattr(result, n)},
        },
    )


def load_result(path: str | os.PathLike[str]) -> RockingCurveResult:
    """Read a result that `RockingCurveResult.save` wrote; it can be reported, evaluated and fitted again.

    Raises
    ------
    InputFileError
        If the file cannot be read, is no such file, or has a version that this package does not know.
    """
    return _read(path, "result", _result_from_data)


# --- files ----------------------------------------------------------------------------------------------------------


def _text(kind: str, data: Mapping[str, Any]) -> str:
    head = {"format": f"hrxrd_ml {kind}", "version": VERSION}
    return json.dumps(head | dict(data), allow_nan=False, ensure_ascii=False, indent=1) + "\n"


def _read(path: str | os.PathLike[str], kind: str, build: Callable[[Mapping[str, Any]], Any]) -> Any:
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputFileError(f"{path}: cannot read the {kind}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        netcdf = "; a netCDF file opens with xarray.load_dataset" if Path(path).suffix == ".nc" else ""
        raise InputFileError(f"{path}: not a saved {kind}, which is JSON text: {in_short(error)}{netcdf}") from error
    found = data.get("format") if isinstance(data, dict) else None
    if found != f"hrxrd_ml {kind}":
        got = in_short(repr(found))
        made = "; result.save makes one, what hrxrd-ml fit writes is to be read by people and other programs"
        raise InputFileError(
            f'{path}: expected a file of format "hrxrd_ml {kind}", got {got}{made if kind == "result" else ""}'
        )
    if data.get("version") != VERSION:
        raise InputFileError(
            f"{path}: has version {in_short(repr(data.get('version')))} of the format and this package reads "
            f"{VERSION}; use the version of hrxrd_ml that wrote it, or save it again"
        )
    try:
        with np.errstate(all="ignore"):
            return build(data)
    except HrxrdError as error:
        raise InputFileError(f"{path}: {in_short(error)}") from error
    except Exception as error:  # values of the wrong kind make lmfit and others raise errors of many kinds
        reason = f"{type(error).__name__} {in_short(error)}".rstrip()
        raise InputFileError(f"{path}: the saved {kind} is damaged: {reason}; save it again") from error


# --- models ---------------------------------------------------------------------------------------------------------


def _model_to_data(model: Model) -> dict[str, Any]:
    if isinstance(model, RockingCurveModel):
        return {
            "kind": "rocking_curve",
            "simulation": encode(model.simulation),
            "parts": encode(model.parts),
            "settings": {name: encode(getattr(model, name)) for name in _MODEL_SETTINGS},
            "prefix": model.prefix,
            "name": model._name,
            "hints": encode(model.param_hints),
        }
    if isinstance(model, CompositeModel):
        names = [name for name, function in _OPERATORS.items() if function is model.op]
        if not names:
            raise ParameterError(
                f"cannot save a composite with the operator {model.op!r}; known: {', '.join(_OPERATORS)}"
            )
        sides = {"left": _model_to_data(model.left), "right": _model_to_data(model.right)}
        return {"kind": "composite", "op": names[0], "hints": encode(model.param_hints)} | sides
    if type(model).__module__ == "lmfit.models" and not model.independent_vars_defvals.keys() - {"x", "form"}:
        options = dict(model.opts)
        if hasattr(model, "poly_degree"):
            options["degree"] = model.poly_degree
        form = model.independent_vars_defvals.get("form")
        if isinstance(form, str):
            options["form"] = form
        return {
            "kind": "lmfit",
            "class": type(model).__name__,
            "prefix": model.prefix,
            "options": encode(options),
            "hints": encode(model.param_hints),
        }
    raise ParameterError(f"cannot save {model!r}: only rocking curves and models of lmfit.models can be saved")


def _model_from_data(data: Mapping[str, Any]) -> Any:
    match data["kind"]:
        case "rocking_curve":
            model: Any = RockingCurveModel(
                simulation=decode(data["simulation"]),
                prefix=data["prefix"],
                name=data["name"],
                **decode(data["settings"]),
            )
            model.parts = decode(data["parts"])
        case "composite":
            left, right = _model_from_data(data["left"]), _model_from_data(data["right"])
            model = CurveComposite(left, right, _OPERATORS[data["op"]])
        case "lmfit":
            found = getattr(lmfit.models, data["class"])
            if not issubclass(found, Model):
                raise InputFileError(f"{data['class']} is no model of lmfit")
            model = found(prefix=data["prefix"], **decode(data["options"]))
        case _:
            raise InputFileError(f"unknown kind of model {data['kind']!r}")
    model.param_hints = decode(data["hints"])
    return model


# --- parameters, curves, results ------------------------------------------------------------------------------------


def _params_to_data(params: Parameters) -> list[dict[str, Any]]:
    attributes = ("name", "value", "vary", "expr", "min", "max", "brute_step", "stderr", "correl", "init_value")
    return [{name: encode(getattr(par, name)) for name in attributes} for par in params.values()]


def _params_from_data(data: list[dict[str, Any]]) -> Parameters:
    pars = []
    for content in map(decode, data):
        par = Parameter(content["name"], content["value"], min=content["min"], max=content["max"])
        par.vary, par.expr, par.brute_step = content["vary"], content["expr"], content["brute_step"]
        par.stderr, par.correl, par.init_value = content["stderr"], content["correl"], content["init_value"]
        pars.append(par)
    params = Parameters()
    params.add_many(*pars)
    return params


def _curve_to_data(curve: xr.DataArray) -> dict[str, Any]:
    def labelled(array: xr.DataArray) -> dict[str, Any]:
        attrs = {str(k): v if isinstance(v, bool | int | float | str) else str(v) for k, v in array.attrs.items()}
        values = np.asarray(array.values)
        values = values if values.dtype.kind in "biufU" else values.astype(str)  # such as the time of a measurement
        return {"dims": list(array.dims), "values": encode(values), "attrs": encode(attrs)}

    coords = {str(name): labelled(coord) for name, coord in curve.coords.items()}
    return labelled(curve) | {"name": curve.name, "coords": coords}


def _curve_from_data(data: Mapping[str, Any]) -> xr.DataArray:
    def variable(part: Mapping[str, Any]) -> tuple[Any, Any, Any]:
        values = decode(part["values"])
        return tuple(part["dims"]), values, decode(part["attrs"])

    dims, values, attrs = variable(data)
    coords = {name: variable(part) for name, part in data["coords"].items()}
    return xr.DataArray(values, coords, dims, data["name"], attrs)


def _result_from_data(data: Mapping[str, Any]) -> RockingCurveResult:
    model = _model_from_data(data["model"])
    seen = decode(data["observation"])
    likelihood: Likelihood
    if seen["statistics"] == "poisson":
        counts = seen["values"] if seen["exposure"] is None else seen["values"] * seen["exposure"]
        likelihood = PoissonLikelihood(counts, seen["exposure"], seen["weights"])
    else:
        likelihood = GaussianLikelihood(seen["values"], seen["inverse_sigma"], seen["weights"], seen["statistics"])
    observation = Observation(
        seen["x"],
        seen["values"],
        _curve_from_data(data["curve"]),
        likelihood,
        seen["weights"],
        seen["exposure"],
        seen["sigma"],
    )
    params = _params_from_data(data["params"])
    result = RockingCurveResult(model, params, observation=observation, **decode(data["settings"]))
    result.init_params = _params_from_data(data["init_params"])
    outcome = FitStatistics(params=params, **decode(data["outcome"]))
    outcome.residual = likelihood.residual(result.eval(params))
    result._adopt(outcome)
    result.fit_report(), model.make_params()  # as for a model
    if not np.isfinite(result.residual).all():
        raise InputFileError("the residual of its parameters is not finite")
    return result
