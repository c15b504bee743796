"""Spreading onto and interpolation from a uniform grid with cubic B-splines: both ends of a convolution.

A B-spline of the grid's step spreads each sample over four grid points and is divided out in Fourier space, so that the
convolution sees the samples themselves. The loops stand in ``_numba_gridding``, which is loaded, and numba with it,
when the first of them is needed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import _numba_gridding

    globals()[name] = getattr(_numba_gridding, name)
    return globals()[name]


def transform(omega: FloatArray, step: float) -> FloatArray:
    """Fourier transform of the cubic B-spline basis at angular frequencies ``omega`` for a grid of ``step``."""
    square = np.sinc(omega * step / (2.0 * np.pi)) ** 2
    return square * square


def discrete_transform(omega: FloatArray, step: float) -> FloatArray:
    """Transform of the sampled basis (1/6, 2/3, 1/6): what turns samples into interpolation coefficients."""
    return (2.0 + np.cos(omega * step)) / 3.0
