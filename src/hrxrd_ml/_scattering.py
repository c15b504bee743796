"""Atomic scattering factors and structure factors.

f0 is the table of Waasmaier & Kirfel, Acta Cryst. A51, 416 (1995); f' and f'' are those of Chantler (J. Phys.
Chem. Ref. Data 29, 597, 2000), both through ``xraydb``, which is imported on first use because it takes long
to load.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Iterable
from functools import lru_cache

from .errors import CrystalError
from .wavelength import photon_energy

__all__ = ["CLASSICAL_ELECTRON_RADIUS", "anomalous", "form_factor", "structure_factors"]

#: r_e in Å (CODATA 2018).
CLASSICAL_ELECTRON_RADIUS = 2.8179403262e-5


@lru_cache(maxsize=4096)
def form_factor(element: str, s: float) -> float:
    """f0 of a neutral atom at s = sinθ/λ [1/Å], in electrons."""
    import xraydb

    try:
        return float(xraydb.f0(element, s)[0])
    except ValueError as error:
        raise CrystalError(
            f"no scattering factor is tabulated for element {element!r}: give a Susceptibility instead"
        ) from error


@lru_cache(maxsize=4096)
def anomalous(element: str, wavelength: float) -> tuple[float, float]:
    """(f', f'') at a wavelength in Å, in electrons; f'' > 0."""
    import xraydb

    energy = photon_energy(wavelength)
    try:
        return float(xraydb.f1_chantler(element, energy)), float(xraydb.f2_chantler(element, energy))
    except (ValueError, IndexError) as error:
        raise CrystalError(
            f"no f' and f'' are tabulated for element {element!r} at {energy:.0f} eV "
            f"(Chantler's tables end at uranium): give a Susceptibility instead"
        ) from error


def structure_factors(
    atoms: Iterable[tuple[str, float, float, float, float, float]],
    hkl: tuple[int, int, int],
    s: float,
    wavelength: float,
) -> tuple[complex, complex]:
    """Structure factor in two parts, F = F' − i F'' (fields exp[i(k·r − ωt)], so absorption makes Im F < 0).

    Parameters
    ----------
    atoms : iterable of (element, occupancy, B, x, y, z)
        All atoms of the unit cell: fractional coordinates, isotropic Debye–Waller B [Å²].
    hkl : tuple of int
        Miller indices; (0, 0, 0) for the mean susceptibility.
    s : float
        sinθ_B/λ = 1/(2d) [1/Å].
    wavelength : float
        Å.

    Returns
    -------
    dispersive, absorptive : complex
        F' = Σ (f0 + f') e^{−B s²} e^{−2πi h·r} and F'' = Σ f'' e^{−B s²} e^{−2πi h·r}, in electrons.
        Each is complex for an acentric crystal or origin.
    """
    h, k, l = hkl  # noqa: E741 - the field's own names
    dispersive = absorptive = 0j
    for element, occupancy, b_iso, x, y, z in atoms:
        f1, f2 = anomalous(element, wavelength)
        weight = occupancy * math.exp(-b_iso * s * s) * cmath.exp(-2j * math.pi * (h * x + k * y + l * z))
        dispersive += weight * (form_factor(element, s) + f1)
        absorptive += weight * f2
    return dispersive, absorptive
