"""Compiled loops between nodes and a uniform grid: spreading, interpolation, refinement.

Importing this module loads numba; others do so where they calculate.  A B-spline of the grid's step spreads each sample
over four grid points and is divided out in Fourier space, so that the convolution sees the samples themselves.
"""

from __future__ import annotations

import math

import numpy as np
from hrxrd_ml.diffraction.kernels.compiling import entry, helper, inlined

from hrxrd_ml.diffraction.kernels.graded import decay


@inlined
def _weights(f):  # type: ignore[no-untyped-def]
    """Cubic B-spline weights of the four neighbours of a point at fraction f of its cell."""
    g = 1.0 - f
    return (
        g * g * g / 6.0,
        2.0 / 3.0 - f * f * (1.0 - 0.5 * f),
        2.0 / 3.0 - g * g * (1.0 - 0.5 * g),
        f * f * f / 6.0,
    )


@helper
def _cells(position):  # type: ignore[no-untyped-def]
    """Return the first of four neighbours of each point (n,), in grid steps, and their weights (n, 4)."""
    n = position.shape[0]
    first, weights = np.empty(n, dtype=np.int64), np.empty((n, 4))
    for k in range(n):
        cell = math.floor(position[k])
        first[k] = cell - 1
        weights[k, 0], weights[k, 1], weights[k, 2], weights[k, 3] = _weights(position[k] - cell)
    return first, weights


@entry
def spread(position, weight, rows, size):  # type: ignore[no-untyped-def]
    """Spread rows of samples (p, m) at ``position`` (m,), in grid steps, times ``weight``; returns (p, size)."""
    count, m = rows.shape
    out = np.zeros((count, size))
    first, share = _cells(position)
    for k in range(m):
        for j in range(4):
            share[k, j] *= weight[k]
    for p in range(count):
        line = out[p]
        for k in range(m):
            i, v = first[k], rows[p, k]
            line[i] += share[k, 0] * v
            line[i + 1] += share[k, 1] * v
            line[i + 2] += share[k, 2] * v
            line[i + 3] += share[k, 3] * v
    return out


@entry
def interpolate(position, grid):  # type: ignore[no-untyped-def]
    """Interpolate rows of spline coefficients (p, size) at ``position`` (n,), in grid steps; returns (p, n)."""
    count, n = grid.shape[0], position.shape[0]
    out = np.empty((count, n))
    first, w = _cells(position)
    for p in range(count):
        line = grid[p]
        for k in range(n):
            i = first[k]
            out[p, k] = w[k, 0] * line[i] + w[k, 1] * line[i + 1] + w[k, 2] * line[i + 2] + w[k, 3] * line[i + 3]
    return out


@entry
def interpolate_columns(position, grid, factor, columns, out):  # type: ignore[no-untyped-def]
    """Write rows of spline coefficients (p, size), interpolated and times ``factor`` (n,), to columns of ``out``.

    The columns (p,) belong to the rows; ``out`` has the shape (n, q).
    """
    count, n = grid.shape[0], position.shape[0]
    first, w = _cells(position)
    for k in range(n):
        i, s = first[k], factor[k]
        a, b, c, d = s * w[k, 0], s * w[k, 1], s * w[k, 2], s * w[k, 3]
        for p in range(count):
            out[k, columns[p]] = a * grid[p, i] + b * grid[p, i + 1] + c * grid[p, i + 2] + d * grid[p, i + 3]


@entry
def slope(position, grid):  # type: ignore[no-untyped-def]
    """Derivative of the spline with respect to position, in grid steps; ``grid`` (size,), returns (n,)."""
    n = position.shape[0]
    out = np.empty(n)
    for k in range(n):
        cell = math.floor(position[k])
        f = position[k] - cell
        g = 1.0 - f
        out[k] = (
            -0.5 * g * g * grid[cell - 1]
            + (1.5 * f * f - 2.0 * f) * grid[cell]
            - (1.5 * g * g - 2.0 * g) * grid[cell + 1]
            + 0.5 * f * f * grid[cell + 2]
        )
    return out


_CUT = math.exp(-12.5)  # of a Gaussian at five standard deviations


@entry(reassociate=True)
def smear(angle, quadrature, centre, spread, rows, first):  # type: ignore[no-untyped-def]
    """Smear rows (p, m) over angles with a Gaussian whose width is ``spread`` times the distance from ``centre``.

    Returns the smeared rows and the derivative of the first ``first`` of them with respect to ``spread``; constants
    pass unchanged, and so does everything at the centre.
    """
    count, m = rows.shape
    out = np.zeros((count, m))
    slope = np.zeros((first, m))
    weight, pull = np.empty(m), np.empty(m)
    low, high = 0, 0
    for i in range(m):
        width = spread * abs(angle[i] - centre) + 1e-12
        while low > 0 and angle[low] > angle[i] - 5.0 * width:
            low -= 1
        while angle[low] < angle[i] - 5.0 * width:
            low += 1
        while high < m and angle[high] <= angle[i] + 5.0 * width:
            high += 1
        while angle[high - 1] > angle[i] + 5.0 * width:
            high -= 1
        total, moment, inverse = 0.0, 0.0, 1.0 / width
        for k in range(low, high):
            t = (angle[i] - angle[k]) * inverse
            g = decay(0.5 * t * t)
            weight[k] = quadrature[k] * (g - _CUT)  # nothing leaps where a node enters
            pull[k] = quadrature[k] * g * t * t
        for k in range(low, high):
            total += weight[k]
            moment += pull[k]
        for p in range(count):
            dot = 0.0
            for k in range(low, high):
                dot += weight[k] * rows[p, k]
            out[p, i] = dot / total
        for p in range(first):
            dot = 0.0
            for k in range(low, high):
                dot += pull[k] * rows[p, k]
            slope[p, i] = (dot - out[p, i] * moment) / (total * spread)
    return out, slope


@entry
def refine(coarse, rows, fine):  # type: ignore[no-untyped-def]
    """Interpolate rows (p, n) from coarse angles (n,) to fine ones (m,) among them; both ascending, returns (p, m).

    Cubic with slopes from finite differences, which makes it linear in the rows.
    """
    count, n = rows.shape
    slopes = np.empty((count, n))
    for p in range(count):
        slopes[p, 0] = (rows[p, 1] - rows[p, 0]) / (coarse[1] - coarse[0])
        slopes[p, n - 1] = (rows[p, n - 1] - rows[p, n - 2]) / (coarse[n - 1] - coarse[n - 2])
    for k in range(1, n - 1):
        left, right = coarse[k] - coarse[k - 1], coarse[k + 1] - coarse[k]
        share = left / (left + right)
        for p in range(count):
            slopes[p, k] = (
                share * (rows[p, k + 1] - rows[p, k]) / right + (1.0 - share) * (rows[p, k] - rows[p, k - 1]) / left
            )
    out = np.empty((count, fine.shape[0]))
    cell = 0
    for i in range(fine.shape[0]):
        while cell < n - 2 and coarse[cell + 1] <= fine[i]:
            cell += 1
        h = coarse[cell + 1] - coarse[cell]
        f = (fine[i] - coarse[cell]) / h
        g = 1.0 - f
        top, bottom = f * f * (3.0 - 2.0 * f), g * g * (3.0 - 2.0 * g)
        begin, end = f * g * g * h, -f * f * g * h
        for p in range(count):
            out[p, i] = (
                bottom * rows[p, cell] + top * rows[p, cell + 1] + begin * slopes[p, cell] + end * slopes[p, cell + 1]
            )
    return out


@entry
def subdivide(rows, every):  # type: ignore[no-untyped-def]
    """Interpolate rows (p, n) at ``every`` - 1 points between neighbours, in equal parts of the node number.

    By the polynomial through eight neighbours, which wastes 1e-4 of a wave of eight nodes; returns
    (p, (n - 1) every + 1).
    """
    count, n = rows.shape
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
                        value = 2.0 * row[0] - row[min(-i, n - 1)]
                    elif i >= n:
                        value = 2.0 * row[n - 1] - row[max(2 * n - 2 - i, 0)]
                    else:
                        value = row[i]
                    total += weights[a] * value
                out[p, k * every + j] = total
    return out
