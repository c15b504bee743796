"""Films on a substrate: from what a grower says about them to lattice mismatch and susceptibilities."""

from __future__ import annotations

import cmath
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev

from hrxrd_ml.arrays import FloatArray, Values
from hrxrd_ml.complex_step import columns, real
from hrxrd_ml.crystal.library import exchanged
from hrxrd_ml.crystal.material import Material
from hrxrd_ml.crystal.reflection import Reflection
from hrxrd_ml.crystal.structure import Crystal
from hrxrd_ml.errors import CrystalError, ParameterError
from hrxrd_ml.parameters import ParameterSpace, ParameterSpec, checked_keywords
from hrxrd_ml.specimen.damage import DISPLACEMENTS

_LARGEST_MISMATCH = 0.1
"""Beyond it, film and substrate are no two crystals of one lattice."""

_LARGEST_STRAIN = 0.05
_LARGEST_TILT = 5.0
"""Of a film on its substrate [deg]."""

_NODES = 8
"""Compositions at which an alloy is calculated; everything is a smooth function of it."""


@checked_keywords
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
        Fraction of the first of the two elements that exchange, of As in GaAsP (of Ge in SiGe).
    strain : float, optional
        Start value; where left out, that of a coherent film.
    relaxation : float, optional
        0 for a film with the substrate's lattice in the plane, 1 for one with its own.
    density : float
        Factor on all susceptibilities.
    damage : float
        Exponent L of the film's static Debye-Waller factor.
    tilt : float
        By which the film's planes are inclined against those of the substrate, in the plane of diffraction [deg];
        positive: its peak is at larger angles.

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
    tilt: float = 0.0

    def __post_init__(self) -> None:
        """Check what can be checked without a substrate."""
        if not self.name.isidentifier():
            raise ParameterError(f"a film is named {self.name!r}; expected letters, digits and _, as in 'buffer_2'")
        if not 0.0 < self.thickness < math.inf:
            raise ParameterError(f"{self.name}: expected a thickness above 0 Å, got {self.thickness:g}")
        if not abs(self.tilt) <= _LARGEST_TILT:
            raise ParameterError(f"{self.name}: expected a tilt within {_LARGEST_TILT:g} deg, got {self.tilt!r}")
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
            fraction_of, _ = exchanged(str(self.crystal), self.x)
            rows.append(("x", "", self.x, 0.0, 1.0, True, f"fraction of {fraction_of} in {self.crystal}"))
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
        limit = _LARGEST_TILT
        rows.append(("tilt", "deg", self.tilt, -limit, limit, False, "tilt of the film in the plane of diffraction"))
        space = ParameterSpace(tuple(ParameterSpec(f"{self.name}_{row[0]}", *row[1:]) for row in rows))
        return space.with_changes(f"{self.name}_damage", scope="curve", power_of_h=DISPLACEMENTS)

    def state(self, values: Values, reflection: Reflection) -> FilmState:
        """Return the film at values of its parameters.

        With relaxation rho, the lattice in the plane is ``1 + rho (f - 1)`` of the substrate's, where f is the ratio
        of both unstrained lattices, and the film's strain out of the plane -D times that in the plane, with D from
        `Crystal.biaxial_ratio`.
        """
        x = values.get(f"{self.name}_x")
        facts = self._facts(x, reflection)
        if f"{self.name}_strain" in values:
            parallel, strain = 0.0, facts.out * (1.0 + values[f"{self.name}_strain"]) - 1.0
        else:
            if np.any(np.isnan(np.real(facts.biaxial))):
                raise CrystalError(
                    f"film {self.name}: the elastic constants of {self.at(None if x is None else real(x)).name} "
                    "are not known, so its strain does not follow from its relaxation; leave out x and relaxation, "
                    "and give or fit its strain"
                )
            parallel = values[f"{self.name}_relaxation"] * (facts.inside - 1.0)
            own = (1.0 + parallel) / facts.inside - 1.0
            strain = facts.out * (1.0 - facts.biaxial * own) - 1.0
        density, damage = values[f"{self.name}_density"], values[f"{self.name}_damage"]
        numbers = tuple(density * number for number in facts.susceptibility)
        tilt = values[f"{self.name}_tilt"] * math.radians(1.0)
        return FilmState(values[f"{self.name}_thickness"], strain, parallel, tilt, damage, numbers)

    def _coherent_strain(self, reflection: Reflection) -> float:
        """Return the strain of the film where it has the substrate's lattice in the plane; 0 if D is not known."""
        facts = self._facts(self.x, reflection)
        return 0.0 if math.isnan(facts.biaxial) else -facts.biaxial * (1.0 / facts.inside - 1.0)

    def _facts(self, x: Any, reflection: Reflection) -> _Facts:
        """Return what is known of the film's crystal beside the substrate's, at a composition."""
        if x is None:
            facts = _Facts.of(self.at(None), reflection)
        else:
            series = _over_compositions(str(self.crystal), reflection)
            numbers = chebyshev.chebval(2.0 * x - 1.0, series)
            facts = _Facts(numbers[0], numbers[1], numbers[2], tuple(numbers[3:]))
        out, inside = real(facts.out), real(facts.inside)
        if max(abs(out - 1.0), abs(inside - 1.0)) > _LARGEST_MISMATCH:
            raise CrystalError(
                f"film {self.name}: the lattice of {self.at(None if x is None else real(x)).name} is {out:.3g} (out of "
                f"the plane) and {inside:.3g} (in the plane) times that of {reflection.crystal.name}; films need the "
                f"lattice of the substrate, within {100 * _LARGEST_MISMATCH:.0f} %"
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
    susceptibility : tuple of float
        ``Material.numbers``.
    """

    out: Any
    inside: Any
    biaxial: Any
    susceptibility: tuple[Any, ...]

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
        material = Material(found.chi0, (sigma[0], pi[0]), (sigma[1], pi[1]))
        inside = math.sqrt(crystal.volume / substrate.volume / out)
        return cls(out, inside, math.nan if ratio is None else ratio, material.numbers)


@lru_cache(maxsize=64)
def _over_compositions(alloy: str, reflection: Reflection) -> FloatArray:
    """Return Chebyshev series of the facts of an alloy in 2 x - 1: a structure factor costs some milliseconds."""
    nodes = chebyshev.chebpts1(_NODES)
    known = [_Facts.of(_composed(alloy, 0.5 * (node + 1.0)), reflection) for node in nodes]
    rows = [[facts.out, facts.inside, facts.biaxial, *facts.susceptibility] for facts in known]
    return np.asarray(np.linalg.solve(chebyshev.chebvander(nodes, _NODES - 1), np.array(rows)), dtype=float)


def _composed(crystal: Crystal | str, x: float | None) -> Crystal:
    return Crystal.resolve(crystal) if x is None else _alloy(str(crystal), x)


@lru_cache(maxsize=4096)
def _alloy(name: str, x: float) -> Crystal:
    return Crystal.named(name, x)


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


@dataclass(frozen=True)
class FilmState:
    """A film at values of its parameters; floats, or columns of complex steps.

    Attributes
    ----------
    thickness : float
        [Å].
    strain, parallel : float
        Relative to the substrate's lattice, out of the plane and in the plane.
    tilt : float
        [rad].
    damage : float
        L.
    susceptibility : tuple of float
        ``Material.numbers``, on the origin of the substrate's cell.
    """

    thickness: Any
    strain: Any
    parallel: Any
    tilt: Any
    damage: Any
    susceptibility: tuple[Any, ...]


@dataclass(frozen=True)
class Stack:
    """Films at values of their parameters, surface first; the last entry of what has one more is the substrate.

    Of floats the arrays have the shapes below; of complex steps they have rows in front, one for each parameter.

    Attributes
    ----------
    films : tuple of Film
        From the substrate up.
    reflection : Reflection
        Of the substrate.
    thickness : ndarray, shape (k,)
        [Å].
    strain, parallel, tilt, damage : ndarray, shape (k + 1,)
        Strains relative to the substrate's lattice, out of the plane and in the plane, tilt against it [rad], and L.
    susceptibility : ndarray, shape (k + 1, 10)
        ``Material.numbers``.
    """

    films: tuple[Film, ...]
    reflection: Reflection
    thickness: Any
    strain: Any
    parallel: Any
    tilt: Any
    damage: Any
    susceptibility: Any

    @classmethod
    def of(cls, films: Sequence[Film], values: Values, reflection: Reflection) -> Stack:
        """Return films, given from the substrate up, at values of their parameters."""
        states = [film.state(values, reflection) for film in films[::-1]]
        rest = Material.of(reflection).numbers
        numbers = [columns(*state.susceptibility) for state in states] + [np.array(rest)]
        lead = max((array.shape[:-1] for array in numbers), key=len)
        return cls(
            tuple(films),
            reflection,
            columns(*(state.thickness for state in states)),
            columns(*(state.strain for state in states), 0.0),
            columns(*(state.parallel for state in states), 0.0),
            columns(*(state.tilt for state in states), 0.0),
            columns(*(state.damage for state in states), 0.0),
            np.stack([np.broadcast_to(array, (*lead, 10)) for array in numbers], axis=-2),
        )

    def at(self, values: Values) -> Stack:
        """Return the same films at other values."""
        return Stack.of(self.films, values, self.reflection)

    @property
    def count(self) -> int:
        """Number of films."""
        return len(self.films)

    @property
    def interfaces(self) -> Any:
        """Depths of the lower ends of the films [Å]."""
        return np.cumsum(self.thickness, axis=-1)
