"""Compiled kernel for graded lamellae, vectorised over angles: the value.

The formulas are those of ``reference.graded_lamella``.  What differs is the bookkeeping that makes it fast:

* The wave is carried as the vector (a, b) with ``r = b/a`` in the frame that rotates with the phase counted from the
  surface, so that a lamella costs two complex products a polarisation, no division, and both polarisations share the
  phase and the oscillatory integral.  Absorption takes from b between the middles of lamellae; within one, where it
  enters in second order, it is that of the middle of a block of angles (`block_middles`).
* The integral f(x) is a power series in x whose coefficients do not depend on the angle
(``diffraction.kernels.series``).
* Angles are taken in blocks of 64 that live in one flat workspace: every inner loop has a constant trip count and
  constant offsets, which is what the compiler needs to use the vector unit.  Functions take whole arrays and the number
  of a lamella: a slice costs as much as ten of its numbers.
"""

from __future__ import annotations

import math

import numpy as np

from hrxrd_ml.arrays import IntArray
from hrxrd_ml.diffraction.kernels import series as _series
from hrxrd_ml.diffraction.kernels.compiling import entry, helper, inlined
from hrxrd_ml.diffraction.kernels.series import TERMS_MAX, terms

BLOCK = 64

# Rows of a medium in a block: deviation U, absorption A, factor of the couplings for sigma and for pi.
U, ABSORPTION, S = 0, BLOCK, 2 * BLOCK
MEDIUM = 4 * BLOCK

# Rows of the workspace, each BLOCK numbers long: phase of what lies above the medium, absorption between lamellae,
# phase, ordered integral, oscillatory integral, vectors.
ABOVE, FADE, PX, COS, SIN, ODD, FR, FI = (BLOCK * k for k in range(8))
A0R, A0I, B0R, B0I, A1R, A1I, B1R, B1I = (BLOCK * k for k in range(8, 16))
T0R, T0I, T1R, T1I = (BLOCK * k for k in range(16, 20))
WORKSPACE = BLOCK * 20

# Columns of the plan, what one lamella needs whatever the angle: x and the phase in its middle but for U; half its
# thickness and the depth of its middle in its medium, what U is multiplied by in the two; thickness of all lamellae of
# the medium that lie one upon the other, where this is the lowest one of them, else 0; beta, gamma, mu at some angle,
# E in powers of zeta, largest abs(x).
PLAN_HALF, PLAN_DEPTH, PLAN_RUN, PLAN_BETA, PLAN_GAMMA, PLAN_MU, PLAN_E, PLAN_XMAX = 2, 3, 4, 5, 6, 7, 8, 11
PLAN_COLUMNS = 12


def block_middles(count: int) -> IntArray:
    """Return the number of the angle in the middle of the block that each of so many angles is in."""
    return np.minimum(np.arange(count) // BLOCK * BLOCK + BLOCK // 2, count - 1)


@inlined
def sincos(phase):  # type: ignore[no-untyped-def]
    """Sine and cosine to 1e-15 by half-angle Taylor series: branch-free, so the loop around it vectorises."""
    h = 0.5 * (phase - 6.283185307179586 * math.floor(phase * 0.15915494309189535 + 0.5))
    y = h * h
    s = 1.9572941063391263e-20 * y - 8.22063524662433e-18
    s = (s * y + 2.8114572543455206e-15) * y - 7.647163731819816e-13
    s = (s * y + 1.6059043836821613e-10) * y - 2.505210838544172e-08
    s = (s * y + 2.7557319223985893e-06) * y - 0.0001984126984126984
    s = (s * y + 0.008333333333333333) * y - 0.16666666666666666
    s = h + h * y * s
    c = 4.110317623312165e-19 * y - 1.5619206968586225e-16
    c = (c * y + 4.779477332387385e-14) * y - 1.1470745597729725e-11
    c = (c * y + 2.08767569878681e-09) * y - 2.755731922398589e-07
    c = (c * y + 2.48015873015873e-05) * y - 0.001388888888888889
    c = (c * y + 0.041666666666666664) * y - 0.5
    c = 1.0 + y * c
    return 2.0 * s * c, 1.0 - 2.0 * s * s


@inlined
def decay(v):  # type: ignore[no-untyped-def]
    """exp(-v) for v from 0 to 128, to 1e-13, as a power of a Taylor series: branch-free like ``sincos``."""
    y = 0.5 - 0.0078125 * v
    p = 1.6059043836821613e-10 * y + 2.08767569878681e-09
    p = (p * y + 2.505210838544172e-08) * y + 2.755731922398589e-07
    p = (p * y + 2.7557319223985893e-06) * y + 2.48015873015873e-05
    p = (p * y + 0.0001984126984126984) * y + 0.001388888888888889
    p = (p * y + 0.008333333333333333) * y + 0.041666666666666664
    p = (p * y + 0.16666666666666666) * y + 0.5
    p = 0.6065306597126334 * ((p * y + 1.0) * y + 1.0)
    p = p * p
    p = p * p
    p = p * p
    p = p * p
    p = p * p
    p = p * p
    return p * p


@helper
def ordered_integral(w, x_max):  # type: ignore[no-untyped-def]
    """Fill the ordered double integral D(x) = (2x - sin 2x)/x**2."""
    # Up to 2.6: sum of (-1)**m 2**(2m+3) x**(2m+1)/(2m+3)!, m = 0..8 or 0..14
    if x_max < 1.0:
        for i in range(BLOCK):
            x = w[PX + i]
            y = -4.0 * x * x
            d = 8.22063524662433e-18 * y + 2.8114572543455206e-15
            d = (d * y + 7.647163731819816e-13) * y + 1.6059043836821613e-10
            d = (d * y + 2.505210838544172e-08) * y + 2.7557319223985893e-06
            d = (d * y + 0.0001984126984126984) * y + 0.008333333333333333
            w[ODD + i] = 8.0 * x * (d * y + 0.16666666666666666)
    elif x_max < 2.6:
        for i in range(BLOCK):
            x = w[PX + i]
            y = -4.0 * x * x
            d = 1.216125041553518e-34 * y + 1.1309962886447716e-31
            d = (d * y + 9.183689863795546e-29) * y + 6.446950284384474e-26
            d = (d * y + 3.868170170630684e-23) * y + 1.9572941063391263e-20
            d = (d * y + 8.22063524662433e-18) * y + 2.8114572543455206e-15
            d = (d * y + 7.647163731819816e-13) * y + 1.6059043836821613e-10
            d = (d * y + 2.505210838544172e-08) * y + 2.7557319223985893e-06
            d = (d * y + 0.0001984126984126984) * y + 0.008333333333333333
            w[ODD + i] = 8.0 * x * (d * y + 0.16666666666666666)
    else:
        for i in range(BLOCK):
            s, _c = sincos(2.0 * w[PX + i])
            w[ODD + i] = 2.0 * w[PX + i] - s
        for i in range(BLOCK):  # a loop of its own: sine and division in one are not vectorised
            w[ODD + i] /= w[PX + i] * w[PX + i] + 1e-30


@helper
def load(media, waves, begin):  # type: ignore[no-untyped-def]
    """Load one block of angles of all media."""
    m = waves.shape[2]
    for f in range(waves.shape[0]):
        for row in range(4):
            for i in range(BLOCK):
                media[f, BLOCK * row + i] = waves[f, row, begin + i if begin + i < m else m - 1]


@helper
def substrate(w, media, sh, sb, p, row, slope):  # type: ignore[no-untyped-def]
    """Fill r of the substrate and dr/d(ln E), one polarisation, with real arithmetic so that the loop vectorises."""
    last = media.shape[0] - 1
    product, factor = 4.0 * sh * sb, S + p * BLOCK
    p0r, p0i, h0r, h0i = product.real, product.imag, -2.0 * sh.real, -2.0 * sh.imag
    for i in range(BLOCK):
        f = media[last, factor + i]
        pr, pi, hr, hi = f * f * p0r, f * f * p0i, f * h0r, f * h0i
        # A crystal without absorption is the limit of one with little: the tiny number decides the root's sign.
        ur, ui = media[last, U + i], media[last, ABSORPTION + i] + 1e-300
        # s = i sqrt(z), z = 4 sigma_h sigma_hbar - u**2, principal root
        zr, zi = pr - ur * ur + ui * ui, pi - 2.0 * ur * ui
        larger = math.sqrt(0.5 * (math.sqrt(zr * zr + zi * zi) + abs(zr)) + 1e-300)
        smaller = 0.5 * abs(zi) / larger
        root_r = larger if zr >= 0.0 else smaller
        root_i = smaller if zr >= 0.0 else larger
        root_i = root_i if zi >= 0.0 else -root_i
        sr, si = -root_i, root_r
        dr, di = ur + sr, ui + si
        n = 1.0 / (dr * dr + di * di)
        rr, ri = (hr * dr + hi * di) * n, (hi * dr - hr * di) * n
        w[row + i] = rr
        w[row + BLOCK + i] = ri
        # dr/d(ln E) = r (1 + product/(s (u + s)))
        mr, mi = sr * dr - si * di, sr * di + si * dr
        n = 1.0 / (mr * mr + mi * mi + 1e-300)
        gr, gi = 1.0 + (pr * mr + pi * mi) * n, (pi * mr - pr * mi) * n
        w[slope + i] = rr * gr - ri * gi
        w[slope + BLOCK + i] = rr * gi + ri * gr


@helper
def start(w, media, couplings, e):  # type: ignore[no-untyped-def]
    """Start the vectors (a, b) of a block on the substrate; T is db/d(ln E of the substrate)."""
    last = media.shape[0] - 1
    for p in range(2):  # rows that numba knows as constants would be two specialisations
        wave, slope = A0R + 4 * BLOCK * p, T0R + 2 * BLOCK * p
        substrate(w, media, e * couplings[last, p], e * couplings[last, 2 + p], p, wave + 2 * BLOCK, slope)
        for i in range(BLOCK):
            w[wave + i], w[wave + BLOCK + i] = 1.0, 0.0


@helper
def rotate(w, media, plan, medium):  # type: ignore[no-untyped-def]
    """Turn what `start` has filled by the phase of all that lies above the substrate."""
    n = medium.shape[0]
    for i in range(BLOCK):
        w[ABOVE + i] = 0.0
    for j in range(n):
        f, run = medium[j], plan[j, PLAN_RUN]
        if run != 0.0:
            for i in range(BLOCK):
                w[ABOVE + i] += run * media[f, U + i]
    phase = plan[n, 1]
    for i in range(BLOCK):
        w[SIN + i], w[COS + i] = sincos(phase + w[ABOVE + i])
    for row in (B0R, B1R, T0R, T1R):
        for i in range(BLOCK):
            s, c = w[SIN + i], w[COS + i]
            r, q = w[row + i], w[row + BLOCK + i]
            w[row + i], w[row + BLOCK + i] = r * c - q * s, r * s + q * c


@helper
def fade(w, media, medium, plan, j, z, first, second):  # type: ignore[no-untyped-def]
    """Absorb between the middle of lamella ``j`` - 1 and that of ``j``; beyond the ends, from or to the surface.

    Multiplies two complex rows of ``z``, at ``first`` and at ``second``; uses a row of ``w``.
    """
    n, upper, lower = medium.shape[0], 0.0, 0.0
    above, below = 0, 0
    if j > 0:
        above, upper = medium[j - 1], plan[j - 1, PLAN_HALF]
    if j < n:
        below, lower = medium[j], plan[j, PLAN_HALF]
    largest = 0.0
    for i in range(BLOCK):
        v = upper * media[above, ABSORPTION + i] + lower * media[below, ABSORPTION + i]
        w[FADE + i] = 1.0 - v * (
            1.0 - v * (0.5 - v * (0.16666666666666666 - v * (0.041666666666666664 - v * 0.008333333333333333)))
        )
        largest = v if v > largest else largest
    if largest > 0.02:
        for i in range(BLOCK):
            v = upper * media[above, ABSORPTION + i] + lower * media[below, ABSORPTION + i]
            w[FADE + i] = decay(v if v < 128.0 else 128.0)
    for i in range(BLOCK):
        v = w[FADE + i]
        z[first + i] *= v
        z[first + BLOCK + i] *= v
        z[second + i] *= v
        z[second + BLOCK + i] *= v


@helper
def bound(first, last):  # type: ignore[no-untyped-def]
    """Return what abs(x) does not exceed between two angles: monotonic but for the curvature of sin, for the margin."""
    first, last = abs(first), abs(last)
    return 1.001 * (first if first > last else last) + 1e-3


@helper
def lamella_phase(w, media, f, plan, j):  # type: ignore[no-untyped-def]
    """Fill x, and the sine and cosine of the phase in the middle of the lamella; return the largest abs(x).

    Lamellae are met from the lowest one on.
    """
    x0, phase, half, depth, run = plan[j, 0], plan[j, 1], plan[j, PLAN_HALF], plan[j, PLAN_DEPTH], plan[j, PLAN_RUN]
    if run != 0.0:
        for i in range(BLOCK):
            w[ABOVE + i] -= run * media[f, U + i]
    for i in range(BLOCK):
        u = media[f, U + i]
        w[PX + i] = x0 + half * u
        s, c = sincos(phase + w[ABOVE + i] + depth * u)
        w[SIN + i] = s
        w[COS + i] = c
    return bound(w[PX], w[PX + BLOCK - 1])


@helper
def absorbed(media, f, plan, j):  # type: ignore[no-untyped-def]
    """Return mu of a lamella in the middle of the block."""
    return plan[j, PLAN_HALF] * media[f, ABSORPTION + BLOCK // 2]


@helper
def shift(series, j, count, mu, out):  # type: ignore[no-untyped-def]
    """Fill ``out`` with a series in x for another absorption: f depends on x + i mu, and mu hardly changes."""
    for k in range(count - 2):
        c, d, e, n = series[j, k], series[j, k + 1], series[j, k + 2], mu * (k + 1.0)
        s = 0.5 * n * mu * (k + 2.0)
        out[k] = complex(c.real - n * d.imag - s * e.real, c.imag + n * d.real - s * e.imag)
    out[count - 2], out[count - 1] = series[j, count - 2], series[j, count - 1]


@helper
def horner(w, series, count):  # type: ignore[no-untyped-def]
    """Fill f(x)."""
    for i in range(BLOCK):
        w[FR + i] = 0.0
        w[FI + i] = 0.0
    for k in range(count - 4, -1, -4):
        c0, c1, c2, c3 = series[k], series[k + 1], series[k + 2], series[k + 3]
        c0r, c0i, c1r, c1i, c2r, c2i, c3r, c3i = c0.real, c0.imag, c1.real, c1.imag, c2.real, c2.imag, c3.real, c3.imag
        for i in range(BLOCK):
            x = w[PX + i]
            w[FR + i] = (((w[FR + i] * x + c3r) * x + c2r) * x + c1r) * x + c0r
            w[FI + i] = (((w[FI + i] * x + c3i) * x + c2i) * x + c1i) * x + c0i


@helper
def advance(w, media, f, t, e, couplings, polarisations):  # type: ignore[no-untyped-def]
    """Carry (a, b) of both polarisations over a lamella of medium ``f``, or of sigma alone."""
    quarter_e2 = 0.25 * e * e
    for p in range(polarisations):
        h, k = t * couplings[f, p], t * couplings[f, 2 + p]
        st, factor = h * k, S + p * BLOCK
        hr, hi, kr, ki, sr, si = h.real, h.imag, k.real, k.imag, st.real, st.imag
        wave = w[A0R + 4 * BLOCK * p : A0R + 4 * BLOCK * (p + 1)]  # offsets in a view are known not to be negative
        for i in range(BLOCK):
            g = media[f, factor + i]
            fr, fi, c, s = g * w[FR + i], g * w[FI + i], w[COS + i], w[SIN + i]
            gr, gi = fr * c - fi * s, fr * s + fi * c
            even, odd = 0.5 * (fr * fr + fi * fi), g * g * quarter_e2 * w[ODD + i]
            # forwards i sigma_h F, backwards -i sigma_hbar conj(F)
            fwr, fwi = -hr * gi - hi * gr, hr * gr - hi * gi
            bwr, bwi = ki * gr - kr * gi, -kr * gr - ki * gi
            evr, evi, odr, odi = 1.0 + sr * even, si * even, -si * odd, sr * odd
            ar, ai, br, bi = wave[i], wave[BLOCK + i], wave[2 * BLOCK + i], wave[3 * BLOCK + i]
            wave[i] = (evr + odr) * ar - (evi + odi) * ai + bwr * br - bwi * bi
            wave[BLOCK + i] = (evr + odr) * ai + (evi + odi) * ar + bwr * bi + bwi * br
            wave[2 * BLOCK + i] = (evr - odr) * br - (evi - odi) * bi + fwr * ar - fwi * ai
            wave[3 * BLOCK + i] = (evr - odr) * bi + (evi - odi) * br + fwr * ai + fwi * ar


@helper
def make_plan(waves, t, u0, e, medium):  # type: ignore[no-untyped-def]
    """Return the plan, shape (n + 1, PLAN_COLUMNS); the last row holds the phase of the substrate but for U."""
    n, last = t.shape[0], waves.shape[2] - 1
    plan = np.empty((n + 1, np.int64(PLAN_COLUMNS)))  # constants would be specialisations
    phase, depth = 0.0, 0.0
    for j in range(n):
        f, h, a, b, c = medium[j], t[j], u0[j, 0], u0[j, 1], u0[j, 2]
        x0, half, beta = h * (a + 4.0 * b + c) / 12.0, 0.5 * h, 0.125 * h * (c - a)
        plan[j, 0], plan[j, 1], plan[j, PLAN_HALF], plan[j, PLAN_DEPTH] = x0, phase + x0 - beta, half, depth + half
        phase, depth = phase + 2.0 * x0, depth + h
        plan[j, PLAN_RUN] = 0.0
        if j == n - 1 or medium[j + 1] != f:
            plan[j, PLAN_RUN], depth = depth, 0.0
        plan[j, PLAN_BETA], plan[j, PLAN_GAMMA] = beta, h * (0.5 * (a + c) - b) / 6.0
        plan[j, PLAN_MU] = half * waves[f, 1, last // 2]
        a, b, c = e[j, 0], e[j, 1], e[j, 2]
        plan[j, PLAN_E], plan[j, PLAN_E + 1], plan[j, PLAN_E + 2] = b, 0.5 * (c - a), 0.5 * (c + a) - b
        plan[j, PLAN_XMAX] = bound(x0 + half * waves[f, 0, 0], x0 + half * waves[f, 0, last])
    plan[n, 1] = phase
    return plan


@helper
def make_series(plan):  # type: ignore[no-untyped-def]
    """Return the series of f of every lamella, shape (n, TERMS_MAX) complex."""
    n = plan.shape[0] - 1
    series = np.empty((n, np.int64(TERMS_MAX)), dtype=np.complex128)
    for j in range(n):
        beta, gamma, mu = plan[j, PLAN_BETA], plan[j, PLAN_GAMMA], plan[j, PLAN_MU]
        e0, e1, e2 = plan[j, PLAN_E], plan[j, PLAN_E + 1], plan[j, PLAN_E + 2]
        _series.integral(beta, gamma, mu, e0, e1, e2, terms(plan[j, PLAN_XMAX]), j, series)
    return series


@helper
def finish(w, begin, polarisations, out):  # type: ignore[no-untyped-def]
    """Write r = b/a of a block to ``out`` (2, m); zero where a polarisation is not wanted."""
    m = out.shape[1]
    for p in range(2):
        wave = A0R + 4 * BLOCK * p
        for i in range(m - begin if m - begin < BLOCK else BLOCK):
            if p < polarisations:
                ar, ai, br, bi = w[wave + i], w[wave + BLOCK + i], w[wave + 2 * BLOCK + i], w[wave + 3 * BLOCK + i]
                n = ar * ar + ai * ai
                out[p, begin + i] = complex((br * ar + bi * ai) / n, (bi * ar - br * ai) / n)
            else:
                out[p, begin + i] = 0.0


@entry
def amplitude(waves, couplings, medium, t, u0, e, substrate_e, polarisations):  # type: ignore[no-untyped-def]
    """Return r at the surface, shape (2, m) complex; arguments as in ``Coefficients``, angles ascending.

    Polarisation pi is left at zero unless two ``polarisations`` are wanted.
    """
    n, m = t.shape[0], waves.shape[2]
    out = np.empty((np.int64(2), m), dtype=np.complex128)
    plan = make_plan(waves, t, u0, e, medium)
    series = make_series(plan)
    w, media = np.empty(WORKSPACE), np.empty((waves.shape[0], np.int64(MEDIUM)))
    own = np.empty(np.int64(TERMS_MAX), dtype=np.complex128)
    for begin in range(0, m, BLOCK):
        load(media, waves, begin)
        start(w, media, couplings, substrate_e)
        rotate(w, media, plan, medium)
        for j in range(n - 1, -1, -1):
            f = medium[j]
            fade(w, media, medium, plan, j + 1, w, B0R, B1R)
            x_max = lamella_phase(w, media, f, plan, j)
            ordered_integral(w, x_max)
            count = terms(x_max)
            shift(series, j, count, absorbed(media, f, plan, j) - plan[j, PLAN_MU], own)
            horner(w, own, count)
            advance(w, media, f, t[j], plan[j, PLAN_E], couplings, polarisations)
        fade(w, media, medium, plan, 0, w, B0R, B1R)
        finish(w, begin, polarisations, out)
    return out
