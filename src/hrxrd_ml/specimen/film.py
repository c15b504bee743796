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
from hrxrd_ml.crystal.library import exchanged
from hrxrd_ml.crystal.material import Material
from hrxrd_ml.crystal.miller import parse_hkl
from hrxrd_ml.crystal.reflection import Reflection
from hrxrd_ml.crystal.structure import Crystal
from hrxrd_ml.errors import CrystalError, ParameterError
from hrxrd_ml.parameters import ParameterSpace, ParameterSpec, Row, checked_keywords
from hrxrd_ml.specimen.damage import DISPLACEMENTS

_LARGEST_MISMATCH = 0.1
"""Beyond it, film and substrate are no two crystals of one lattice."""

_LARGEST_STRAIN = 0.05
_LARGEST_TILT = 5.0
"""Of a film on its substrate [deg]."""

MOST_NODES = 20
"""Of a gradient."""

Gradient = float | tuple[float, ...]
"""A number, or numbers at equal distances from the lower to the upper end of a film."""

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

    Each of the three is one number, or a gradient: numbers at equal distances from the lower end of the film to the
    upper one, linear in between; ``x=(0.1, 0.3)`` is a composition that rises from 0.1 to 0.3 on the way up.

    Parameters
    ----------
    name : str
        Begins the names of its parameters: ``<name>_thickness`` and so on.
    crystal : Crystal or str
        A crystal, a built-in name, or with ``x`` the name of an alloy, such as "AlGaAs".
    thickness : float
        [Å].
    x : float or tuple of float, optional
        Fraction of the first of the two elements that exchange, of As in GaAsP (of Ge in SiGe).
    strain : float or tuple of float, optional
        Start value; where left out, that of a coherent film.
    relaxation : float or tuple of float, optional
        0 for a film with the substrate's lattice in the plane, 1 for one with its own.
    density : float
        Factor on all susceptibilities.
    damage : float
        Exponent L of the film's static Debye-Waller factor.
    tilt : float
        By which the film's planes are inclined against those of the substrate, in the plane of diffraction [deg];
        positive: its peak is at larger angles.
    interface : float, optional
        Width of the interface below it [Å], the standard deviation of the depths at which the material changes. Sharp
        where left out; with a number, one to begin with, it is a parameter.
    hkl : tuple of int or str, optional
        With it, the film has a lattice and an orientation of its own, with these planes parallel to the surface, and
        films above are grown on it: the substrate of a reflection, so to speak, of finite thickness. What they diffract
        does not interfere with the rest, and they absorb on its way in and out. Where ``x`` is fitted, the film is
        taken to be relaxed.
    amorphous : bool
        It diffracts nothing, absorbs and delays: its crystal says of what it is made, ``density`` how densely.

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
    x: Gradient | None = None
    strain: Gradient | None = None
    relaxation: Gradient | None = None
    density: float = 1.0
    damage: float = 0.0
    tilt: float = 0.0
    interface: float | None = None
    amorphous: bool = False
    hkl: tuple[int, int, int] | str | None = None

    def __post_init__(self) -> None:
        """Check what can be checked without a substrate."""
        for key in ("x", "strain", "relaxation"):
            if isinstance(getattr(self, key), list):
                object.__setattr__(self, key, tuple(getattr(self, key)))
            if not 2 <= len(_nodes(getattr(self, key), 2)) <= MOST_NODES:
                raise ParameterError(f"{self.name}: {key}: expected a number, or 2 to {MOST_NODES} for a gradient")
        if not self.name.isidentifier():
            raise ParameterError(f"a film is named {self.name!r}; expected letters, digits and _, as in 'buffer_2'")
        if not 0.0 < self.thickness < math.inf:
            raise ParameterError(f"{self.name}: expected a thickness above 0 Å, got {self.thickness:g}")
        if not abs(self.tilt) <= _LARGEST_TILT:
            raise ParameterError(f"{self.name}: expected a tilt within {_LARGEST_TILT:g} deg, got {self.tilt!r}")
        if self.strain is not None and (self.relaxation is not None or self.x is not None):
            raise ParameterError(f"{self.name}: give its strain, or what the strain follows from (x, relaxation)")
        if self.interface is not None and not 0.0 <= self.interface < math.inf:
            raise ParameterError(f"{self.name}: expected an interface from 0 Å, got {self.interface!r}")
        if self.x is not None and not isinstance(self.crystal, str):
            raise ParameterError(f'{self.name}: x is for the name of an alloy, such as crystal="AlGaAs"')
        if self.amorphous and not (self.x is self.strain is self.relaxation is self.interface is self.hkl is None):
            raise ParameterError(f"{self.name}: what is amorphous has no x, strain, relaxation, interface or hkl")
        if self.hkl is not None:
            object.__setattr__(self, "hkl", parse_hkl(self.hkl))
            if self.interface is not None:
                raise ParameterError(f"{self.name}: below a film with hkl, between two lattices, it is sharp")
            if self.x is not None and self.relaxation is None:
                object.__setattr__(self, "relaxation", 1.0)
        for x in _nodes(self.x, 1):
            crystal = self.at(x)  # raises if there is no such crystal
        if str(self.crystal).lower().endswith(".cif"):  # read once: the file may change or move
            object.__setattr__(self, "crystal", crystal)

    def at(self, x: float | None) -> Crystal:
        """Return the crystal at a composition."""
        return _composed(self.crystal, x)

    def reference(self, reflection: Reflection) -> Reflection:
        """Return the reflection of its own lattice, for a film with one."""
        assert isinstance(self.hkl, tuple)
        return Reflection(self.at(_nodes(self.x, 1)[0]), self.hkl, reflection.wavelength)

    @property
    def graded(self) -> bool:
        """Whether anything changes between its ends."""
        return any(isinstance(node, tuple) for node in (self.x, self.strain, self.relaxation))

    @property
    def kinks(self) -> tuple[float, ...]:
        """Heights inside of it at which a gradient changes, as shares of its thickness from below."""
        counts = {len(node) - 1 for node in (self.x, self.strain, self.relaxation) if isinstance(node, tuple)}
        return tuple(sorted({k / count for count in counts for k in range(1, count)}))

    def space(self, reflection: Reflection) -> ParameterSpace:
        """Return the parameters with units, start values and bounds, on the substrate of a reflection."""
        rows = [("thickness", "Å", self.thickness, 1.0, 3.0 * self.thickness, True, "thickness of the film")]
        if self.amorphous:
            rows.append(("density", "", self.density, 0.1, 2.0, False, "factor on the susceptibility of the film"))
            return self._space(rows)
        if self.x is not None:
            fraction_of, _ = exchanged(str(self.crystal), _nodes(self.x, 1)[0])
            low, high = self._compositions(reflection)
            rows += self._rows("x", self.x, low, high, True, f"fraction of {fraction_of} in {self.crystal}")
        if self.x is not None or self.relaxation is not None:
            free = self.x is None or isinstance(self.relaxation, tuple)
            text = "0: lattice of the substrate in the plane, 1: its own"
            rows += self._rows("relaxation", self.relaxation or 0.0, 0.0, 1.0, free, text)
        else:
            start = self._coherent_strain(reflection) if self.strain is None else self.strain
            limit = max(_LARGEST_STRAIN, 2.0 * max(map(abs, _nodes(start, 1))))
            rows += self._rows("strain", start, -limit, limit, True, "out-of-plane strain of the film's own lattice")
        rows.append(("density", "", self.density, 0.5, 1.5, False, "factor on all susceptibilities of the film"))
        rows.append(("damage", "", self.damage, 0.0, 5.0, False, "damage L of the film"))
        limit = _LARGEST_TILT
        rows.append(("tilt", "deg", self.tilt, -limit, limit, False, "tilt of the film in the plane of diffraction"))
        space = self._space(rows).with_changes(f"{self.name}_damage", scope="curve", power_of_h=DISPLACEMENTS)
        return space if self.interface is None else space + interface_space(self.name, self.interface, "below the film")

    def _space(self, rows: Sequence[Row]) -> ParameterSpace:
        return ParameterSpace(tuple(ParameterSpec(f"{self.name}_{row[0]}", *row[1:]) for row in rows))

    @staticmethod
    def _rows(key: str, start: Gradient, low: float, high: float, free: bool, text: str) -> list[Row]:
        """Return the rows of a number, or of a gradient."""
        if not isinstance(start, tuple):
            return [(key, "", start, low, high, free, text)]
        where = [f"{text}, node {k} of {len(start)} from below" for k in range(1, len(start) + 1)]
        return [(f"{key}{k}", "", node, low, high, free, where[k - 1]) for k, node in enumerate(start, start=1)]

    def _along(self, values: Values, key: str, height: Any) -> Any:
        """Return a number of the film, or its gradient at heights; linear between nodes, constant beyond the ends."""
        count = len(_nodes(getattr(self, key), 1))
        if not isinstance(getattr(self, key), tuple):
            return row(values[f"{self.name}_{key}"])
        position, total = (count - 1) * height, 0.0
        position = np.where(np.real(position) < 0.0, 0.0, position)
        position = np.where(np.real(position) > count - 1, count - 1, position)
        for k in range(count):
            distance = np.where(np.real(position) < k, k - position, position - k)
            hat = np.where(np.real(distance) < 1.0, 1.0 - distance, 0.0)
            total = total + row(values[f"{self.name}_{key}{k + 1}"]) * hat
        return total

    def state(self, values: Values, reflection: Reflection, height: Any = 0.5) -> FilmState:
        """Return the film at values of its parameters.

        With relaxation rho, the lattice in the plane is ``1 + rho (f - 1)`` of the substrate's, where f is the ratio
        of both unstrained lattices, and the film's strain out of the plane -D times that in the plane, with D from
        `Crystal.biaxial_ratio`.

        Parameters
        ----------
        values : mapping
        reflection : Reflection
            Of the substrate.
        height : array, shape (n,) or (rows, n)
            Shares of its thickness, from below, at which a graded film is wanted; of no matter for others.
        """
        density = row(values[f"{self.name}_density"])
        if self.amorphous:
            chi0 = self.at(None).chi0(reflection.wavelength)
            return FilmState(0.0, 0.0, 0.0, 0.0, (density * chi0.real, density * chi0.imag, *[0.0] * 8))
        x = None if self.x is None else self._along(values, "x", height)
        facts = self._facts(x, reflection)
        if self.x is None and self.relaxation is None:
            parallel, strain = 0.0, facts.out * (1.0 + self._along(values, "strain", height)) - 1.0
        else:
            if np.any(np.isnan(np.real(facts.biaxial))):
                raise CrystalError(
                    f"film {self.name}: the elastic constants of {self._composition(x).name} "
                    "are not known, so its strain does not follow from its relaxation; leave out x and relaxation, "
                    "and give or fit its strain"
                )
            parallel = self._along(values, "relaxation", height) * (facts.inside - 1.0)
            own = (1.0 + parallel) / facts.inside - 1.0
            strain = facts.out * (1.0 - facts.biaxial * own) - 1.0
        numbers = tuple(density * number for number in facts.susceptibility)
        tilt = row(values[f"{self.name}_tilt"]) * math.radians(1.0)
        return FilmState(strain, parallel, tilt, row(values[f"{self.name}_damage"]), numbers)

    def _composition(self, x: Any) -> Crystal:
        """Return the crystal at the first of some compositions."""
        return self.at(None if x is None else float(np.real(x).flat[0]))

    def _compositions(self, reflection: Reflection) -> tuple[float, float]:
        """Return the compositions from 0 to 1, around its own, at which an alloy has the lattice of the substrate."""
        x = np.linspace(0.0, 1.0, 1001)
        ratios = chebyshev.chebval(2.0 * x - 1.0, _over_compositions(str(self.crystal), reflection)[:, :2])
        fits = np.abs(ratios - 1.0).max(axis=0) < _LARGEST_MISMATCH
        nodes = _nodes(self.x, 1)
        first, last = np.searchsorted(x, [min(nodes), max(nodes)])
        if not np.all(fits[first : last + 1]):
            self._facts(np.array(nodes), reflection)  # says which
            return 0.0, 1.0
        off = np.flatnonzero(~fits)
        low, high = off[off < first].max(initial=-1) + 1, off[off > last].min(initial=len(x)) - 1
        return float(x[low]), float(x[high])

    def _coherent_strain(self, reflection: Reflection) -> float:
        """Return the strain of the film where it has the substrate's lattice in the plane; 0 if D is not known."""
        facts = self._facts(None, reflection)
        return 0.0 if math.isnan(facts.biaxial) else -facts.biaxial * (1.0 / facts.inside - 1.0)

    def _facts(self, x: Any, reflection: Reflection) -> _Facts:
        """Return what is known of the film's crystal beside the substrate's, at a composition."""
        if x is None:
            facts = _Facts.of(self.at(None), reflection)
        else:
            series = _over_compositions(str(self.crystal), reflection)
            numbers = chebyshev.chebval(2.0 * x - 1.0, series)
            facts = _Facts(numbers[0], numbers[1], numbers[2], tuple(numbers[3:]))
        ratios = np.asarray(np.real(facts.out)), np.asarray(np.real(facts.inside))
        off = np.maximum(*(np.abs(ratio - 1.0) for ratio in ratios))
        if off.max() > _LARGEST_MISMATCH:
            out, inside = (ratio.ravel()[off.argmax()] for ratio in ratios)
            raise CrystalError(
                f"film {self.name}: the lattice of {self._composition(x).name} is {out:.3g} (out of "
                f"the plane) and {inside:.3g} (in the plane) times that of {reflection.crystal.name}; films need the "
                f"lattice of the substrate, within {100 * _LARGEST_MISMATCH:.0f} %"
            )
        return facts


def row(value: Any) -> Any:
    """Return the value of a parameter as a float, or its complex steps as rows, shape (rows, 1)."""
    return value.reshape(-1, 1) if isinstance(value, np.ndarray) and value.ndim else value


def interface_space(name: str, start: float, where: str) -> ParameterSpace:
    """Return the parameter of a film or superlattice that is the width of its interfaces."""
    text = f"width of the interface {where}, 1 sigma"
    spec = ParameterSpec(f"{name}_interface", "Å", start, 0.0, max(4.0 * start, 20.0), True, text, even=True)
    return ParameterSpace((spec,))


def _nodes(number: Gradient | None, least: int) -> tuple[Any, ...]:
    """Return the numbers of a gradient; one number is as many as are the least."""
    return number if isinstance(number, tuple) else (number,) * least


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


@dataclass(frozen=True)
class FilmState:
    """A film at values of its parameters and at some heights in it.

    Numbers are floats, or arrays with rows of complex steps in front and, where the film is graded, heights behind.

    Attributes
    ----------
    strain, parallel : float
        Relative to the substrate's lattice, out of the plane and in the plane.
    tilt : float
        [rad].
    damage : float
        L.
    susceptibility : tuple of float
        ``Material.numbers``, on the origin of the substrate's cell.
    """

    strain: Any
    parallel: Any
    tilt: Any
    damage: Any
    susceptibility: tuple[Any, ...]

    @property
    def numbers(self) -> Any:
        """All of them behind the axes that they have, shape (..., 14)."""
        numbers = (self.strain, self.parallel, self.tilt, self.damage, *self.susceptibility)
        arrays = [number for number in numbers if isinstance(number, np.ndarray)]
        if not arrays:
            return np.array(numbers)
        found = np.empty((*np.broadcast_shapes(*(a.shape for a in arrays)), len(numbers)), np.result_type(*arrays))
        for k, number in enumerate(numbers):
            found[..., k] = number
        return found
