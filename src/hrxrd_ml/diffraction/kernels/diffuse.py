"""Numba kernels of the diffuse reflectivity in single scattering: the value, and the value with its exact derivatives.

Both take angles in blocks, as the coherent kernel does, and share the way down.  With derivatives it records what the
way up needs; the way up gives the derivatives by everything that a lamella has, as the coherent kernel does.
"""

from __future__ import annotations

import math

import numpy as np

from hrxrd_ml.diffraction.kernels.compiling import entry, helper, inlined
from hrxrd_ml.diffraction.kernels.graded import BLOCK, decay
from hrxrd_ml.diffraction.kernels.graded_jacobian import accumulate, clear, sparse, store, store_media

OWN_ROWS = (
    "correlation_length",
    "diffuse_mix",
    "substrate_damage",
    "substrate_correlation_length",
    "substrate_diffuse_mix",
)
"""Parameters of the rows after those of the lamellae."""
_OWN_ROWS = len(OWN_ROWS)

# Rows of flat arrays, each BLOCK numbers long: constant offsets tell the compiler that rows do not overlap. The
# workspace: 1/gamma_0, mu_d at strength 1, the derivative with respect to it, those by deviation (3), E (3), thickness,
# absorption and path of a lamella, and by the sine of the exit angle.
_SHARE, _DENSITY, _BY_DENSITY, _STRAIN, _E, _T, _BY_MU0, _BY_PATH, _BY_SINE = (
    BLOCK * k for k in (0, 1, 2, 3, 6, 9, 10, 11, 12)
)
_WORKSPACE = BLOCK * 13
# A medium: deviation, sine of the exit angle, path over depth, C**2 for pi.
_D, _G, _PATH, _C2, _MEDIUM = (BLOCK * k for k in range(5))

BY_MEDIUM = 7
"""Derivatives by what a medium has: these rows, strength for sigma and pi, absorption."""

# A node: u = Q ell and the two line shapes.
_U, _LORENTZ, _GAUSS, _NODE = (BLOCK * k for k in range(4))
# One polarisation: Im s of the substrate, the beam that arrives from above, what leaves from below.
_IM_S, _ABOVE, _BELOW, _BEAM = (BLOCK * k for k in range(4))
# One polarisation in one lamella: mu_d, and P and P' times the beam from above; in the place of the last one, on the
# way up, the derivative by mu_d.
_MU, _ESCAPE, _SLOPE, _KEPT = (BLOCK * k for k in range(4))


@inlined
def _shape(u, lorentz, gauss, mix):  # type: ignore[no-untyped-def]
    """Line shape and its derivative with respect to u."""
    slope = -2.0 * u * (mix * lorentz * lorentz + (1.0 - mix) / math.pi * gauss)
    return mix * lorentz + (1.0 - mix) * gauss, slope


@inlined
def _thin_escape(x):  # type: ignore[no-untyped-def]
    """P(x) = (1 - exp(-x))/x and P'(x) for x < 0.02, to 1e-12."""
    r = 0.5 - x * (1.0 / 6.0 - x * (1.0 / 24.0 - x * (1.0 / 120.0 - x / 720.0)))  # r = (1 - P)/x, P' = r - P
    p = 1.0 - x * r
    return p, r - p


@inlined
def _escape(x):  # type: ignore[no-untyped-def]
    """P(x) and P'(x) for any x, to 1e-12 and without a branch."""
    r = 2.08767569878681e-09 - x * 1.6059043836821613e-10
    r = 2.7557319223985893e-07 - x * (2.505210838544172e-08 - x * r)
    r = 2.48015873015873e-05 - x * (2.7557319223985893e-06 - x * r)
    r = 0.001388888888888889 - x * (0.0001984126984126984 - x * r)
    r = 0.041666666666666664 - x * (0.008333333333333333 - x * r)
    r = 0.5 - x * (0.16666666666666666 - x * r)
    thin = 1.0 - x * r
    left = decay(x if x < 128.0 else 128.0)
    p = (1.0 - left) / x
    slope = (left - p) / x
    return (thin, r - thin) if x < 0.5 else (p, slope)


@helper
def _load(w, beam, media, directions, sin_incidence, substrate_im_s, begin, paths):  # type: ignore[no-untyped-def]
    """Load one block of angles; fill what the path in each medium does not exceed."""
    last = sin_incidence.shape[0] - 1
    for i in range(BLOCK):
        k = begin + i if begin + i < last else last
        w[_SHARE + i] = 1.0 / sin_incidence[k]
        for p in range(2):
            beam[p, _IM_S + i] = substrate_im_s[p, k]
            beam[p, _ABOVE + i] = 1.0
            beam[p, _BELOW + i] = 0.0
    for f in range(directions.shape[0]):
        for row in range(4):
            for i in range(BLOCK):
                media[f, BLOCK * row + i] = directions[f, row, begin + i if begin + i < last else last]
        largest = 0.0
        for i in range(BLOCK):
            largest = media[f, _PATH + i] if media[f, _PATH + i] > largest else largest
        paths[f] = largest


@helper
def _node(nodes, at, media, f, ell, g):  # type: ignore[no-untyped-def]
    """Fill u = Q ell and the line shapes."""
    for i in range(BLOCK):
        u = ell * media[f, _G + i] * (g + media[f, _D + i])
        v = u * u / math.pi
        nodes[at, _U + i] = u
        nodes[at, _LORENTZ + i] = 1.0 / (1.0 + u * u)
        nodes[at, _GAUSS + i] = decay(v if v < 128.0 else 128.0)


@helper
def _density(w, nodes, top, follows, media, f, g0, e, ell, mix, j):  # type: ignore[no-untyped-def]
    """Fill mu_d of a lamella at strength 1, and its nodes; return what mu_d does not exceed.

    The node on top is there already where the lamella ``follows`` another.
    """
    for k in range(1 if follows else 0, 3):
        _node(nodes, top + k, media, f, ell, g0[j, k])
    return _fill_density(w, nodes, top, e, ell, mix, j)


@helper
def _fill_density(w, nodes, top, e, ell, mix, j):  # type: ignore[no-untyped-def]
    """Fill mu_d of a lamella at strength 1 from its nodes; return what it does not exceed."""
    e0, e1, e2 = e[j, 0], e[j, 1], e[j, 2]
    b0, b1, b2 = (1.0 - e0 * e0) * ell / 6.0, (1.0 - e1 * e1) * ell / 1.5, (1.0 - e2 * e2) * ell / 6.0
    for i in range(BLOCK):
        lorentz = b0 * nodes[top, _LORENTZ + i] + b1 * nodes[top + 1, _LORENTZ + i] + b2 * nodes[top + 2, _LORENTZ + i]
        gauss = b0 * nodes[top, _GAUSS + i] + b1 * nodes[top + 1, _GAUSS + i] + b2 * nodes[top + 2, _GAUSS + i]
        w[_DENSITY + i] = mix * lorentz + (1.0 - mix) * gauss
    return b0 + b1 + b2


@helper
def _descend(beam, kept, at, w, media, f, largest, strength, mu0, t, longest, weights):  # type: ignore[no-untyped-def]
    """Take from the beam what a lamella absorbs, and keep ``at`` some place what the lamella scatters by."""
    own = mu0[f]
    for p in range(2):
        if weights[p] == 0.0:
            continue
        factor, weight, polarised = strength[f, p], weights[p], p == 1
        thin = (own + factor * largest) * t * longest < 0.02
        for i in range(BLOCK):
            mu, above = factor * w[_DENSITY + i], beam[p, _ABOVE + i]
            mu = mu * media[f, _C2 + i] if polarised else mu
            loss, share = (own + mu) * t * media[f, _PATH + i], weight * w[_SHARE + i] * above
            escape, slope = _thin_escape(loss) if thin else _escape(loss)
            kept[2 * at + p, _MU + i] = mu
            kept[2 * at + p, _ESCAPE + i] = share * escape
            kept[2 * at + p, _SLOPE + i] = share * slope
            beam[p, _ABOVE + i] = above * (1.0 - loss * escape)


@helper
def _substrate(nodes, at, w, media, e, ell, mix):  # type: ignore[no-untyped-def]
    """Fill the node of the substrate and its density at strength 1."""
    _node(nodes, at, media, media.shape[0] - 1, ell, 0.0)
    bare = (1.0 - e * e) * ell
    for i in range(BLOCK):
        w[_DENSITY + i] = bare * (mix * nodes[at, _LORENTZ + i] + (1.0 - mix) * nodes[at, _GAUSS + i])


@helper
def _scatter_below(beam, w, media, strength, mu0, weights):  # type: ignore[no-untyped-def]
    """Add what the substrate scatters, and fill the derivative with respect to its density."""
    n = media.shape[0] - 1
    own = mu0[n]
    for i in range(BLOCK):
        w[_BY_DENSITY + i] = 0.0
    for p in range(2):
        weight, factor, polarised = weights[p], strength[n, p], p == 1
        for i in range(BLOCK):
            strong = factor * media[n, _C2 + i] if polarised else factor
            mu, path = strong * w[_DENSITY + i], media[n, _PATH + i]
            depth = 1.0 / (0.5 * (own + mu) * path + beam[p, _IM_S + i] + 1e-30)
            escape = weight * w[_SHARE + i] * beam[p, _ABOVE + i] * depth
            beam[p, _BELOW + i] += mu * escape
            w[_BY_DENSITY + i] += strong * escape * (1.0 - 0.5 * path * mu * depth)


@helper
def _gather(beam, kept, at, t, weights):  # type: ignore[no-untyped-def]
    """Add what a lamella scatters."""
    for p in range(2):
        if weights[p] != 0.0:
            for i in range(BLOCK):
                beam[p, _BELOW + i] += kept[2 * at + p, _MU + i] * t * kept[2 * at + p, _ESCAPE + i]


@helper
def _ascend(beam, kept, w, media, f, strength, mu0, t, weights, j):  # type: ignore[no-untyped-def]
    """Fill the derivatives with respect to density, thickness, absorption, path and mu_d of a lamella; do `_gather`."""
    own = mu0[f]
    for i in range(BLOCK):
        w[_BY_DENSITY + i], w[_T + i], w[_BY_MU0 + i], w[_BY_PATH + i] = 0.0, 0.0, 0.0, 0.0
    for p in range(2):
        factor, polarised = strength[f, p], p == 1
        if weights[p] == 0.0:
            for i in range(BLOCK):
                kept[2 * j + p, _SLOPE + i] = 0.0
            continue
        for i in range(BLOCK):
            mu, escape, below = kept[2 * j + p, _MU + i], kept[2 * j + p, _ESCAPE + i], beam[p, _BELOW + i]
            path = media[f, _PATH + i]
            # What leaves from below goes as exp(-loss).
            by_loss = mu * t * kept[2 * j + p, _SLOPE + i] - below
            by_mu = t * (escape + by_loss * path)
            kept[2 * j + p, _SLOPE + i] = by_mu
            w[_BY_DENSITY + i] += (factor * media[f, _C2 + i] if polarised else factor) * by_mu
            w[_BY_MU0 + i] += by_loss * path * t
            w[_BY_PATH + i] += by_loss * (own + mu) * t
            w[_T + i] += mu * escape + by_loss * (own + mu) * path
            beam[p, _BELOW + i] = below + mu * t * escape


@helper
def _by_nodes(w, nodes, top, media, f, rows, e, ell, mix, j):  # type: ignore[no-untyped-def]
    """Fill the derivatives with respect to deviation and E at the nodes; add to those of correlation length and mix."""
    own = rows.shape[0] - _OWN_ROWS
    for i in range(BLOCK):
        w[_BY_SINE + i] = 0.0
    for k in range(3):
        share = (4.0 if k == 1 else 1.0) / 6.0
        bare = share * (1.0 - e[j, k] * e[j, k])
        by_u, by_e = ell * bare, -2.0 * share * ell * e[j, k]
        strain, debye_waller = w[_STRAIN + k * BLOCK : _E], w[_E + k * BLOCK : _T]
        for i in range(BLOCK):
            u, lorentz, gauss = nodes[top + k, _U + i], nodes[top + k, _LORENTZ + i], nodes[top + k, _GAUSS + i]
            psi, slope = _shape(u, lorentz, gauss, mix)
            by, sine = w[_BY_DENSITY + i], media[f, _G + i]
            strain[i], debye_waller[i] = by * slope * by_u * ell * sine, by * psi * by_e
            w[_BY_SINE + i] += by * slope * by_u * u / sine
            rows[own, i] += by * bare * (psi + u * slope)
            rows[own + 1, i] += by * bare * ell * (lorentz - gauss)


@helper
def _add_medium(by, w, kept, media, strength, j, f):  # type: ignore[no-untyped-def]
    """Add to the derivatives by what a medium has those of one of its lamellae but for deviation and exit angle."""
    strong = strength[f, 1]
    for i in range(BLOCK):
        sigma, pi = w[_DENSITY + i] * kept[2 * j, _SLOPE + i], w[_DENSITY + i] * kept[2 * j + 1, _SLOPE + i]
        by[f, _PATH + i] += w[_BY_PATH + i]
        by[f, _C2 + i] += strong * pi
        by[f, 4 * BLOCK + i] += sigma
        by[f, 5 * BLOCK + i] += media[f, _C2 + i] * pi
        by[f, 6 * BLOCK + i] += w[_BY_MU0 + i]


@helper
def _by_substrate(w, nodes, at, rows, ell, mix, e):  # type: ignore[no-untyped-def]
    """Fill the rows of damage, correlation length and mix of the substrate."""
    own, e2 = rows.shape[0] - _OWN_ROWS, e * e
    for i in range(BLOCK):
        u, lorentz, gauss, by = nodes[at, _U + i], nodes[at, _LORENTZ + i], nodes[at, _GAUSS + i], w[_BY_DENSITY + i]
        psi, slope = _shape(u, lorentz, gauss, mix)
        # L of the substrate: d(1 - E**2) = 2 E**2 dL
        rows[own + 2, i] = by * ell * psi * 2.0 * e2
        rows[own + 3, i] = by * (1.0 - e2) * (psi + u * slope)
        rows[own + 4, i] = by * (1.0 - e2) * ell * (lorentz - gauss)


@helper
def _finish(beam, begin, out):  # type: ignore[no-untyped-def]
    """Write what leaves, of both polarisations, to ``out`` (m,)."""
    m = out.shape[0]
    for i in range(m - begin if m - begin < BLOCK else BLOCK):
        out[begin + i] = beam[0, _BELOW + i] + beam[1, _BELOW + i]


@entry
def diffuse(  # type: ignore[no-untyped-def]
    directions, sin_incidence, t, g0, e, medium, strength, mu0, ell, mix, substrate_im_s, substrate_e, substrate_ell,
    substrate_mix, weights,
):  # fmt: skip
    """Return R_diff (m,), arguments as in ``diffuse_and_jacobian``."""
    n, m = t.shape[0], sin_incidence.shape[0]
    out = np.empty(m)
    first, both = np.int64(0), np.int64(2)  # what numba knows as constants would be specialisations
    w, beam, paths = np.empty(_WORKSPACE), np.empty((both, np.int64(_BEAM))), np.empty(directions.shape[0])
    media = np.empty((directions.shape[0], np.int64(_MEDIUM)))
    nodes, kept = np.empty((np.int64(3), np.int64(_NODE))), np.empty((both, np.int64(_KEPT)))
    for begin in range(0, m, BLOCK):
        _load(w, beam, media, directions, sin_incidence, substrate_im_s, begin, paths)
        for j in range(n):
            f = medium[j]
            follows = j > 0 and g0[j, 0] == g0[j - 1, 2] and f == medium[j - 1]
            if follows:
                for i in range(_NODE):
                    nodes[0, i] = nodes[2, i]
            largest = _density(w, nodes, first, follows, media, f, g0, e, ell, mix, j)
            _descend(beam, kept, first, w, media, f, largest, strength, mu0, t[j], paths[f], weights)
            _gather(beam, kept, first, t[j], weights)
        _substrate(nodes, first, w, media, substrate_e, substrate_ell, substrate_mix)
        _scatter_below(beam, w, media, strength, mu0, weights)
        _finish(beam, begin, out)
    return out


@entry
def diffuse_and_jacobian(  # type: ignore[no-untyped-def]
    directions, sin_incidence, t, g0, e, medium, strength, mu0, ell, mix, substrate_im_s, substrate_e, substrate_ell,
    substrate_mix, weights, du, de, dt, optical,
):  # fmt: skip
    """Return R_diff (m,), its derivatives (p + 5, m), and those by what media have (k, 7, m).

    Parameters
    ----------
    directions : ndarray, shape (k, 4, m)
        `Beams.diffuse` of the media; the substrate last.
    sin_incidence : ndarray, shape (m,)
    t : ndarray, shape (n,)
        Thickness [Å].
    g0 : ndarray, shape (n, 3)
        `Deviation.u0` at the nodes [1/Å]; Q = gamma_h (g0 + deviation), of the substrate with g0 = 0.
    e : ndarray, shape (n, 3)
        E at the nodes.
    medium : ndarray of int, shape (n,)
    strength : ndarray, shape (k, 2)
        2 (pi abs(chi_h)/lambda)**2 for sigma and pi [1/Å**2].
    mu0 : ndarray, shape (k,)
        k chi0'' [1/Å].
    ell, mix : float
        Correlation length [Å] and Lorentzian fraction of the line shape in the layer.
    substrate_im_s : ndarray, shape (2, m)
        Im s of the substrate, which limits the depth that it scatters from [1/Å].
    substrate_e, substrate_ell, substrate_mix : float
    weights : ndarray, shape (2,)
        Weights of the polarisations.
    du, de : ndarray, shape (p, n, 3)
    dt : ndarray, shape (p, n)
        Derivatives of g0, E and thickness by p parameters.
    optical : bool
        Whether the derivatives by what media have are wanted; zeros for no medium, if not.
    """
    n, m, parameters = t.shape[0], sin_incidence.shape[0], dt.shape[0]
    out, jacobian = np.empty(m), np.empty((parameters + _OWN_ROWS, m))
    wanted = directions.shape[0] if optical else 0
    by_media, by = np.empty((wanted, np.int64(BY_MEDIUM), m)), np.empty((wanted, np.int64(BY_MEDIUM * BLOCK)))
    pointer, parameter, kind, value = sparse(du, de, dt)
    # The node on top of each lamella: the one below the lamella above where the two are the same. The substrate's last.
    top = np.empty(n + 1, dtype=np.int64)
    top[0] = 0
    for j in range(1, n + 1):
        same = j < n and g0[j, 0] == g0[j - 1, 2] and medium[j] == medium[j - 1]
        top[j] = top[j - 1] + (2 if same else 3)
    w, beam, paths = np.empty(_WORKSPACE), np.empty((np.int64(2), np.int64(_BEAM))), np.empty(directions.shape[0])
    media = np.empty((directions.shape[0], np.int64(_MEDIUM)))
    rows, kept = np.empty((parameters + _OWN_ROWS, np.int64(BLOCK))), np.empty((2 * n, np.int64(_KEPT)))
    nodes = np.empty((top[n] + 1, np.int64(_NODE)))
    for begin in range(0, m, BLOCK):
        _load(w, beam, media, directions, sin_incidence, substrate_im_s, begin, paths)
        for j in range(n):
            f = medium[j]
            follows = j > 0 and top[j] == top[j - 1] + 2
            largest = _density(w, nodes, top[j], follows, media, f, g0, e, ell, mix, j)
            _descend(beam, kept, j, w, media, f, largest, strength, mu0, t[j], paths[f], weights)
        _substrate(nodes, top[n], w, media, substrate_e, substrate_ell, substrate_mix)
        _scatter_below(beam, w, media, strength, mu0, weights)
        clear(rows)
        by[:] = 0.0
        _by_substrate(w, nodes, top[n], rows, substrate_ell, substrate_mix, substrate_e)
        for j in range(n - 1, -1, -1):
            f = medium[j]
            _ascend(beam, kept, w, media, f, strength, mu0, t[j], weights, j)
            _by_nodes(w, nodes, top[j], media, f, rows, e, ell, mix, j)
            accumulate(rows, w[_STRAIN:_BY_MU0], pointer, parameter, kind, value, j)
            if optical:
                _fill_density(w, nodes, top[j], e, ell, mix, j)
                _add_medium(by, w, kept, media, strength, j, f)
                for i in range(BLOCK):
                    by[f, _D + i] += w[_STRAIN + i] + w[_STRAIN + BLOCK + i] + w[_STRAIN + 2 * BLOCK + i]
                    by[f, _G + i] += w[_BY_SINE + i]
        _finish(beam, begin, out)
        store(rows, begin, jacobian)
        store_media(by, begin, by_media)
    return out, jacobian, by_media


@entry
def transport(  # type: ignore[no-untyped-def]
    directions, sin_incidence, t, density, medium, strength, mu0, substrate_im_s, weights
):
    """Return R_diff (m,) of lamellae with given densities, and its derivatives.

    Parameters
    ----------
    density : ndarray, shape (n + 1, m)
        mu_d at strength 1; the substrate last.
    directions, sin_incidence, t, medium, strength, mu0, substrate_im_s, weights
        As in ``diffuse_and_jacobian``.

    Returns
    -------
    value : ndarray, shape (m,)
    by_density : ndarray, shape (n + 1, m)
    by_thickness : ndarray, shape (n, m)
    by_media : ndarray, shape (k, 7, m)
        Zero by deviation and exit angle, on which the density depends.
    """
    n, m = t.shape[0], density.shape[1]
    value, by_density, by_thickness = np.empty(m), np.empty((n + 1, m)), np.empty((n, m))
    by_media = np.empty((directions.shape[0], np.int64(BY_MEDIUM), m))
    by = np.empty((directions.shape[0], np.int64(BY_MEDIUM * BLOCK)))
    w, beam, kept = np.empty(_WORKSPACE), np.empty((np.int64(2), np.int64(_BEAM))), np.empty((2 * n, np.int64(_KEPT)))
    paths, media = np.empty(directions.shape[0]), np.empty((directions.shape[0], np.int64(_MEDIUM)))
    for begin in range(0, m, BLOCK):
        size = m - begin if m - begin < BLOCK else BLOCK
        for i in range(BLOCK):
            w[_DENSITY + i] = 0.0
        _load(w, beam, media, directions, sin_incidence, substrate_im_s, begin, paths)
        for j in range(n):
            for i in range(size):
                w[_DENSITY + i] = density[j, begin + i]
            _descend(beam, kept, j, w, media, medium[j], 1e300, strength, mu0, t[j], paths[medium[j]], weights)
        for i in range(size):
            w[_DENSITY + i] = density[n, begin + i]
        _scatter_below(beam, w, media, strength, mu0, weights)
        for i in range(size):
            by_density[n, begin + i] = w[_BY_DENSITY + i]
        by[:] = 0.0
        for j in range(n - 1, -1, -1):
            _ascend(beam, kept, w, media, medium[j], strength, mu0, t[j], weights, j)
            for i in range(size):
                w[_DENSITY + i] = density[j, begin + i]
                by_density[j, begin + i] = w[_BY_DENSITY + i]
                by_thickness[j, begin + i] = w[_T + i]
            _add_medium(by, w, kept, media, strength, j, medium[j])
        _finish(beam, begin, value)
        store_media(by, begin, by_media)
    return value, by_density, by_thickness, by_media
