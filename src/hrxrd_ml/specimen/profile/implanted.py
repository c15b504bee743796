"""The seven-parameter strain profile of an implanted layer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import brentq

from hrxrd_ml.arrays import Values
from hrxrd_ml.complex_step import columns, exp, real
from hrxrd_ml.errors import ParameterError
from hrxrd_ml.parameters import Nested, ParameterSpace, space_of
from hrxrd_ml.specimen.profile.base import GAP, Segments

MINIMUM_STRAIN = 1.0e-4
"""Dmin: the strain at which the implanted profile ends."""

MAXIMUM_STRAIN = 0.03
"""Largest strain, and largest sum of both strains at the surface, of the implanted profile."""

_SAMPLES = 10
"""Places in front of Rp1 at which the maximum is looked for: both Gaussians change over a fraction of that depth."""


@dataclass(frozen=True)
class ImplantedProfile:
    """An asymmetric Gaussian (nuclear stopping) plus a declining one (electronic stopping).

    The first goes through D01 at the surface, Dmax1 at its maximum Rp1 and Dmin = 1e-4 at L1; the second, its centre
    Rp2 outside the crystal, through D02 at the surface and Dmin at L2.  Written as powers of ratios, e.g. ``Dmax1
    (D01/Dmax1)**((Rp1-z)/Rp1)**2``, in which every limit (D01 = Dmax1, Rp1 = 0, Rp1 = L1, Rp2 to minus infinity) is
    regular; a flank is never thinner than `GAP`.
    """

    @property
    def space(self) -> ParameterSpace:
        """Parameters with units and bounds."""
        return implanted_space()

    def segments(self, values: Values) -> Segments:
        """Return surface, maximum, the end of the declining Gaussian, and end."""
        peak, end, end2 = *_flanks(values), values["L2"]
        edges = columns(0.0, *sorted((peak, end2), key=real), end)
        d_surface, d_max, d2 = (real(values[name]) for name in ("D01", "Dmax1", "D02"))
        _check(d_surface, d_max)
        d_min, d_max = MINIMUM_STRAIN, max(d_max, 2.0 * MINIMUM_STRAIN)
        peak, end, end2, centre2 = real(peak), real(end), real(end2), real(values["Rp2"])
        front = peak / math.sqrt(max(math.log(d_max / d_surface), 0.05))
        back = (end - peak) / math.sqrt(math.log(d_max / d_min))
        # The declining Gaussian: width and, with its centre far outside, decay length.
        spread = end2 * (end2 - 2.0 * centre2) / math.log(max(d2, 2.0 * d_min) / d_min)
        decline = 1.0 / (1.0 / math.sqrt(spread) - 2.0 * centre2 / spread)
        scale = []
        for lower in (*sorted((peak, end2)), end):
            first = front if lower <= peak else back
            second = (max(d2, 0.0) if lower <= end2 else d_min) / d_max
            scale.append((1.0 / max(first, 0.1 * GAP) ** 3 + second / decline**3) ** (-1.0 / 3.0))
        return Segments(edges, np.array(scale))

    def maximum(self, values: Values) -> tuple[float, float]:
        """Return the largest strain and its depth [Å]: at the surface, or just in front of Rp1.

        In front of Rp1 the slopes of both Gaussians have opposite signs; it is where they cancel.
        """
        d_max, d_surface, peak = values["Dmax1"], values["D01"], values["Rp1"]
        (d2, rate2), twice2 = _second(values), 2.0 * values["Rp2"]
        ratio = math.log(d_surface / d_max)

        if peak <= GAP:
            # Where the front flank has no thickness, the maximum lies behind it, as `_flanks` says.
            return (d_max + d2, GAP) if d_max > d_surface else (d_surface + d2, 0.0)
        rate = ratio / peak**2

        def strain(z: float) -> float:
            return d_max * math.exp((z - peak) ** 2 * rate) + d2 * math.exp(z * (z - twice2) * rate2)

        def slope(z: float) -> float:
            first = 2.0 * (z - peak) * rate * d_max * math.exp((z - peak) ** 2 * rate)
            return first + (2.0 * z - twice2) * rate2 * d2 * math.exp(z * (z - twice2) * rate2)

        samples = [strain(peak * k / _SAMPLES) for k in range(_SAMPLES + 1)]
        best = max(range(_SAMPLES + 1), key=samples.__getitem__)
        if best == 0:
            return samples[0], 0.0
        low, high = peak * (best - 1) / _SAMPLES, min(peak * (best + 1) / _SAMPLES, peak)
        if slope(low) <= 0.0 or slope(high) >= 0.0:
            where = peak * best / _SAMPLES
        else:
            where = brentq(slope, low, high, xtol=1e-5)
        return strain(where), where

    def evaluate(self, z: Any, values: Values) -> Any:
        """Return the strain."""
        d_max, d_surface, (peak, end) = values["Dmax1"], values["D01"], _flanks(values)
        _check(real(d_surface), real(d_max))
        rate_front, rate_back = np.log(d_surface / d_max) / peak**2, np.log(MINIMUM_STRAIN / d_max) / (end - peak) ** 2
        rate = np.where(np.real(z) < real(peak), rate_front, rate_back)
        strain = d_max * exp((z - peak) ** 2 * rate)
        d2, rate2 = _second(values)
        return strain + d2 * exp(z * (z - 2.0 * values["Rp2"]) * rate2) if real(d2) > 0.0 else strain


def _flanks(values: Values) -> tuple[Any, Any]:
    """Return maximum and end, apart from the surface and from each other, by their real parts."""
    peak, end = values["Rp1"], values["L1"]
    peak = peak + max(GAP - real(peak), 0.0)
    return peak, end + max(real(peak) + GAP - real(end), 0.0)


def _second(values: Values) -> tuple[Any, Any]:
    """Return D02, and ln(Dmin/D02)/(L2 (L2 - 2 Rp2)); zeros where D02 is below Dmin, to which it could not decline."""
    d2, depth2 = values["D02"], values["L2"]
    if real(d2) < MINIMUM_STRAIN:
        return 0.0, 0.0
    return d2, np.log(MINIMUM_STRAIN / d2) / (depth2 * (depth2 - 2.0 * values["Rp2"]))


def _check(d_surface: float, d_max: float) -> None:
    if d_surface <= 0.0 or d_max <= 0.0:
        raise ParameterError(f"D01 and Dmax1 must be positive, got {d_surface:g} and {d_max:g}")


def implanted_space() -> ParameterSpace:
    """The seven-parameter profile of an implanted layer: an asymmetric Gaussian and a declining one."""
    return space_of(
        ("Dmax1", "", 0.008, 0.001, MAXIMUM_STRAIN, True, "largest strain of the asymmetric Gaussian"),
        ("D01", "", 0.002, 0.0005, MAXIMUM_STRAIN, True, "strain of the asymmetric Gaussian at the surface"),
        ("L1", "Å", 5000.0, 500.0, 7000.0, True, "depth at which the asymmetric Gaussian falls to Dmin"),
        ("Rp1", "Å", 3000.0, 0.0, 7000.0, True, "depth of the maximum of the asymmetric Gaussian"),
        ("D02", "", 0.002, 0.001, MAXIMUM_STRAIN, True, "strain of the declining Gaussian at the surface"),
        ("L2", "Å", 3000.0, 500.0, 7000.0, True, "depth at which the declining Gaussian falls to Dmin"),
        ("Rp2", "Å", -500.0, -6500.0, 0.0, True, "centre of the declining Gaussian, at or above the surface"),
        nested=(
            Nested("D01", "Dmax1"),
            Nested("Rp1", "L1"),
            Nested("D02", "D01", MAXIMUM_STRAIN),
            Nested("L2", "L1"),
        ),
    )
