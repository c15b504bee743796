"""Crystals: lattice, symmetry, sites, and the susceptibility components χ0, χ_h, χ_h̄ that follow from them.

Units: lengths in Å, lattice angles in degrees, elastic constants in GPa, susceptibilities dimensionless.
Fields are exp[i(k·r − ωt)], so χ = −r_e λ² F/(πV), χ0' < 0 and χ0'' > 0.
"""

from __future__ import annotations

import cmath
import math
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from os import PathLike, fspath
from pathlib import Path

from hrxrd_ml.crystal import library
from hrxrd_ml.crystal.cif import check_overlap, read_cif
from hrxrd_ml.crystal.lattice import Site, biaxial_ratio, reciprocal_metric, same_sites, shortest_translation, unit_cell
from hrxrd_ml.crystal.scattering import CLASSICAL_ELECTRON_RADIUS, form_factor, structure_factors
from hrxrd_ml.crystal.susceptibility import Susceptibility
from hrxrd_ml.errors import CrystalError, InputFileError

__all__ = ["Crystal", "Site", "Susceptibility"]

#: |F_h| below this fraction of Σ f0 counts as a forbidden reflection; true absences come out near 1e-15.
FORBIDDEN = 1e-6


@dataclass(frozen=True)
class Crystal:
    """A crystal structure. Build it with :meth:`named`, :meth:`from_cif`, :meth:`alloy`, or give everything.

    Parameters
    ----------
    name : str
        For messages and files.
    spacegroup : str
        Hermann–Mauguin symbol with its setting, as ``"F d -3 m:1"``.
    a, b, c : float
        Lattice parameters [Å].
    alpha, beta, gamma : float
        Lattice angles [deg].
    sites : tuple of Site
        The asymmetric unit.
    elastic : tuple of (str, float)
        Elastic constants [GPa], as ``(("C11", 165.7), ...)``; empty when unknown.
    source : str
        Where the numbers come from.
    """

    name: str
    spacegroup: str
    a: float
    b: float
    c: float
    alpha: float
    beta: float
    gamma: float
    sites: tuple[Site, ...]
    elastic: tuple[tuple[str, float], ...] = ()
    source: str = field(default="", compare=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("a", "b", "c", "alpha", "beta", "gamma"):
            try:
                object.__setattr__(self, name, float(getattr(self, name)))
            except (TypeError, ValueError):
                raise CrystalError(
                    f"crystal {self.name}: expected a number for {name}, got {getattr(self, name)!r}"
                ) from None
        for name, value in zip("abc", self.cell[:3], strict=True):
            if not 1.0 <= value <= 1000.0:
                hint = f"; did you mean {value * 10:g} Å?" if 0.1 < value < 1.0 else ""
                raise CrystalError(f"crystal {self.name}: expected {name} of 1 to 1000 Å, got {value:g}{hint}")
        if not self.sites:
            raise CrystalError(f"crystal {self.name}: expected at least one atomic site, got none")
        for site in self.sites:
            if not all(math.isfinite(v) for v in (*site.position, site.occupancy, site.b_iso)):
                raise CrystalError(f"crystal {self.name}: expected finite numbers for each site, got {site}")
        reciprocal_metric(*self.cell)

    # --- construction ---

    @classmethod
    def named(cls, name: str, x: float | None = None) -> Crystal:
        """A built-in crystal, or a built-in alloy at composition x.

        Parameters
        ----------
        name : str
            ``"GGG"``, ``"Si"``, …, or an alloy: ``"AlGaAs"`` with `x`, ``"Al0.3GaAs"``, ``"Al0.3Ga0.7As"``.
        x : float, optional
            Fraction of the first of the two elements that exchange: of Al in AlGaAs, As in GaAsP, Ge in SiGe.

        Raises
        ------
        CrystalError
            Unknown name (the nearest ones are offered), or a wrong composition.
        """
        key, fraction = library.find(name, x)
        if fraction is None:
            return _builtin(key)
        one, two, bowing = library.end_members(key)
        return cls.alloy(_builtin(one), _builtin(two), fraction, bowing)

    @classmethod
    def from_cif(cls, path: str | PathLike[str], block: str | None = None) -> Crystal:
        """Crystal of a CIF file; see :func:`hrxrd_ml.crystal.cif.read_cif`."""
        structure = read_cif(path, block)
        try:
            crystal = cls(**structure)
            atoms = crystal.atoms()
        except CrystalError as error:
            raise InputFileError(f"{fspath(path)}: {error}") from error
        check_overlap(atoms, fspath(path))
        return crystal

    @classmethod
    def resolve(cls, crystal: Crystal | str | PathLike[str]) -> Crystal:
        """A Crystal as it is; a path that ends in .cif from its file; any other string by name."""
        if isinstance(crystal, Crystal):
            return crystal
        if isinstance(crystal, Path) or str(crystal).lower().endswith(".cif"):
            return cls.from_cif(crystal)
        if isinstance(crystal, str):
            return cls.named(crystal)
        raise CrystalError(f"crystal: expected a Crystal, a built-in name or a CIF path, got {crystal!r}")

    @classmethod
    def alloy(cls, first: Crystal | str, second: Crystal | str, x: float, bowing: float = 0.0) -> Crystal:
        """Random alloy first_x second_(1−x): Vegard's law on the lattice, linear mixing of F on the sites.

        Parameters
        ----------
        first, second : Crystal or str
            End members of the same structure type (same space group and setting, the same sites to 0.05 of a
            cell).
        x : float
            Fraction of `first`, 0 … 1.
        bowing : float
            Deviation from Vegard's law [Å]: a, b and c are lowered by bowing·x(1−x), scaled by their ratio to
            a.
        """
        one, two = cls.resolve(first), cls.resolve(second)
        if isinstance(x, bool) or not isinstance(x, int | float) or not 0.0 <= x <= 1.0:
            raise CrystalError(f"alloy {one.name}/{two.name}: expected a fraction x between 0 and 1, got {x!r}")
        if one.spacegroup != two.spacegroup or not same_sites(one.sites, two.sites):
            raise CrystalError(
                f"alloy {one.name}/{two.name}: expected end members of one structure type, got space groups "
                f"{one.spacegroup} and {two.spacegroup}, or different sites; describe the alloy in a CIF"
            )

        def mix(p: float, q: float) -> float:
            return p if p == q else x * p + (1.0 - x) * q  # 120 degrees stay what they are

        a, b, c, alpha, beta, gamma = (mix(p, q) for p, q in zip(one.cell, two.cell, strict=True))
        shrink = 1.0 - bowing * x * (1.0 - x) / a
        sites: dict[tuple[str, tuple[float, float, float], float], float] = {}
        for crystal, weight in ((one, x), (two, 1.0 - x)):
            for site in crystal.sites:
                key = (site.element, site.position, site.b_iso)
                sites[key] = sites.get(key, 0.0) + weight * site.occupancy
        constants = dict(two.elastic)
        return cls(
            name=f"({one.name}){x:.6g}({two.name}){1.0 - x:.6g}",
            spacegroup=one.spacegroup,
            a=a * shrink,
            b=b * shrink,
            c=c * shrink,
            alpha=alpha,
            beta=beta,
            gamma=gamma,
            sites=tuple(Site(e, p, occupancy, u) for (e, p, u), occupancy in sites.items() if occupancy > 0.0),
            elastic=tuple((n, mix(v, constants[n])) for n, v in one.elastic if n in constants),
            source=f"Vegard's law between {one.name} and {two.name}",
        )

    def with_lattice(
        self,
        a: float | None = None,
        b: float | None = None,
        c: float | None = None,
        alpha: float | None = None,
        beta: float | None = None,
        gamma: float | None = None,
    ) -> Crystal:
        """The same crystal with other lattice parameters [Å, deg]; b and c follow a where they equal it."""
        new_a = self.a if a is None else a
        return replace(
            self,
            a=new_a,
            b=b if b is not None else (new_a if self.b == self.a else self.b),
            c=c if c is not None else (new_a if self.c == self.a else self.c),
            alpha=self.alpha if alpha is None else alpha,
            beta=self.beta if beta is None else beta,
            gamma=self.gamma if gamma is None else gamma,
        )

    # --- geometry ---

    @property
    def cell(self) -> tuple[float, float, float, float, float, float]:
        """(a, b, c, alpha, beta, gamma) in Å and degrees."""
        return self.a, self.b, self.c, self.alpha, self.beta, self.gamma

    @property
    def volume(self) -> float:
        """Volume of the unit cell [Å³]."""
        return reciprocal_metric(*self.cell)[1]

    def _dot(self, one: tuple[int, int, int], two: tuple[int, int, int]) -> float:
        metric = reciprocal_metric(*self.cell)[0]
        return sum(one[i] * metric[i][j] * two[j] for i in range(3) for j in range(3))

    def d_spacing(self, hkl: tuple[int, int, int]) -> float:
        """Interplanar distance [Å] from the reciprocal metric tensor."""
        square = self._dot(hkl, hkl)
        if square <= 0.0:
            raise CrystalError(f"crystal {self.name}: expected Miller indices other than (0, 0, 0), got {hkl}")
        return 1.0 / math.sqrt(square)

    def bragg_angle(self, hkl: tuple[int, int, int], wavelength: float) -> float:
        """Kinematic Bragg angle θ_B [rad] at a wavelength in Å.

        Raises
        ------
        CrystalError
            If the wavelength is longer than 2d.
        """
        spacing = self.d_spacing(hkl)
        if wavelength >= 2.0 * spacing:
            raise CrystalError(
                f"reflection {hkl} of {self.name} cannot be reached: the wavelength {wavelength:g} Å is "
                f"longer than 2d = {2.0 * spacing:.5g} Å; choose lower indices or a shorter wavelength"
            )
        return math.asin(wavelength / (2.0 * spacing))

    def plane_angle(self, one: tuple[int, int, int], two: tuple[int, int, int]) -> float:
        """Angle between the normals of two sets of planes [rad], 0 … π."""
        cosine = self._dot(one, two) * self.d_spacing(one) * self.d_spacing(two)
        # acos loses half of the digits near 0: symmetric reflections must come out as exactly 0.
        return 0.0 if cosine > 1.0 - 1e-14 else math.acos(max(-1.0, cosine))

    @property
    def shortest_translation(self) -> float:
        """Length of the shortest lattice vector [Å], as dislocations have for their Burgers vector."""
        return shortest_translation(self.spacegroup, self.cell)

    # --- scattering ---

    def atoms(self) -> tuple[tuple[str, float, float, float, float, float], ...]:
        """All atoms of the unit cell as (element, occupancy, B, x, y, z)."""
        return unit_cell(self.spacegroup, self.sites)

    def structure_factor(self, hkl: tuple[int, int, int], wavelength: float) -> complex:
        """F_h [electrons] in this package's convention: Im F_0 < 0 (see :meth:`susceptibility`)."""
        dispersive, absorptive = _structure_factors(self, hkl, wavelength)
        return dispersive - 1j * absorptive

    def chi0(self, wavelength: float) -> complex:
        """χ0 = −r_e λ² F_0/(πV), which refracts and absorbs in whatever direction."""
        mean = self.structure_factor((0, 0, 0), wavelength)
        return -CLASSICAL_ELECTRON_RADIUS * wavelength**2 / (math.pi * self.volume) * mean

    def susceptibility(
        self, hkl: tuple[int, int, int], wavelength: float, reference: Crystal | None = None
    ) -> Susceptibility:
        """χ0, χ_h and χ_h̄ = −r_e λ² F/(πV).

        Parameters
        ----------
        hkl : tuple of int
            Miller indices.
        wavelength : float
            Å.
        reference : Crystal, optional
            Crystal whose χ_h' (without f'') is made real and negative by the choice of origin. Default: this
            crystal. In a stack give the substrate for every layer, so that the layers keep their phase to
            each other (002 of GaAs and InAs scatter in antiphase). Origin shifts change only the common phase
            of χ_h, inverse to that of χ_h̄.

        Returns
        -------
        Susceptibility

        Raises
        ------
        CrystalError
            For a reflection that the structure forbids.
        """
        return _susceptibility(self, hkl, wavelength, self if reference is None else reference)

    # --- elasticity ---

    @property
    def elastic_constants(self) -> dict[str, float]:
        """Elastic constants [GPa] by name; empty when unknown."""
        return dict(self.elastic)

    def biaxial_ratio(self, surface: tuple[int, int, int]) -> float | None:
        """D = −ε⊥/ε∥ of a biaxially strained film of this crystal on a surface; None when it is not known.

        For cubic and hexagonal crystals with elastic constants, on any surface: 2C12/C11 on (001) of a cubic
        one, 2(C11 + 2C12 − 2C44)/(C11 + 2C12 + 4C44) on (111), 2C13/C33 on (0001) of a hexagonal one.
        """
        h, k, l = surface  # noqa: E741
        # Reciprocal vector in Cartesian axes, x along a and z along c.
        if self.gamma == 120.0:
            normal = (h / self.a, (h + 2 * k) / (math.sqrt(3.0) * self.a), l / self.c)
        else:
            normal = (h / self.a, k / self.b, l / self.c)
        return biaxial_ratio(dict(self.elastic), normal)


@cache
def _builtin(name: str) -> Crystal:
    return Crystal(**library.fields(name))


@lru_cache(maxsize=1024)
def _structure_factors(crystal: Crystal, hkl: tuple[int, int, int], wavelength: float) -> tuple[complex, complex]:
    s = 0.0 if hkl == (0, 0, 0) else 0.5 / crystal.d_spacing(hkl)
    return structure_factors(crystal.atoms(), hkl, s, wavelength)


@lru_cache(maxsize=1024)
def _susceptibility(
    crystal: Crystal, hkl: tuple[int, int, int], wavelength: float, reference: Crystal
) -> Susceptibility:
    if hkl == (0, 0, 0):
        raise CrystalError(f"crystal {crystal.name}: expected Miller indices other than (0, 0, 0)")
    _check_allowed(crystal, hkl, wavelength)
    h, k, l = hkl  # noqa: E741
    factor = -CLASSICAL_ELECTRON_RADIUS * wavelength**2 / (math.pi * crystal.volume)
    phase = cmath.exp(-1j * cmath.phase(_structure_factors(reference, hkl, wavelength)[0]))
    mean, plus, minus = (crystal.structure_factor(m, wavelength) for m in ((0, 0, 0), hkl, (-h, -k, -l)))
    chih, chihbar = factor * plus * phase, factor * minus * phase.conjugate()
    # A centre of symmetry makes the two equal but for rounding: say so, which spares the square root its branch noise.
    centric = abs(chih - chihbar) < 1e-11 * abs(chih)
    return Susceptibility(factor * mean, chih, None if centric else chihbar)


def _check_allowed(crystal: Crystal, hkl: tuple[int, int, int], wavelength: float) -> None:
    s = 0.5 / crystal.d_spacing(hkl)
    scale = sum(occupancy * form_factor(element, s) for element, occupancy, *_ in crystal.atoms())
    if abs(crystal.structure_factor(hkl, wavelength)) < FORBIDDEN * scale:
        raise CrystalError(
            f"reflection {_text(hkl)} of {crystal.name} is forbidden (space group {crystal.spacegroup}: "
            f"zero structure factor for spherical atoms): choose another hkl"
        )


def _text(hkl: tuple[int, ...]) -> str:
    return "(" + " ".join(str(index) for index in hkl) + ")"
