"""Numba kernels of the diffuse reflectivity in single scattering: the value, and the value with its exact derivatives.

The value takes angles in blocks, as the coherent kernel does.  With derivatives there is one loop over lamellae inside
one over angles, both polarisations; the way down records what the way up needs; the
way up hands derivatives of strain, E and thickness to the same chain as the coherent kernel.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from .dynamical._numba_graded import BLOCK, FLAGS, decay

OWN_ROWS = 5
"""Rows after those of the chain: correlation length, mix, and the substrate's damage, correlation length, mix."""


@njit(cache=True, inline="always")
def _shape(v, mix):  # type: ignore[no-untyped-def]
    """Line shape of v = (Q ell)**2, its derivatives with respect to v and to the mix."""
    lorentz = 1.0 / (1.0 + v)
    gauss = math.exp(-v / math.pi) if v < 200.0 else 0.0
    slope = -mix * lorentz * lorentz - (1.0 - mix) * gauss / math.pi
    return mix * lorentz + (1.0 - mix) * gauss, slope, lorentz - gauss


@njit(cache=True, inline="always")
def _escape(x):  # type: ignore[no-untyped-def]
    """P(x) = (1 - exp(-x))/x and P'(x)."""
    if x < 0.02:
        p = 1.0 - x * (0.5 - x * (1.0 / 6.0 - x * (1.0 / 24.0 - x / 120.0)))
        return p, -0.5 + x * (1.0 / 3.0 - x * (0.125 - x / 30.0))
    decay = math.exp(-x)
    p = (1.0 - decay) / x
    return p, (decay - p) / x


@njit(cache=True, fastmath=FLAGS)
def _shapes(v, mix, out):  # type: ignore[no-untyped-def]
    """Fill ``out`` with the line shape of a block of v."""
    for i in range(BLOCK):
        out[i] = (1.0 - mix) * decay(min(v[i] / math.pi, 128.0))
    for i in range(BLOCK):
        out[i] += mix / (1.0 + v[i])


@njit(cache=True, fastmath=FLAGS)
def _density(w, xs, ys, g0, q1, q2, e, gammah, ell, mix, follows):  # type: ignore[no-untyped-def]
    """Fill ``w[3]`` with mu_d of a lamella at strength 1, and ``w[2]`` with the line shape at its bottom."""
    out, top, shape, v = w[3], w[1], w[2], w[0]
    for i in range(BLOCK):
        top[i] = shape[i]
        out[i] = 0.0
    for k in range(3):
        if k > 0 or not follows:
            a, b, c = ell * gammah * g0[k], ell * gammah * q1[k], ell * gammah * q2[k]
            for i in range(BLOCK):
                u = a + b * xs[i] + c * ys[i]
                v[i] = u * u
            _shapes(v, mix, top if k == 0 else shape)
        bare = (4.0 if k == 1 else 1.0) / 6.0 * (1.0 - e[k] * e[k]) * ell
        row = top if k == 0 else shape
        for i in range(BLOCK):
            out[i] += bare * row[i]


@njit(cache=True, fastmath=FLAGS)
def _absorb(out, above, density, strength, mu0, path, t, share):  # type: ignore[no-untyped-def]
    """Add what a lamella scatters to ``out``, weighted by ``share``, and take what it absorbs from ``above``."""
    largest = 0.0
    for i in range(BLOCK):
        largest = max(largest, density[i])
    if (mu0 + strength * largest) * path * t < 0.02:
        for i in range(BLOCK):
            mu = strength * density[i]
            loss = (mu0 + mu) * path * t
            escape = 1.0 - loss * (0.5 - loss * (1.0 / 6.0 - loss * (1.0 / 24.0 - loss / 120.0)))
            out[i] += share * above[i] * mu * t * escape
            above[i] *= 1.0 - loss * escape
    else:
        for i in range(BLOCK):
            mu = strength * density[i]
            loss = (mu0 + mu) * path * t
            escape, _slope = _escape(loss)
            out[i] += share * above[i] * mu * t * escape
            above[i] *= 1.0 - loss * escape


@njit(cache=True, fastmath=FLAGS)
def diffuse(  # type: ignore[no-untyped-def]
    x, y, t, g0, q1, q2, e, strength, mu0, path, gamma0, gammah, ell, mix,
    substrate_q1, substrate_q2, substrate_im_s, substrate_e, substrate_ell, substrate_mix, weights,
):  # fmt: skip
    """Return R_diff (m,), arguments as in ``diffuse_and_jacobian``; vectorised over blocks of angles."""
    n, m = t.shape[0], x.shape[0]
    out = np.empty(m)
    w, above, total = np.zeros((4, BLOCK)), np.empty((2, BLOCK)), np.empty(BLOCK)
    xs, ys = np.empty(BLOCK), np.empty(BLOCK)
    for begin in range(0, m, BLOCK):
        for i in range(BLOCK):
            k = min(begin + i, m - 1)
            xs[i], ys[i] = x[k], y[k]
            above[0, i], above[1, i], total[i] = 1.0, 1.0, 0.0
        for j in range(n):
            follows = j > 0 and g0[j, 0] == g0[j - 1, 2] and q1[j, 0] == q1[j - 1, 2]
            _density(w, xs, ys, g0[j], q1[j], q2[j], e[j], gammah, ell, mix, follows)
            for p in range(2):
                if weights[p] != 0.0:
                    _absorb(total, above[p], w[3], strength[j, p], mu0[j], path, t[j], weights[p] / gamma0)
        for i in range(min(BLOCK, m - begin)):
            sq = gammah * (substrate_q1 * xs[i] + substrate_q2 * ys[i]) * substrate_ell
            psi, _slope, _mix = _shape(sq * sq, substrate_mix)
            for p in range(2):
                mu = strength[n, p] * (1.0 - substrate_e * substrate_e) * substrate_ell * psi
                loss = 0.5 * (mu0[n] + mu) * path + substrate_im_s[p, begin + i] + 1e-30
                total[i] += weights[p] * above[p, i] * mu / gamma0 / loss
            out[begin + i] = total[i]
    return out


@njit(cache=True, fastmath=FLAGS)
def diffuse_and_jacobian(  # type: ignore[no-untyped-def]
    x, y, t, g0, q1, q2, e, strength, mu0, path, gamma0, gammah, ell, mix,
    substrate_q1, substrate_q2, substrate_im_s, substrate_e, substrate_ell, substrate_mix,
    weights, dg0, dq1, pointer, parameter, value, parameters,
):  # fmt: skip
    """Return R_diff (m,) and its derivatives (parameters + 5, m).

    Parameters
    ----------
    x, y : ndarray, shape (m,)
        Angle coordinates.
    t : ndarray, shape (n,)
        Thickness [Å].
    g0, q1, q2 : ndarray, shape (n, 3)
        Deviation at the nodes without refraction [1/Å]; Q = gamma_h (g0 + q1 x + q2 y).
    e : ndarray, shape (n, 3)
        E at the nodes.
    strength : ndarray, shape (n + 1, 2)
        2 (pi C abs(chi_h)/lambda)**2 for sigma and pi [1/Å**2]; the substrate last.
    mu0 : ndarray, shape (n + 1,)
        k chi0'' [1/Å].
    path : float
        1/gamma_0 + 1/gamma_h.
    gamma0, gammah : float
    ell, mix : float
        Correlation length [Å] and Lorentzian fraction of the line shape in the layer.
    substrate_q1, substrate_q2 : float
    substrate_im_s : ndarray, shape (2, m)
        Im s of the substrate, which limits the depth that it scatters from [1/Å].
    substrate_e, substrate_ell, substrate_mix : float
    weights : ndarray, shape (2,)
        Weights of the polarisations.
    dg0, dq1 : ndarray, shape (n, 3)
        Derivatives of g0 and q1 with respect to strain.
    pointer, parameter, value, parameters
        The chain, as in ``_numba_jacobian``.
    """
    n, m = t.shape[0], x.shape[0]
    out = np.zeros(m)
    jacobian = np.zeros((parameters + OWN_ROWS, m))
    share = np.array([1.0 / 6.0, 4.0 / 6.0, 1.0 / 6.0])
    density = np.empty(n)  # mu_d at strength 1
    depth_p, depth_d, above = np.empty((2, n)), np.empty((2, n)), np.empty((2, n + 1))
    psi, psi_v, psi_m, q = np.empty((n, 3)), np.empty((n, 3)), np.empty((n, 3)), np.empty((n, 3))
    node, below = np.empty(7), np.zeros(2)
    column = np.zeros(len(jacobian))
    se2 = substrate_e * substrate_e
    for i in range(m):
        column[:] = 0.0
        xi, yi = x[i], y[i]
        for j in range(n):
            total = 0.0
            for k in range(3):
                if k == 0 and j > 0 and g0[j, 0] == g0[j - 1, 2] and q1[j, 0] == q1[j - 1, 2]:
                    q[j, 0], psi[j, 0], psi_v[j, 0], psi_m[j, 0] = (
                        q[j - 1, 2],
                        psi[j - 1, 2],
                        psi_v[j - 1, 2],
                        psi_m[j - 1, 2],
                    )
                else:
                    q[j, k] = gammah * (g0[j, k] + q1[j, k] * xi + q2[j, k] * yi)
                    v = q[j, k] * ell
                    psi[j, k], psi_v[j, k], psi_m[j, k] = _shape(v * v, mix)
                total += share[k] * (1.0 - e[j, k] * e[j, k]) * psi[j, k]
            density[j] = total * ell
        sq = gammah * (substrate_q1 * xi + substrate_q2 * yi) * substrate_ell
        s_psi, s_psi_v, s_psi_m = _shape(sq * sq, substrate_mix)
        for p in range(2):
            weight = weights[p]
            if weight == 0.0:
                continue
            above[p, 0] = 1.0
            for j in range(n):
                mu = strength[j, p] * density[j]
                loss = (mu0[j] + mu) * path * t[j]
                escape, escape_slope = _escape(loss)
                depth_p[p, j], depth_d[p, j] = escape, escape_slope
                out[i] += weight * above[p, j] * mu * t[j] / gamma0 * escape
                above[p, j + 1] = above[p, j] * (1.0 - loss * escape)
            mu_s = strength[n, p] * (1.0 - se2) * substrate_ell * s_psi
            loss_s = 0.5 * (mu0[n] + mu_s) * path + substrate_im_s[p, i] + 1e-30
            from_substrate = mu_s / gamma0 / loss_s
            out[i] += weight * above[p, n] * from_substrate
            # mu_s/loss_s: d ln = (1/mu_s - path/(2 loss_s)) d mu_s
            by_mu = weight * above[p, n] / gamma0 * (1.0 / loss_s - 0.5 * path * mu_s / (loss_s * loss_s))
            # L of the substrate: d(1 - E**2) = 2 E**2 dL
            column[parameters + 2] += by_mu * strength[n, p] * substrate_ell * s_psi * 2.0 * se2
            column[parameters + 3] += by_mu * strength[n, p] * (1.0 - se2) * (s_psi + 2.0 * sq * sq * s_psi_v)
            column[parameters + 4] += by_mu * strength[n, p] * (1.0 - se2) * substrate_ell * s_psi_m
            below[p] = weight * from_substrate  # what arrives from below, per unit transmission
        for j in range(n - 1, -1, -1):
            by_density, by_t = 0.0, 0.0
            for p in range(2):
                weight = weights[p]
                if weight == 0.0:
                    continue
                mu = strength[j, p] * density[j]
                loss = (mu0[j] + mu) * path * t[j]
                escape, escape_slope = depth_p[p, j], depth_d[p, j]
                source = weight * mu * t[j] / gamma0
                by_loss = above[p, j] * (source * escape_slope - below[p] * (escape + loss * escape_slope))
                by_source = above[p, j] * escape * weight / gamma0
                by_density += strength[j, p] * t[j] * (by_source + by_loss * path)
                by_t += by_source * mu + by_loss * (mu0[j] + mu) * path
                below[p] = source * escape + (1.0 - loss * escape) * below[p]
            by_ell, by_mix = 0.0, 0.0
            for k in range(3):
                bare = share[k] * (1.0 - e[j, k] * e[j, k])
                pull = 2.0 * q[j, k] * ell * psi_v[j, k]
                by_ell += bare * (psi[j, k] + q[j, k] * ell * pull)
                by_mix += bare * psi_m[j, k]
                node[k] = by_density * ell * ell * bare * pull * gammah * (dg0[j, k] + dq1[j, k] * xi)
                node[3 + k] = by_density * ell * share[k] * -2.0 * e[j, k] * psi[j, k]
            node[6] = by_t
            column[parameters] += by_density * by_ell
            column[parameters + 1] += by_density * ell * by_mix
            for entry in range(pointer[j], pointer[j + 1]):
                total = 0.0
                for k in range(7):
                    total += value[entry, k] * node[k]
                column[parameter[entry]] += total
        jacobian[:, i] = column
    return out, jacobian
