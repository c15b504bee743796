"""Models and results from text files, which runs nothing but the constructors of this package's own parts."""

import json
import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from lmfit import Parameter, Parameters
from lmfit.model import Model

from hrxrd_ml.errors import HrxrdError, InputFileError, ParameterError, in_short
from hrxrd_ml.inference.likelihood import GaussianLikelihood, Likelihood, PoissonLikelihood
from hrxrd_ml.io.expressions import evaluate, read_expressions
from hrxrd_ml.model.composite import CurveComposite, CurveFitting
from hrxrd_ml.model.joint import JointModel
from hrxrd_ml.model.json_values import decode
from hrxrd_ml.model.observation import Observation
from hrxrd_ml.model.result import RockingCurveResult
from hrxrd_ml.model.rocking_curve import RockingCurveModel
from hrxrd_ml.model.saving import (
    _OPERATORS,
    _READY_MADE,
    _SETTINGS,
    _STATISTICS,
    VERSION,
    _hinted_expressions,
    _names,
    parts_of,
)
from hrxrd_ml.model.uncertainty import FitStatistics
from hrxrd_ml.reading import read_whole

MAX_FILE_SIZE = 200_000_000
"""Largest saved file that is read [bytes]; a result holds its curve, which has at most `io.curve.MAX_POINTS`."""


def load_model(path: str | os.PathLike[str], *, run_expressions: bool = False) -> CurveFitting:
    """Read a model that `RockingCurveModel.save` wrote.

    Parameters
    ----------
    path
        The file.
    run_expressions
        Whether hints may hold any expression of lmfit's interpreter, which can read and write files: for files that
        you trust. If not, they hold what `hrxrd_ml.io.expressions` knows.

    Raises
    ------
    InputFileError
        If the file cannot be read, is no such file, has a version that this package does not know, or holds an
        expression that is not to be run.
    """

    def build(data: Mapping[str, Any]) -> Any:
        model, lmfits = _model_from_data(data["model"])
        _check_hints(model, run_expressions, lmfits)
        repr(model), model.make_params()  # what is wrong with names and hints shows here, not in the next fit
        return model

    return _read(path, "model", build)


def load_result(path: str | os.PathLike[str], *, run_expressions: bool = False) -> RockingCurveResult:
    """Read a result that `RockingCurveResult.save` wrote; it can be reported, evaluated and fitted again.

    Parameters
    ----------
    path, run_expressions
        As for `load_model`; what is said there of hints holds for the parameters of the result, too.

    Raises
    ------
    InputFileError
        As `load_model`.
    """
    return _read(path, "result", lambda data: _result_from_data(data, run_expressions))


def _read(path: str | os.PathLike[str], kind: str, build: Callable[[Mapping[str, Any]], Any]) -> Any:
    try:
        data = json.loads(read_whole(path, MAX_FILE_SIZE).decode("utf-8"))
    except OSError as error:
        raise InputFileError(f"{path}: cannot read the {kind}: {error.strerror}") from error
    except InputFileError as error:
        raise InputFileError(f"{path}: not a saved {kind}: {error}") from error
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
        raise InputFileError(f"{path}: {in_short(error, 1000)}") from error
    except Exception as error:  # values of the wrong kind make lmfit and others raise errors of many kinds
        reason = f"{type(error).__name__} {in_short(error)}".rstrip()
        raise InputFileError(f"{path}: the saved {kind} is damaged: {reason}; save it again") from error


def _model_from_data(data: Mapping[str, Any]) -> tuple[Any, dict[str, str]]:
    """Return a model, and the expressions that lmfit itself has put into the hints of its components."""
    lmfits: dict[str, str] = {}
    if not f"{data.get('prefix', '')}x".isidentifier():
        raise InputFileError(f"expected a prefix of names, got {in_short(repr(data['prefix']))}")
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
            (left, lmfits), (right, others) = _model_from_data(data["left"]), _model_from_data(data["right"])
            lmfits |= others
            model = CurveComposite(left, right, _OPERATORS[data["op"]])
        case "joint":
            members = []
            for content in data["models"]:
                member, others = _model_from_data(content)
                members.append(member)
                lmfits |= others
            model = JointModel(
                members, shared=data["shared"], own=data["own"], prefix=data["prefix"], name=data["name"]
            )
        case "lmfit":
            if data["class"] not in _READY_MADE:
                raise InputFileError(f"{in_short(data['class'])} is no model of lmfit that can be saved")
            model = _READY_MADE[data["class"]](prefix=data["prefix"], **decode(data["options"]))
            lmfits = _hinted_expressions(model)
        case _:
            raise InputFileError(f"unknown kind of model {data['kind']!r}")
    model.param_hints = decode(data["hints"])
    return model, lmfits


def _check_hints(model: Model, run_expressions: bool, lmfits: Mapping[str, str], names: Collection[str] = ()) -> None:
    """Make floats of the numbers in the hints of a model and its components, and check the expressions there."""
    names = names or _names(model)
    for hint in model.param_hints.values():
        hint.update({key: float(hint[key]) for key in ("value", "min", "max") if hint.get(key) is not None})
    known = _checked(_hinted_expressions(model), names, run_expressions, lmfits)
    for name, text in known.items():
        model.param_hints[name.removeprefix(model.prefix)]["expr"] = text
    for side in parts_of(model):
        _check_hints(side, run_expressions, lmfits, names)


def _checked(
    expressions: Mapping[str, str], names: Collection[str], run_expressions: bool, lmfits: Mapping[str, str]
) -> Mapping[str, str]:
    """Expressions of a file, by parameter, as lmfit may have them; those that it has made itself stay as they are."""
    own = {name: text for name, text in expressions.items() if run_expressions or lmfits.get(name) == text}
    try:
        return own | read_expressions({n: t for n, t in expressions.items() if n not in own}, names)
    except ParameterError as error:
        raise InputFileError(
            f"{error}; with run_expressions=True it is run as Python by lmfit, which can read and write files: do so "
            "only where you trust the file"
        ) from error


def _params_from_data(data: list[dict[str, Any]], run_expressions: bool, lmfits: Mapping[str, str]) -> Parameters:
    contents = {content["name"]: content for content in map(decode, data)}
    expressions = {name: content["expr"] for name, content in contents.items() if content["expr"] is not None}
    known = _checked(expressions, contents, run_expressions, lmfits)
    pars = []
    for name, content in contents.items():
        low, value, high = (float(content[key]) for key in ("min", "value", "max"))
        par = Parameter(name, value, min=low, max=high)
        par.vary, par.expr, par.brute_step = bool(content["vary"]), known.get(name), content["brute_step"]
        par.stderr, par.correl, par.init_value = content["stderr"], content["correl"], content["init_value"]
        pars.append(par)
    params = Parameters()
    params.add_many(*pars)
    for name, expression in known.items():
        if run_expressions or lmfits.get(name) == expression:
            continue
        try:
            evaluate(expression, params)
        except ParameterError as error:
            raise InputFileError(f"{name}: {error}") from error
    return params


def _curve_from_data(data: Mapping[str, Any]) -> xr.DataArray:
    def variable(part: Mapping[str, Any]) -> tuple[Any, Any, Any]:
        values = decode(part["values"])
        return tuple(part["dims"]), values, decode(part["attrs"])

    dims, values, attrs = variable(data)
    coords = {name: variable(part) for name, part in data["coords"].items()}
    return xr.DataArray(values, coords, dims, data["name"], attrs)


def _result_from_data(data: Mapping[str, Any], run_expressions: bool) -> RockingCurveResult:
    model, lmfits = _model_from_data(data["model"])
    _check_hints(model, run_expressions, lmfits)
    params = _params_from_data(data["params"], run_expressions, lmfits)
    observations = [_observation_from_data(curve) for curve in data["curves"]]
    result = RockingCurveResult(
        model, params, observations=observations, **{name: decode(data["settings"][name]) for name in _SETTINGS}
    )
    result.init_params = _params_from_data(data["init_params"], run_expressions, lmfits)
    outcome = FitStatistics(
        params=params, **{name: decode(value) for name, value in data["outcome"].items() if name in _STATISTICS}
    )
    values = params.valuesdict()
    outcome.residual = np.concatenate([curve.likelihood.residual(curve.expected(values)) for curve in result.measured])
    result._adopt(outcome)
    result.fit_report(), model.make_params()  # as for a model
    if not np.isfinite(result.residual).all():
        raise InputFileError("the residual of its parameters is not finite")
    return result


def _observation_from_data(data: Mapping[str, Any]) -> Observation:
    seen = {name: decode(value) for name, value in data.items() if name != "curve"}
    likelihood: Likelihood
    if seen["statistics"] == "poisson":
        counts = seen["values"] if seen["exposure"] is None else seen["values"] * seen["exposure"]
        likelihood = PoissonLikelihood(counts, seen["exposure"], seen["weights"])
    else:
        likelihood = GaussianLikelihood(seen["values"], seen["inverse_sigma"], seen["weights"], seen["statistics"])
    return Observation(
        seen["x"],
        seen["values"],
        _curve_from_data(data["curve"]),
        likelihood,
        seen["weights"],
        seen["exposure"],
        seen["sigma"],
    )
