"""One Bragg reflection of one crystal at one wavelength: geometry, polarisation, susceptibilities.

Angles in rad, lengths in Å. Incidence angle θ_B + φ, exit angle θ_B − φ, γ0 = sin(θ_B+φ), γh = sin(θ_B−φ), b
= γ0/γh > 0: Bragg (reflection) geometry only.
"""

from __future__ import annotations

import cmath
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import FrozenInstanceError
from functools import partial
from os import PathLike
from types import MappingProxyType
from typing import Any, NoReturn

from hrxrd_ml.crystal.miller import parse_hkl
from hrxrd_ml.crystal.structure import Crystal
from hrxrd_ml.crystal.susceptibility import Susceptibility
from hrxrd_ml.crystal.wavelength import resolve_wavelength
from hrxrd_ml.errors import CrystalError

__all__ = ["Reflection", "Susceptibility", "parse_hkl"]

_MONOCHROMATOR = re.compile(
    r"(?:(\d+)\s*[x×*]\s*)?(mosaic\s+)?([^\s()]+)\s*(?:\(([^()]+)\)|\s([-+\d\s,]+))", re.IGNORECASE
)


class Reflection:
    """A Bragg reflection in reflection geometry: immutable, hashable, picklable; see :meth:`replace`.

    Parameters
    ----------
    crystal : Crystal, str or path
        A :class:`~hrxrd_ml.crystal.structure.Crystal`, a built-in name (``"GGG"``, ``"Al0.3GaAs"``) or a path that ends
        in .cif.
    hkl : sequence of int or str
        Miller indices; three, or four (h k i l) for a hexagonal lattice.
    wavelength : float or str
        Å, or a named line such as ``"CuKa1"``.
    surface : sequence of int, optional
        Miller indices of the surface plane, its normal pointing out of the crystal. Default: parallel to the
        diffracting planes.
    exit : {"high", "low"}
        Only for asymmetric reflections: ``"high"`` exit is grazing incidence (φ < 0), ``"low"`` is grazing
        exit (φ > 0).
    monochromator : sequence of str
        Reflections before the sample, which polarise the beam: ``"Si 111"``, ``"4x Ge 220"``, ``"mosaic
        graphite 002"``.
    susceptibility : Susceptibility, optional
        Values to use instead of those calculated from the structure.
    polarization_ratio : float, optional
        K = I_π/I_σ of the incident beam, instead of that of the monochromator: 1 unpolarised, 0 pure σ.

    Attributes
    ----------
    crystal, hkl, wavelength, surface, exit, monochromator
        As given, resolved: a Crystal, tuples of int, Å.
    d_spacing : float
        Å.
    diffraction_vector : float
        H = 2π/d [1/Å].
    wavenumber : float
        k = 2π/λ [1/Å].
    bragg_angle : float
        Kinematic Bragg angle θ_B [rad].
    inclination : float
        φ [rad], 0 for a symmetric reflection.
    gamma0, gammah, asymmetry : float
        sin(θ_B+φ), sin(θ_B−φ) and b = γ0/γh.
    polarization_factors : tuple of float
        C: (1, abs(cos 2θ_B)).
    polarization_ratio : float
        K = I_π/I_σ of the incident beam: as given, else that of the monochromator, else 1.
    polarization_weights : tuple of float
        (1/(1+K), K/(1+K)).
    susceptibility : Susceptibility
        As given, else calculated.
    arguments : mapping
        What makes this reflection again: as given, resolved, None for what is calculated.

    Raises
    ------
    CrystalError
        Unknown crystal or line, forbidden reflection, λ > 2d, or a Laue geometry.
    """

    crystal: Crystal
    hkl: tuple[int, int, int]
    wavelength: float
    surface: tuple[int, int, int] | None
    exit: str
    monochromator: tuple[str, ...]
    d_spacing: float
    diffraction_vector: float
    wavenumber: float
    bragg_angle: float
    inclination: float
    gamma0: float
    gammah: float
    asymmetry: float
    polarization_factors: tuple[float, float]
    polarization_ratio: float
    polarization_weights: tuple[float, float]
    susceptibility: Susceptibility
    _perfect: tuple[Reflection, ...]
    arguments: Mapping[str, Any]

    # Not a dataclass: `susceptibility` and `polarization_ratio` are resolved here, and dataclasses.replace
    # would carry a value that was calculated for one wavelength over to another.

    def __init__(
        self,
        crystal: Crystal | str | PathLike[str],
        hkl: Sequence[int] | str,
        wavelength: float | str = "CuKa1",
        surface: Sequence[int] | str | None = None,
        exit: str = "high",
        monochromator: Iterable[str] = (),
        susceptibility: Susceptibility | None = None,
        polarization_ratio: float | None = None,
    ) -> None:
        own: dict[str, Any] = self.__dict__
        own["crystal"] = material = Crystal.resolve(crystal)
        own["hkl"] = indices = parse_hkl(hkl, "hkl")
        own["wavelength"] = length = resolve_wavelength(wavelength)
        own["surface"] = plane = None if surface is None else parse_hkl(surface, "surface")
        if exit not in ("high", "low"):
            raise CrystalError(f"exit: expected 'high' (grazing incidence) or 'low' (grazing exit), got {exit!r}")
        own["exit"] = exit
        if susceptibility is not None and not isinstance(susceptibility, Susceptibility):
            raise CrystalError(f"susceptibility: expected a Susceptibility, got {susceptibility!r}")

        own["d_spacing"] = spacing = material.d_spacing(indices)
        own["bragg_angle"] = bragg = _bragg_angle(material, indices, spacing, length)
        own["diffraction_vector"] = 2.0 * math.pi / spacing
        own["wavenumber"] = 2.0 * math.pi / length
        own["inclination"] = tilt = _inclination(material, indices, plane, bragg, exit)
        own["gamma0"] = math.sin(bragg + tilt)
        own["gammah"] = math.sin(bragg - tilt)
        own["asymmetry"] = own["gamma0"] / own["gammah"]
        own["polarization_factors"] = (1.0, abs(math.cos(2.0 * bragg)))

        own["monochromator"] = (monochromator,) if isinstance(monochromator, str) else tuple(monochromator)
        elements = tuple(_parse_monochromator(text, length) for text in own["monochromator"])
        own["_perfect"] = tuple(m for m, count, mosaic in elements if not mosaic for _ in range(count))
        if polarization_ratio is None:
            ratio = math.prod(
                m.polarization_factors[1] ** (count * (2 if mosaic else 1)) for m, count, mosaic in elements
            )
        else:
            ratio = _checked_ratio(polarization_ratio)
        own["polarization_ratio"] = ratio
        weight = 0.0 if math.isinf(ratio) else 1.0 / (1.0 + ratio)
        own["polarization_weights"] = (weight, 1.0 - weight)

        arguments = {
            "crystal": material,
            "hkl": indices,
            "wavelength": length,
            "surface": plane,
            "exit": exit,
            "monochromator": own["monochromator"],
            "susceptibility": susceptibility,
            "polarization_ratio": None if polarization_ratio is None else ratio,
        }
        own["arguments"] = MappingProxyType(arguments)
        own["susceptibility"] = material.susceptibility(indices, length) if susceptibility is None else susceptibility

    # --- value semantics ---

    def replace(self, **changes: Any) -> Reflection:
        """A new reflection with some arguments changed; what was calculated is calculated again."""
        return type(self)(**{**self.arguments, **changes})

    def __setattr__(self, name: str, value: object = None) -> NoReturn:
        raise FrozenInstanceError(f"a Reflection cannot be changed; use reflection.replace({name}=...)")

    __delattr__ = __setattr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reflection) and self.arguments == other.arguments

    def __hash__(self) -> int:
        return hash(tuple(self.arguments.values()))

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(Reflection, **self.arguments), ()

    def __deepcopy__(self, memo: object = None) -> Reflection:
        return self

    __copy__ = __deepcopy__

    def __repr__(self) -> str:
        parts = [repr(self.crystal.name), repr(self.hkl), f"wavelength={self.wavelength:.8g}"]
        if self.surface is not None:
            parts += [f"surface={self.surface}", f"exit={self.exit!r}"]
        if self.monochromator:
            parts.append(f"monochromator={self.monochromator}")
        if self.arguments["susceptibility"] is not None:
            parts.append(f"susceptibility={self.susceptibility}")
        if self.arguments["polarization_ratio"] is not None:
            parts.append(f"polarization_ratio={self.polarization_ratio:g}")
        return f"Reflection({', '.join(parts)})"

    # --- physics ---

    def darwin_width(self, polarization: int = 0) -> float:
        """Width of total reflection on the incidence side without absorption, 2C|χ_h|/(√b sin 2θ_B) [rad].

        |χ_h| is Re √(χ_h χ_h̄), which no choice of origin changes. The full width at half maximum of the
        curve of a thick crystal without absorption is 1.06 times this.
        """
        plus, minus = self.susceptibility.pair(polarization)
        strength = abs(cmath.sqrt(plus * minus).real)
        factor = self.polarization_factors[polarization]
        return 2.0 * factor * strength / (math.sqrt(self.asymmetry) * math.sin(2.0 * self.bragg_angle))

    def refraction_shift(self) -> float:
        """Middle of the Darwin plateau relative to θ_B, −χ0'(1 + 1/b)/(2 sin 2θ_B) [rad], positive."""
        shift = -self.susceptibility.chi0.real * (1.0 + 1.0 / self.asymmetry)
        return shift / (2.0 * math.sin(2.0 * self.bragg_angle))

    def layer_susceptibility(self, crystal: Crystal | str | PathLike[str]) -> Susceptibility:
        """Susceptibility of another crystal at this hkl and wavelength, in phase with this substrate."""
        return Crystal.resolve(crystal).susceptibility(self.hkl, self.wavelength, reference=self.crystal)

    def monochromator_reflections(self) -> tuple[Reflection, ...]:
        """Symmetric reflections of the perfect monochromator crystals at this wavelength, repeated as often
        as the beam meets them; mosaic ones are left out (they have no Darwin curve)."""
        return self._perfect


def _bragg_angle(crystal: Crystal, hkl: tuple[int, int, int], spacing: float, wavelength: float) -> float:
    sine = wavelength / (2.0 * spacing)
    if sine >= 1.0:
        raise CrystalError(
            f"reflection {hkl} of {crystal.name} cannot be reached: the wavelength {wavelength:g} Å is "
            f"longer than 2d = {2.0 * spacing:.5g} Å; choose lower indices or a shorter wavelength"
        )
    return math.asin(sine)


def _inclination(
    crystal: Crystal, hkl: tuple[int, int, int], surface: tuple[int, int, int] | None, bragg: float, exit: str
) -> float:
    if surface is None:
        return 0.0
    angle = crystal.plane_angle(hkl, surface)
    if angle >= bragg - 1e-9:
        planes = f"reflection {hkl} of {crystal.name} from surface {surface}"
        degrees = (
            f"the planes are inclined by {math.degrees(angle):.3f} deg, "
            f"the Bragg angle is {math.degrees(bragg):.3f} deg"
        )
        if angle > 0.5 * math.pi:
            reverse = tuple(-index for index in hkl)
            raise CrystalError(f"{planes}: the diffraction vector points into the crystal; did you mean {reverse}?")
        raise CrystalError(
            f"{planes} is not possible in reflection (Laue geometry): {degrees}; "
            f"choose a reflection less inclined to the surface"
        )
    return -angle if exit == "high" else angle


def _checked_ratio(value: float) -> float:
    try:
        ratio = -1.0 if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        ratio = -1.0
    if not ratio >= 0.0:
        raise CrystalError(
            f"polarization_ratio: expected K = I_pi/I_sigma >= 0 (1 unpolarised, 0 pure sigma), got {value!r}"
        )
    return ratio


def _parse_monochromator(text: str, wavelength: float) -> tuple[Reflection, int, bool]:
    """(reflection, how often the beam meets it, mosaic?) of a text such as "4x Ge 220"."""
    match = _MONOCHROMATOR.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        raise CrystalError(
            f"monochromator: expected a crystal and a reflection such as 'Ge 220', '4x Si 111' or "
            f"'mosaic graphite 002', got {text!r}"
        )
    count, mosaic, crystal, bracketed, spaced = match.groups()
    if count is not None and not 1 <= int(count) <= 20:
        raise CrystalError(f"monochromator {text!r}: expected 1 to 20 reflections, got {count}")
    try:
        return Reflection(crystal, bracketed or spaced, wavelength), int(count or 1), mosaic is not None
    except CrystalError as error:
        raise CrystalError(f"monochromator {text!r}: {error}") from error
