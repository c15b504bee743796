"""Coordinates in which every nested constraint of a fit is a plain box, so that no solver ever leaves it.

Of two parameters bound by a `Nested` rule, the one that gives way (the *child*) is described by the fraction
of the range that the other one (the *parent*) leaves it. A box in these coordinates is exactly the feasible
set, the map is smooth, and its matrix of derivatives is triangular when parents come before children.

A parameter of which the curve is an even function near zero, the width of some distribution, is described by
``y = √(x² + a²) - a``: a square below a small a, and x itself beyond. In x every curve is stationary at zero, whatever
the data say; in y it is a bound like any other.

Two sets of coordinates share it: the bounded one of trust-region least squares (`NestedCoordinates`), and the
unbounded one of lmfit's Minuit-style transform (`MinuitTransform`), which all its other solvers use.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from lmfit import Parameter, Parameters
from numpy.typing import NDArray

from hrxrd_ml.errors import ParameterError
from hrxrd_ml.parameters import Nested, tighten

Array = NDArray[np.float64]

_ROUNDING = 1.0e-12
_EDGE = 1.0e-3
"""How far [rad] a start value on a bound is moved off the end of the sine transform, where the derivative vanishes."""

_AT_EDGE = 1.0e-10
_DECADES = 1.0e3

_BEND = 2.0e-2
"""Part of its upper bound that is the a of an even parameter."""

_AT_ZERO = 0.69
"""Root mean square of x over √σ for the density exp(-x⁴/2σ²), that of an even parameter about zero: √(√2 Γ(¾)/Γ(¼))."""

_FLOOR = 1.0e-4
"""Part of that bound which stands for zero, since the derivative by the square is taken there."""


def dependency_order(names: Sequence[str], nested: Sequence[Nested]) -> list[str]:
    """The names, reordered as little as possible so that every parent comes before its children."""
    ordered: list[str] = []
    parents = {name: [rule.high for rule in nested if rule.low == name and rule.high in names] for name in names}

    def place(name: str) -> None:
        if name not in ordered:
            for parent in parents[name]:
                place(parent)
            ordered.append(name)

    for name in names:
        place(name)
    return ordered


@dataclass(frozen=True)
class Link:
    """Upper limit ``constant + slope * x[parent]`` of the coordinate with number ``child``."""

    child: int
    parent: int
    slope: float
    constant: float


@dataclass(frozen=True)
class NestedCoordinates:
    """Box coordinates y of the free parameters x: y = x, except for children of nested constraints and even ones.

    A child with a finite lower limit has y = low + width·(x - low)/(cap - low), so that y spans the same
    numbers as x would without its parent; a child without one has y = x - cap. The even ones, by their numbers,
    have y = √(x² + a²) - a. ``low`` and ``high`` are bounds on x narrowed by all that the fixed parameters and the
    other bounds imply, and by the floor of the even ones.
    """

    names: tuple[str, ...]
    low: Array
    high: Array
    width: Array
    links: tuple[Link, ...]
    even: tuple[int, ...] = ()

    @property
    def curved(self) -> bool:
        """Whether y is anything but x."""
        return bool(self.links or self.even)

    @property
    def lower(self) -> Array:
        """Lower bounds on y."""
        return self._bent(self.low)

    @property
    def upper(self) -> Array:
        """Upper bounds on y."""
        upper = self._bent(self.high)
        for link in self.links:
            child = link.child
            upper[child] = self.low[child] + self.width[child] if np.isfinite(self.low[child]) else 0.0
        return upper

    def caps(self, x: Array) -> tuple[Array, list[Link | None]]:
        """Upper limits at x, and the link (None: the static bound) that sets each."""
        caps = self.high.copy()
        active: list[Link | None] = [None] * len(caps)
        for link in self.links:
            cap = link.constant + link.slope * x[link.parent]
            if cap < caps[link.child]:
                caps[link.child], active[link.child] = cap, link
        return caps, active

    def project(self, x: Array) -> Array:
        """Nearest feasible x: children give way to their parents."""
        feasible = np.clip(x, self.low, self.high)
        for link in self.links:
            cap = link.constant + link.slope * feasible[link.parent]
            feasible[link.child] = min(feasible[link.child], cap)
        return feasible

    def outward(self, y: Array) -> Array:
        """External values x of box coordinates y."""
        x = np.array(y, dtype=np.float64)
        for i in self.even:
            x[i] = unbent(x[i], self.high[i])
        if not self.links:
            return x
        for child in self._children():
            cap = self.caps(x)[0][child]
            low = self.low[child]
            x[child] = low + (y[child] - low) / self.width[child] * (cap - low) if np.isfinite(low) else cap + y[child]
        return x

    def inward(self, x: Array) -> Array:
        """Box coordinates of external values; those outside the feasible set are projected into it first."""
        x = self.project(x)
        y = self._bent(x)
        if not self.links:
            return y
        caps, _ = self.caps(x)
        for child in self._children():
            low, cap = self.low[child], caps[child]
            if not np.isfinite(low):
                y[child] = x[child] - cap
            else:
                fraction = (x[child] - low) / (cap - low) if cap > low else 1.0
                y[child] = low + self.width[child] * fraction
        return y

    def _bent(self, x: Array) -> Array:
        y = np.array(x, dtype=np.float64)
        for i in self.even:
            y[i] = bent(y[i], self.high[i])
        return y

    def derivatives(self, y: Array, error: Array | None = None) -> Array:
        """Matrix ∂x_i/∂y_j.

        A square root has no slope at zero. With standard errors of y, that of an even parameter is at most what makes
        of them the root mean square of x at zero.
        """
        own = np.ones(len(y))
        for i in self.even:
            own[i] = unbent_slope(y[i], self.high[i])
            if error is not None and error[i] > 0.0:
                own[i] = min(own[i], _AT_ZERO * unbent(error[i], self.high[i]) / error[i])
        fraction = np.ones(len(y))
        if self.links:
            x = self.outward(y)
            caps, _ = self.caps(x)
            for child in self._children():
                low = self.low[child]
                if np.isfinite(low):
                    own[child] = (caps[child] - low) / self.width[child]
                    fraction[child] = (y[child] - low) / self.width[child]
            return self.chain(x, own, fraction)
        return np.diag(own)

    def chain(self, x: Array, own: Array, fraction: Array) -> Array:
        """Triangular ∂x_i/∂u_j for any coordinates u in which child i follows its cap with weight ``fraction[i]``."""
        matrix = np.diag(own)
        if self.links:
            _, active = self.caps(x)
            for child in self._children():
                link = active[child]
                if link is not None:
                    matrix[child] += fraction[child] * link.slope * matrix[link.parent]
        return matrix

    def _children(self) -> list[int]:
        return sorted({link.child for link in self.links})


def nested_coordinates(
    params: Parameters, names: Sequence[str], nested: Sequence[Nested], even: Mapping[str, str] = MappingProxyType({})
) -> NestedCoordinates:
    """Coordinates of the free parameters ``names`` (parents first); a rule about a tied parameter is left out.

    Those of ``even`` that have no negative values, no part in a rule and no skew are described as even ones.

    Raises
    ------
    ParameterError
        If fixed values or bounds leave a nested constraint no room.
    """
    rules = tuple(rule for rule in nested if _takes_part(params, rule.low) and _takes_part(params, rule.high))
    involved = dict.fromkeys([*names, *(name for rule in rules for name in (rule.low, rule.high))])
    low = {name: params[name].min if params[name].vary else float(params[name].value) for name in involved}
    high = {name: params[name].max if params[name].vary else float(params[name].value) for name in involved}
    tighten(low, high, rules)
    _require_room(params, low, high, rules)
    index = {name: i for i, name in enumerate(names)}
    links = [
        Link(index[rule.low], index[rule.high], rule.slope, rule.total or 0.0)
        for rule in rules
        if rule.low in index and rule.high in index
    ]
    links.sort(key=lambda link: link.child)
    bottom = np.array([low[name] for name in names], dtype=np.float64)
    # Bounds that meet leave the parameter no choice; a solver needs a box of some width all the same.
    top = np.array([high[name] for name in names], dtype=np.float64)
    ruled = {name for rule in rules for name in (rule.low, rule.high)}
    ruled |= {name for name, other in even.items() if other in params and not _is_zero(params[other])}
    even_ones = tuple(i for i, name in enumerate(names) if name in even and name not in ruled and bottom[i] >= 0.0)
    for i in even_ones:
        bottom[i] = max(bottom[i], floor_of(top[i]))
    top = np.maximum(top, bottom + _ROUNDING * np.maximum(np.abs(np.where(np.isfinite(bottom), bottom, 0.0)), 1.0e-3))
    width = np.ones(len(names))
    finite = np.isfinite(bottom) & np.isfinite(top)
    width[finite] = top[finite] - bottom[finite]
    return NestedCoordinates(tuple(names), bottom, top, width, tuple(links), even_ones)


def floor_of(high: float) -> float:
    """Value that stands for zero of an even parameter with an upper bound."""
    return _FLOOR * (high if math.isfinite(high) else 1.0)


def bent(x: float, high: float) -> float:
    """Box coordinate of an even parameter with an upper bound."""
    a = bend_of(high)
    return x if math.isinf(x) else x**2 / (math.hypot(x, a) + a)


def unbent(y: float, high: float) -> float:
    """Value of an even parameter at its box coordinate."""
    return math.sqrt(y * (y + 2.0 * bend_of(high)))


def unbent_slope(y: float, high: float) -> float:
    """Derivative of `unbent`."""
    return (y + bend_of(high)) / unbent(y, high)


def bend_of(high: float) -> float:
    """Value beyond which an even parameter is no longer described by its square."""
    return _BEND * (high if math.isfinite(high) else 1.0)


def _takes_part(params: Mapping[str, Parameter], name: str) -> bool:
    return name in params and params[name].expr is None


def _is_zero(par: Parameter) -> bool:
    return not par.vary and par.expr is None and float(par.value) == 0.0


def _require_room(
    params: Parameters, low: Mapping[str, float], high: Mapping[str, float], rules: Sequence[Nested]
) -> None:
    for rule in rules:
        best = high[rule.high] if rule.total is None else low[rule.high]
        if low[rule.low] > rule.cap(best) + _ROUNDING * max(abs(low[rule.low]), abs(best)):
            raise ParameterError(
                f"{rule.describe(low[rule.low], best)}, the most that "
                f"{_state(params, rule.low)} and {_state(params, rule.high)} allow; free one of them or move its bounds"
            )


def _state(params: Parameters, name: str) -> str:
    par = params[name]
    return f"{name} in {par.min:g} to {par.max:g}" if par.vary else f"{name} fixed at {par.value:g}"


def lower_to_caps(params: Parameters, nested: Sequence[Nested]) -> None:
    """Lower parameters that are above the limit that another one sets them, by rounding or by what a guess says."""
    for rule in nested:
        low, high = params[rule.low], params[rule.high]
        if low.expr is None and float(low.value) > rule.cap(float(high.value)):
            low.value = rule.cap(float(high.value))


def check_start(params: Parameters, nested: Sequence[Nested]) -> None:
    """Raise `ParameterError`, naming both values, where the start breaks a nested constraint."""
    for rule in nested:
        if rule.low in params and rule.high in params:
            low, high = float(params[rule.low].value), float(params[rule.high].value)
            if low > rule.cap(high) + 1.0e-9 * max(abs(low), abs(high)):
                raise ParameterError(f"the start is not possible: {rule.describe(low, high)}; lower {rule.low}")
