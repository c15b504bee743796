"""Models and results as text files: JSON with a version, never a pickle, so that reading one runs nothing.

A file holds numbers, texts and the names of this package's own dataclasses (`model.json_values`). Expressions of
parameters are kept as the user wrote them; one that `expressions` does not know is run only by a reader who asks for
it.
"""

import ast
import json
import operator
from collections.abc import Callable, Collection, Mapping
from typing import Any

import lmfit
import numpy as np
import xarray as xr
from lmfit import Parameters
from lmfit.model import CompositeModel, Model, ModelResult

from hrxrd_ml.errors import ParameterError, in_short
from hrxrd_ml.model.json_values import encode
from hrxrd_ml.model.observation import Observation

VERSION = 4
"""Version of the format; raised whenever an older reader would misread a file."""

_OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "truediv": operator.truediv,
}
_READY_MADE: Mapping[str, type[Model]] = {
    known.__name__: known for known in lmfit.models.lmfit_models.values() if known is not lmfit.models.ExpressionModel
}
"""Models of lmfit that a file may name; not the one that is made of an expression."""

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
    "misfit",
    "explored",
    "method",
    "n_used",
]
_SETTINGS = ("method", "nan_policy", "scale_covar", "calc_covar", "max_nfev", "errors")


def model_text(model: Model) -> str:
    """Text of a model: its configuration and parameter hints.

    Raises
    ------
    ParameterError
        If the model holds something that text cannot hold, such as a function of the user.
    """
    return _text("model", {"model": _model_to_data(model)})


def result_text(result: ModelResult) -> str:
    """Text of a result: model, data, start, parameters, covariance and statistics (no emcee chain)."""
    return _text(
        "result",
        {
            "model": _model_to_data(result.model),
            "settings": {name: encode(getattr(result, name)) for name in _SETTINGS},
            "params": _params_to_data(result.params),
            "init_params": _params_to_data(result.init_params),
            "curves": [_observation_to_data(observation) for observation in result.observations],
            "outcome": {n: encode(getattr(result, n)) for n in _STATISTICS if hasattr(result, n)},
        },
    )


def _observation_to_data(observation: Observation) -> dict[str, Any]:
    return {
        "curve": _curve_to_data(observation.curve),
        "x": encode(observation.x),
        "values": encode(observation.values),
        "weights": encode(observation.weights),
        "exposure": encode(observation.exposure),
        "sigma": encode(observation.sigma),
        "statistics": observation.likelihood.name,
        "inverse_sigma": encode(getattr(observation.likelihood, "inverse_sigma", None)),
    }


# --- files ----------------------------------------------------------------------------------------------------------


def _text(kind: str, data: Mapping[str, Any]) -> str:
    # lmfit's own load_modelresult looks at __class__ first, and without it ends in a bare KeyError.
    head = {"format": f"hrxrd_ml {kind}", "version": VERSION, "__class__": f"hrxrd_ml.load_{kind} reads this file"}
    return json.dumps(head | dict(data), allow_nan=False, ensure_ascii=False, indent=1) + "\n"


# --- models ---------------------------------------------------------------------------------------------------------


def _model_to_data(model: Model, names: Collection[str] = ()) -> dict[str, Any]:
    names = names or _names(model)
    _refuse_own_symbols(_hinted_expressions(model), names, Parameters())
    if hasattr(model, "simulation"):
        return {
            "kind": "rocking_curve",
            "simulation": encode(model.simulation),
            "parts": encode(model.parts),
            "settings": {name: encode(getattr(model, name)) for name in _MODEL_SETTINGS},
            "prefix": model.prefix,
            "name": model._name,
            "hints": encode(model.param_hints),
        }
    if _joint(model):
        return {
            "kind": "joint",
            "models": [_model_to_data(member, names) for member in model.members],
            "shared": list(model.shared),
            "own": list(model.own),
            "prefix": model.prefix,
            "name": model._name,
            "hints": encode(model.param_hints),
        }
    if isinstance(model, CompositeModel):
        known = [name for name, function in _OPERATORS.items() if function is model.op]
        if not known:
            raise ParameterError(
                f"cannot save a composite with the operator {model.op!r}; known: {', '.join(_OPERATORS)}"
            )
        sides = {"left": _model_to_data(model.left, names), "right": _model_to_data(model.right, names)}
        return {"kind": "composite", "op": known[0], "hints": encode(model.param_hints)} | sides
    if type(model) in _READY_MADE.values() and not model.independent_vars_defvals.keys() - {"x", "form"}:
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
    raise ParameterError(f"cannot save {model!r}: only rocking curves and ready-made models of lmfit can be saved")


def _joint(model: Any) -> bool:
    """Whether a model is one of several curves; without the name of its class, whose module imports this one."""
    return getattr(model, "members", (model,))[0] is not model


def parts_of(model: Any) -> tuple[Model, ...]:
    """Return the models that a model is made of; none of a single one."""
    if _joint(model):
        return tuple(model.members)
    return (model.left, model.right) if isinstance(model, CompositeModel) else ()


# --- expressions ----------------------------------------------------------------------------------------------------


def _hinted_expressions(model: Model) -> dict[str, str]:
    return {model.prefix + name: hint["expr"] for name, hint in model.param_hints.items() if hint.get("expr")}


def _names(model: Model) -> set[str]:
    """Names of all parameters of a model, of its components and of their hints."""
    sides = {name for part in parts_of(model) for name in _names(part)}
    return sides | {*model.param_names, *(model.prefix + name for name in model.param_hints)}


def _refuse_own_symbols(expressions: Mapping[str, str], names: Collection[str], params: Parameters) -> None:
    """Raise for an expression with a function of the user's, which text cannot hold."""
    if not expressions:
        return
    known, given = Parameters()._asteval.symtable, params._asteval.symtable
    for name, expression in expressions.items():
        nodes = list(ast.walk(ast.parse(expression)))
        own = {node.id for node in nodes if isinstance(node, ast.Name)} - set(names)
        own -= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        own -= {node.arg for node in nodes if isinstance(node, ast.arg)}
        for symbol in sorted(own - {"print"}):  # which is bound to each interpreter
            if symbol not in known or given.get(symbol) is not known[symbol]:
                raise ParameterError(
                    f"cannot save {name}: its expression {in_short(expression, 80)!r} uses {symbol}, which lmfit "
                    "itself does not know; a file cannot hold functions of your own: write out in the expression "
                    "what it does"
                )


# --- parameters, curves, results ------------------------------------------------------------------------------------


def _params_to_data(params: Parameters) -> list[dict[str, Any]]:
    _refuse_own_symbols({par.name: par.expr for par in params.values() if par.expr}, params, params)
    attributes = ("name", "value", "vary", "expr", "min", "max", "brute_step", "stderr", "correl", "init_value")
    return [{name: encode(getattr(par, name)) for name in attributes} for par in params.values()]


def _curve_to_data(curve: xr.DataArray) -> dict[str, Any]:
    def labelled(array: xr.DataArray) -> dict[str, Any]:
        attrs = {str(k): v if isinstance(v, bool | int | float | str) else str(v) for k, v in array.attrs.items()}
        values = np.asarray(array.values)
        values = values if values.dtype.kind in "biufU" else values.astype(str)  # such as the time of a measurement
        return {"dims": list(array.dims), "values": encode(values), "attrs": encode(attrs)}

    coords = {str(name): labelled(coord) for name, coord in curve.coords.items()}
    return labelled(curve) | {"name": curve.name, "coords": coords}
