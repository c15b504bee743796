"""Counting: scale and axis of a measurement, dead time of the detector, noise."""

from __future__ import annotations

import numpy as np

from hrxrd_ml.arrays import FloatArray
from hrxrd_ml.parameters import ParameterSpace, space_of


def base_space() -> ParameterSpace:
    """What every measured curve has: scale, zero and step of the angle axis, dead time of the detector."""
    own = space_of(
        ("scale", "counts", 1e5, 1e-6, 1e12, True, "counts (or intensity) at reflectivity 1"),
        ("offset", "arcsec", 0.0, -2000.0, 2000.0, True, "where the axis puts the substrate's Bragg angle"),
        ("step", "", 1.0, 0.95, 1.05, False, "true angular step over the nominal one"),
        scope="curve",
    )
    return own + space_of(
        ("dead_time", "1/counts", 0.0, 0.0, 1e-2, False, "observed = true/(1 + dead_time·true)"),
        scope="diffractometer",
    )


def recorded(arriving: FloatArray, dead_time: float) -> tuple[FloatArray, FloatArray]:
    """Return what a counter records, and the derivative by what arrives.

    Parameters
    ----------
    arriving : ndarray
        Expected counts without losses.
    dead_time : float
        Counts that are lost for each one that is recorded, of a counter that is not paralysable [1/counts].
    """
    alive = 1.0 / (1.0 + dead_time * np.maximum(arriving, 0.0))
    return arriving * alive, alive * alive


def count(expected: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Return counts drawn from the Poisson distribution around expected ones: the noise that likelihoods assume."""
    return rng.poisson(np.maximum(expected, 0.0)).astype(float)
