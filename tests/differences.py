"""Derivatives by differences of high order, and those of profiles by the complex step."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrxrd_ml.complex_step import derivative, stepped
from hrxrd_ml.specimen.profile.base import Profile

FloatArray = NDArray[np.float64]


def central(function: Callable[[float], Any], step: float) -> Any:
    """Derivative at zero, the error of fourth order in the step."""
    near, far = function(step) - function(-step), function(2.0 * step) - function(-2.0 * step)
    return (8.0 * near - far) / (12.0 * step)


def one_sided(function: Callable[[float], Any], step: float, first: int = 0) -> Any:
    """Derivative at zero from the side that the step points to, the error of fourth order in it or better.

    With ``first=1`` the function is not called at zero, where a flank may have a least thickness instead of none.
    """
    nodes = np.arange(first, 5 + 2 * first, dtype=float)
    weights = np.linalg.solve(np.vander(nodes, increasing=True).T, np.eye(len(nodes))[1])
    return sum(weight * function(k * step) for k, weight in zip(nodes, weights, strict=True)) / step


def error(found: FloatArray, expected: FloatArray) -> float:
    """Largest difference over the largest number that is expected."""
    return float(np.max(np.abs(found - expected)) / np.max(np.abs(expected)))


def derivatives(
    profile: Profile, z: FloatArray, values: Mapping[str, float]
) -> tuple[FloatArray, FloatArray, dict[str, FloatArray]]:
    """Value of a profile, its derivative by depth, and those by every parameter."""
    names = profile.space.names
    moved: dict[str, Any] = stepped({**values, "z": 0.0}, ("z", *names))
    by_each = derivative(profile.evaluate(z + moved["z"], moved))[:, 0]
    return profile.evaluate(z, values), by_each[0], dict(zip(names, by_each[1:], strict=True))
