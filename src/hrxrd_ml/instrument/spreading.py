"""Compiled loops between nodes and a uniform grid: spreading and interpolation.

Importing this module loads numba; others do so where they calculate.  A B-spline of the grid's step spreads each sample
over four grid points and is divided out in Fourier space, so that the convolution sees the samples themselves.
"""

from __future__ import annotations

import math

import numpy as np

from hrxrd_ml.arrays import FloatArray, IntArray
from hrxrd_ml.diffraction.kernels.compiling import entry


@entry
def cells(position):  # type: ignore[no-untyped-def]
    """Return where points (n,), in grid steps, lie on a cubic B-spline.

    Returns
    -------
    first : ndarray of int, shape (n,)
        The first of four neighbours.
    weights, slopes : ndarray, shape (n, 4)
        Weights of the neighbours, and the derivatives of these.
    """
    n = position.shape[0]
    first = np.empty(n, dtype=np.int64)
    weights, slopes = np.empty((n, np.int64(4))), np.empty((n, np.int64(4)))
    for k in range(n):
        cell = math.floor(position[k])
        f = position[k] - cell
        g = 1.0 - f
        first[k] = cell - 1
        weights[k, 0], weights[k, 3] = g * g * g / 6.0, f * f * f / 6.0
        weights[k, 1], weights[k, 2] = 2.0 / 3.0 - f * f * (1.0 - 0.5 * f), 2.0 / 3.0 - g * g * (1.0 - 0.5 * g)
        slopes[k, 0], slopes[k, 3] = -0.5 * g * g, 0.5 * f * f
        slopes[k, 1], slopes[k, 2] = 1.5 * f * f - 2.0 * f, 2.0 * g - 1.5 * g * g
    return first, weights, slopes


@entry
def spread(first, weights, rows, out):  # type: ignore[no-untyped-def]
    """Add rows (p, m), each sample spread over its four neighbours, to ``out`` (p, size)."""
    for p in range(rows.shape[0]):
        for k in range(rows.shape[1]):
            i, v = first[k], rows[p, k]
            out[p, i] += weights[k, 0] * v
            out[p, i + 1] += weights[k, 1] * v
            out[p, i + 2] += weights[k, 2] * v
            out[p, i + 3] += weights[k, 3] * v


@entry
def gather(first, weights, rows):  # type: ignore[no-untyped-def]
    """Return rows (p, size) at points (n,) from their four neighbours, shape (p, n)."""
    count, n = rows.shape[0], first.shape[0]
    out = np.empty((count, n))
    for p in range(count):
        for k in range(n):
            i = first[k]
            out[p, k] = (
                weights[k, 0] * rows[p, i]
                + weights[k, 1] * rows[p, i + 1]
                + weights[k, 2] * rows[p, i + 2]
                + weights[k, 3] * rows[p, i + 3]
            )
    return out


@entry
def gather_columns(first, weights, rows, factor, columns, out):  # type: ignore[no-untyped-def]
    """Write what `gather` returns, times ``factor`` (n,), to those columns (p,) of ``out`` (n, q)."""
    for k in range(first.shape[0]):
        i, s = first[k], factor[k]
        a, b, c, d = s * weights[k, 0], s * weights[k, 1], s * weights[k, 2], s * weights[k, 3]
        for p in range(rows.shape[0]):
            out[k, columns[p]] = a * rows[p, i] + b * rows[p, i + 1] + c * rows[p, i + 2] + d * rows[p, i + 3]


def interpolate(position: FloatArray, rows: FloatArray) -> FloatArray:
    """Return splines with coefficients (p, size) at ``position`` (n,), in grid steps; shape (p, n)."""
    first, weights, _ = cells(position)
    return np.asarray(gather(first, weights, rows))


def refinement(coarse: FloatArray, fine: FloatArray) -> tuple[IntArray, FloatArray]:
    """Return the neighbours and weights with which `gather` interpolates from coarse to fine angles among them.

    Cubic with slopes from finite differences, which makes it linear in the values.

    Parameters
    ----------
    coarse : ndarray, shape (k,)
        At least four, ascending.
    fine : ndarray, shape (n,)

    Returns
    -------
    first : ndarray of int, shape (n,)
    weights : ndarray, shape (n, 4)
    """
    last = len(coarse) - 1
    if last < 3:
        raise ValueError(f"coarse angles: expected at least four, got {last + 1}")
    step = np.diff(coarse)
    share = step[:-1] / (step[:-1] + step[1:])
    # Each slope from a node and the ones before and after it; at the ends from two of them.
    slopes = np.zeros((last + 1, 3))
    slopes[1:-1, 0], slopes[1:-1, 2] = (share - 1.0) / step[:-1], share / step[1:]
    slopes[0, 2], slopes[last, 0] = 1.0 / step[0], -1.0 / step[-1]
    slopes[:, 1] = -slopes[:, 0] - slopes[:, 2]
    cell = np.clip(np.searchsorted(coarse, fine, side="right") - 1, 0, last - 1)
    h, points, first = step[cell], np.arange(len(fine)), np.clip(cell - 1, 0, last - 3)
    f = (fine - coarse[cell]) / h
    g = 1.0 - f
    hermite = (g * g * (3.0 - 2.0 * g), f * f * (3.0 - 2.0 * f), f * g * g * h, -f * f * g * h)
    weights = np.zeros((len(fine), 6))  # of the nodes from one before `first` to one after the last
    for k, value in ((0, hermite[0]), (1, hermite[1])):
        weights[points, cell + k - first + 1] += value
    for node, value in ((0, hermite[2]), (1, hermite[3])):
        for k in range(3):
            weights[points, cell + node + k - first] += value * slopes[cell + node, k]
    return first, np.ascontiguousarray(weights[:, 1:5])


@entry
def subdivide(rows, every):  # type: ignore[no-untyped-def]
    """Interpolate rows (p, n) at ``every`` - 1 points between neighbours, in equal parts of the node number.

    By the polynomial through eight neighbours, which wastes 1e-4 of a wave of eight nodes; returns
    (p, (n - 1) every + 1).
    """
    count, n = rows.shape[0], rows.shape[1]
    out = np.empty((count, (n - 1) * every + 1))
    weights = np.empty(8)
    for j in range(every):
        x = j / every
        for a in range(8):
            w = 1.0
            for b in range(8):
                if b != a:
                    w *= (x - (b - 3.0)) / (a - b)
            weights[a] = w
        for p in range(count):
            row = rows[p]
            for k in range(n if j == 0 else n - 1):
                total = 0.0
                for a in range(8):
                    i = k + a - 3
                    if i < 0:  # beyond the ends the row goes on as its mirror image
                        value = 2.0 * row[0] - row[-i if -i < n else n - 1]
                    elif i >= n:
                        value = 2.0 * row[n - 1] - row[2 * n - 2 - i if i < 2 * n - 2 else 0]
                    else:
                        value = row[i]
                    total += weights[a] * value
                out[p, k * every + j] = total
    return out
