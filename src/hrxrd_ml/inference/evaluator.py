"""Curves and Jacobians of a model at values by name: exact for rocking curves, by differences for other models.

An evaluator belongs to one x array. ``curve(values)`` gives the model; ``jacobian(values, names)`` gives it
together with its derivatives with respect to the named values, each of the others held, whatever ties there are
between them (the chain rule through ``expr`` is `tie_derivatives`).
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, Protocol

import lmfit
import numpy as np
from numpy.typing import NDArray

from hrxrd_ml.errors import ParameterError
from hrxrd_ml.parameters import Nested, ParameterSpace

Array = NDArray[np.float64]

_STEP = 6.0e-6
"""Relative step of central differences: the cube root of the rounding error."""

_EXCESS = 1.0e-12


class CurveFunction(Protocol):
    """An expected curve and its derivatives, on one axis: a simulation bound to angles, or an evaluator."""

    def curve(self, values: Mapping[str, float]) -> Array:
        """Expected curve [n]."""

    def jacobian(self, values: Mapping[str, float], names: Sequence[str]) -> tuple[Array, Array]:
        """Expected curve [n] and its derivatives [n, len(names)]."""


class Evaluator(CurveFunction, Protocol):
    """What a fit needs of a model on one x array."""

    names: tuple[str, ...]


class CurveEvaluator:
    """A rocking-curve simulation on one angle axis, with the nested constraints enforced and exact derivatives."""

    def __init__(self, bound: CurveFunction, space: ParameterSpace, prefix: str = "") -> None:
        self.bound = bound
        self.prefix = prefix
        self.names = tuple(prefix + name for name in space.names)
        self._roots = space.names
        position = {name: i for i, name in enumerate(space.names)}
        self._nested = tuple(sorted(space.nested, key=lambda rule: position[rule.low]))

    def feasible(self, values: Mapping[str, float]) -> tuple[dict[str, float], list[Nested]]:
        """Feasible values by name without prefix, and the rules by which some of them had to give way."""
        own = {root: float(values[name]) for root, name in zip(self._roots, self.names, strict=True)}
        clipped = []
        for rule in self._nested:
            cap = rule.cap(own[rule.high])
            excess = own[rule.low] - cap
            if excess > 0.0:
                own[rule.low] = cap
                # A value on its limit may be rounded across it: that is no reason to change the derivatives.
                if excess > _EXCESS * (abs(cap) + abs(own[rule.high])):
                    clipped.append(rule)
        return own, clipped

    def curve(self, values: Mapping[str, float]) -> Array:
        """Simulated curve."""
        own, _ = self.feasible(values)
        return _finite(self.bound.curve(own), own)

    def jacobian(self, values: Mapping[str, float], names: Sequence[str]) -> tuple[Array, Array]:
        """Simulated curve and exact derivatives; a parameter that has to give way passes its own on."""
        own, clipped = self.feasible(values)
        roots = tuple(name[len(self.prefix) :] for name in names)
        asked = tuple(dict.fromkeys([*roots, *(rule.low for rule in clipped)]))
        curve, derivatives = self.bound.jacobian(own, asked)
        curve, derivatives = _finite(curve, own), _finite(derivatives, own)
        if clipped:
            derivatives = derivatives.copy()
            for rule in reversed(clipped):
                low = asked.index(rule.low)
                if rule.high in asked:
                    derivatives[:, asked.index(rule.high)] += rule.slope * derivatives[:, low]
                derivatives[:, low] = 0.0
        return curve, derivatives[:, : len(roots)]


class RenamedEvaluator:
    """An evaluator whose parameters have other names in a fit, where several of them may be one.

    ``names`` tells them, by those of the evaluator.
    """

    def __init__(self, evaluator: Evaluator, names: Mapping[str, str]) -> None:
        self.evaluator = evaluator
        self._renamed = {name: names[name] for name in evaluator.names}
        self.names = tuple(dict.fromkeys(self._renamed.values()))

    def _own(self, values: Mapping[str, float]) -> dict[str, float]:
        return {own: values[name] for own, name in self._renamed.items()}

    def curve(self, values: Mapping[str, float]) -> Array:
        """Curve of the evaluator."""
        return self.evaluator.curve(self._own(values))

    def jacobian(self, values: Mapping[str, float], names: Sequence[str]) -> tuple[Array, Array]:
        """Curve and derivatives of the evaluator."""
        asked = [own for own, name in self._renamed.items() if name in names]
        curve, by_own = self.evaluator.jacobian(self._own(values), asked)
        derivatives = np.zeros((len(curve), len(names)))
        for own, column in zip(asked, by_own.T, strict=True):
            derivatives[:, names.index(self._renamed[own])] += column
        return curve, derivatives


class ForeignEvaluator:
    """Any other lmfit model, with derivatives by central differences in its own parameters.

    ``params`` tell the ranges of parameters whose own size says nothing, those near zero.
    """

    def __init__(
        self, model: lmfit.Model, independent: Mapping[str, Any], size: int, params: Mapping[str, lmfit.Parameter]
    ) -> None:
        self.model = model
        # Parameters that a model only derives from others, such as the height of a peak, are not its arguments.
        roots = model._param_root_names
        self.names = tuple(model.prefix + root for root in roots) if roots else tuple(model.param_names)
        self._independent = dict(independent)
        self._size = size
        self._span = {name: par.max - par.min for name, par in params.items()}

    def curve(self, values: Mapping[str, float]) -> Array:
        """Model curve; a constant is spread over all points."""
        given: Any = {name: SimpleNamespace(value=value) for name, value in values.items()}
        return np.broadcast_to(np.asarray(self.model.eval(given, **self._independent), dtype=float), (self._size,))

    def jacobian(self, values: Mapping[str, float], names: Sequence[str]) -> tuple[Array, Array]:
        """Model curve and central differences."""
        derivatives = np.empty((self._size, len(names)))
        for i, name in enumerate(names):
            step = difference_step(values[name], self._span.get(name, np.inf))
            above, below = values[name] + step, values[name] - step
            upper, lower = self.curve({**values, name: above}), self.curve({**values, name: below})
            derivatives[:, i] = (upper - lower) / (above - below)
        return self.curve(values), derivatives


class CombinedEvaluator:
    """Two evaluators joined by an operator: exact rules for + - * /, differences for any other operator."""

    def __init__(self, left: Evaluator, right: Evaluator, op: Callable[[Any, Any], Any]) -> None:
        self.left = left
        self.right = right
        self.op = op
        self.names = (*left.names, *right.names)

    def curve(self, values: Mapping[str, float]) -> Array:
        """Both curves, combined."""
        return np.asarray(self.op(self.left.curve(values), self.right.curve(values)), dtype=float)

    def jacobian(self, values: Mapping[str, float], names: Sequence[str]) -> tuple[Array, Array]:
        """Combined curve and the derivatives of both sides, each carried through the operator."""
        a, by_a = self.left.jacobian(values, [name for name in names if name in self.left.names])
        b, by_b = self.right.jacobian(values, [name for name in names if name in self.right.names])
        by_a, by_b = self._through(a, b, by_a, by_b)
        columns = dict(zip((n for n in names if n in self.left.names), by_a.T, strict=True))
        columns |= dict(zip((n for n in names if n in self.right.names), by_b.T, strict=True))
        derivatives = np.stack([columns[name] for name in names], axis=1) if names else np.empty((len(a), 0))
        return np.asarray(self.op(a, b), dtype=float), derivatives

    def _through(self, a: Array, b: Array, by_a: Array, by_b: Array) -> tuple[Array, Array]:
        """Derivatives of the combination, of those of both sides."""
        if self.op is operator.add:
            return by_a, by_b
        if self.op is operator.sub:
            return by_a, -by_b
        if self.op is operator.mul:
            return b[:, None] * by_a, a[:, None] * by_b
        if self.op is operator.truediv:
            return by_a / b[:, None], (-a / b**2)[:, None] * by_b
        # An operator need not act point by point; a convolution does not. So both sides move along their derivatives.
        by_a = _along(lambda moved: self.op(moved, b), a, by_a)
        return by_a, _along(lambda moved: self.op(a, moved), b, by_b)


def _along(function: Callable[[Array], Any], start: Array, directions: Array) -> Array:
    """Derivatives of a function of a curve in several directions [n, m], by central differences."""
    found = np.zeros(directions.shape)
    for i, direction in enumerate(directions.T):
        length = float(np.abs(direction).max())
        if length > 0.0:
            step = _STEP * max(float(np.abs(start).max()), 1.0e-300) / length
            ahead, behind = function(start + step * direction), function(start - step * direction)
            found[:, i] = (np.asarray(ahead, dtype=float) - np.asarray(behind, dtype=float)) / (2.0 * step)
    return found


def difference_step(value: float, span: float) -> float:
    """Step of a central difference in a parameter: relative to its value, or to its range where it is near zero."""
    size = max(abs(value), 1.0e-2 * span if np.isfinite(span) else 0.0)
    return _STEP * (size if size > 0.0 else 1.0)


def tie_derivatives(
    params: lmfit.Parameters, free: Sequence[str], function: Callable[[lmfit.Parameters], Array]
) -> Array:
    """Derivatives of a function of parameters with respect to the free ones, through every ``expr``, shape (n, free).

    Notes
    -----
    By central differences: for expressions, which cost microseconds, and what is read off a profile. Tied parameters
    are clipped by their bounds as the values themselves are. The parameters are left as they were found.
    """
    columns = []
    for name in free:
        par = params[name]
        value = float(par.value)
        step = difference_step(value, par.max - par.min)
        sides = []
        for side in (value + step, value - step):
            par.value = side  # a value on its bound stays there: the difference is then one-sided
            params.update_constraints()
            sides.append((float(par.value), function(params)))
        par.value = value
        (above, upper), (below, lower) = sides
        columns.append((upper - lower) / (above - below))
    params.update_constraints()
    return np.stack(columns, axis=1)


def _finite(array: Array, values: Mapping[str, float]) -> Array:
    if not np.isfinite(array.sum()):
        shown = ", ".join(f"{name} = {value:.6g}" for name, value in values.items())
        raise ParameterError(f"the simulated curve is not finite at {shown}; check the bounds of these parameters")
    return array
