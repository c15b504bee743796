"""Numba kernels of the diffuse reflectivity in single scattering: the value, and the value with its exact derivatives.

Both take angles in blocks and vectorise over them, as the coherent kernel does.  With derivatives the way down records
what the way up needs; the way up hands derivatives of strain, E and thickness to the same chain as the coherent kernel.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from .dynamical._numba_graded import BLOCK, FLAGS, decay

OWN_ROWS = 5
"""Rows after those of the chain: correlation length, mix, and the substrate's damage, correlation length, mix."""

# Offsets into flat arrays: with constants, as in the coherent kernel, the compiler sees that rows do not overlap.
# The workspace: angles, mu_d at strength 1, the derivative with respect to it, what a lamella hands out, own rows.
_X, _Y, _DENSITY, _BY_DENSITY, _STRAIN, _E, _T, _OWN = (BLOCK * k for k in (0, 1, 2, 3, 4, 7, 10, 11))
_WORKSPACE = _OWN + OWN_ROWS * BLOCK
# A node: u = Q ell and the two line shapes.
_U, _LORENTZ, _GAUSS, _NODE = (BLOCK * k for k in range(4))
# The beam of one polarisation: what arrives from above, and what leaves from below.
_ABOVE, _BELOW, _BEAM = (BLOCK * k for k in range(3))
# What is kept of one polarisation in a lamella: mu_d, and the beam from above times P and P'.
_MU, _SEEN, _BENT, _KEPT = (BLOCK * k for k in range(4))


@njit(cache=True, fastmath=FLAGS, error_model="numpy", inline="always")
def _thin_escape(x):  # type: ignore[no-untyped-def]
    """P(x) = (1 - exp(-x))/x and P'(x), x < 0.02."""
    p = 1.0 - x * (0.5 - x * (1.0 / 6.0 - x * (1.0 / 24.0 - x / 120.0)))
    return p, -0.5 + x * (1.0 / 3.0 - x * (0.125 - x / 30.0))


@njit(cache=True, fastmath=FLAGS, error_model="numpy", inline="always")
def _escape(x):  # type: ignore[no-untyped-def]
    """P(x) and P'(x)."""
    thin, thin_slope = _thin_escape(x)
    gone = decay(min(x, 128.0))
    p = (1.0 - gone) / x
    slope = (gone - p) / x
    return (thin if x < 0.02 else p), (thin_slope if x < 0.02 else slope)


@njit(cache=True, fastmath=FLAGS, error_model="numpy", inline="always")
def _slopes(u, lorentz, gauss, mix):  # type: ignore[no-untyped-def]
    """Line shape and its derivative with respect to u."""
    slope = -2.0 * u * (mix * lorentz * lorentz + (1.0 - mix) / math.pi * gauss)
    return mix * lorentz + (1.0 - mix) * gauss, slope


@njit(cache=True, inline="always")
def _shape(v, mix):  # type: ignore[no-untyped-def]
    """Line shape of v = (Q ell)**2, its derivatives with respect to v and to the mix."""
    lorentz = 1.0 / (1.0 + v)
    gauss = math.exp(-v / math.pi) if v < 200.0 else 0.0
    slope = -mix * lorentz * lorentz - (1.0 - mix) * gauss / math.pi
    return mix * lorentz + (1.0 - mix) * gauss, slope, lorentz - gauss


@njit(cache=True, fastmath=FLAGS, error_model="numpy")
def _shapes(v, mix, out):  # type: ignore[no-untyped-def]
    """Fill ``out`` with the line shape of a block of v."""
    for i in range(BLOCK):
        out[i] = (1.0 - mix) * decay(min(v[i] / math.pi, 128.0))
    for i in range(BLOCK):
        out[i] += mix / (1.0 + v[i])


@njit(cache=True, fastmath=FLAGS, error_model="numpy")
def _density_old(w, xs, ys, g0, q1, q2, e, gammah, ell, mix, follows):  # type: ignore[no-untyped-def]
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


@njit(cache=True, fastmath=FLAGS, error_model="numpy")
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


@njit(cache=True, fastmath=FLAGS, error_model="numpy")
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
            _density_old(w, xs, ys, g0[j], q1[j], q2[j], e[j], gammah, ell, mix, follows)
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


@njit(cache=True, fastmath=FLAGS, error_model="numpy")
def _node(node, w, a, b, c):  # type: ignore[no-untyped-def]
    """Fill u = a + b x + c y of a node and its line shapes."""
    for i in range(BLOCK):
        u = a + b * w[_X + i] + c * w[_Y + i]
        node[_U + i] = u
        node[_LORENTZ + i] = 1.0 / (1.0 + u * u)
        node[_GAUSS + i] = decay(min(u * u / math.pi, 128.0))


@njit(cache=True, fastmath=FLAGS, error_model="numpy")
def _density(w, nodes, follows, scale, g0, q1, q2, e, ell, mix):  # type: ignore[no-untyped-def]
    """Fill mu_d of a lamella at strength 1, and its nodes; return a bound of the former.

    The first node is there already where the lamella ``follows`` another.
    """
    for k in range(1 if follows else 0, 3):
        _node(nodes[k * _NODE : (k + 1) * _NODE], w, scale * g0[k], scale * q1[k], scale * q2[k])
    b0, b1, b2 = (1.0 - e[0] * e[0]) * ell / 6.0, (1.0 - e[1] * e[1]) * ell / 1.5, (1.0 - e[2] * e[2]) * ell / 6.0
    for i in range(BLOCK):
        lorentz = b0 * nodes[_LORENTZ + i] + b1 * nodes[_NODE + _LORENTZ + i] + b2 * nodes[2 * _NODE + _LORENTZ + i]
        gauss = b0 * nodes[_GAUSS + i] + b1 * nodes[_NODE + _GAUSS + i] + b2 * nodes[2 * _NODE + _GAUSS + i]
        w[_DENSITY + i] = mix * lorentz + (1.0 - mix) * gauss
    return b0 + b1 + b2


@njit(cache=True, fastmath=FLAGS, error_model="numpy")
def _descend(beam, kept, w, thin, strength, mu0, path, t, share):  # type: ignore[no-untyped-def]
    """Carry the beam down through a lamella, and keep what the way up needs."""
    if thin:
        for i in range(BLOCK):
            mu, above = strength * w[_DENSITY + i], beam[_ABOVE + i]
            loss = (mu0 + mu) * path * t
            escape, slope = _thin_escape(loss)
            kept[_MU + i], kept[_SEEN + i], kept[_BENT + i] = mu, share * above * escape, share * above * slope
            beam[_ABOVE + i] = above * (1.0 - loss * escape)
    else:
        for i in range(BLOCK):
            mu, above = strength * w[_DENSITY + i], beam[_ABOVE + i]
            loss = (mu0 + mu) * path * t
            escape, slope = _escape(loss)
            kept[_MU + i], kept[_SEEN + i], kept[_BENT + i] = mu, share * above * escape, share * above * slope
            beam[_ABOVE + i] = above * (1.0 - loss * escape)


@njit(cache=True, fastmath=FLAGS, error_model="numpy")
def _substrate(beam, w, im_s, begin, strength, mu0, path, share):  # type: ignore[no-untyped-def]
    """Fill what leaves the substrate and the derivative with respect to its density."""
    last = im_s.shape[0] - 1
    for i in range(BLOCK):
        mu = strength * w[_DENSITY + i]
        depth = 1.0 / (0.5 * (mu0 + mu) * path + im_s[min(begin + i, last)] + 1e-30)
        seen = share * beam[_ABOVE + i] * depth
        beam[_BELOW + i] = seen * mu
        w[_BY_DENSITY + i] += strength * seen * (1.0 - 0.5 * path * mu * depth)


@njit(cache=True, fastmath=FLAGS, error_model="numpy")
def _ascend(beam, kept, w, strength, mu0, path, t):  # type: ignore[no-untyped-def]
    """Add what a lamella scatters to what leaves from below, and fill derivatives with respect to density and t."""
    for i in range(BLOCK):
        mu, seen = kept[_MU + i], kept[_SEEN + i]
        # exp(-loss) attenuates all that leaves from below
        by_loss = mu * t * kept[_BENT + i] - beam[_BELOW + i]
        w[_BY_DENSITY + i] += strength * t * (seen + by_loss * path)
        w[_T + i] += mu * seen + by_loss * (mu0 + mu) * path
        beam[_BELOW + i] += mu * t * seen


@njit(cache=True, fastmath=FLAGS, error_model="numpy")
def _hand_out(w, nodes, scale, e, ell, mix, dg0, dq1):  # type: ignore[no-untyped-def]
    """Fill the rows of strain and E, and add to those of correlation length and mix."""
    s0, s1, s2 = 1.0 / 6.0, 4.0 / 6.0, 1.0 / 6.0
    b0, b1, b2 = s0 * (1.0 - e[0] * e[0]), s1 * (1.0 - e[1] * e[1]), s2 * (1.0 - e[2] * e[2])
    e0, e1, e2 = -2.0 * ell * s0 * e[0], -2.0 * ell * s1 * e[1], -2.0 * ell * s2 * e[2]
    f0, f1, f2 = ell * b0 * scale * dg0[0], ell * b1 * scale * dg0[1], ell * b2 * scale * dg0[2]
    h0, h1, h2 = ell * b0 * scale * dq1[0], ell * b1 * scale * dq1[1], ell * b2 * scale * dq1[2]
    for i in range(BLOCK):
        by, x = w[_BY_DENSITY + i], w[_X + i]
        u0, lorentz0, gauss0 = nodes[_U + i], nodes[_LORENTZ + i], nodes[_GAUSS + i]
        u1, lorentz1, gauss1 = nodes[_NODE + _U + i], nodes[_NODE + _LORENTZ + i], nodes[_NODE + _GAUSS + i]
        u2, lorentz2, gauss2 = nodes[2 * _NODE + _U + i], nodes[2 * _NODE + _LORENTZ + i], nodes[2 * _NODE + _GAUSS + i]
        psi0, slope0 = _slopes(u0, lorentz0, gauss0, mix)
        psi1, slope1 = _slopes(u1, lorentz1, gauss1, mix)
        psi2, slope2 = _slopes(u2, lorentz2, gauss2, mix)
        w[_STRAIN + i] = by * slope0 * (f0 + h0 * x)
        w[_STRAIN + BLOCK + i] = by * slope1 * (f1 + h1 * x)
        w[_STRAIN + 2 * BLOCK + i] = by * slope2 * (f2 + h2 * x)
        w[_E + i], w[_E + BLOCK + i], w[_E + 2 * BLOCK + i] = by * e0 * psi0, by * e1 * psi1, by * e2 * psi2
        w[_OWN + i] += by * (b0 * (psi0 + u0 * slope0) + b1 * (psi1 + u1 * slope1) + b2 * (psi2 + u2 * slope2))
        w[_OWN + BLOCK + i] += by * ell * (b0 * (lorentz0 - gauss0) + b1 * (lorentz1 - gauss1) + b2 * (lorentz2 - gauss2))


@njit(cache=True, fastmath=FLAGS, error_model="numpy")
def _accumulate(row, w, v):  # type: ignore[no-untyped-def]
    """Add one entry of the chain to a row of the Jacobian."""
    v0, v1, v2, v3, v4, v5, v6 = v[0], v[1], v[2], v[3], v[4], v[5], v[6]
    for i in range(BLOCK):
        row[i] += (
            v0 * w[_STRAIN + i]
            + v1 * w[_STRAIN + BLOCK + i]
            + v2 * w[_STRAIN + 2 * BLOCK + i]
            + v3 * w[_E + i]
            + v4 * w[_E + BLOCK + i]
            + v5 * w[_E + 2 * BLOCK + i]
            + v6 * w[_T + i]
        )


@njit(cache=True, fastmath=FLAGS, error_model="numpy")
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
    out = np.empty(m)
    jacobian = np.empty((parameters + OWN_ROWS, m))
    first = np.zeros(n, dtype=np.int64)  # node on top of a lamella; the one below the lamella above where they agree
    for j in range(1, n):
        first[j] = first[j - 1] + (2 if g0[j, 0] == g0[j - 1, 2] and q1[j, 0] == q1[j - 1, 2] else 3)
    nodes = np.empty((first[n - 1] + 3 if n else 1) * _NODE)
    w, beam, kept, rows = np.zeros(_WORKSPACE), np.zeros((2, _BEAM)), np.empty((n, 2, _KEPT)), np.empty((parameters, BLOCK))
    bottom, se2 = np.empty(_NODE), substrate_e * substrate_e
    for begin in range(0, m, BLOCK):
        for i in range(BLOCK):
            k = min(begin + i, m - 1)
            w[_X + i], w[_Y + i] = x[k], y[k]
            beam[0, _ABOVE + i], beam[1, _ABOVE + i] = 1.0, 1.0
        w[_OWN:] = 0.0
        rows[:] = 0.0
        for j in range(n):
            follows = j > 0 and first[j] == first[j - 1] + 2
            largest = _density(w, nodes[first[j] * _NODE :], follows, ell * gammah, g0[j], q1[j], q2[j], e[j], ell, mix)
            for p in range(2):
                if weights[p] != 0.0:
                    thin = (mu0[j] + strength[j, p] * largest) * path * t[j] < 0.02
                    _descend(beam[p], kept[j, p], w, thin, strength[j, p], mu0[j], path, t[j], weights[p] / gamma0)
        # the substrate: a single node with E constant
        _node(bottom, w, 0.0, substrate_ell * gammah * substrate_q1, substrate_ell * gammah * substrate_q2)
        for i in range(BLOCK):
            psi, _slope = _slopes(bottom[_U + i], bottom[_LORENTZ + i], bottom[_GAUSS + i], substrate_mix)
            w[_DENSITY + i] = (1.0 - se2) * substrate_ell * psi
            w[_BY_DENSITY + i] = 0.0
        for p in range(2):
            if weights[p] != 0.0:
                _substrate(beam[p], w, substrate_im_s[p], begin, strength[n, p], mu0[n], path, weights[p] / gamma0)
        for i in range(BLOCK):
            u, lorentz, gauss, by = bottom[_U + i], bottom[_LORENTZ + i], bottom[_GAUSS + i], w[_BY_DENSITY + i]
            psi, slope = _slopes(u, lorentz, gauss, substrate_mix)
            # d(1 - E**2) = 2 E**2 dL
            w[_OWN + 2 * BLOCK + i] = by * substrate_ell * psi * 2.0 * se2
            w[_OWN + 3 * BLOCK + i] = by * (1.0 - se2) * (psi + u * slope)
            w[_OWN + 4 * BLOCK + i] = by * (1.0 - se2) * substrate_ell * (lorentz - gauss)
        for j in range(n - 1, -1, -1):
            w[_BY_DENSITY : _BY_DENSITY + BLOCK] = 0.0
            w[_T : _T + BLOCK] = 0.0
            for p in range(2):
                if weights[p] != 0.0:
                    _ascend(beam[p], kept[j, p], w, strength[j, p], mu0[j], path, t[j])
            _hand_out(w, nodes[first[j] * _NODE :], ell * gammah, e[j], ell, mix, dg0[j], dq1[j])
            for entry in range(pointer[j], pointer[j + 1]):
                _accumulate(rows[parameter[entry]], w, value[entry])
        for i in range(min(BLOCK, m - begin)):
            out[begin + i] = beam[0, _BELOW + i] + beam[1, _BELOW + i]
        for p in range(parameters):
            for i in range(min(BLOCK, m - begin)):
                jacobian[p, begin + i] = rows[p, i]
        for p in range(OWN_ROWS):
            for i in range(min(BLOCK, m - begin)):
                jacobian[parameters + p, begin + i] = w[_OWN + p * BLOCK + i]
    return out, jacobian
