"""Spreading onto and interpolation from a uniform grid with cubic B-splines: both ends of a convolution.

A B-spline of the grid's step spreads each sample over four grid points and is divided out in Fourier space, so that the
convolution sees the samples themselves.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@njit(cache=True, inline="always")
def _weights(f):  # type: ignore[no-untyped-def]
    """Cubic B-spline weights of the four neighbours of a point at fraction f of its cell."""
    g = 1.0 - f
    return (
        g * g * g / 6.0,
        2.0 / 3.0 - f * f * (1.0 - 0.5 * f),
        2.0 / 3.0 - g * g * (1.0 - 0.5 * g),
        f * f * f / 6.0,
    )


@njit(cache=True)
def spread(position, weight, rows, size):  # type: ignore[no-untyped-def]
    """Spread rows of samples (p, m) at ``position`` (m,), in grid steps, times ``weight``; returns (p, size)."""
    count, m = rows.shape
    out = np.zeros((count, size))
    for k in range(m):
        cell = int(np.floor(position[k]))
        w0, w1, w2, w3 = _weights(position[k] - cell)
        s = weight[k]
        for p in range(count):
            v = rows[p, k] * s
            out[p, cell - 1] += w0 * v
            out[p, cell] += w1 * v
            out[p, cell + 1] += w2 * v
            out[p, cell + 2] += w3 * v
    return out


@njit(cache=True)
def interpolate(position, grid):  # type: ignore[no-untyped-def]
    """Interpolate rows of spline coefficients (p, size) at ``position`` (n,), in grid steps; returns (p, n)."""
    count, n = grid.shape[0], position.shape[0]
    out = np.empty((count, n))
    for k in range(n):
        cell = int(np.floor(position[k]))
        w0, w1, w2, w3 = _weights(position[k] - cell)
        for p in range(count):
            out[p, k] = w0 * grid[p, cell - 1] + w1 * grid[p, cell] + w2 * grid[p, cell + 1] + w3 * grid[p, cell + 2]
    return out


@njit(cache=True)
def slope(position, grid):  # type: ignore[no-untyped-def]
    """Derivative of the spline with respect to position, in grid steps; ``grid`` (size,), returns (n,)."""
    n = position.shape[0]
    out = np.empty(n)
    for k in range(n):
        cell = int(np.floor(position[k]))
        f = position[k] - cell
        g = 1.0 - f
        out[k] = (
            -0.5 * g * g * grid[cell - 1]
            + (1.5 * f * f - 2.0 * f) * grid[cell]
            - (1.5 * g * g - 2.0 * g) * grid[cell + 1]
            + 0.5 * f * f * grid[cell + 2]
        )
    return out


@njit(cache=True)
def smear(angle, quadrature, centre, spread, rows, first):  # type: ignore[no-untyped-def]
    """Smear rows (p, m) over angles with a Gaussian whose width is ``spread`` times the distance from ``centre``.

    Returns the smeared rows and the derivative of the first ``first`` of them with respect to ``spread``; constants
    pass unchanged, and so does everything at the centre.
    """
    count, m = rows.shape
    out = np.zeros((count, m))
    slope = np.zeros((first, m))
    low = 0
    for i in range(m):
        width = spread * abs(angle[i] - centre) + 1e-12
        while low > 0 and angle[low] > angle[i] - 5.0 * width:
            low -= 1
        while angle[low] < angle[i] - 5.0 * width:
            low += 1
        total, moment, k = 0.0, 0.0, low
        while k < m and angle[k] <= angle[i] + 5.0 * width:
            t2 = ((angle[i] - angle[k]) / width) ** 2
            g = quadrature[k] * np.exp(-0.5 * t2)
            total += g
            moment += g * t2
            for p in range(count):
                out[p, i] += g * rows[p, k]
            for p in range(first):
                slope[p, i] += g * t2 * rows[p, k]
            k += 1
        for p in range(count):
            out[p, i] /= total
        for p in range(first):
            slope[p, i] = (slope[p, i] - out[p, i] * moment) / (total * spread)
    return out, slope


def transform(omega: FloatArray, step: float) -> FloatArray:
    """Fourier transform of the cubic B-spline basis at angular frequencies ``omega`` for a grid of ``step``."""
    return np.sinc(omega * step / (2.0 * np.pi)) ** 4


def discrete_transform(omega: FloatArray, step: float) -> FloatArray:
    """Transform of the sampled basis (1/6, 2/3, 1/6): what turns samples into interpolation coefficients."""
    return (2.0 + np.cos(omega * step)) / 3.0
