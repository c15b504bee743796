"""Dynamical diffraction with four waves in each crystal of a stack, solved from the wave equation: to test against.

It shares no formula with the package.  In a crystal with the diffraction vector H, a field of wave number k obeys

    (Laplace + k**2 (1 + chi0)) E0 + k**2 C chi_hbar Eh = 0        and        the same with 0 and h exchanged.

Let E0 = exp(i Kx x) F0(z) and Eh = exp(i (Kx + Hx) x + i Phi(z)) Fh(z), where Phi' = Hz is the phase of the lattice
planes.  With y = (F0, -i dE0/dz, Fh, -i dEh/dz), phases left out, this is dy/dz = i A y, with A constant in a crystal;
nothing is linearised.  Its eigenvectors are four waves, of which two decay downward and two upward.  An interface
changes nothing of y, so the waves that go up are a 2 x 2 matrix times those that go down, which is carried from the
substrate to the surface, all exponentials decaying.  There the incident, the reflected and the diffracted wave follow.

Assumed are two strong waves in the plane of incidence, at angles of any size, one Hx (films keep the substrate's
lattice in the plane), flat interfaces, and some absorption in each crystal, which tells the waves apart.  For the
polarisation pi, C is the cosine of the angle between the two beams in vacuum and fields are continuous as those of
sigma are: what this leaves out is smaller by a factor of the order of chi.

No quartic is solved: its coefficients, rounded to 16 digits, fix the waves of a Bragg peak to five digits only, where
the eigenvectors keep ten, as arithmetic with 40 digits shows.
"""

import numpy as np


def reflectivity(incidence, wavenumber, along, layers, *, pi=False):
    """Return the flux of the diffracted beam over that of the incident one, shape (m,).

    Parameters
    ----------
    incidence : ndarray, shape (m,)
        Angles of incidence [rad].
    wavenumber, along : float
        k, and H along the surface, positive where the beam goes [1/Å].
    layers : sequence of tuple
        Thickness [Å], H normal to the surface [1/Å], chi0, chi_h and chi_hbar; surface first, the substrate last.
    pi : bool
        Polarisation pi instead of sigma.
    """
    k0 = np.stack([np.cos(incidence), np.sin(incidence)])  # lengths are in units of 1/k
    kh = np.stack([k0[0] + along / wavenumber, np.sqrt(1.0 - (k0[0] + along / wavenumber) ** 2)])
    factor = k0[0] * kh[0] - k0[1] * kh[1] if pi else np.ones_like(incidence)
    *films, (_, *substrate) = layers
    fields = _waves(k0[0], kh[0], factor, wavenumber, *substrate)[1][..., :2]
    for thickness, *film in reversed(films):
        kappa, waves = _waves(k0[0], kh[0], factor, wavenumber, *film)
        decay = np.exp(1j * wavenumber * thickness * kappa * np.array([1.0, 1.0, -1.0, -1.0]))
        up = decay[:, 2:, None] * _reflected(waves, fields) * decay[:, None, :2]
        fields = waves[..., :2] + waves[..., 2:] @ up
    vacuum = np.zeros((len(incidence), 4, 4))
    vacuum[:, [0, 2, 0, 2], [0, 1, 2, 3]] = 1.0
    vacuum[:, [1, 3, 1, 3], [0, 1, 2, 3]] = np.stack([k0[1], kh[1], -k0[1], -kh[1]], axis=1)
    return np.abs(_reflected(vacuum, fields)[:, 1, 0]) ** 2 * kh[1] / k0[1]


def _waves(k0x, khx, factor, wavenumber, normal, chi0, chih, chihbar):
    """Return wave numbers (m, 4) and fields (m, 4, 4) of the waves in one crystal: two downward, then two upward."""
    a = np.zeros((len(k0x), 4, 4), dtype=complex)
    a[:, 0, 1] = a[:, 2, 3] = 1.0
    a[:, 1, 0], a[:, 1, 2] = 1.0 + chi0 - k0x**2, factor * chihbar
    a[:, 3, 2], a[:, 3, 0] = 1.0 + chi0 - khx**2, factor * chih
    a[:, 2, 2] = a[:, 3, 3] = normal / wavenumber  # H points out of the crystal, z into it
    kappa, waves = np.linalg.eig(a)
    order = np.argsort(-kappa.imag, axis=1)
    return np.take_along_axis(kappa, order, axis=1), np.take_along_axis(waves, order[:, None], axis=2)


def _reflected(waves, fields):
    """Return the waves that go up for each that goes down, (m, 2, 2), where an interface sees fields (m, 4, 2)."""
    both = np.linalg.solve(waves, fields)
    return both[:, 2:] @ np.linalg.inv(both[:, :2])
