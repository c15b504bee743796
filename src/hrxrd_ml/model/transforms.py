"""Nested constraints for methods of lmfit that know bounds only."""

import math
from collections.abc import Sequence

from lmfit import Parameter, Parameters

from hrxrd_ml.inference.coordinates import (
    _AT_EDGE,
    _DECADES,
    _EDGE,
    NestedCoordinates,
    bend_of,
    bent,
    unbent,
    unbent_slope,
)


class MinuitTransform:
    """lmfit's sine (or square-root) transform of one parameter between limits that may move with its parents.

    Attached to a `lmfit.Parameter` of a running fit in place of its own ``from_internal`` and
    ``scale_gradient``. Unlike lmfit's, it is a sine of the logarithm where the bounds span decades, since
    solvers that know no scale would find the scale of a curve in the outermost 1e-8 of the sine.
    """

    def __init__(self, low: float, high: float, caps: Sequence[tuple[Parameter, float, float]]) -> None:
        self.low = low
        self.high = high
        self.caps = tuple(caps)
        self.decades = not caps and low > 0.0 and low * _DECADES < high < math.inf

    def limit(self) -> float:
        """Upper limit beside the present values of the parents."""
        limit = self.high
        for parent, slope, constant in self.caps:
            limit = min(limit, constant + slope * float(parent.value))
        return limit

    def from_internal(self, value: float) -> float:
        """External value of an internal one."""
        high = self.limit()
        if self.decades:
            return float(self.low * (high / self.low) ** self.fraction(value))
        if math.isfinite(self.low) and math.isfinite(high):
            return self.low + self.fraction(value) * (high - self.low)
        if math.isfinite(self.low):
            return self.low - 1.0 + math.hypot(value, 1.0)
        return high + 1.0 - math.hypot(value, 1.0) if math.isfinite(high) else float(value)

    def to_internal(self, value: float) -> float:
        """Internal value of an external one, moved off an end of the sine, where its derivative vanishes."""
        high = self.limit()
        if math.isfinite(self.low) and math.isfinite(high):
            if self.decades:
                fraction = math.log(value / self.low) / math.log(high / self.low)
            else:
                fraction = (value - self.low) / (high - self.low) if high > self.low else 1.0
            least = math.sin(0.5 * _EDGE) ** 2
            fraction = least if fraction < _AT_EDGE else 1.0 - least if fraction > 1.0 - _AT_EDGE else fraction
            return math.asin(2.0 * fraction - 1.0)
        if math.isfinite(self.low):
            return math.sqrt(max((value - self.low + 1.0) ** 2 - 1.0, _EDGE**2))
        if math.isfinite(high):
            return math.sqrt(max((high - value + 1.0) ** 2 - 1.0, _EDGE**2))
        return value

    def scale_gradient(self, value: float) -> float:
        """Derivative of the external value with respect to the internal one, the parents held."""
        high = self.limit()
        if self.decades:
            return 0.5 * math.cos(value) * math.log(high / self.low) * self.from_internal(value)
        if math.isfinite(self.low) and math.isfinite(high):
            return 0.5 * math.cos(value) * (high - self.low)
        if math.isfinite(self.low):
            return value / math.hypot(value, 1.0)
        return -value / math.hypot(value, 1.0) if math.isfinite(high) else 1.0

    def fraction(self, value: float) -> float:
        """Derivative of the external value with respect to the upper limit; how far it lies between both."""
        return 0.5 * (math.sin(value) + 1.0) if math.isfinite(self.low) else 1.0


class EvenTransform(MinuitTransform):
    """The same of an even parameter, by its box coordinate."""

    def __init__(self, low: float, high: float) -> None:
        super().__init__(bent(low, high), bent(high, high), ())
        self.decades, self.bound = False, high

    def from_internal(self, value: float) -> float:
        """External value of an internal one."""
        return unbent(super().from_internal(value), self.bound)

    def to_internal(self, value: float) -> float:
        """Internal value of an external one, moved off zero to where the curve begins to change in proportion."""
        return super().to_internal(max(bent(value, self.bound), min(bent(bend_of(self.bound), self.bound), self.high)))

    def scale_gradient(self, value: float) -> float:
        """Derivative of the external value with respect to the internal one."""
        return super().scale_gradient(value) * unbent_slope(super().from_internal(value), self.bound)


def attach_transforms(params: Parameters, coordinates: NestedCoordinates) -> tuple[MinuitTransform, ...]:
    """Give every free parameter of a fit its transform; returns them in the order of the coordinates."""
    caps: dict[int, list[tuple[Parameter, float, float]]] = {}
    for link in coordinates.links:
        parent = params[coordinates.names[link.parent]]
        caps.setdefault(link.child, []).append((parent, link.slope, link.constant))
    transforms = []
    for i, name in enumerate(coordinates.names):
        low, high = float(coordinates.low[i]), float(coordinates.high[i])
        transform = EvenTransform(low, high) if i in coordinates.even else MinuitTransform(low, high, caps.get(i, ()))
        params[name].from_internal = transform.from_internal
        params[name].scale_gradient = transform.scale_gradient
        transforms.append(transform)
    return tuple(transforms)
