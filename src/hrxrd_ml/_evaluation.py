"""Curves and Jacobians of a model at lmfit Parameters: exact for rocking curves, by differences for other models.

An evaluator belongs to one x array. ``curve(params)`` gives the model; ``jacobian(params, names)`` gives it
together with its derivatives with respect to the *values* of the named parameters, each of the others held,
whatever ties there are between them (the chain rule through ``expr`` is `tie_matrix`).
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


class BoundCurve(Protocol):
    """A simulation bound to an angle axis."""

    def curve(self, values: Mapping[str, float]) -> Array:
        """Expected curve."""

    def jacobian(self, values: Mapping[str, float], names: Sequence[str]) -> tuple[Array, Array]:
        """Expected curve [n] and its derivatives [n, len(names)]."""


class Evaluator(Protocol):
    """What a fit needs of a model on one x array."""

    names: tuple[str, ...]

    def curve(self, params: Mapping[str, Any]) -> Array:
        """Model at the parameters."""

    def jacobian(self, params: Mapping[str, Any], names: Sequence[str]) -> tuple[Array, Array]:
        """Model and its derivatives, shape [n, len(names)]."""


class CurveEvaluator:
    """A rocking-curve simulation on one angle axis, with the nested constraints enforced and exact derivatives.

    The last curve and the last Jacobian are kept, since solvers ask for both at the same point.
    """

    def __init__(self, bound: BoundCurve, space: ParameterSpace, prefix: str = "") -> None:
        self.bound = bound
        self.prefix = prefix
        self.names = tuple(prefix + name for name in space.names)
        self._roots = space.names
        position = {name: i for i, name in enumerate(space.names)}
        self._nested = tuple(sorted(space.nested, key=lambda rule: position[rule.low]))
        self._curve: tuple[tuple[float, ...], Array] | None = None
        self._jacobian: tuple[tuple[float, ...], tuple[str, ...], Array, Array] | None = None

    def values(self, params: Mapping[str, Any]) -> tuple[dict[str, float], list[Nested]]:
        """Feasible values by name without prefix, and the rules by which some of them had to give way."""
        values = {root: float(params[name].value) for root, name in zip(self._roots, self.names, strict=True)}
        clipped = []
        for rule in self._nested:
            cap = rule.cap(values[rule.high])
            excess = values[rule.low] - cap
            if excess > 0.0:
                values[rule.low] = cap
                # A value on its limit may be rounded across it: that is no reason to change the derivatives.
                if excess > _EXCESS * (abs(cap) + abs(values[rule.high])):
                    clipped.append(rule)
        return values, clipped

    def curve(self, params: Mapping[str, Any]) -> Array:
        """Simulated curve."""
        values, _ = self.values(params)
        key = tuple(values.values())
        if self._jacobian is not None and self._jacobian[0] == key:
            return self._jacobian[2]
        if self._curve is None or self._curve[0] != key:
            self._curve = (key, _finite(self.bound.curve(values), values))
        return self._curve[1]

    def jacobian(self, params: Mapping[str, Any], names: Sequence[str]) -> tuple[Array, Array]:
        """Simulated curve and exact derivatives; a parameter that has to give way passes its own on."""
        values, clipped = self.values(params)
        roots = tuple(name[len(self.prefix) :] for name in names)
        asked = tuple(dict.fromkeys([*roots, *(rule.low for rule in clipped)]))
        key = tuple(values.values())
        if self._jacobian is None or self._jacobian[0] != key or self._jacobian[1] != asked:
            curve, derivatives = self.bound.jacobian(values, asked)
            self._jacobian = (key, asked, _finite(curve, values), _finite(derivatives, values))
        _, _, curve, derivatives = self._jacobian
        if clipped:
            derivatives = derivatives.copy()
            for rule in reversed(clipped):
                low = asked.index(rule.low)
                if rule.high in asked:
                    derivatives[:, asked.index(rule.high)] += rule.slope * derivatives[:, low]
                derivatives[:, low] = 0.0
        return curve, derivatives if len(asked) == len(roots) else derivatives[:, : len(roots)]


class ForeignEvaluator:
    """Any other lmfit model, with derivatives by central differences in its own parameters."""

    def __init__(self, model: lmfit.Model, independent: Mapping[str, Any], size: int) -> None:
        self.model = model
        # Parameters that a model only derives from others, such as the height of a peak, are not its arguments.
        roots = model._param_root_names
        self.names = tuple(model.prefix + root for root in roots) if roots else tuple(model.param_names)
        self._independent = dict(independent)
        self._size = size

    def curve(self, params: Mapping[str, Any]) -> Array:
        """Model curve; a constant is spread over all points."""
        return np.broadcast_to(np.asarray(self.model.eval(params, **self._independent), dtype=float), (self._size,))

    def jacobian(self, params: Mapping[str, Any], names: Sequence[str]) -> tuple[Array, Array]:
        """Model curve and central differences."""
        plain = {name: SimpleNamespace(value=float(params[name].value)) for name in params}
        derivatives = np.empty((self._size, len(names)))
        for i, name in enumerate(names):
            value = plain[name].value
            step = difference_step(params[name])
            plain[name].value = above = value + step
            upper = self.curve(plain)
            plain[name].value = below = value - step
            derivatives[:, i] = (upper - self.curve(plain)) / (above - below)
            plain[name].value = value
        return self.curve(params), derivatives


class CombinedEvaluator:
    """Two evaluators joined by an operator: exact rules for + - * /, differences for any other operator."""

    def __init__(self, left: Evaluator, right: Evaluator, op: Callable[[Any, Any], Any]) -> None:
        self.left = left
        self.right = right
        self.op = op
        self.names = (*left.names, *right.names)

    def curve(self, params: Mapping[str, Any]) -> Array:
        """Both curves, combined."""
        return np.asarray(self.op(self.left.curve(params), self.right.curve(params)), dtype=float)

    def jacobian(self, params: Mapping[str, Any], names: Sequence[str]) -> tuple[Array, Array]:
        """Combined curve and the derivatives of both sides, each carried through the operator."""
        a, by_a = self.left.jacobian(params, [name for name in names if name in self.left.names])
        b, by_b = self.right.jacobian(params, [name for name in names if name in self.right.names])
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


def difference_step(par: Any) -> float:
    """Step of a central difference in a parameter: relative to its value, or to its range where it is near zero."""
    span = par.max - par.min
    size = max(abs(float(par.value)), 1.0e-2 * span if np.isfinite(span) else 0.0)
    return _STEP * (size if size > 0.0 else 1.0)


def tie_matrix(params: lmfit.Parameters, names: Sequence[str], free: Sequence[str]) -> Array | None:
    """Derivatives of the parameters ``names`` with respect to the free ones, through every ``expr``.

    Returns None where no parameter is tied: each is then free itself.

    Notes
    -----
    By central differences of the expressions, which cost microseconds, clipped by the bounds of the tied
    parameters as the values themselves are. The parameters are left as they were found.
    """
    tied = [i for i, name in enumerate(names) if params[name].expr is not None]
    if not tied:
        return None
    matrix = np.zeros((len(names), len(free)))
    for i, name in enumerate(names):
        if params[name].expr is None:
            matrix[i, free.index(name)] = 1.0
    for j, name in enumerate(free):
        par = params[name]
        value, step = float(par.value), difference_step(par)
        sides = []
        for side in (value + step, value - step):
            par.value = side  # a value on its bound stays there: the difference is then one-sided
            params.update_constraints()
            sides.append((float(par.value), np.array([float(params[names[i]].value) for i in tied])))
        par.value = value
        (above, upper), (below, lower) = sides
        matrix[tied, j] = (upper - lower) / (above - below)
    params.update_constraints()
    return matrix


def _finite(array: Array, values: Mapping[str, float]) -> Array:
    if not np.isfinite(array.sum()):
        shown = ", ".join(f"{name} = {value:.6g}" for name, value in values.items())
        raise ParameterError(f"the simulated curve is not finite at {shown}; check the bounds of these parameters")
    return array
