"""Films on a substrate: from what a grower says about them to lattice mismatch and susceptibilities."""

from __future__ import annotations

import cmath
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from .crystal import Crystal
from .dynamical._contract import Material
from .errors import CrystalError, ParameterError
from .parameters import ParameterSpace, ParameterSpec
from .reflection import Reflection
from .specimen import Pile

Values = Mapping[str, float]

_LARGEST_MISMATCH = 0.1
"""Beyond it, film and substrate are no two crystals of one lattice."""

_LARGEST_STRAIN = 0.05

_NODES = 8
"""Compositions at which an alloy is calculated; everything is a smooth function of it."""

_STEP = 1e-5
"""Of differences; the strain is a nearly linear function of its parameters."""


@dataclass(frozen=True)
class Film:
    """One film, in terms of the crystal that it is made of.

    Its strain is either a parameter of its own, or follows from its composition and relaxation by elasticity:

    * with ``x``, the composition of an alloy is fitted, and the relaxation is given (0: the film grew coherently);
    * with ``relaxation`` alone, the relaxation is fitted;
    * else the out-of-plane strain of the film is fitted, relative to its own unstrained lattice, and the film keeps
      the lattice of the substrate in the plane.

    Parameters
    ----------
    name : str
        Begins the names of its parameters: ``<name>_thickness`` and so on.
    crystal : Crystal or str
        A crystal, a built-in name, or with ``x`` the name of an alloy, such as "AlGaAs".
    thickness : float
        [Å].
    x : float, optional
        Fraction of the alloy's first-named element.
    strain : float, optional
        Start value; where left out, that of a coherent film.
    relaxation : float, optional
        0 for a film with the substrate's lattice in the plane, 1 for one with its own.
    density : float
        Factor on all susceptibilities.
    damage : float
        Exponent L of the film's static Debye-Waller factor.

    Raises
    ------
    ParameterError
        If a number makes no sense, or numbers contradict each other.
    CrystalError
        If there is no such crystal.
    """

    name: str
    crystal: Crystal | str
    thickness: float
    x: float | None = None
    strain: float | None = None
    relaxation: float | None = None
    density: float = 1.0
    damage: float = 0.0

    def __post_init__(self) -> None:
        """Check what can be checked without a substrate."""
        if not self.name.isidentifier():
            raise ParameterError(f"a film is named {self.name!r}; expected letters, digits and _, as in 'buffer_2'")
        if not 0.0 < self.thickness < math.inf:
            raise ParameterError(f"{self.name}: expected a thickness above 0 Å, got {self.thickness:g}")
        if self.strain is not None and (self.relaxation is not None or self.x is not None):
            raise ParameterError(f"{self.name}: give its strain, or what the strain follows from (x, relaxation)")
        if self.x is not None and not isinstance(self.crystal, str):
            raise ParameterError(f'{self.name}: x is for the name of an alloy, such as crystal="AlGaAs"')
        crystal = self.at(self.x)  # raises if there is no such crystal
        if str(self.crystal).lower().endswith(".cif"):  # read once: the file may change or move
            object.__setattr__(self, "crystal", crystal)

    def at(self, x: float | None) -> Crystal:
        """Return the crystal at a composition."""
        return _composed(self.crystal, x)

    def space(self, reflection: Reflection) -> ParameterSpace:
        """Return the parameters with units, start values and bounds, on the substrate of a reflection."""
        rows = [("thickness", "Å", self.thickness, 1.0, 3.0 * self.thickness, True, "thickness of the film")]
        if self.x is not None:
            rows.append(("x", "", self.x, 0.0, 1.0, True, "fraction of the alloy's first-named element"))
        if self.x is not None or self.relaxation is not None:
            free = self.x is None
            start = self.relaxation or 0.0
            rows.append(
                ("relaxation", "", start, 0.0, 1.0, free, "0: lattice of the substrate in the plane, 1: its own")
            )
        else:
            start = self._coherent_strain(reflection) if self.strain is None else self.strain
            limit = max(_LARGEST_STRAIN, 2.0 * abs(start))
            rows.append(("strain", "", start, -limit, limit, True, "out-of-plane strain of the film's own lattice"))
        rows.append(("density", "", self.density, 0.5, 1.5, False, "factor on all susceptibilities of the film"))
        rows.append(("damage", "", self.damage, 0.0, 5.0, False, "damage L of the film"))
        return ParameterSpace(tuple(ParameterSpec(f"{self.name}_{row[0]}", *row[1:]) for row in rows))

    def mismatch(self, values: Values, reflection: Reflection) -> tuple[float, float]:
        """Return the out-of-plane and the in-plane strain of the film relative to the substrate's lattice.

        With relaxation rho, the lattice in the plane is ``1 + rho (f - 1)`` of the substrate's, where f is the ratio
        of both unstrained lattices, and the film's strain out of the plane -D times that in the plane, with D from
        `Crystal.biaxial_ratio`.
        """
        facts = self._facts(values.get(f"{self.name}_x"), reflection)
        if f"{self.name}_strain" in values:
            return facts.out * (1.0 + values[f"{self.name}_strain"]) - 1.0, 0.0
        if math.isnan(facts.biaxial):
            raise CrystalError(
                f"film {self.name}: the elastic constants of {self.at(self.x).name} are not known, so its strain does "
                "not follow from its relaxation; leave out x and relaxation, and give or fit its strain"
            )
        parallel = values[f"{self.name}_relaxation"] * (facts.inside - 1.0)
        own = (1.0 + parallel) / facts.inside - 1.0
        return facts.out * (1.0 - facts.biaxial * own) - 1.0, parallel

    def strain_slope(self, name: str, values: Values, reflection: Reflection) -> float:
        """Return the derivative of the out-of-plane strain by a parameter that it depends on."""
        ends = [values[name] + side * _STEP for side in (-1.0, 1.0)]
        if name.endswith("_x"):
            ends = [min(max(end, 0.0), 1.0) for end in ends]
        low, high = (self.mismatch({**values, name: end}, reflection)[0] for end in ends)
        return (high - low) / (ends[1] - ends[0])

    def material(self, values: Values, reflection: Reflection) -> Material:
        """Return the susceptibilities, on the origin of the substrate's cell."""
        facts, density = self._facts(values.get(f"{self.name}_x"), reflection), values[f"{self.name}_density"]
        (h0, h1), (k0, k1) = facts.chih, facts.chihbar
        return Material(density * facts.chi0, (density * h0, density * h1), (density * k0, density * k1))

    def _coherent_strain(self, reflection: Reflection) -> float:
        """Return the strain of the film where it has the substrate's lattice in the plane; 0 if D is not known."""
        facts = self._facts(self.x, reflection)
        return 0.0 if math.isnan(facts.biaxial) else -facts.biaxial * (1.0 / facts.inside - 1.0)

    def _facts(self, x: float | None, reflection: Reflection) -> _Facts:
        """Return what is known of the film's crystal beside the substrate's, at a composition."""
        if x is None:
            facts = _Facts.of(self.at(None), reflection)
        else:
            series = _over_compositions(str(self.crystal), reflection)
            facts = _Facts.unpacked(np.asarray(chebyshev.chebval(2.0 * x - 1.0, series)))
        if max(abs(facts.out - 1.0), abs(facts.inside - 1.0)) > _LARGEST_MISMATCH:
            raise CrystalError(
                f"film {self.name}: the lattice of {self.at(x).name} is {facts.out:.3g} (out of the plane) and "
                f"{facts.inside:.3g} (in the plane) times that of {reflection.crystal.name}; films need the lattice "
                f"of the substrate, within {100 * _LARGEST_MISMATCH:.0f} %"
            )
        return facts


_TURNED = 0.3
"""Difference of phases [rad], apart from a change of sign, that crystals on one another seldom have."""


@dataclass(frozen=True)
class _Facts:
    """A crystal beside that of the substrate.

    Attributes
    ----------
    out, inside : float
        Its lattice over the substrate's, out of the plane and (mean) in the plane.
    biaxial : float
        D of `Crystal.biaxial_ratio`; NaN where it is not known.
    chi0 : complex
    chih, chihbar : tuple of complex
        As in `Material`.
    """

    out: float
    inside: float
    biaxial: float
    chi0: complex
    chih: tuple[complex, complex]
    chihbar: tuple[complex, complex]

    @classmethod
    @lru_cache(maxsize=256)
    def of(cls, crystal: Crystal, reflection: Reflection) -> _Facts:
        """Return the facts of a crystal on the substrate of a reflection."""
        surface, substrate = reflection.surface or reflection.hkl, reflection.crystal
        out = crystal.d_spacing(surface) / substrate.d_spacing(surface)
        ratio = crystal.biaxial_ratio(surface)
        found = crystal.susceptibility(reflection.hkl, reflection.wavelength, substrate)
        sigma, pi = (found.pair(polarisation) for polarisation in (0, 1))
        if crystal.spacegroup != substrate.spacegroup:
            own = reflection.crystal.susceptibility(reflection.hkl, reflection.wavelength)
            turned = abs(math.remainder(cmath.phase(sigma[0]) - cmath.phase(own.pair(0)[0]), math.pi))
            one_group = crystal.spacegroup.split(":")[0] == substrate.spacegroup.split(":")[0]
            if one_group or turned > _TURNED:
                warnings.warn(
                    f"the structure factor of {crystal.name} ({crystal.spacegroup}) and that of "
                    f"{substrate.name} ({substrate.spacegroup}) may have different phases, since the origins of the "
                    "unit cells differ; where both are of one structure, describe them with the same origin",
                    stacklevel=2,
                )
        return cls(
            out,
            math.sqrt(crystal.volume / substrate.volume / out),
            math.nan if ratio is None else ratio,
            found.chi0,
            (sigma[0], pi[0]),
            (sigma[1], pi[1]),
        )

    def packed(self) -> list[complex]:
        """Return all numbers in one list."""
        return [self.out, self.inside, self.biaxial, self.chi0, *self.chih, *self.chihbar]

    @classmethod
    def unpacked(cls, numbers: NDArray[np.complex128]) -> _Facts:
        """Return what `packed` took apart."""
        out, inside, biaxial = (float(number.real) for number in numbers[:3])
        chi0, h0, h1, k0, k1 = (complex(number) for number in numbers[3:])
        return cls(out, inside, biaxial, chi0, (h0, h1), (k0, k1))


@lru_cache(maxsize=64)
def _over_compositions(alloy: str, reflection: Reflection) -> NDArray[np.complex128]:
    """Return Chebyshev series of the facts of an alloy in 2 x - 1: a structure factor costs some milliseconds."""
    nodes = chebyshev.chebpts1(_NODES)
    rows = [_Facts.of(_composed(alloy, 0.5 * (node + 1.0)), reflection).packed() for node in nodes]
    return np.asarray(chebyshev.chebfit(nodes, np.array(rows), _NODES - 1))


def _composed(crystal: Crystal | str, x: float | None) -> Crystal:
    return Crystal.resolve(crystal) if x is None else _alloy(str(crystal), x)


@lru_cache(maxsize=4096)
def _alloy(name: str, x: float) -> Crystal:
    return Crystal.named(name, x)


def pile(films: Sequence[Film], values: Values, reflection: Reflection) -> Pile:
    """Return films, given from the substrate up, at values of their parameters."""
    top = films[::-1]
    strains = np.array([*(film.mismatch(values, reflection) for film in top), (0.0, 0.0)])
    slopes: dict[str, dict[str, float]] = {}
    for film in top:
        slopes[film.name] = {
            name: film.strain_slope(name, values, reflection)
            for name in (f"{film.name}_{what}" for what in ("strain", "x", "relaxation"))
            if name in values
        }
    return Pile(
        tuple(film.name for film in top),
        np.array([values[f"{film.name}_thickness"] for film in top]),
        strains[:, 0],
        strains[:, 1],
        np.array([*(values[f"{film.name}_damage"] for film in top), 0.0]),
        slopes,
    )


def materials(films: Sequence[Film], values: Values, reflection: Reflection) -> tuple[Material, ...]:
    """Return what the films, given from the substrate up, are made of: surface first, the substrate last."""
    return (*(film.material(values, reflection) for film in films[::-1]), Material.of(reflection))


def film_space(films: Sequence[Film], reflection: Reflection) -> ParameterSpace:
    """Return the parameters of all films.

    Raises
    ------
    ParameterError
        If two films have the same name.
    """
    space = ParameterSpace()
    names = [film.name for film in films]
    for film in films:
        if names.count(film.name) > 1:
            raise ParameterError(f"two films are named {film.name!r}; names must differ")
        space = space + film.space(reflection)
    return space
