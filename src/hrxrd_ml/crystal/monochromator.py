"""Crystals that the beam meets before the sample: which rays they pass, and how they polarise them.

A ray is (α, δ): its angle to the axis of the incoming beam in the plane of diffraction [rad], and its wavelength,
λ(1 + δ). The axis at δ = 0 hits the middle of the Darwin plateau of every crystal. All crystals reflect symmetrically
and in the plane of diffraction of the sample.
"""

from __future__ import annotations

import cmath
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from hrxrd_ml.arrays import FloatArray
from hrxrd_ml.crystal.miller import parse_hkl
from hrxrd_ml.crystal.structure import Crystal
from hrxrd_ml.crystal.susceptibility import Susceptibility
from hrxrd_ml.crystal.wavelength import resolve_wavelength
from hrxrd_ml.errors import CrystalError, in_short

__all__ = ["SETTINGS", "MonochromatorCrystal", "parse_monochromator", "polarization_ratio", "transmission"]

#: How successive crystals are set: (+, −), (+, +), and the four reflections (+, −, −, +) of two channel-cut crystals.
SETTINGS = ("parallel", "dispersive", "bartels")

_TEXT = re.compile(r"(?:(\d+)\s*[x×*]\s*)?(mosaic\s+)?([^\s()]+)\s*(?:\(([^()]+)\)|\s([-+\d\s,]+))", re.IGNORECASE)

_MOST_CRYSTALS, _MOST_BOUNCES = 10, 20

#: Angles at which a curve is integrated; four times as many change K of 4 × Ge 220 by 1e-5.
_NODES = 4096


@dataclass(frozen=True)
class MonochromatorCrystal:
    """One crystal of a monochromator, or of an analyser.

    Parameters
    ----------
    crystal : Crystal
    hkl : tuple of int
    wavelength : float
        Å.
    bounces : int
        How often the beam is reflected between its parallel faces: 2 and more for a channel-cut crystal.
    mosaic : bool
        A mosaic crystal passes every ray; it only polarises.
    sense : {1, -1}
        Side to which a ray of positive α deviates here: 1 towards larger glancing angles, as at the first crystal.
    """

    crystal: Crystal
    hkl: tuple[int, int, int]
    wavelength: float
    bounces: int = 1
    mosaic: bool = False
    sense: int = 1

    @property
    def bragg_angle(self) -> float:
        """Kinematic Bragg angle θ_M [rad]."""
        return self.crystal.bragg_angle(self.hkl, self.wavelength)

    @property
    def susceptibility(self) -> Susceptibility:
        """χ0, χ_h and χ_h̄, calculated from the structure."""
        return self.crystal.susceptibility(self.hkl, self.wavelength)

    @property
    def darwin_width(self) -> float:
        """Width of total reflection of σ without absorption, 2|χ_h|/sin 2θ_M [rad]."""
        plus, minus = self.susceptibility.pair(0)
        return 2.0 * abs(cmath.sqrt(plus * minus).real) / math.sin(2.0 * self.bragg_angle)

    def reflectivity(self, angle: ArrayLike) -> FloatArray:
        """Darwin–Prins curve of one reflection by the perfect, thick crystal.

        r = −Cχ_h/[η + i√(C²χ_hχ_h̄ − η²)] with η = Δθ sin 2θ_M + i χ0'' and the root of positive real part, which is
        the wave that decays with depth (Authier, Dynamical Theory of X-ray Diffraction, Oxford 2001).

        Parameters
        ----------
        angle : array_like
            Glancing angle from the middle of the plateau [rad], of any shape.

        Returns
        -------
        ndarray, shape (2, ...)
            For σ and π.
        """
        chi, twice = self.susceptibility, 2.0 * self.bragg_angle
        eta = math.sin(twice) * np.asarray(angle, dtype=float) + 1j * chi.chi0.imag
        curves = []
        for polarization, factor in enumerate((1.0, abs(math.cos(twice)))):
            plus, minus = chi.pair(polarization)
            curves.append(np.abs(factor * plus / (eta + 1j * np.sqrt(factor**2 * plus * minus - eta * eta))) ** 2)
        return np.array(curves)


def parse_monochromator(
    monochromator: str | Iterable[str], wavelength: float | str, setting: str | None = None
) -> tuple[MonochromatorCrystal, ...]:
    """Return the crystals that a beam passes, in its order, each with its sense.

    Parameters
    ----------
    monochromator : str or iterable of str
        One text a crystal: ``"Si 111"``, ``"2x Ge 220"`` (channel-cut), ``"mosaic graphite 002"``.
    wavelength : float or str
        Å, or a named line such as ``"CuKa1"``.
    setting : {"parallel", "dispersive", "bartels"}, optional
        Between successive perfect crystals: ``"parallel"`` is (+, −), ``"dispersive"`` is (+, +). ``"bartels"`` is
        for one text of four reflections, ``"4x Ge 220"``, and means (+, −, −, +), as does the dispersive setting of
        two channel-cut crystals ``("2x Ge 220", "2x Ge 220")``. By default it is ``"bartels"`` for one text of four
        reflections, else ``"parallel"``. The reflections of a channel-cut crystal are always parallel.

    Raises
    ------
    CrystalError
        If a text or the setting is none of these, they do not fit each other, or a reflection is forbidden or out of
        reach.
    """
    texts = (monochromator,) if isinstance(monochromator, str) else tuple(monochromator)
    length = resolve_wavelength(wavelength)
    if len(texts) > _MOST_CRYSTALS:
        raise CrystalError(f"monochromator: expected at most {_MOST_CRYSTALS} crystals, got {len(texts)}")
    crystals = [_parse(text, length) for text in texts]
    four = len(crystals) == 1 and crystals[0].bounces == 4 and not crystals[0].mosaic
    if setting is None:
        setting = "bartels" if four else "parallel"
    if setting not in SETTINGS:
        raise CrystalError(f"monochromator_setting: expected one of {', '.join(SETTINGS)}, got {setting!r}")
    if setting == "bartels":
        if not four:
            raise CrystalError(
                f"monochromator_setting: 'bartels' is for one perfect crystal text of four reflections such as "
                f"'4x Ge 220', got {texts!r}; two channel-cut crystals of different kinds are 'dispersive'"
            )
        crystals = [replace(crystals[0], bounces=2)] * 2
    perfect = [i for i, crystal in enumerate(crystals) if not crystal.mosaic]
    if setting == "dispersive" and len(perfect) < 2:
        raise CrystalError(
            f"monochromator_setting: 'dispersive' is between perfect crystals, expected at least two, got {texts!r}"
        )
    if setting != "parallel":
        for place in perfect[1::2]:
            crystals[place] = replace(crystals[place], sense=-1)
    return tuple(crystals)


def transmission(
    crystals: Sequence[MonochromatorCrystal], angle: ArrayLike, wavelength_offset: ArrayLike = 0.0
) -> FloatArray:
    """Return the part of each ray's intensity that passes all crystals, T = ∏ R_j(s_j α − δ tan θ_j)^n_j.

    s_j is the sense of crystal j, n_j the number of its reflections: a reflection mirrors the rays, which the next
    crystal mirrors back in the parallel setting only (DuMond, Phys. Rev. 52, 872, 1937). A mosaic crystal passes σ as
    it is and π with cos² 2θ.

    Parameters
    ----------
    crystals : sequence of MonochromatorCrystal
        As `parse_monochromator` makes them.
    angle : array_like
        α [rad].
    wavelength_offset : array_like
        δ = Δλ/λ; the two are broadcast against each other.

    Returns
    -------
    ndarray, shape (2, ...)
        For σ and π.
    """
    alpha, delta = np.broadcast_arrays(np.asarray(angle, dtype=float), np.asarray(wavelength_offset, dtype=float))
    passed = np.ones((2, *alpha.shape))
    for crystal in crystals:
        if crystal.mosaic:
            passed[1] *= _mosaic_ratio(crystal)
        else:
            glancing = crystal.sense * alpha - math.tan(crystal.bragg_angle) * delta
            passed *= crystal.reflectivity(glancing) ** crystal.bounces
    return passed


def polarization_ratio(crystals: Iterable[MonochromatorCrystal]) -> float:
    """K = I_π/I_σ behind the crystals of a beam that is unpolarised before them.

    The intensity is that of all rays which pass. With one sense only, all crystals parallel, the rays of one wavelength
    are summed, K = ∫∏R_π dα/∫∏R_σ dα: crystals in parallel setting hardly disperse, so that every wavelength gives the
    same. Crystals of the other sense select the wavelength, and the sum goes over angles and wavelengths of a spectrum
    that is wide beside what passes, |δ| ~ ω_M/(tan θ_1 + tan θ_2). With the same tan θ for crystals of one sense,
    s α − δ tan θ of the two senses are independent, and K is the product of one such ratio for each sense. The line Cu
    Kα1, whose half width is two to four times what passes, makes K of these settings 2 to 3 % larger; the sum over the
    rays of a source, from `transmission`, is exact. A mosaic crystal contributes cos² 2θ on its own.

    Parameters
    ----------
    crystals : iterable of MonochromatorCrystal
        As `parse_monochromator` makes them.

    Returns
    -------
    float
        1 without crystals. For one crystal that does not absorb it is abs(cos 2θ); absorption makes it smaller, since
        π, which penetrates deeper, loses more.
    """
    return _polarization_ratio(tuple(crystals))


@lru_cache(maxsize=256)
def _polarization_ratio(crystals: tuple[MonochromatorCrystal, ...]) -> float:
    ratio = math.prod(_mosaic_ratio(crystal) for crystal in crystals if crystal.mosaic)
    # α = w tan u: the tails of one curve, which fall as 1/α², become a smooth periodic function of u.
    u = (np.arange(_NODES) + 0.5) * (math.pi / _NODES) - 0.5 * math.pi
    for sense in (1, -1):
        group = [crystal for crystal in crystals if crystal.sense == sense and not crystal.mosaic]
        if group:
            angle = max(crystal.darwin_width for crystal in group) * np.tan(u)
            sigma, pi = transmission(group, sense * angle) @ (1.0 / np.cos(u) ** 2)
            ratio *= float(pi / sigma)
    return ratio


def _mosaic_ratio(crystal: MonochromatorCrystal) -> float:
    return math.cos(2.0 * crystal.bragg_angle) ** (2 * crystal.bounces)


def _parse(text: str, wavelength: float) -> MonochromatorCrystal:
    match = _TEXT.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        raise CrystalError(
            f"monochromator: expected a crystal and a reflection such as 'Ge 220', '4x Si 111' or "
            f"'mosaic graphite 002', got {text!r}"
        )
    count, mosaic, name, bracketed, spaced = match.groups()
    if count is not None and not 1 <= int(count[:9]) <= _MOST_BOUNCES:
        raise CrystalError(f"monochromator {text!r}: expected 1 to {_MOST_BOUNCES} reflections, got {in_short(count)}")
    try:
        hkl = parse_hkl(bracketed or spaced, "hkl")
        crystal = MonochromatorCrystal(Crystal.resolve(name), hkl, wavelength, int(count or 1), mosaic is not None)
        crystal.susceptibility, crystal.bragg_angle  # noqa: B018 - forbidden or out of reach: said here
    except CrystalError as error:
        raise CrystalError(f"monochromator {text!r}: {error}") from error
    return crystal
