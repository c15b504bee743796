"""Depth profiles of strain and damage, as functions of the users' parameters, with exact derivatives.

A profile knows the depth at which it ends and the depths where it has kinks (``segments``), and can be evaluated,
with all derivatives, at any depth.  It does not know about lamellae, angles or fits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BSpline

from .errors import ParameterError
from .parameters import (
    MINIMUM_STRAIN,
    ParameterSpace,
    ParameterSpec,
    damage_space,
    implanted_space,
    pseudo_voigt_space,
    spline_space,
)

FloatArray = NDArray[np.float64]
Values = Mapping[str, float]
Slopes = dict[str, FloatArray]


@dataclass(frozen=True)
class Segments:
    """Pieces between kinks, surface first.

    Attributes
    ----------
    edges : ndarray, shape (k + 1,)
        Depths of surface, kinks and end [Å].
    slopes : dict of ndarray, shape (k + 1,)
        Derivatives of the edges with respect to parameters; parameters that move no edge are left out.
    scale : ndarray, shape (k,)
        Length over which the profile changes its shape in each piece [Å]: how fine a grid has to be.
    """

    edges: FloatArray
    slopes: Slopes
    scale: FloatArray


class Profile(Protocol):
    """A function of depth that depends on named parameters."""

    @property
    def space(self) -> ParameterSpace:
        """Parameters with units and bounds."""
        ...

    def segments(self, values: Values) -> Segments:
        """Return the pieces between kinks."""
        ...

    def evaluate(self, z: FloatArray, values: Values) -> FloatArray:
        """Return the profile at depths ``z`` [Å]; depths lie between surface and end."""
        ...

    def derivatives(self, z: FloatArray, values: Values) -> tuple[FloatArray, FloatArray, Slopes]:
        """Return the profile, its derivative with depth [1/Å], and its derivatives with respect to parameters."""
        ...


_EACH_EDGE = np.eye(4)[1:]
"""Derivatives of the four edges of the implanted profile by its second, third and last edge."""


@dataclass(frozen=True)
class ImplantedProfile:
    """The seven-parameter strain profile of an implanted layer.

    An asymmetric Gaussian (nuclear stopping) through D01 at the surface, Dmax1 at its maximum Rp1 and Dmin = 1e-4 at
    L1, plus a declining Gaussian (electronic stopping) with its centre Rp2 outside the crystal, through D02 at the
    surface and Dmin at L2.  Written as powers of ratios, e.g. ``Dmax1 (D01/Dmax1)**((Rp1-z)/Rp1)**2``, in which every
    limit (D01 = Dmax1, Rp1 = 0, Rp1 = L1, Rp2 to minus infinity) is regular.
    """

    @property
    def space(self) -> ParameterSpace:
        """Parameters with units and bounds."""
        return implanted_space()

    def segments(self, values: Values) -> Segments:
        """Return surface, maximum, the end of the declining Gaussian, and end."""
        _second(values)  # checks them
        peak, end, end2 = values["Rp1"], values["L1"], values["L2"]
        d_max, d_min = max(values["Dmax1"], 2.0 * MINIMUM_STRAIN), MINIMUM_STRAIN
        front = peak / math.sqrt(max(math.log(d_max / values["D01"]), 0.05))
        back = (end - peak) / math.sqrt(math.log(d_max / d_min))
        # The declining Gaussian: width and, with its centre far outside, decay length.
        spread = end2 * (end2 - 2.0 * values["Rp2"]) / math.log(max(values["D02"], 2.0 * d_min) / d_min)
        decline = 1.0 / (1.0 / math.sqrt(spread) - 2.0 * values["Rp2"] / spread)

        order = sorted([("Rp1", peak), ("L2", end2)], key=lambda edge: edge[1])
        names = (*(name for name, _ in order), "L1")
        edges = np.array([0.0, order[0][1], order[1][1], end])
        slopes = dict(zip(names, _EACH_EDGE, strict=True))
        scale = []
        for lower in edges[1:]:
            first = front if lower <= peak else back
            second = (max(values["D02"], 0.0) if lower <= end2 else d_min) / d_max
            scale.append((1.0 / max(first, 1e-3) ** 3 + second / decline**3) ** (-1.0 / 3.0))
        return Segments(edges, slopes, np.array(scale))

    def maximum(self, values: Values) -> tuple[float, float]:
        """Return the largest strain and its depth [Å]: at the surface, or just in front of Rp1."""
        from . import _numba_profile  # compiled at first use

        d_max, depth2, twice2 = values["Dmax1"], values["L2"], 2.0 * values["Rp2"]
        d2, log2 = _second(values)
        ratio, ratio2 = math.log(values["D01"] / d_max), log2 / (depth2 * (depth2 - twice2))
        largest, where = _numba_profile.implanted_maximum(d_max, ratio, values["Rp1"], d2, ratio2, twice2)
        return float(largest), float(where)

    def evaluate(self, z: FloatArray, values: Values) -> FloatArray:
        """Return the strain."""
        from . import _numba_profile  # compiled at first use

        z = np.ascontiguousarray(z, dtype=float)
        d_max, (d2, log2) = values["Dmax1"], _second(values)
        ratios = (math.log(values["D01"] / d_max), math.log(MINIMUM_STRAIN / d_max))
        strain = _numba_profile.implanted(
            z.ravel(), d_max, *ratios, values["Rp1"], values["L1"], d2, log2, values["L2"], values["Rp2"],
        )  # fmt: skip
        return np.asarray(strain.reshape(z.shape))

    def derivatives(self, z: FloatArray, values: Values) -> tuple[FloatArray, FloatArray, Slopes]:
        """Return strain, strain gradient and derivatives."""
        d_max, d_surface, end, peak = values["Dmax1"], values["D01"], values["L1"], values["Rp1"]
        tau, ratio, front = _distance_from_peak(z, peak, end, d_max, d_surface)
        square = tau * tau
        first = d_max * np.exp(square * ratio)
        lever = 2.0 * tau * ratio * first
        front_length, back_length = max(peak, 1e-9), max(end - peak, 1e-9)
        back = ~front
        # tau = (peak - z)/peak in front, (z - peak)/(end - peak) behind
        tau_z = np.where(front, -1.0 / front_length, 1.0 / back_length)
        tau_peak = np.where(front, (1.0 - tau) / front_length, (tau - 1.0) / back_length)

        (d2, log2), depth2, centre2 = _second(values), values["L2"], values["Rp2"]
        decline = _decline(z, depth2, centre2)
        second = d2 * np.exp(decline * log2)
        denominator = depth2 * (depth2 - 2.0 * centre2)
        pull = second * log2 / denominator
        slopes = {
            "Dmax1": first * (1.0 - square) / d_max,
            "D01": np.where(front, first * square / d_surface, 0.0),
            "L1": np.where(back, -lever * tau / back_length, 0.0),
            "Rp1": lever * tau_peak,
            "D02": np.exp(decline * log2) * (1.0 - decline) if d2 > 0.0 else np.zeros_like(z),
            "L2": -pull * decline * 2.0 * (depth2 - centre2),
            "Rp2": pull * 2.0 * (decline * depth2 - z),
        }
        return first + second, lever * tau_z + pull * 2.0 * (z - centre2), slopes


def _second(values: Values) -> tuple[float, float]:
    """Return D02, and ln(Dmin/D02); zeros where D02 is below Dmin, to which it could not decline."""
    if values["D01"] <= 0.0 or values["Dmax1"] <= 0.0:
        raise ParameterError(f"D01 and Dmax1 must be positive, got {values['D01']:g} and {values['Dmax1']:g}")
    d2 = values["D02"]
    return (d2, math.log(MINIMUM_STRAIN / d2)) if d2 >= MINIMUM_STRAIN else (0.0, 0.0)


def _distance_from_peak(
    z: FloatArray, peak: float, end: float, d_max: float, d_surface: float
) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    """Return tau (0 at the maximum, 1 at surface and end), the log ratio of its flank, and which flank it is."""
    front = z < peak
    tau = np.where(front, (peak - z) / max(peak, 1e-9), (z - peak) / max(end - peak, 1e-9))
    ratio = np.where(front, math.log(d_surface / d_max), math.log(MINIMUM_STRAIN / d_max))
    return tau, ratio, front


def _decline(z: FloatArray, depth: float, centre: float) -> FloatArray:
    """Return 0 at the surface and 1 at ``depth``: the exponent of the declining Gaussian."""
    return z * (z - 2.0 * centre) / (depth * (depth - 2.0 * centre))


@dataclass(frozen=True)
class SplineProfile:
    """A cubic B-spline over ``depth`` that ends at zero, with ``count`` coefficients ``s0, s1, ...``, surface first.

    Parameters
    ----------
    count : int
        Number of free coefficients; one more, zero, closes the spline at its end.
    prefix : str
        Letter before the number: "s" for strain, "w" for damage.
    """

    count: int = 12
    prefix: str = "s"

    def __post_init__(self) -> None:
        """Check the number of coefficients."""
        if self.count < 3:
            raise ParameterError(f"a cubic spline that ends at zero needs at least 3 coefficients, got {self.count}")

    @property
    def space(self) -> ParameterSpace:
        """Parameters with units and bounds."""
        if self.prefix == "s":
            return spline_space(self.count, 0)
        return damage_space("bspline", self.count)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the coefficients."""
        return tuple(f"{self.prefix}{i}" for i in range(self.count))

    def segments(self, values: Values) -> Segments:
        """Return the knots."""
        pieces = self.count + 1 - 3
        fractions = np.linspace(0.0, 1.0, pieces + 1)
        return Segments(
            fractions * values["depth"], {"depth": fractions}, np.full(pieces, 0.6 * values["depth"] / pieces)
        )

    def basis(self, fraction: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the basis functions and their derivatives at fractions of the depth, shape (..., count)."""
        spline, derivative = _basis_splines(self.count + 1)
        inside = np.clip(fraction, 0.0, 1.0)
        return spline(inside)[..., :-1], derivative(inside)[..., :-1]

    def coefficients(self, values: Values) -> FloatArray:
        """Return the coefficients as an array."""
        return np.array([values[name] for name in self.names])

    def evaluate(self, z: FloatArray, values: Values) -> FloatArray:
        """Return the profile."""
        basis, _slope = self.basis(np.asarray(z) / values["depth"])
        return basis @ self.coefficients(values)

    def derivatives(self, z: FloatArray, values: Values) -> tuple[FloatArray, FloatArray, Slopes]:
        """Return profile, gradient and derivatives."""
        depth = values["depth"]
        fraction = np.asarray(z) / depth
        basis, basis_slope = self.basis(fraction)
        coefficients = self.coefficients(values)
        gradient = basis_slope @ coefficients / depth
        slopes = {name: basis[..., i] for i, name in enumerate(self.names)}
        slopes["depth"] = -fraction * gradient
        return basis @ coefficients, gradient, slopes


@lru_cache
def _basis_splines(count: int) -> tuple[BSpline, BSpline]:
    """Return so many cubic basis splines from 0 to 1, and their derivatives."""
    knots = np.concatenate([np.zeros(3), np.linspace(0.0, 1.0, count - 2), np.ones(3)])
    spline = BSpline(knots, np.eye(count), 3)
    return spline, spline.derivative()


@dataclass(frozen=True)
class PseudoVoigtProfile:
    """An asymmetric pseudo-Voigt: one maximum with two flanks of different width and shape, cut off at ``depth``."""

    @property
    def space(self) -> ParameterSpace:
        """Parameters with units and bounds."""
        return pseudo_voigt_space()

    def segments(self, values: Values) -> Segments:
        """Return surface, maximum and end, and edges where the tails of the flanks allow a coarser grid."""
        end, peak = values["depth"], min(values["peak_depth"], values["depth"])
        # (distance from the maximum in widths, and the scale from there to the maximum)
        zones = ((math.inf, 8.0), (12.0, 2.0), (3.0, 0.4))
        edges: list[tuple[float, dict[str, float]]] = [(0.0, {})]
        scale: list[float] = []
        for share, size in zones:
            inner = next((s for s, _ in zones if s < share), 0.0)
            at = peak - inner * values["width_front"]
            if at > edges[-1][0]:
                slopes = {"peak_depth": 1.0} if peak < end else {"depth": 1.0}
                edges.append((at, slopes | ({"width_front": -inner} if inner else {})))
                scale.append(size * values["width_front"])
        if not scale:
            edges.append((peak, {}))
            scale.append(values["width_front"])
        for share, size in reversed(zones):
            at = peak + share * values["width_back"]
            if at >= end:
                edges.append((end, {"depth": 1.0}))
                scale.append(size * values["width_back"])
                break
            edges.append((at, {"peak_depth": 1.0, "width_back": share}))
            scale.append(size * values["width_back"])
        names = sorted({name for _, slopes in edges for name in slopes})
        moves = {name: np.array([slopes.get(name, 0.0) for _, slopes in edges]) for name in names}
        return Segments(np.array([at for at, _ in edges]), moves, np.array(scale))

    def evaluate(self, z: FloatArray, values: Values) -> FloatArray:
        """Return the profile."""
        return self.derivatives(z, values)[0]

    def derivatives(self, z: FloatArray, values: Values) -> tuple[FloatArray, FloatArray, Slopes]:
        """Return profile, gradient and derivatives."""
        z = np.asarray(z, dtype=float)
        front = z < values["peak_depth"]
        width = np.where(front, values["width_front"], values["width_back"])
        eta = np.where(front, values["eta_front"], values["eta_back"])
        t = 2.0 * (z - values["peak_depth"]) / width
        gauss = np.exp(-math.log(2.0) * t**2)
        lorentz = 1.0 / (1.0 + t**2)
        shape = eta * lorentz + (1.0 - eta) * gauss
        shape_t = eta * -2.0 * t * lorentz**2 - (1.0 - eta) * 2.0 * math.log(2.0) * t * gauss
        strain = values["peak_strain"]
        gradient = strain * shape_t * 2.0 / width
        by_width, by_eta = -strain * shape_t * t / width, strain * (lorentz - gauss)
        slopes = {
            "peak_strain": shape,
            "peak_depth": -gradient,
            "width_front": np.where(front, by_width, 0.0),
            "width_back": np.where(front, 0.0, by_width),
            "eta_front": np.where(front, by_eta, 0.0),
            "eta_back": np.where(front, 0.0, by_eta),
            "depth": np.zeros_like(z),
        }
        return strain * shape, gradient, slopes


@dataclass(frozen=True)
class FunctionProfile:
    """Any function ``f(z, **values)`` of depth, with its own parameters; derivatives by differences.

    Parameters
    ----------
    function : callable
        Takes depths [Å] (array) and the parameters by name, returns the profile at these depths.
    specs : tuple of ParameterSpec
        Its parameters.
    depth : str
        Name of the parameter at which the profile ends [Å].
    scale : float
        Length over which the function changes its shape [Å]; sets the grid.
    """

    function: Callable[..., FloatArray]
    specs: tuple[ParameterSpec, ...]
    depth: str = "depth"
    scale: float = 300.0

    def __post_init__(self) -> None:
        """Check that the end is a parameter."""
        if self.depth not in [spec.name for spec in self.specs]:
            raise ParameterError(
                f"the profile must have a parameter {self.depth!r}, the depth at which it ends [Å]; it has "
                f"{', '.join(spec.name for spec in self.specs)}"
            )

    @property
    def space(self) -> ParameterSpace:
        """Parameters with units and bounds."""
        return ParameterSpace(self.specs)

    def segments(self, values: Values) -> Segments:
        """Return surface and end: one piece."""
        slopes = {self.depth: np.array([0.0, 1.0])}
        return Segments(np.array([0.0, values[self.depth]]), slopes, np.array([self.scale]))

    def evaluate(self, z: FloatArray, values: Values) -> FloatArray:
        """Return the profile."""
        own = {spec.name: values[spec.name] for spec in self.specs}
        out = np.asarray(self.function(np.asarray(z, dtype=float), **own), dtype=float)
        if out.shape != np.shape(z) or not np.all(np.isfinite(out)):
            raise ParameterError(
                f"the profile function must return {np.shape(z)} finite numbers for {np.shape(z)} depths, got shape "
                f"{out.shape}, {np.count_nonzero(~np.isfinite(out))} of them not finite, at {own}"
            )
        return out

    def derivatives(self, z: FloatArray, values: Values) -> tuple[FloatArray, FloatArray, Slopes]:
        """Return profile, gradient and derivatives."""

        slopes = {}
        for spec in self.specs:
            span = spec.max - spec.min
            size = max(abs(values[spec.name]), 1e-3 * span if math.isfinite(span) else abs(spec.value)) or 1.0

            def moved(value: FloatArray, name: str = spec.name) -> FloatArray:
                return self.evaluate(z, {**values, name: float(value)})

            slopes[spec.name] = _slope(moved, np.float64(values[spec.name]), 1e-3 * size, spec.min, spec.max)
        gradient = _slope(lambda at: self.evaluate(at, values), z, 1e-3 * self.scale, 0.0, values[self.depth])
        return self.evaluate(z, values), gradient, slopes


def _slope(function: Callable[..., FloatArray], at: Any, step: float, low: float, high: float) -> FloatArray:
    """Return the derivative of a function: that of the quartic through five places, which do not leave the limits."""
    centre = at if high - low < 4.0 * step else np.clip(at, low + 2.0 * step, high - 2.0 * step)
    if not low <= np.min(at) <= np.max(at) <= high:
        centre = at  # somebody has gone beyond them already
    a, b, c, d, e = (function(centre + k * step) for k in (-2.0, -1.0, 0.0, 1.0, 2.0))
    t = (at - centre) / step
    first, second = (a - 8.0 * b + 8.0 * d - e) / 12.0, (-a + 16.0 * b - 30.0 * c + 16.0 * d - e) / 12.0
    third, fourth = (-a + 2.0 * b - 2.0 * d + e) / 4.0, (a - 4.0 * b + 6.0 * c - 4.0 * d + e) / 6.0
    return np.asarray((first + t * (second + t * (third + t * fourth))) / step)


def make_profile(kind: str, count: int = 12) -> Profile | None:
    """Return a strain profile by name: "implanted", "bspline", "pseudo_voigt" or "none"."""
    profiles: dict[str, Callable[[], Profile | None]] = {
        "implanted": ImplantedProfile,
        "bspline": lambda: SplineProfile(count, "s"),
        "pseudo_voigt": PseudoVoigtProfile,
        "none": lambda: None,
    }
    if kind not in profiles:
        raise ParameterError(f"unknown strain profile {kind!r}: expected one of {', '.join(profiles)}")
    return profiles[kind]()


def extreme(profile: Profile, values: Values) -> tuple[float, float]:
    """Return the value of a profile that is largest in size, with its sign, and its depth [Å].

    Parabolas through the best of 65 samples and its neighbours, each ten times narrower than the last.
    """
    if isinstance(profile, ImplantedProfile):
        return profile.maximum(values)
    edges = profile.segments(values).edges
    end = float(edges[-1])
    z = np.unique(np.concatenate([np.linspace(0.0, end, 65), edges]))
    sign = float(np.sign(max(profile.evaluate(z, values), key=abs))) or 1.0
    strain = sign * profile.evaluate(z, values)
    best = int(np.argmax(strain))
    where, largest = float(z[best]), float(strain[best])
    step = end / 64.0
    for _ in range(4):
        around = np.clip(np.array([where - step, where, where + step]), 0.0, end)
        left, middle, right = sign * profile.evaluate(around, values)
        curvature = left - 2.0 * middle + right
        if curvature >= 0.0 or around[0] == around[1] or around[1] == around[2]:
            break
        candidate = float(np.clip(where + 0.5 * step * (left - right) / curvature, 0.0, end))
        value = sign * float(profile.evaluate(np.array([candidate]), values)[0])
        if value < largest:
            break
        where, largest, step = candidate, value, 0.1 * step
    return sign * largest, where
