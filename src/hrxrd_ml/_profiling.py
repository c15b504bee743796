"""Profiles of chi-square: where the free parameters go while one of them is moved."""

from collections.abc import Sequence

import numpy as np
from lmfit import Parameters
from numpy.typing import NDArray

Array = NDArray[np.float64]

_APART = 0.3
"""Two places give a slope where they are so far apart, at least, compared with the way that is still to go."""


class ProfilePath:
    """What is known of the profiles through a best fit: it proposes starts for the next point of one of them.

    Parameters
    ----------
    params : Parameters
        Best fit.
    names : sequence of str
        Its free parameters.
    """

    def __init__(self, params: Parameters, names: Sequence[str]) -> None:
        self.names = list(names)
        self._best = self._values(params)
        self._known: dict[str, list[Array]] = {}

    def _values(self, params: Parameters) -> Array:
        return np.array([float(params[name].value) for name in self.names])

    def held(self, params: Parameters) -> str | None:
        """Return the parameter that is held where all others are free; None if it is not just one."""
        fixed = [name for name in self.names if not params[name].vary]
        return fixed[0] if len(fixed) == 1 else None

    def starts(self, held: str, value: float) -> list[Array]:
        """Return places to start from for a value of the parameter that is held.

        The others at the best fit; where they were at the nearest value that is known; and on the straight line
        through two such places.
        """
        k = self.names.index(held)
        known = sorted(self._known.get(held, [self._best]), key=lambda place: abs(place[k] - value))
        near, way = known[0], value - known[0][k]
        places = [self._best] if near is self._best else [self._best, near]
        for other in known[1:]:
            if abs(other[k] - near[k]) > _APART * abs(way):
                places.append(near + way * (other - near) / (other[k] - near[k]))
                break
        return places

    def move(self, params: Parameters, held: str, place: Array) -> None:
        """Put the parameters to a place, inside their bounds, but for the one that is held."""
        for name, value in zip(self.names, place.tolist(), strict=True):
            if name != held:
                params[name].value = min(max(value, params[name].min), params[name].max)

    def add(self, params: Parameters, held: str) -> None:
        """Take over a point that was found."""
        self._known.setdefault(held, [self._best]).append(self._values(params))
