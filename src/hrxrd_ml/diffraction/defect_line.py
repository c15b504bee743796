"""The line that defects with displacements as 1/r**2 make along a scan.

Within the distance k_m of a reciprocal-lattice point they scatter as (B1 + B2 cos²)/(q² + kappa²), Huang scattering,
farther away by (k_m² + kappa²)/(q² + kappa²) less (Stokes-Wilson).  A detector without analyser adds all that is
scattered into the plane at the distance Q of the scan from the point:

    |Q| <= k_m:   J = b2 [1 + ln(K/d)] + t [1/(2 K) - 1/d],       K = k_m² + kappa²,  d = Q² + kappa²,
    |Q| >  k_m:   J = K/d [b2 - t/(2 d)],                         t = b3 Q² + b4 kappa²,

with a continuous slope at k_m whatever kappa, which stands for absorption and for the thickness of the layer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class DefectLine:
    """A line with an integral of pi; an array function.

    Attributes
    ----------
    cutoff : float
        k_m [1/Å].
    kappa : float
        [1/Å].
    factors : tuple of float
        b2, b3, b4, from `factors_of`.
    """

    cutoff: Any
    kappa: Any
    factors: tuple[float, float, float]

    @property
    def norm(self) -> Any:
        """Pi over the integral of J over all Q, which is 8 k_m (b2 - b3/3) for small kappa."""
        edge = np.arctan(self.cutoff / self.kappa)
        return 0.5 * math.pi / (self._inside(self.cutoff) + self._outside(0.5 * math.pi) - self._outside(edge))

    def integral(self, q: Any) -> Any:
        """Return the integral of the line from 0 to q [1/Å], which is not negative."""
        k, within = self.cutoff, np.real(q) <= np.real(self.cutoff)
        edge, angle = np.arctan(k / self.kappa), np.arctan(q / self.kappa)
        beyond = self._outside(angle) - self._outside(edge)
        return self.norm * (self._inside(np.where(within, q, k)) + np.where(within, 0.0, beyond))

    def _inside(self, q: Any) -> Any:
        """Return the integral of J from 0 to q, up to k_m."""
        (b2, b3, b4), kappa = self.factors, self.kappa
        whole, d, t = self.cutoff**2 + kappa**2, q**2 + kappa**2, b3 * q**2 / 3.0 + b4 * kappa**2
        flat = q * (b2 * np.log(whole / d) + 3.0 * b2 - b3 + 0.5 * t / whole)
        return flat - (2.0 * b2 + b4 - b3) * kappa * np.arctan(q / kappa)

    def _outside(self, angle: Any) -> Any:
        """Return the integral of J beyond k_m but for a constant; tan(angle) is q/kappa."""
        (b2, b3, b4), whole = self.factors, self.cutoff**2 + self.kappa**2
        falling = 0.25 * (b4 - b3) * np.sin(angle) * np.cos(angle)
        return whole / self.kappa * ((b2 - 0.25 * (b3 + b4)) * angle - falling)

    def __call__(self, q: Any) -> Any:
        """Return the line at distances from the reciprocal-lattice point [1/Å]."""
        (b2, b3, b4), square = self.factors, q * q
        whole, d = self.cutoff**2 + self.kappa**2, square + self.kappa**2
        t = b3 * square + b4 * self.kappa**2
        inside = b2 * (1.0 + np.log(whole / d)) + t * (0.5 / whole - 1.0 / d)
        return self.norm * np.where(np.real(d) <= np.real(whole), inside, whole / d * (b2 - 0.5 * t / d))


def factors_of(weights: tuple[float, float], bragg_angle: float, inclination: float) -> tuple[float, float, float]:
    """Return b2, b3, b4 of defects with these B1 and B2.

    Parameters
    ----------
    weights : tuple of float
        B1 and B2.
    bragg_angle, inclination : float
        Of the reflection [rad].
    """
    first, second = weights
    cosine, sine = math.cos(bragg_angle) ** 2, math.sin(bragg_angle) ** 2
    return (
        first + 0.5 * second * cosine,
        second * (0.5 * cosine - sine),
        second * (0.5 * cosine - math.cos(inclination) ** 2),
    )
