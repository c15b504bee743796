"""Power series of the oscillatory integral of a graded lamella (scalar work, once a lamella).

With the moments ``B_k = 1/2 int zeta**k exp(i beta zeta**2 - mu zeta)`` over [-1, 1] the integral of
``reference.graded_lamella`` is

    f(x) = sum_k i**k/k! G_k x**k,     G_k = sum_m e_m H_(k+m),     H_k = B_k + i gamma (B_(k+3) - B_(k+1)).

Everything that f depends on turns into shifts of the index k, so the derivatives are series of the same kind.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

TERMS_MAX = 40
_MOMENTS = TERMS_MAX + 16


@njit(cache=True)
def terms(x_max):  # type: ignore[no-untyped-def]
    """Return the number of terms, a multiple of four; the first one left out, x**n/(n! (n + 1)), is below 1e-11.

    What f is multiplied by, the coupling times the thickness, is some 0.01.
    """
    if x_max < 0.21:
        return 8
    if x_max < 0.79:
        return 12
    if x_max < 1.66:
        return 16
    if x_max < 2.72:
        return 20
    if x_max < 3.88:
        return 24
    if x_max < 5.1:
        return 28
    if x_max < 6.38:
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
def _fill(g, first, count, out):  # type: ignore[no-untyped-def]
    """Fill the series ``i**k/k! g_(k + first)``, real and imaginary parts."""
    size = 1.0
    for k in range(count):
        value = size * g[k + first]
        turn = k % 4
        if turn == 0:
            out[k, 0], out[k, 1] = value.real, value.imag
        elif turn == 1:
            out[k, 0], out[k, 1] = -value.imag, value.real
        elif turn == 2:
            out[k, 0], out[k, 1] = -value.real, -value.imag
        else:
            out[k, 0], out[k, 1] = value.imag, -value.real
        size /= k + 1.0


@njit(cache=True)
def _gather(moment, gamma, e0, e1, e2, count, h, g):  # type: ignore[no-untyped-def]
    """Fill H_k and G_k for k < count."""
    ig = 1j * gamma
    for k in range(count + 2):
        h[k] = moment[k] + ig * (moment[k + 3] - moment[k + 1])
    for k in range(count):
        g[k] = e0 * h[k] + e1 * h[k + 1] + e2 * h[k + 2]


@njit(cache=True)
def integral(beta, gamma, mu, e0, e1, e2, count, out):  # type: ignore[no-untyped-def]
    """Fill ``out`` (count, 2) with the series of f, real and imaginary parts."""
    moment, h, g = work()
    _moments(beta, mu, count + 5, moment)
    _gather(moment, gamma, e0, e1, e2, count, h, g)
    _fill(g, 0, count, out)


@njit(cache=True)
def moments_of_integral(beta, gamma, mu, e0, e1, e2, count, out):  # type: ignore[no-untyped-def]
    """Fill ``out`` (6, count, 2) with the series of the integrals that the derivatives of f are made of.

    With weights zeta E and zeta**2 E; i (zeta**3 - zeta) E to zeroth order in gamma; 1, zeta and zeta**2.
    """
    moment, h, g = work()
    _moments(beta, mu, count + 10, moment)
    _gather(moment, gamma, e0, e1, e2, count + 3, h, g)
    _fill(g, 1, count, out[0])
    _fill(g, 2, count, out[1])
    for k in range(3):
        _fill(h, k, count, out[3 + k])
    for k in range(count + 3):
        h[k] = 1j * (moment[k + 3] - moment[k + 1])
    for k in range(count):
        g[k] = e0 * h[k] + e1 * h[k + 1] + e2 * h[k + 2]
    _fill(g, 0, count, out[2])


@njit(cache=True)
def work():  # type: ignore[no-untyped-def]
    """Return room for moments, H and G."""
    size = _MOMENTS
    return np.zeros(size, np.complex128), np.zeros(size, np.complex128), np.zeros(size, np.complex128)
