"""Lattice metric, symmetry expansion and elasticity: the pure functions behind :mod:`hrxrd_ml.crystal.structure`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from hrxrd_ml.errors import CrystalError

if TYPE_CHECKING:
    import gemmi

__all__ = [
    "Site",
    "biaxial_ratio",
    "equivalent_positions",
    "reciprocal_metric",
    "same_sites",
    "shortest_translation",
    "unit_cell",
]


@dataclass(frozen=True)
class Site:
    """One site of the asymmetric unit.

    Parameters
    ----------
    element : str
        Chemical symbol.
    position : tuple of float
        Fractional coordinates.
    occupancy : float
        0 … 1.
    b_iso : float
        Debye–Waller B = 8π²⟨u²⟩ [Å²].
    """

    element: str
    position: tuple[float, float, float]
    occupancy: float = 1.0
    b_iso: float = 0.0


@lru_cache(maxsize=1024)
def reciprocal_metric(
    a: float, b: float, c: float, alpha: float, beta: float, gamma: float
) -> tuple[tuple[tuple[float, ...], ...], float]:
    """Reciprocal metric tensor (without 2π) [1/Å²] and cell volume [Å³]."""
    import gemmi

    cell = gemmi.UnitCell(a, b, c, alpha, beta, gamma)
    proper = all(0.0 < angle < 180.0 for angle in (alpha, beta, gamma))
    if not (proper and cell.volume > 1e-3 * a * b * c):
        raise CrystalError(f"lattice: angles {alpha:g}, {beta:g}, {gamma:g} deg do not span a cell")
    return tuple(map(tuple, cell.reciprocal_metric_tensor().as_mat33().tolist())), cell.volume


def equivalent_positions(operations: gemmi.GroupOps, position: tuple[float, ...]) -> list[tuple[float, float, float]]:
    """Fractional coordinates of a site and of all sites that are equivalent to it by symmetry."""
    images = np.array([operation.apply_to_xyz(list(position)) for operation in operations])
    found = []
    while len(images):
        # Images of a special position coincide up to the digits it was printed with (1/3 as 0.333), so the mean.
        difference = images - images[0]
        difference -= np.round(difference)
        same = np.all(np.abs(difference) < 2e-3, axis=1)
        x, y, z = (float(v) for v in (images[0] + difference[same].mean(axis=0)) % 1.0)
        found.append((x, y, z))
        images = images[~same]
    return found


MOST_ATOMS = 20_000
"""Atoms of a cell; each structure factor is a sum over all of them."""


@lru_cache(maxsize=256)
def unit_cell(spacegroup: str, sites: tuple[Site, ...]) -> tuple[tuple[str, float, float, float, float, float], ...]:
    """All atoms of a cell as (element, occupancy, B, x, y, z): each site with its symmetrically equivalent ones."""
    import gemmi

    try:
        operations = gemmi.SpaceGroup(spacegroup).operations()
    except ValueError:
        raise CrystalError(
            f"space group: expected a Hermann-Mauguin symbol such as 'F d -3 m:1', got {spacegroup!r}"
        ) from None
    if len(sites) * len(operations) > MOST_ATOMS:
        raise CrystalError(
            f"expected a cell of at most {MOST_ATOMS} atoms, got {len(sites)} sites of {len(operations)} equivalent "
            "positions each"
        )
    return tuple(
        (site.element, site.occupancy, site.b_iso, *position)
        for site in sites
        for position in equivalent_positions(operations, site.position)
    )


@lru_cache(maxsize=256)
def shortest_translation(spacegroup: str, cell: tuple[float, ...]) -> float:
    """Length of the shortest lattice vector [Å]."""
    import gemmi

    centring = np.array(gemmi.SpaceGroup(spacegroup).operations().cen_ops) / gemmi.Op.DEN
    cells = np.stack(np.meshgrid(*3 * [np.arange(-1.0, 2.0)], indexing="ij"), axis=-1).reshape(-1, 3)
    vectors = (cells[:, None] + centring).reshape(-1, 3) @ np.array(gemmi.UnitCell(*cell).orth.mat.tolist()).T
    lengths = np.linalg.norm(vectors, axis=1)
    return float(lengths[lengths > 1e-6].min())


def same_sites(one: tuple[Site, ...], two: tuple[Site, ...]) -> bool:
    """Whether each site has one of the other structure within 0.05 of a cell, whatever the elements."""

    def covers(p: tuple[Site, ...], q: tuple[Site, ...]) -> bool:
        return all(
            any(
                all(abs((u - v + 0.5) % 1.0 - 0.5) < 0.05 for u, v in zip(s.position, t.position, strict=True))
                for t in q
            )
            for s in p
        )

    return covers(one, two) and covers(two, one)


def biaxial_ratio(constants: Mapping[str, float], normal: tuple[float, float, float]) -> float | None:
    """D = −ε⊥/ε∥ of a film strained equally in all in-plane directions with a free surface.

    Parameters
    ----------
    constants : mapping
        C11, C12, C44 (cubic), and C13, C33 (hexagonal, six-fold axis along z) in one unit.
    normal : tuple of float
        Surface normal in Cartesian axes: along a, b, c of a cubic crystal; z along c of a hexagonal one.

    Returns
    -------
    float or None
        2C12/C11 on (001), 2(C11 + 2C12 − 2C44)/(C11 + 2C12 + 4C44) on (111), 2C13/C33 on (0001), and what
        Hooke's law with σ·n = 0 gives for any other surface; None when constants are missing.
    """
    hexagonal = "C33" in constants
    try:
        c11, c12, c44 = (constants[n] for n in ("C11", "C12", "C44"))
        c13, c33 = (constants["C13"], constants["C33"]) if hexagonal else (c12, c11)
    except KeyError:
        return None
    stiffness = np.zeros((6, 6))
    stiffness[:3, :3] = [[c11, c12, c13], [c12, c11, c13], [c13, c13, c33]]
    stiffness[3:, 3:] = np.diag([c44, c44, 0.5 * (c11 - c12) if hexagonal else c44])
    voigt = np.array([[0, 5, 4], [5, 1, 3], [4, 3, 2]])
    tensor = stiffness[voigt[:, :, None, None], voigt[None, None, :, :]]
    n = np.asarray(normal, dtype=float) / np.linalg.norm(normal)
    # ε = (1 − n n) + sym(n ⊗ v): the in-plane part is given, v = (two shears, ε⊥) follows from C:ε·n = 0.
    christoffel = np.einsum("ijkl,j,l->ik", tensor, n, n)
    load = np.einsum("ijkl,j,kl->i", tensor, n, np.eye(3) - np.outer(n, n))
    v = np.linalg.solve(christoffel, -load)
    return -float(v @ n)
