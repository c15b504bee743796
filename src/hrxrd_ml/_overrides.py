"""Overrides of single parameters, as experiment files write them: in the hints of a model, and in a guess."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from hrxrd_ml.errors import ExperimentError
from hrxrd_ml.parameters import unknown_name

if TYPE_CHECKING:
    import xarray as xr
    from lmfit import Parameters

    from hrxrd_ml.model import RockingCurveModel

Overrides = Mapping[str, Mapping[str, float | bool | str]]


def hint_parameters(model: RockingCurveModel, overrides: Overrides, source: str = "experiment") -> None:
    """Put overrides of parameters into the hints of a model, from which all its parameters are made.

    Raises
    ------
    ExperimentError
        If a parameter is unknown, its value lies outside its bounds, or its expression cannot be evaluated.
    """
    for name, settings in overrides.items():
        where = f"{source}: [parameters] {name}"
        if name not in model.space:
            raise ExperimentError(f"{where}: {unknown_name(name, model.space.names)}")
        spec = model.space[name]
        low, high = float(settings.get("min", spec.min)), float(settings.get("max", spec.max))
        if low >= high:
            raise ExperimentError(f"{where}: min = {low:g} must be below max = {high:g} (one of them is the default)")
        value = float(settings.get("value", min(max(spec.value, low), high)))
        if not low <= value <= high:
            raise ExperimentError(
                f"{where}: value = {value:g} lies outside its bounds {low:g} to {high:g}; give min and max as well"
            )
        model.set_param_hint(name, value=value, min=low, max=high, vary=bool(settings.get("vary", spec.vary)))
        if "expr" in settings:
            model.set_param_hint(name, expr=settings["expr"])
            _check_expression(model, name, where)


def _check_expression(model: RockingCurveModel, name: str, where: str) -> None:
    try:
        params = model.make_params()
        for par in params.values():
            float(par.value)
    except Exception as error:  # an expression can go wrong in any way
        what = str(error) or type(error).__name__
        raise ExperimentError(
            f"{where}: the expression {model.param_hints[name]['expr']!r} cannot be evaluated: {what}"
        ) from error
    reached, waiting = set(), [model.prefix + name]
    while waiting:
        for other in params[waiting.pop()]._expr_deps:
            if other in params and other not in reached:
                reached.add(other)
                waiting.append(other)
    if model.prefix + name in reached:
        raise ExperimentError(f"{where}: the expression depends on {name} itself")


def start_parameters(model: RockingCurveModel, curve: xr.DataArray, overrides: Overrides) -> Parameters:
    """Guess of a model, with the values that were given in place of the guessed ones.

    Where a given value leaves another one that was only guessed outside a nested constraint, that one moves.
    """
    params = model.guess(curve)
    given = {model.prefix + name for name, s in overrides.items() if "value" in s or "expr" in s}
    for name, settings in overrides.items():
        if "value" in settings:
            params[model.prefix + name].set(value=settings["value"])
    for rule in model.nested:
        low, high = params[rule.low], params[rule.high]
        if float(low.value) <= rule.cap(float(high.value)):
            continue
        if rule.low not in given:
            low.set(value=rule.cap(float(high.value)))
        elif rule.high not in given:
            high.set(value=float(low.value) if rule.total is None else rule.total - float(low.value))
    return params
