"""A cubic B-spline over depth.

Its knots are even, or crowd around a depth: a layer that an ion crosses almost unharmed before it does its damage is
many times deeper than what there is to resolve.  They are even in u,

    u = [asinh(c (f - m)) + asinh(c m)] / [asinh(c (1 - m)) + asinh(c m)],    f = z/depth,  m = ``knot_centre``/depth,

so that with the crowding c their distance grows as sqrt(1/c**2 + (f - m)**2); without, u = f.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.interpolate import BSpline

from hrxrd_ml.arrays import FloatArray, Values
from hrxrd_ml.complex_step import columns, real
from hrxrd_ml.errors import ParameterError
from hrxrd_ml.parameters import ParameterSpace, ParameterSpec, space_of
from hrxrd_ml.specimen.profile.base import Segments

WHERE = ("depth", "knot_centre", "knot_crowding")
"""Parameters of a spline that say where its coefficients act: fixed as a rule, and set by a guess."""


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
        return ParameterSpace(tuple(spec for spec in spline_space(1, self.count) if spec.name.startswith("w")))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the coefficients."""
        return _names(self.prefix, self.count)

    def segments(self, values: Values) -> Segments:
        """Return the knots."""
        edges = knots(np.linspace(0.0, 1.0, self.count - 1), values)
        return Segments(edges, 0.6 * np.diff(np.real(edges[0] if edges.ndim > 1 else edges)))

    def design(self, z: FloatArray, values: Values) -> FloatArray:
        """Return the basis functions at depths [Å], shape (..., count); the profile is their sum times coefficients."""
        return np.asarray(_basis_splines(self.count + 1)[0](np.clip(places(z, values), 0.0, 1.0))[..., :-1])

    def evaluate(self, z: Any, values: Values) -> Any:
        """Return the profile.

        A spline is no function of a complex place, so imaginary parts of it, which are steps, go through its slope.
        """
        fraction = np.asarray(places(z, values))
        own = columns(*(values[name] for name in self.names))
        spline, derivative = _basis_splines(self.count + 1)
        if not np.iscomplexobj(fraction) and not np.iscomplexobj(own):
            return spline(np.clip(fraction, 0.0, 1.0))[..., :-1] @ own
        # Rows differ in their steps alone: the basis is needed once.
        complex_rows = np.broadcast_to(own, (1, self.count)) if own.ndim == 1 else own
        at = np.clip(fraction.real[0] if np.iscomplexobj(fraction) and fraction.ndim > 1 else fraction.real, 0.0, 1.0)
        basis = spline(at)[..., :-1]
        mean = complex_rows[0].real
        steps = np.imag(complex_rows) @ np.moveaxis(basis, -1, 0).reshape(self.count, -1)
        steps = steps.reshape(len(complex_rows), *at.shape)
        if np.iscomplexobj(fraction) and fraction.imag.any():
            steps = steps + (derivative(at)[..., :-1] @ mean) * fraction.imag
        return basis @ mean + 1j * steps


def places(z: Any, values: Values) -> Any:
    """Return u, which the knots are even in, at depths [Å]."""
    fraction, (crowding, before, after) = z / values["depth"], _crowded(values)
    if not real(crowding):
        return fraction
    return (np.arcsinh(crowding * fraction - np.sinh(before)) + before) / (before + after)


def knots(u: FloatArray, values: Values) -> Any:
    """Return the depths [Å] at places u, shape (len(u),), or (rows, len(u))."""
    depth, (crowding, before, after) = columns(values["depth"]), map(columns, _crowded(values))
    if not real(crowding):
        return u * depth
    return depth * (np.sinh(before) + np.sinh(u * (before + after) - before)) / crowding


def _crowded(values: Values) -> tuple[Any, Any, Any]:
    """Return the crowding, and what of asinh lies above and below the centre of the knots."""
    crowding = values.get("knot_crowding", 0.0)
    centre = crowding * values.get("knot_centre", 0.0) / values["depth"]
    return crowding, np.arcsinh(centre), np.arcsinh(crowding - centre)


@lru_cache
def _names(prefix: str, count: int) -> tuple[str, ...]:
    return tuple(f"{prefix}{i}" for i in range(count))


@lru_cache
def _basis_splines(count: int) -> tuple[BSpline, BSpline]:
    """Return so many cubic basis splines from 0 to 1, and their derivatives."""
    knots = np.concatenate([np.zeros(3), np.linspace(0.0, 1.0, count - 2), np.ones(3)])
    spline = BSpline(knots, np.eye(count), 3)
    return spline, spline.derivative()


def spline_space(n_strain: int = 10, n_damage: int = 0) -> ParameterSpace:
    """B-spline coefficients of strain (``s0``…) and of damage (``w0``…), surface first, over ``depth``."""
    if n_strain < 1 or n_damage < 0:
        raise ParameterError(f"expected at least one strain coefficient, got {n_strain} (damage: {n_damage})")
    where = space_of(
        ("depth", "Å", 5000.0, 100.0, 50_000.0, False, "depth that the splines reach"),
        ("knot_centre", "Å", 0.0, 0.0, 50_000.0, False, "depth around which the knots of the splines crowd"),
        ("knot_crowding", "", 0.0, 0.0, 1000.0, False, "how much they crowd there: 0 not, 10 within a tenth of depth"),
    )
    strain = tuple(
        ParameterSpec(f"s{i}", "", 0.002, -0.05, 0.05, True, f"strain coefficient {i}, from the surface")
        for i in range(n_strain)
    )
    damage = tuple(
        ParameterSpec(f"w{i}", "", 0.1, 0.0, 5.0, True, f"damage coefficient {i}, from the surface")
        for i in range(n_damage)
    )
    return where + ParameterSpace((*strain, *damage))
