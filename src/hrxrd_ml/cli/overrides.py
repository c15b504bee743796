"""Overrides of single parameters, as experiment files write them: in the hints of a model, and in a guess."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hrxrd_ml.errors import ExperimentError, HrxrdError, ParameterError, in_short
from hrxrd_ml.io.expressions import evaluate, read_expressions
from hrxrd_ml.parameters import unknown_name

if TYPE_CHECKING:
    from lmfit import Parameters

    from hrxrd_ml.model.composite import CurveFitting

Overrides = Mapping[str, Mapping[str, float | bool | str]]


def hint_parameters(model: CurveFitting, overrides: Overrides, source: str = "experiment") -> None:
    """Put overrides of parameters into the hints of a model, from which all its parameters are made.

    Raises
    ------
    ExperimentError
        If a parameter is unknown, its value lies outside its bounds, or its expression is unknown to the grammar
        (`hrxrd_ml.io.expressions`), depends on itself or cannot be evaluated.
    """
    specs = {name.removeprefix(model.prefix): spec for name, spec in model.specs()}
    for name, settings in overrides.items():
        where = f"{source}: [parameters] {name}"
        if name not in specs:
            raise ExperimentError(f"{where}: {unknown_name(name, tuple(specs))}")
        spec, hint = specs[name], model.param_hints.get(name, {})
        low, high = (float(settings.get(key, hint.get(key, getattr(spec, key)))) for key in ("min", "max"))
        if low >= high:
            raise ExperimentError(f"{where}: min = {low:g} must be below max = {high:g} (one of them is the default)")
        value = float(settings.get("value", min(max(spec.value, low), high)))
        if not low <= value <= high:
            raise ExperimentError(
                f"{where}: value = {value:g} lies outside its bounds {low:g} to {high:g}; give min and max as well"
            )
        try:
            spec.check_bounds(low, high)
            spec.check(value)
        except ParameterError as error:
            raise ExperimentError(f"{source}: [parameters] {error}") from error
        if settings.keys() & {"value", "vary"}:
            hint.pop("expr", None)  # of a curve that follows another one
        model.set_param_hint(name, value=value, min=low, max=high, vary=bool(settings.get("vary", spec.vary)))
    if tied := {model.prefix + name: str(own["expr"]) for name, own in overrides.items() if "expr" in own}:
        _hint_expressions(model, tied, source)


def _hint_expressions(model: CurveFitting, texts: Mapping[str, str], source: str) -> None:
    """Hint at expressions of parameters, of which each has a finite value where the fit starts."""
    params = model.make_params()
    try:
        expressions = read_expressions(texts, params)
    except ParameterError as error:
        raise ExperimentError(f"{source}: [parameters] {error}") from error
    for name, expression in expressions.items():
        try:
            params[name].value = evaluate(expression, params)
        except ParameterError as error:
            raise ExperimentError(f"{source}: [parameters] {name}: {error}") from error
        model.set_param_hint(name, expr=expression)


@contextmanager
def evaluated_expressions(overrides: Overrides, source: str = "experiment") -> Iterator[None]:
    """Name the expressions, where one of them has no value at a place that a guess or a fit tries.

    Raises
    ------
    ExperimentError
        In place of lmfit's error, such as of a division by zero.
    """
    tied = [name for name, own in overrides.items() if "expr" in own]
    try:
        yield
    except (ArithmeticError, RuntimeError, TypeError, ValueError) as error:
        *_, (innermost, _) = traceback.walk_tb(error.__traceback__)
        by_lmfit = innermost.f_globals["__name__"].startswith(("lmfit.parameter", "asteval"))
        if isinstance(error, HrxrdError) or not tied or not by_lmfit:
            raise
        raise ExperimentError(
            f"{source}: [parameters] {in_short(', '.join(tied))}: an expression has no value where the fit has come "
            f"({type(error).__name__}: {in_short(error)}); bound the parameters in it, or write it so that it has one"
        ) from error


def start_parameters(model: CurveFitting, curve: Any, overrides: Overrides) -> Parameters:
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
