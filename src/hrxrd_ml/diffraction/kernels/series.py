"""Power series of the oscillatory integral of a graded lamella (scalar work, once a lamella).

With the moments ``B_k = 1/2 int zeta**k exp(i beta zeta**2 - mu zeta)`` over [-1, 1] the integral of
``reference.graded_lamella`` is

    f(x) = sum_k i**k/k! G_k x**k,     G_k = sum_m e_m H_(k+m),     H_k = B_k + i gamma (B_(k+3) - B_(k+1)).

Everything that f depends on turns into shifts of the index k, so the derivatives are series of the same kind.
"""

from __future__ import annotations

import math

import numpy as np

from hrxrd_ml.diffraction.kernels.compiling import helper

TERMS_MAX = 40
_MOMENTS = TERMS_MAX + 16


@helper
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


@helper
def _moments(beta, mu, count, out):  # type: ignore[no-untyped-def]
    """Fill ``out[k] = B_k`` for k < count."""
    top = count + 6
    even = np.empty(top + 8, dtype=np.complex128)
    # Integration by parts gives (k + 1) A_k = exp(i beta) - 2 i beta A_(k+2), stable downwards; the start is converged
    # by six extra steps, each of which gains a factor of beta/k.
    start = top + (top % 2)
    cosine, sine, twice = math.cos(beta), math.sin(beta), 2.0 * beta
    real, imag = cosine / (start + 1.0), sine / (start + 1.0)  # divisions of complex numbers take long to compile
    for k in range(start, -2, -2):
        real, imag = (cosine + twice * imag) / (k + 1.0), (sine - twice * real) / (k + 1.0)
        even[k] = complex(real, imag)
    half = mu * mu
    for k in range(0, count, 2):
        out[k] = even[k] + half * (0.5 * even[k + 2] + half / 24.0 * even[k + 4])
        out[k + 1] = -mu * (even[k + 2] + half / 6.0 * even[k + 4])


@helper
def integral(beta, gamma, mu, e0, e1, e2, count, j, out):  # type: ignore[no-untyped-def]
    """Fill ``out[j]``, shape (count,) complex, with the series of f."""
    moment, h = np.empty(_MOMENTS, dtype=np.complex128), np.empty(_MOMENTS, dtype=np.complex128)
    _moments(beta, mu, count + 5, moment)
    ig, factor = complex(0.0, gamma), complex(1.0, 0.0)
    for k in range(count + 2):
        h[k] = moment[k] + ig * (moment[k + 3] - moment[k + 1])
    for k in range(count):
        out[j, k] = factor * (e0 * h[k] + e1 * h[k + 1] + e2 * h[k + 2])
        factor = complex(-factor.imag / (k + 1.0), factor.real / (k + 1.0))


@helper
def moments_of_integral(beta, gamma, mu, e0, e1, e2, count, j, out):  # type: ignore[no-untyped-def]
    """Fill the six rows from ``out[6 j]``, complex, with the series of the integrals in the derivatives of f.

    With weights zeta E and zeta**2 E; i (zeta**3 - zeta) E to zeroth order in gamma; 1, zeta and zeta**2.
    """
    moment, h = np.empty(_MOMENTS, dtype=np.complex128), np.empty(_MOMENTS, dtype=np.complex128)
    odd = np.empty(_MOMENTS, dtype=np.complex128)
    _moments(beta, mu, count + 10, moment)
    for k in range(count + 4):
        odd[k] = 1j * (moment[k + 3] - moment[k + 1])
        h[k] = moment[k] + gamma * odd[k]
    factor = complex(1.0, 0.0)
    for k in range(count):
        out[6 * j, k] = factor * (e0 * h[k + 1] + e1 * h[k + 2] + e2 * h[k + 3])
        out[6 * j + 1, k] = factor * (e0 * h[k + 2] + e1 * h[k + 3] + e2 * h[k + 4])
        out[6 * j + 2, k] = factor * (e0 * odd[k] + e1 * odd[k + 1] + e2 * odd[k + 2])
        for q in range(3):
            out[6 * j + 3 + q, k] = factor * h[k + q]
        factor = complex(-factor.imag / (k + 1.0), factor.real / (k + 1.0))
