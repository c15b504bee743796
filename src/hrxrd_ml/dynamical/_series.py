"""Power series of the oscillatory integral of a graded lamella (scalar work, once a lamella).

With the moments ``B_k = 1/2 int zeta**k exp(i beta zeta**2 - mu zeta)`` over [-1, 1] the integral of
``_reference.graded_lamella`` is

    f(x) = sum_k i**k/k! (G_k + b k G_(k+1)) x**k,     G_k = sum_m e_m H_(k+m),
    H_k = B_k + i gamma (B_(k+3) - B_(k+1)),

b being the slope of beta with x.  Everything that f depends on turns into shifts of the index k, so the derivatives are
series of the same kind.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

TERMS_MAX = 40
_MOMENTS = TERMS_MAX + 16


@njit(cache=True)
def terms(x_max):  # type: ignore[no-untyped-def]
    """Return the number of terms, a multiple of four, that makes the truncation error less than 1e-13."""
    if x_max < 0.11:
        return 8
    if x_max < 0.54:
        return 12
    if x_max < 1.25:
        return 16
    if x_max < 2.16:
        return 20
    if x_max < 3.2:
        return 24
    if x_max < 4.3:
        return 28
    if x_max < 5.6:
        return 32
    return TERMS_MAX


@njit(cache=True)
def _moments(beta, mu, count, out):  # type: ignore[no-untyped-def]
    """Fill ``out[k] = B_k`` for k < count."""
    top = count + 6
    edge = complex(math.cos(beta), math.sin(beta))
    even = np.zeros(top + 8, dtype=np.complex128)
    # Integration by parts gives (k + 1) A_k = exp(i beta) - 2 i beta A_(k+2), stable downwards; the start is converged
    # by six extra steps, each of which gains a factor of beta/k.
    start = top + (top % 2)
    value = edge / (start + 1)
    for k in range(start, -2, -2):
        value = (edge - 2j * beta * value) / (k + 1)
        even[k] = value
    half = mu * mu
    for k in range(count):
        if k % 2 == 0:
            out[k] = even[k] + half * (0.5 * even[k + 2] + half / 24.0 * even[k + 4])
        else:
            out[k] = -mu * (even[k + 1] + half / 6.0 * even[k + 3])


@njit(cache=True)
def _fill(g, b, count, out):  # type: ignore[no-untyped-def]
    """Fill the series ``i**k/k! (g_k + b k g_(k+1))``."""
    factor = complex(1.0, 0.0)
    for k in range(count):
        value = factor * (g[k] + b * k * g[k + 1])
        out[k, 0] = value.real
        out[k, 1] = value.imag
        factor = factor * 1j / (k + 1)


@njit(cache=True)
def integral(beta, b, gamma, mu, e0, e1, e2, count, out):  # type: ignore[no-untyped-def]
    """Fill ``out`` (count, 2) with the series of f, real and imaginary parts."""
    moment = np.empty(_MOMENTS, dtype=np.complex128)
    n = count + 7
    _moments(beta, mu, n, moment)
    g = np.empty(count + 2, dtype=np.complex128)
    ig = 1j * gamma
    for k in range(count + 1):
        h0 = moment[k] + ig * (moment[k + 3] - moment[k + 1])
        h1 = moment[k + 1] + ig * (moment[k + 4] - moment[k + 2])
        h2 = moment[k + 2] + ig * (moment[k + 5] - moment[k + 3])
        g[k] = e0 * h0 + e1 * h1 + e2 * h2
    _fill(g, b, count, out)


@njit(cache=True)
def integral_derivatives(beta, b, gamma, mu, e0, e1, e2, count, out):  # type: ignore[no-untyped-def]
    """Fill ``out`` (8, count, 2) with the series of f and of df/d(beta, b, gamma, mu, e0, e1, e2)."""
    moment = np.empty(_MOMENTS, dtype=np.complex128)
    n = count + 10
    _moments(beta, mu, n, moment)
    h = np.zeros(n, dtype=np.complex128)
    odd = np.zeros(n, dtype=np.complex128)
    for k in range(n - 3):
        odd[k] = 1j * (moment[k + 3] - moment[k + 1])
        h[k] = moment[k] + gamma * odd[k]
    g = np.zeros(n, dtype=np.complex128)
    g_gamma = np.zeros(n, dtype=np.complex128)
    for k in range(n - 5):
        g[k] = e0 * h[k] + e1 * h[k + 1] + e2 * h[k + 2]
        g_gamma[k] = e0 * odd[k] + e1 * odd[k + 1] + e2 * odd[k + 2]
    _fill(g, b, count, out[0])
    _fill(1j * g[2:], b, count, out[1])
    factor = complex(1.0, 0.0)
    for k in range(count):
        value = factor * k * g[k + 1]
        out[2, k, 0] = value.real
        out[2, k, 1] = value.imag
        factor = factor * 1j / (k + 1)
    _fill(g_gamma, b, count, out[3])
    _fill(-g[1:], b, count, out[4])
    _fill(h, b, count, out[5])
    _fill(h[1:], b, count, out[6])
    _fill(h[2:], b, count, out[7])
