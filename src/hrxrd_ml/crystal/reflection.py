"""One Bragg reflection of one crystal at one wavelength: geometry, polarisation, susceptibilities.

Angles in rad, lengths in Å. Incidence angle θ_B + φ, exit angle θ_B − φ, γ0 = sin(θ_B+φ), γh = sin(θ_B−φ), b
= γ0/γh > 0: Bragg (reflection) geometry only. A miscut across the diffraction plane multiplies both γ.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import FrozenInstanceError
from functools import partial
from os import PathLike
from types import MappingProxyType
from typing import Any, NoReturn

from hrxrd_ml.crystal.miller import parse_hkl
from hrxrd_ml.crystal.monochromator import MonochromatorCrystal, parse_monochromator
from hrxrd_ml.crystal.monochromator import polarization_ratio as ratio_behind
from hrxrd_ml.crystal.structure import Crystal
from hrxrd_ml.crystal.susceptibility import Susceptibility
from hrxrd_ml.crystal.wavelength import resolve_wavelength
from hrxrd_ml.errors import CrystalError
from hrxrd_ml.parameters import checked_keywords

__all__ = ["Reflection", "Susceptibility", "parse_hkl"]

#: Largest miscut [deg]. Across the diffraction plane the curves leave out its square, which is 1.5 % here.
MOST_MISCUT = 10.0


@checked_keywords
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
        Crystals before the sample, which polarise the beam: ``"Si 111"``, ``"2x Ge 220"`` (channel-cut),
        ``"4x Ge 220"``, ``"mosaic graphite 002"``; see `hrxrd_ml.crystal.monochromator.parse_monochromator`.
    susceptibility : Susceptibility, optional
        Values to use instead of those calculated from the structure.
    polarization_ratio : float, optional
        K = I_π/I_σ of the incident beam, instead of that of the monochromator: 1 unpolarised, 0 pure σ.
    monochromator_setting : {"parallel", "dispersive", "bartels"}, optional
        How successive crystals of the monochromator are set: (+, −), (+, +), or (+, −, −, +) for ``"4x Ge 220"``. By
        default ``"bartels"`` for one text of four reflections, else ``"parallel"``.
    miscut : float
        Angle from the normal of `surface` to that of the real surface [deg], −10 … 10.
    miscut_azimuth : float
        Where to the real normal is tilted [deg]: at 0 in the diffraction plane towards the source, so that the beam
        comes in steeper by the miscut; at ±90 across that plane, where φ stays and both γ fall with the square of the
        miscut. A sample turned by 180° about its normal, as from one `exit` to the other, has it 180° larger.

    Attributes
    ----------
    crystal, hkl, wavelength, surface, exit, monochromator, miscut, miscut_azimuth
        As given, resolved: a Crystal, tuples of int, Å.
    monochromator_crystals : tuple of MonochromatorCrystal
        What the texts of the monochromator and its setting mean.
    d_spacing : float
        Å.
    diffraction_vector : float
        H = 2π/d [1/Å].
    wavenumber : float
        k = 2π/λ [1/Å].
    bragg_angle : float
        Kinematic Bragg angle θ_B [rad].
    inclination : float
        φ [rad], in the diffraction plane, 0 for a symmetric reflection.
    gamma0, gammah, asymmetry : float
        sin(θ_B+φ), sin(θ_B−φ) and b = γ0/γh; a miscut across the diffraction plane makes both γ smaller.
    polarization_factors : tuple of float
        C: (1, abs(cos 2θ_B)).
    polarization_ratio : float
        K = I_π/I_σ of the incident beam: as given, else what the monochromator passes, else 1.
    polarization_weights : tuple of float
        (1/(1+K), K/(1+K)).
    susceptibility : Susceptibility
        As given, else calculated.
    arguments : mapping
        What makes this reflection again: as given, resolved, None for what is calculated.

    Raises
    ------
    CrystalError
        Unknown crystal, line or setting, forbidden reflection, λ > 2d, or a Laue geometry.
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
    monochromator_crystals: tuple[MonochromatorCrystal, ...]
    miscut: float
    miscut_azimuth: float
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
        monochromator_setting: str | None = None,
        miscut: float = 0.0,
        miscut_azimuth: float = 0.0,
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
        own["bragg_angle"] = bragg = material.bragg_angle(indices, length)
        own["diffraction_vector"] = 2.0 * math.pi / spacing
        own["wavenumber"] = 2.0 * math.pi / length
        own["miscut"] = tilt = _number("miscut", miscut, -MOST_MISCUT, MOST_MISCUT, "degrees")
        own["miscut_azimuth"] = azimuth = _number("miscut_azimuth", miscut_azimuth, -360.0, 360.0, "degrees")
        along, across = _tilts(math.radians(tilt), math.radians(azimuth))
        own["inclination"] = phi = _inclination(material, indices, plane, bragg, exit, along)
        own["gamma0"] = math.sin(bragg + phi) * math.cos(across)
        own["gammah"] = math.sin(bragg - phi) * math.cos(across)
        own["asymmetry"] = own["gamma0"] / own["gammah"]
        own["polarization_factors"] = (1.0, abs(math.cos(2.0 * bragg)))

        own["monochromator"] = (monochromator,) if isinstance(monochromator, str) else tuple(monochromator)
        crystals = parse_monochromator(own["monochromator"], length, monochromator_setting)
        own["monochromator_crystals"] = crystals
        if polarization_ratio is None:
            ratio = ratio_behind(crystals)
        else:
            what = "K = I_pi/I_sigma >= 0 (1 unpolarised, 0 pure sigma)"
            ratio = _number("polarization_ratio", polarization_ratio, 0.0, math.inf, what)
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
            "monochromator_setting": monochromator_setting,
            "miscut": tilt,
            "miscut_azimuth": azimuth,
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
        if self.miscut:
            parts += [f"miscut={self.miscut:g}", f"miscut_azimuth={self.miscut_azimuth:g}"]
        if self.monochromator:
            parts.append(f"monochromator={self.monochromator}")
        if self.arguments["monochromator_setting"] is not None:
            parts.append(f"monochromator_setting={self.arguments['monochromator_setting']!r}")
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


def _tilts(miscut: float, azimuth: float) -> tuple[float, float]:
    """Tilt of the normal in the diffraction plane, towards the source, and out of that plane [rad]."""
    in_plane = math.sin(miscut) * math.cos(azimuth)
    return math.atan2(in_plane, math.cos(miscut)), math.asin(math.sin(miscut) * math.sin(azimuth))


def _inclination(
    crystal: Crystal,
    hkl: tuple[int, int, int],
    surface: tuple[int, int, int] | None,
    bragg: float,
    exit: str,
    tilt: float,
) -> float:
    angle = 0.0 if surface is None else crystal.plane_angle(hkl, surface)
    phi = (-angle if exit == "high" else angle) + tilt
    if abs(phi) < bragg - 1e-9:
        return phi
    planes = f"reflection {hkl} of {crystal.name} from surface {hkl if surface is None else surface}"
    if angle > 0.5 * math.pi:
        reverse = tuple(-index for index in hkl)
        raise CrystalError(f"{planes}: the diffraction vector points into the crystal; did you mean {reverse}?")
    miscut = f" with a miscut of {math.degrees(tilt):.3f} deg in the diffraction plane" if tilt else ""
    raise CrystalError(
        f"{planes}{miscut} is not possible in reflection (Laue geometry): the planes are inclined by "
        f"{math.degrees(abs(phi)):.3f} deg, the Bragg angle is {math.degrees(bragg):.3f} deg; "
        f"choose a reflection less inclined to the surface"
    )


def _number(name: str, value: float, low: float, high: float, what: str) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not low <= number <= high:
        wanted = what if math.isinf(high) else f"{low:g} to {high:g} {what}"
        raise CrystalError(f"{name}: expected {wanted}, got {value!r}")
    return number
