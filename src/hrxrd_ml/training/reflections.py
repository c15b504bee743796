"""Reflections of training curves."""

from __future__ import annotations

import math
from functools import cache

from hrxrd_ml.crystal.reflection import Reflection
from hrxrd_ml.errors import CrystalError
from hrxrd_ml.guess.network.scale import StrainAxis

Indices = tuple[int, int, int]


TRAINING_CRYSTALS = (
    "GGG", "GGG", "YIG", "Si", "Si", "Ge", "diamond", "GaAs", "AlAs", "InAs", "GaP", "GaSb", "InSb", "6H-SiC", "4H-SiC",
    "YSZ", "UO2", "SrTiO3", "Al2O3", "LiNbO3", "GaN", "InN",
)  # fmt: skip
"""Crystals that the network learns from; one that is named twice comes twice as often."""


UNSEEN_CRYSTALS = ("3C-SiC", "InP", "MgO", "ZnO", "AlN")
"""Crystals kept for the test of a network that should serve any crystal."""


WAVELENGTHS: tuple[float | str, ...] = ("CuKa1", "CuKa1", "CuKa1", "CoKa1", "MoKa1", 1.0, 1.2398, 1.3, 1.5498)


SYMMETRIC: tuple[Indices, ...] = (
    (1, 1, 1), (2, 2, 2), (3, 3, 3), (4, 4, 4), (5, 5, 5), (6, 6, 6), (8, 8, 8), (0, 0, 2), (0, 0, 4), (0, 0, 6),
    (0, 0, 8), (0, 0, 12), (0, 2, 2), (0, 4, 4), (2, 2, 4), (4, 2, 2), (1, 1, 0), (3, 0, 0), (1, 1, 3), (3, 3, 1),
)  # fmt: skip


ASYMMETRIC: tuple[tuple[Indices, Indices], ...] = (
    ((1, 1, 3), (0, 0, 1)), ((1, 1, 5), (0, 0, 1)), ((2, 2, 4), (0, 0, 1)), ((3, 3, 5), (0, 0, 1)),
    ((1, 0, 5), (0, 0, 1)), ((3, 3, 1), (1, 1, 1)), ((6, 4, 2), (1, 1, 1)), ((1, 1, 4), (0, 0, 1)),
)  # fmt: skip


MOST_MODULATION = 0.995
"""Of the absorption, where susceptibilities vary: no crystal absorbs less than nothing between its planes."""


@cache
def usable_reflection(
    crystal: str, hkl: Indices, wavelength: float | str, surface: Indices | None, exit: str
) -> Reflection | None:
    """Return a reflection, or None where there is none that somebody would measure."""
    try:
        reflection = Reflection(crystal, hkl, wavelength, surface=surface, exit=exit)
    except CrystalError:
        return None
    usual = math.radians(6.0) < reflection.bragg_angle < math.radians(75.0)
    grazing = min(reflection.gamma0, reflection.gammah) < 0.06
    if not usual or grazing or StrainAxis.of(reflection).coupling < 1e-6:
        return None
    return reflection
