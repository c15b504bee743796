"""Reference implementation: NumPy, one lamella at a time, written like the formulas.

Slow and short on purpose; the compiled kernels are tested against it.
"""

from __future__ import annotations

import numpy as np

from hrxrd_ml.arrays import ComplexArray, FloatArray
from hrxrd_ml.diffraction.lamellae import Coefficients

_QUADRATURE = np.polynomial.legendre.leggauss(32)


def substrate(u: ComplexArray, sigma_h: ComplexArray, sigma_hbar: ComplexArray) -> ComplexArray:
    """Return the amplitude of a semi-infinite uniform crystal, ``r = -2 sigma_h/(u + s)``.

    The principal root makes ``Im s >= 0``: the wave field decays into the crystal, with no case distinction.
    """
    # A crystal without absorption is the limit of one with little: the tiny number decides the root's sign.
    s = 1j * np.sqrt(4.0 * sigma_h * sigma_hbar - (u + 1e-300j) ** 2)
    return -2.0 * sigma_h / (u + s)


def uniform_lamella(
    r: ComplexArray, u: ComplexArray, sigma_h: ComplexArray, sigma_hbar: ComplexArray, thickness: float
) -> ComplexArray:
    """Return the amplitude on top of a uniform lamella, exact for any thickness."""
    s = 1j * np.sqrt(4.0 * sigma_h * sigma_hbar - u**2)
    q = np.exp(1j * s * thickness)
    numerator = s * r * (1.0 + q) - (2.0 * sigma_h + u * r) * (1.0 - q)
    return numerator / (s * (1.0 + q) + (u + 2.0 * sigma_hbar * r) * (1.0 - q))


def graded_lamella(
    r: ComplexArray,
    x: FloatArray,
    beta: float,
    gamma: float,
    mu: FloatArray,
    mu_inside: FloatArray,
    e: FloatArray,
    sigma_h: ComplexArray,
    sigma_hbar: ComplexArray,
    thickness: float,
) -> ComplexArray:
    r"""Return the amplitude on top of a lamella in which deviation and Debye-Waller factor are quadratic in depth.

    With :math:`\zeta\in[-1,1]` across the lamella the phase relative to its middle is
    :math:`\Phi = (x+i\mu)\zeta + \beta\zeta^2 + \gamma(\zeta^3-\zeta)`.  In the frame that rotates with this phase only
    the small coupling is left.  It is integrated by the Magnus series to second order: the first order is the
    oscillatory integral

    .. math:: f = \tfrac12\int_{-1}^{1} E(\zeta)\,e^{i\Phi(\zeta)}\,d\zeta

    (a Filon-type step: no restriction on the phase), the second order the real and imaginary part of the ordered double
    integral.  The error is of third order in ``sigma*thickness``, some 1e-7 for a lamella of 100 Å.

    Parameters
    ----------
    r : ndarray of complex, shape (m,)
        Amplitude below.
    x, mu, mu_inside : ndarray, shape (m,)
        Linear coefficient of the phase, absorption, and what stands for it in f: the compiled kernel has one for all
        angles that are calculated together.
    beta, gamma : float
        Quadratic and cubic coefficient of the phase, gamma to first order.
    e : ndarray, shape (3,)
        Coefficients of E in powers of zeta.
    sigma_h, sigma_hbar : ndarray of complex, shape (m,)
        Couplings at E = 1 [1/Å].
    thickness : float
        [Å].
    """
    zeta, weight = _QUADRATURE
    envelope = (
        0.5
        * weight
        * (e[0] + e[1] * zeta + e[2] * zeta**2)
        * (1.0 + 1j * gamma * (zeta**3 - zeta))
        * np.exp(1j * beta * zeta**2)
    )
    f = np.exp(np.multiply.outer(1j * x - mu_inside, zeta)) @ envelope

    # Absorption within the lamella is left out of the return path, which enters in second order only.
    forth, back = 1j * sigma_h * thickness * f, -1j * sigma_hbar * thickness * f.conj()
    strength = sigma_h * sigma_hbar * thickness**2
    small = np.abs(x) < 1e-2
    safe = np.where(small, 1.0, x)
    ordered = np.where(small, 4.0 / 3.0 * x - 4.0 / 15.0 * x**3, (2.0 * safe - np.sin(2.0 * safe)) / safe**2)
    even, odd = 0.5 * np.abs(f) ** 2, 0.25 * e[0] ** 2 * ordered

    below = r * np.exp(1j * (x + beta) - mu)
    b = (1.0 + strength * (even - 1j * odd)) * below + forth
    a = 1.0 + strength * (even + 1j * odd) + back * below
    return b / a * np.exp(1j * (x - beta) - mu)


def quadratic(nodes: FloatArray) -> FloatArray:
    """Return the coefficients in powers of zeta of the parabola through the values on top, in the middle, below."""
    top, middle, bottom = nodes
    return np.array([middle, 0.5 * (bottom - top), 0.5 * (bottom + top) - middle])


def amplitude(c: Coefficients) -> ComplexArray:
    """Return the amplitude r at the surface.

    Returns
    -------
    ndarray of complex, shape (2, m)
        Polarisation sigma, then pi.
    """
    from hrxrd_ml.diffraction.kernels.graded import block_middles  # loads numba

    rows, middles = [], block_middles(c.waves.shape[2])
    for p in range(2):

        def wave(medium: int, p: int = p) -> tuple[FloatArray, FloatArray, ComplexArray, ComplexArray]:
            u, absorption, *factors = c.waves[medium]
            return u, absorption, factors[p] * c.couplings[medium, p], factors[p] * c.couplings[medium, 2 + p]

        u, absorption, sigma_h, sigma_hbar = wave(-1)
        e = c.substrate_debye_waller
        r = substrate(u + 1j * absorption, e * sigma_h, e * sigma_hbar)
        for j in reversed(c.order):
            u, absorption, sigma_h, sigma_hbar = wave(c.medium[j])
            t = c.thickness[j]
            if not c.graded:
                e = float(c.debye_waller[j, 0])
                r = uniform_lamella(r, c.u0[j, 0] + u + 1j * absorption, e * sigma_h, e * sigma_hbar, t)
                continue
            middle, slope, bend = quadratic(c.u0[j])
            r = graded_lamella(
                r,
                x=0.5 * t * (middle + bend / 3.0 + u),
                beta=0.25 * t * slope,
                gamma=t / 6.0 * bend,
                mu=0.5 * t * absorption,
                mu_inside=0.5 * t * absorption[middles],
                e=quadratic(c.debye_waller[j]),
                sigma_h=sigma_h,
                sigma_hbar=sigma_hbar,
                thickness=t,
            )
        rows.append(r)
    return np.array(rows)
