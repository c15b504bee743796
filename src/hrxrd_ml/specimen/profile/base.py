"""What a depth profile is: a function of depth with named parameters, and where it has kinks.

A profile is written once, as an array function of depth and parameters.  Derivatives come from the complex step
(`hrxrd_ml.complex_step`), so no profile has any of its own.  It does not know about lamellae, angles or fits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from hrxrd_ml.arrays import FloatArray, Values
from hrxrd_ml.complex_step import real
from hrxrd_ml.parameters import ParameterSpace

GAP = 1e-6
"""Least distance between two kinks of one profile [Å]; a piece that has lost its thickness keeps its derivative."""


@dataclass(frozen=True)
class Segments:
    """Pieces between kinks, surface first.

    Attributes
    ----------
    edges : ndarray, shape (k + 1,) or (rows, k + 1)
        Depths of surface, kinks and end [Å].
    scale : ndarray, shape (k,)
        Length over which the profile changes its shape in each piece [Å]: how fine a grid has to be.
    """

    edges: Any
    scale: FloatArray


@runtime_checkable
class Profile(Protocol):
    """A function of depth that depends on named parameters.

    Values are floats, or complex columns of `complex_step.stepped`; depths then have the same leading axis.
    """

    @property
    def space(self) -> ParameterSpace:
        """Parameters with units and bounds."""
        ...

    def segments(self, values: Values) -> Segments:
        """Return the pieces between kinks."""
        ...

    def evaluate(self, z: Any, values: Values) -> Any:
        """Return the profile at depths ``z`` [Å], which lie between surface and end."""
        ...


def end_of(profile: Profile | None, values: Values) -> float:
    """Return the depth at which a profile ends [Å]; 0 without one."""
    return 0.0 if profile is None else real(np.asarray(profile.segments(values).edges)[..., -1])


def extreme(profile: Profile, values: Values) -> tuple[float, float]:
    """Return the value of a profile that is largest in size, with its sign, and its depth [Å].

    A profile that knows its maximum says so by a method ``maximum``; else parabolas through the best of 65 samples and
    its neighbours, each ten times narrower than the last.
    """
    if (maximum := getattr(profile, "maximum", None)) is not None:
        largest, where = maximum(values)
        return float(largest), float(where)
    edges = profile.segments(values).edges
    end = float(edges[-1])
    z = np.unique(np.concatenate([np.linspace(0.0, end, 65), edges]))
    sampled = profile.evaluate(z, values)
    sign = float(np.sign(max(sampled, key=abs))) or 1.0
    best = int(np.argmax(sign * sampled))
    where, largest = float(z[best]), sign * float(sampled[best])
    step = end / 64.0
    for _ in range(4):
        around = np.clip(np.array([where - step, where, where + step]), 0.0, end)
        left, middle, right = sign * profile.evaluate(around, values)
        curvature = left - 2.0 * middle + right
        if curvature >= 0.0 or around[0] == around[1] or around[1] == around[2]:
            break
        candidate = float(np.clip(where + 0.5 * step * (left - right) / curvature, 0.0, end))
        value = sign * float(profile.evaluate(np.array([candidate]), values)[0])
        if value < largest:
            break
        where, largest, step = candidate, value, 0.1 * step
    return sign * largest, where


def extent(profile: Profile, values: Values, largest: float, edges: FloatArray) -> tuple[float, float]:
    """Return the lowest and the highest value of a profile whose ``largest`` in size and kinks are known.

    Of the other sign, as far as 65 samples and the kinks tell, and a tenth more.
    """
    z = np.concatenate([np.linspace(0.0, float(edges[-1]), 65), edges])
    other = -1.1 * max(float((-math.copysign(1.0, largest) * profile.evaluate(z, values)).max()), 0.0)
    return (other, largest) if largest > 0.0 else (largest, -other)


def steepest(profile: Profile, values: Values, segments: Segments, end: float) -> FloatArray:
    """Return the largest slope of a profile in each piece [1/Å], none below its end."""
    edges = np.minimum(segments.edges, end)
    counts = np.clip(np.ceil(6.0 * np.diff(edges) / segments.scale), 4, 400).astype(int)
    depths = [np.linspace(a, b, n + 1) for a, b, n in zip(edges[:-1], edges[1:], counts, strict=True)]
    strain = profile.evaluate(np.concatenate(depths), values)
    slopes = []
    for part, z in zip(np.split(strain, np.cumsum(counts + 1)[:-1]), depths, strict=True):
        slopes.append(float(np.abs(np.diff(part)).max()) / max(z[1] - z[0], 1e-6))
    return np.array(slopes)
