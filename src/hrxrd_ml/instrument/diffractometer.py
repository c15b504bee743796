"""A diffractometer that is declared: its parts, instead of a line shape that is fitted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from hrxrd_ml.crystal.monochromator import MonochromatorCrystal, parse_monochromator
from hrxrd_ml.crystal.reflection import Reflection
from hrxrd_ml.crystal.wavelength import resolve_wavelength
from hrxrd_ml.errors import CrystalError, ParameterError
from hrxrd_ml.instrument.emission import Emission, emission_line
from hrxrd_ml.parameters import checked_keywords

SETTINGS = ("parallel", "dispersive")
_SAME_WAVELENGTH = 2e-4
"""Relative difference of wavelengths that are meant to be the same: that of rounded tables is smaller, that of Kα1 and
the mean of both peaks larger."""


@checked_keywords
@dataclass(frozen=True)
class Diffractometer:
    """What a diffractometer is made of.

    Parameters
    ----------
    source : str or float
        A line: "CuKa1" where only Kα1 reaches the sample, "CuKa" where Kα2 does, too; or at a synchrotron the
        wavelength [Å], with ``bandwidth``.
    monochromator : str or sequence of str
        Crystals before the sample, in the order of the beam: ``("Si 111", "Ge 111")``, ``"4x Ge 220"``,
        ``"mosaic graphite 002"``. None: slits or a mirror, nothing that ties angle to wavelength.
    setting : {"parallel", "dispersive"}
        Of the sample to the last of these crystals: (+,-), or (+,+).
    bounces : {"parallel", "dispersive", "bartels"}, optional
        Of these crystals to each other: (+,-), (+,+), or the (+,-,-,+) of a Bartels, four reflections.  By default
        "bartels" for one text of four reflections, else "parallel".
    analyser : str or float, optional
        Between sample and detector, in scans of ω-2θ: a crystal such as ``"Ge 220"``, or the angle that slits accept
        [arcsec].
    beam_height : float, optional
        Of the beam before the sample, in the plane of diffraction [mm]: how far it lights a bent sample. None: the
        sample is taken to be flat.
    sample_length : float, optional
        Of the sample along the beam [mm]: what is lit is not longer, and where the footprint is, only a part of the
        beam is reflected. None: longer than any footprint.
    bandwidth : float, optional
        FWHM of the wavelengths at a synchrotron, Δλ/λ.

    Raises
    ------
    ParameterError
        If parts are unknown, impossible, or contradict each other.
    """

    source: str | float = "CuKa1"
    monochromator: tuple[str, ...] = ()
    setting: str = "parallel"
    bounces: str | None = None
    analyser: str | float | None = None
    beam_height: float | None = None
    sample_length: float | None = None
    bandwidth: float | None = None

    def __post_init__(self) -> None:
        """Check the parts."""
        crystals: str | Iterable[str] = self.monochromator
        object.__setattr__(self, "monochromator", (crystals,) if isinstance(crystals, str) else tuple(crystals))
        if self.setting not in SETTINGS:
            raise ParameterError(f"setting: expected {' or '.join(map(repr, SETTINGS))}, got {self.setting!r}")
        for name, low, high, unit in (
            ("beam_height", 0.0, 100.0, "mm"),
            ("sample_length", 0.0, 1000.0, "mm"),
            ("bandwidth", 1e-7, 0.05, "Δλ/λ"),
        ):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, _number(name, value, low, high, unit))
        if self.sample_length is not None and self.beam_height is None:
            raise ParameterError("a diffractometer with a sample_length needs the beam_height, too: both in mm")
        self._check_source()
        self._check_crystals()

    def _check_source(self) -> None:
        if isinstance(self.source, str):
            emission_line(self.source)
            if self.bandwidth is not None:
                raise ParameterError(
                    f"bandwidth: that of {self.source!r} follows from the line; at a synchrotron give a wavelength in Å"
                )
        elif self.bandwidth is None:
            raise ParameterError(
                f"source: a wavelength, {self.source!r} Å, needs a bandwidth Δλ/λ, that of a synchrotron's "
                "monochromator (1.3e-4 of Si 111); or name a line, such as 'CuKa1'"
            )
        else:
            object.__setattr__(self, "source", resolve_wavelength(self.source))

    def _check_crystals(self) -> None:
        try:
            self.crystals  # noqa: B018 (raises for what there is not)
            analyser = parse_monochromator(self.analyser, self.wavelength) if isinstance(self.analyser, str) else ()
        except CrystalError as error:
            raise ParameterError(str(error).replace("monochromator_setting", "bounces")) from error
        if self.setting == "dispersive" and not self.perfect:
            raise ParameterError(
                "setting = 'dispersive' is one to the last perfect crystal of the monochromator; name it"
            )
        if any(crystal.mosaic for crystal in analyser) or len(analyser) > 1:
            raise ParameterError(f"analyser: expected one perfect crystal such as 'Ge 220', got {self.analyser!r}")
        if self.analyser is not None and not isinstance(self.analyser, str):
            object.__setattr__(self, "analyser", _number("analyser", self.analyser, 0.0, 7200.0, "arcsec"))

    @cached_property
    def emission(self) -> Emission:
        """What the source sends out."""
        return emission_line(self.source) if isinstance(self.source, str) else Emission(self.source)

    @property
    def alpha1_only(self) -> bool:
        """Whether the source is a tube of which only Kα1 reaches the sample."""
        return isinstance(self.source, str) and self.source.endswith("Ka1")

    @property
    def wavelength(self) -> float:
        """Of the maximum of the line [Å]."""
        return self.emission.wavelength

    @cached_property
    def crystals(self) -> tuple[MonochromatorCrystal, ...]:
        """Those of the monochromator, in the order of the beam."""
        return parse_monochromator(self.monochromator, self.wavelength, self.bounces)

    @property
    def perfect(self) -> tuple[MonochromatorCrystal, ...]:
        """Those of them that are perfect, and so tie the angle of a ray to its wavelength."""
        return tuple(crystal for crystal in self.crystals if not crystal.mosaic)

    def analyser_crystal(self, sense: int) -> tuple[MonochromatorCrystal, ...]:
        """Return the crystal of the analyser with that sense, if it is a crystal."""
        if not isinstance(self.analyser, str):
            return ()
        return tuple(replace(c, sense=sense) for c in parse_monochromator(self.analyser, self.wavelength))

    @property
    def source_ratio(self) -> float:
        """K, intensity of the polarisation pi over that of sigma, of what the source sends out.

        A tube's radiation is not polarised; that of a synchrotron is, in the ring's plane, and the plane of diffraction
        is taken to be upright.  Another K is an argument of `Reflection`.
        """
        return 1.0 if isinstance(self.source, str) else 0.0

    def check(self, reflection: Reflection) -> None:
        """Refuse a reflection at another wavelength, or with a monochromator of its own.

        Raises
        ------
        ParameterError
        """
        if abs(reflection.wavelength / self.wavelength - 1.0) > _SAME_WAVELENGTH:
            raise ParameterError(
                f"the reflection is at {reflection.wavelength:.8g} Å, the maximum of the source {self.source!r} at "
                f"{self.wavelength:.8g} Å; give the reflection that wavelength"
            )
        if reflection.monochromator:
            raise ParameterError(
                f"the reflection names a monochromator, {', '.join(reflection.monochromator)}, and there is a "
                "diffractometer, which has its own; leave it out of the reflection"
            )


def _number(name: str, value: object, low: float, high: float, unit: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low < value <= high:
        raise ParameterError(f"{name}: expected a number above {low:g}, up to {high:g} [{unit}], got {value!r}")
    return float(value)
