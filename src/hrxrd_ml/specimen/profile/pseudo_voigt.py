"""An asymmetric pseudo-Voigt strain profile."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from hrxrd_ml.arrays import Values
from hrxrd_ml.complex_step import columns, exp, real
from hrxrd_ml.parameters import Nested, ParameterSpace, space_of
from hrxrd_ml.specimen.profile.base import Segments

_ZONES = ((math.inf, 8.0), (12.0, 2.0), (3.0, 0.4))
"""Distance from the maximum in widths, and the scale in widths from there to the maximum: tails need a coarser grid."""


@dataclass(frozen=True)
class PseudoVoigtProfile:
    """One maximum with two flanks of different width and shape, cut off at ``depth``."""

    @property
    def space(self) -> ParameterSpace:
        """Parameters with units and bounds."""
        return pseudo_voigt_space()

    def segments(self, values: Values) -> Segments:
        """Return surface, maximum and end, and edges where the tails of the flanks allow a coarser grid."""
        end, peak, front, back = (values[name] for name in ("depth", "peak_depth", "width_front", "width_back"))
        peak = peak if real(peak) < real(end) else end
        edges: list[Any] = [0.0]
        scale: list[float] = []
        for share, size in _ZONES:
            inner = next((s for s, _ in _ZONES if s < share), 0.0)
            at = peak - inner * front
            if real(at) > real(edges[-1]):
                edges.append(at)
                scale.append(size * real(front))
        if not scale:
            edges.append(peak)
            scale.append(real(front))
        for share, size in reversed(_ZONES):
            last = math.isinf(share) or real(peak) + share * real(back) >= real(end)
            edges.append(end if last else peak + share * back)
            scale.append(size * real(back))
            if last:
                break
        return Segments(columns(*edges), np.array(scale))

    def evaluate(self, z: Any, values: Values) -> Any:
        """Return the profile."""
        front = np.real(z) < real(values["peak_depth"])
        width: Any = np.where(front, values["width_front"], values["width_back"])
        eta: Any = np.where(front, values["eta_front"], values["eta_back"])
        square = (2.0 * (z - values["peak_depth"]) / width) ** 2
        return values["peak_strain"] * (eta / (1.0 + square) + (1.0 - eta) * exp(-math.log(2.0) * square))


def pseudo_voigt_space() -> ParameterSpace:
    """Asymmetric pseudo-Voigt strain profile: one maximum, its two flanks of different width and shape."""
    return space_of(
        ("depth", "Å", 5000.0, 100.0, 50_000.0, True, "depth at which the profile ends"),
        ("peak_strain", "", 0.005, -0.05, 0.05, True, "strain at the maximum"),
        ("peak_depth", "Å", 2500.0, 0.0, 50_000.0, True, "depth of the maximum"),
        ("width_front", "Å", 1500.0, 10.0, 50_000.0, True, "FWHM of the flank near the surface"),
        ("width_back", "Å", 1000.0, 10.0, 50_000.0, True, "FWHM of the deep flank"),
        ("eta_front", "", 0.2, 0.0, 1.0, True, "Lorentzian fraction of the flank near the surface"),
        ("eta_back", "", 0.2, 0.0, 1.0, True, "Lorentzian fraction of the deep flank"),
        nested=(Nested("peak_depth", "depth"),),
    )
