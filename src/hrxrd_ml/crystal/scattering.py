"""Atomic scattering factors and structure factors.

f0 is the table of Waasmaier & Kirfel, Acta Cryst. A51, 416 (1995); f' and f'' are those of Chantler (J. Phys.
Chem. Ref. Data 29, 597, 2000), both from the database of ``xraydb``, interpolated as ``xraydb`` does. The package
itself is not imported: it loads an SQL toolkit, which takes longer than all else that a reflection needs.
"""

from __future__ import annotations

import cmath
import json
import math
import sqlite3
from collections.abc import Iterable
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from hrxrd_ml.crystal.wavelength import photon_energy
from hrxrd_ml.errors import CrystalError

__all__ = ["CLASSICAL_ELECTRON_RADIUS", "anomalous", "form_factor", "structure_factors"]

#: r_e in Å (CODATA 2018).
CLASSICAL_ELECTRON_RADIUS = 2.8179403262e-5


@cache
def _row(query: str, element: str) -> tuple[Any, ...] | None:
    """Row of xraydb's database, its lists as arrays; None for an element that is not there."""
    package = find_spec("xraydb")
    assert package is not None
    assert package.origin is not None
    path = Path(package.origin).with_name("xraydb.sqlite")
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)
    try:
        row = connection.execute(query, (element,)).fetchone()
    finally:
        connection.close()
    return row and tuple(np.array(json.loads(value)) if isinstance(value, str) else value for value in row)


@lru_cache(maxsize=4096)
def form_factor(element: str, s: float) -> float:
    """f0 of a neutral atom at s = sinθ/λ [1/Å], in electrons."""
    row = _row("SELECT offset, scale, exponents FROM Waasmaier WHERE ion = ?", element.title())
    if row is None:
        raise CrystalError(f"no scattering factor is tabulated for element {element!r}: give a Susceptibility instead")
    offset, scale, exponents = row
    return float(offset + np.sum(scale * np.exp(-exponents * s * s)))


@lru_cache(maxsize=4096)
def anomalous(element: str, wavelength: float) -> tuple[float, float]:
    """(f', f'') at a wavelength in Å, in electrons; f'' > 0."""
    energy = photon_energy(wavelength)
    row = _row("SELECT energy, f1, f2 FROM Chantler WHERE element = ?", element.title())
    if row is None or not row[0][0] <= energy <= row[0][-1]:
        raise CrystalError(
            f"no f' and f'' are tabulated for element {element!r} at {energy:.0f} eV "
            f"(Chantler's tables end at uranium): give a Susceptibility instead"
        )
    from scipy.interpolate import make_interp_spline

    below = int(np.searchsorted(row[0], energy, side="right")) - 1
    energies, f1, f2 = (column[max(0, below - 3) : below + 4] for column in row)
    dispersive = make_interp_spline(energies, f1, k=3)(energy)
    return float(dispersive), math.exp(np.interp(math.log(energy), np.log(energies), np.log(np.maximum(f2, 1e-99))))


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
