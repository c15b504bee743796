"""What a fit minimises, a guess searches and a sampler explores: measured curves, as a function of a box.

The free parameters x are seen in coordinates y in which bounds and nested constraints are a box
(`NestedCoordinates`); tied parameters follow them by their expressions. An `Objective` is a sum over measured curves:
each has a function that simulates it and a likelihood that holds its data. A fit has one curve.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
from lmfit import Parameters
from numpy.typing import NDArray

from hrxrd_ml.inference.coordinates import NestedCoordinates, nested_coordinates
from hrxrd_ml.inference.evaluator import CurveFunction, tie_derivatives
from hrxrd_ml.inference.likelihood import Likelihood, PointTerms
from hrxrd_ml.parameters import Nested

Array = NDArray[np.float64]
Values = Mapping[str, float]


@dataclass(frozen=True)
class MeasuredCurve:
    """A measured curve, and what simulates it.

    The last curve and the last Jacobian are kept, since solvers ask for both at the same place.

    Attributes
    ----------
    function : CurveFunction
        Expected values and their derivatives.
    names : tuple of str
        Parameters that these depend on.
    likelihood : Likelihood
        Holds the data, and what is known about their errors.
    chosen : ndarray of bool, optional
        Points of the simulation that the likelihood is about; all if None.
    """

    function: CurveFunction
    names: tuple[str, ...]
    likelihood: Likelihood
    chosen: NDArray[np.bool_] | None = None
    _last: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def expected(self, values: Values) -> Array:
        """Return the expected values of the data, shape (n,)."""
        place = self._place(values)
        for known in self._last.values():
            if known[0] == place:
                return known[1]
        curve = self._part(self.function.curve(values))
        self._last["curve"] = (place, curve)
        return curve

    def linear(self, values: Values, names: Sequence[str]) -> tuple[Array, Array]:
        """Return expected values and their derivatives, shapes (n,) and (n, len(names))."""
        key = self._place(values), tuple(names)
        known = self._last.get("jacobian")
        if known is None or (known[0], known[3]) != key:
            curve, derivatives = self.function.jacobian(values, names)
            self._last["jacobian"] = known = (key[0], self._part(curve), self._part(derivatives), key[1])
        return known[1], known[2]

    def part(self, chosen: NDArray[np.bool_]) -> MeasuredCurve:
        """Return the same with some of its points."""
        return MeasuredCurve(self.function, self.names, self.likelihood.part(chosen), chosen)

    def _place(self, values: Values) -> tuple[float, ...]:
        return tuple(values[name] for name in self.names)

    def _part(self, array: Array) -> Array:
        return array if self.chosen is None else array[self.chosen]


@dataclass(frozen=True)
class Expansion:
    """The logarithm of a likelihood to second order about a place of the box.

    Attributes
    ----------
    terms : PointTerms
        What the data say about the expected values there.
    jacobian : ndarray, shape (n, m)
        Derivatives of these by the coordinates of the box.
    """

    terms: PointTerms
    jacobian: Array

    @cached_property
    def gradient(self) -> Array:
        """Gradient, shape (m,)."""
        return self.terms.by_curve @ self.jacobian

    @cached_property
    def information(self) -> Array:
        """Fisher information, the expected curvature and the metric of the box, shape (m, m)."""
        return (self.jacobian * self.terms.information[:, None]).T @ self.jacobian


TermsOf = Callable[[Likelihood, Array], PointTerms]
"""What the data of a likelihood say about expected values."""


def plain_terms(likelihood: Likelihood, mu: Array) -> PointTerms:
    """Return what a likelihood says by itself."""
    return likelihood.terms(mu)


@dataclass(frozen=True)
class Objective:
    """Residuals, likelihood and their derivatives as functions of a box.

    Attributes
    ----------
    curves : tuple of MeasuredCurve
    coordinates : NestedCoordinates
        Of the free parameters.
    held : mapping
        Values of all the others, by name.
    ties : lmfit.Parameters, optional
        The parameters, where some are tied by expressions; its own, which nobody else may change.
    """

    curves: tuple[MeasuredCurve, ...]
    coordinates: NestedCoordinates
    held: Values
    ties: Parameters | None = None

    @classmethod
    def of(
        cls,
        curves: Sequence[MeasuredCurve],
        params: Parameters,
        names: Sequence[str],
        nested: Sequence[Nested],
        even: Mapping[str, str] = MappingProxyType({}),
    ) -> Objective:
        """Return the objective of curves whose parameters ``names`` are free, parents before children.

        Those of ``even`` are seen by their squares, as a search needs them.

        Raises
        ------
        ParameterError
            If fixed values or bounds leave a nested constraint no room.
        """
        coordinates = nested_coordinates(params, names, nested, even)
        tied = any(par.expr is not None for par in params.values())
        held = {name: float(par.value) for name, par in params.items()}
        return cls(tuple(curves), coordinates, held, params.copy() if tied else None)

    def part(self, chosen: Sequence[NDArray[np.bool_]]) -> Objective:
        """Return the same with some of the points of each curve."""
        curves = tuple(curve.part(points) for curve, points in zip(self.curves, chosen, strict=True))
        return replace(self, curves=curves, ties=None if self.ties is None else self.ties.copy())

    # --- the box ---

    @property
    def names(self) -> tuple[str, ...]:
        """The free parameters."""
        return self.coordinates.names

    @property
    def lower(self) -> Array:
        """Lower walls of the box."""
        return self.coordinates.lower

    @property
    def upper(self) -> Array:
        """Upper walls of the box."""
        return self.coordinates.upper

    def inward(self, x: Array) -> Array:
        """Return the place in the box of values of the free parameters."""
        return np.clip(self.coordinates.inward(x), self.lower, self.upper)

    def outward(self, y: Array) -> Array:
        """Return the values of the free parameters at a place in the box."""
        return self.coordinates.outward(y)

    def free(self, values: Mapping[str, float]) -> Array:
        """Return those of the free parameters."""
        return np.array([float(values[name]) for name in self.names])

    def values(self, x: Array) -> dict[str, float]:
        """Return the values of all parameters, where the free ones have the values ``x``."""
        free = dict(zip(self.names, x.tolist(), strict=True))
        if self.ties is None:
            return {**self.held, **free}
        for name, value in free.items():
            self.ties[name].value = value
        self.ties.update_constraints()
        return dict(self.ties.valuesdict())

    # --- as functions of the free parameters ---

    def expected(self, x: Array) -> Array:
        """Return the expected values of all data, shape (n,)."""
        values = self.values(x)
        return _joined([curve.expected(values) for curve in self.curves])

    def linear(self, x: Array) -> tuple[Array, Array]:
        """Return the same and its derivatives through all ties, shape (n, len(names))."""
        values = self.values(x)
        parts = [self._linear(curve, values) for curve in self.curves]
        return _joined([part[0] for part in parts]), _joined([part[1] for part in parts])

    def residual_at(self, x: Array, expanded: bool = False) -> Array:
        """Return the residuals, whose sum of squares a fit minimises.

        The flag tells that the Jacobian is wanted next: it comes with the curve for little more than by itself.
        """
        values = self.values(x)
        if expanded:
            for curve in self.curves:
                curve.linear(values, self._asked(curve))
        return _joined([curve.likelihood.residual(curve.expected(values)) for curve in self.curves])

    def jacobian_at(self, x: Array) -> Array:
        """Return the derivatives of the residuals, shape (n, len(names))."""
        values = self.values(x)
        parts = [(curve.likelihood, *self._linear(curve, values)) for curve in self.curves]
        return _joined([likelihood.slope(mu)[:, None] * by_x for likelihood, mu, by_x in parts])

    def _asked(self, curve: MeasuredCurve) -> tuple[str, ...]:
        """The free parameters of a curve, then its tied ones."""
        free = [name for name in self.names if name in curve.names]
        return (*free, *(name for name in curve.names if self.ties is not None and self.ties[name].expr is not None))

    def _linear(self, curve: MeasuredCurve, values: Values) -> tuple[Array, Array]:
        asked = self._asked(curve)
        mu, derivatives = curve.linear(values, asked)
        if asked == self.names:
            return mu, derivatives
        free = [self.names.index(name) for name in asked if name in self.names]
        by_x = np.zeros((len(mu), len(self.names)))
        by_x[:, free] = derivatives[:, : len(free)]
        if self.ties is not None and len(asked) > len(free):
            tied = asked[len(free) :]
            matrix = tie_derivatives(self.ties, self.names, lambda p: np.array([float(p[name].value) for name in tied]))
            by_x += derivatives[:, len(free) :] @ matrix
        return mu, by_x

    # --- as functions of the box ---

    def residual(self, y: Array, expanded: bool = False) -> Array:
        """Return the residuals; see `residual_at` for the flag."""
        return self.residual_at(self.outward(y), expanded)

    def jacobian(self, y: Array) -> Array:
        """Return the derivatives of the residuals by the coordinates of the box."""
        return self._by_box(self.jacobian_at(self.outward(y)), y)

    def log_likelihood(self, y: Array, terms_of: TermsOf = plain_terms) -> float:
        """Return the logarithm of the likelihood, up to a constant."""
        values = self.values(self.outward(y))
        return sum(terms_of(curve.likelihood, curve.expected(values)).value for curve in self.curves)

    def expand(self, y: Array, terms_of: TermsOf = plain_terms) -> Expansion:
        """Return the logarithm of the likelihood with its gradient and its information."""
        values = self.values(self.outward(y))
        parts = [self._linear(curve, values) for curve in self.curves]
        terms = [terms_of(curve.likelihood, mu) for curve, (mu, _) in zip(self.curves, parts, strict=True)]
        return Expansion(PointTerms.total(terms), self._by_box(_joined([by_x for _, by_x in parts]), y))

    def _by_box(self, by_x: Array, y: Array) -> Array:
        return by_x @ self.coordinates.derivatives(y) if self.coordinates.curved else by_x


def _joined(parts: Sequence[Array]) -> Array:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
