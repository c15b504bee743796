"""The one place where a parameter is named, with its unit, bounds, meaning and nested constraints.

A `ParameterSpace` is built by adding the spaces of the chosen parts of a model::

    space = ImplantedProfile().space + TiedDamage().space + CorrelationDiffuse().space

Lengths are in Å and angles (offset, fwhm) in seconds of arc, since these are the numbers that users write.
"""

import difflib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, wraps
from inspect import signature
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hrxrd_ml.errors import ParameterError

Value = TypeVar("Value", float, NDArray[np.float64])
T = TypeVar("T")

SCOPES = ("sample", "diffractometer", "curve")
"""What a parameter belongs to: all curves of a sample have it in common, all of a diffractometer, or none."""

WIDER = 20.0
"""Factor by which bounds may be wider than those of a specification."""


@dataclass(frozen=True)
class ParameterSpec:
    """Name, unit, start value, bounds and meaning of one parameter.

    ``unit`` is "" (a pure number), "Å", "arcsec", "counts" or a ratio of these; ``vary`` is the default.  ``scope``,
    one of `SCOPES`, says what a parameter belongs to: which curves have it in common.  ``even`` says that the curve is
    an even function of it, as of the width of any distribution: near zero it depends on the square, by which fits
    search.
    ``skewed_by`` names the parameter with which it is none, unless that is 0.  ``power_of_h``: a parameter of a curve
    that the sample has for every reflection, in proportion to this power of the length of the diffraction vector.
    """

    name: str
    unit: str
    value: float
    min: float
    max: float
    vary: bool
    description: str
    scope: str = "sample"
    even: bool = False
    skewed_by: str = ""
    power_of_h: float = 0.0

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ParameterError(f"a parameter's name is made of letters, digits and _, got {self.name!r}")
        if not self.min < self.max:
            raise ParameterError(f"{self.name}: min = {self.min:g} must be below max = {self.max:g}")
        if not self.min <= self.value <= self.max:
            raise ParameterError(f"{self.name}: value = {self.value:g} not within {self.min:g} to {self.max:g}")
        if self.scope not in SCOPES:
            raise ParameterError(f"{self.name}: scope is one of {', '.join(SCOPES)}, got {self.scope!r}")

    @cached_property
    def widest(self) -> tuple[float, float]:
        """How far users may widen the bounds: `WIDER` times; where a bound is 0, to the other side as far as to this.

        Farther away physics ends, and soon memory as well.
        """
        low = self.min * WIDER if self.min < 0.0 else self.min / WIDER if self.min > 0.0 else -self.max
        high = self.max * WIDER if self.max > 0.0 else self.max / WIDER if self.max < 0.0 else -self.min
        return low, high

    def check(self, value: float, what: str = "", name: str = "") -> None:
        """Raise where nothing can be calculated.

        Parameters
        ----------
        value : float
        what : str
            What it is, if not the value: "min" or "max".
        name : str
            Name with its prefix.

        Raises
        ------
        ParameterError
            If it lies outside of `widest`, and is not the 0 of what is not there.
        """
        low, high = self.widest
        absent = value == 0.0 and self.max > 10.0 * self.min  # a size of nothing; no factor, such as that of the axis
        if not absent and not low <= value <= high:
            unit = f" {self.unit}" if self.unit else ""
            raise ParameterError(
                f"{name or self.name}: {what or 'value'} = {value:.6g} is out of reach: expected {low:.4g} to "
                f"{high:.4g}{unit} (by default it is {self.min:g} to {self.max:g})"
            )

    def check_bounds(self, low: float, high: float, name: str = "") -> None:
        """Raise for bounds that reach too far, or between which nothing fits; an infinite one is none.

        Raises
        ------
        ParameterError
            If `check` raises for one of them, or they coincide to rounding.
        """
        for what, bound in (("min", low), ("max", high)):
            if math.isfinite(bound):
                self.check(bound, what, name)
        usual = self.max - self.min
        if not high - low > 1e-9 * (usual if math.isfinite(usual) else max(abs(low), abs(high))):
            raise ParameterError(
                f"{name or self.name}: nothing fits between min = {low:.10g} and max = {high:.10g}; to hold it, give "
                "its value and vary=False"
            )


@dataclass(frozen=True)
class Nested:
    """A constraint between two parameters: ``low <= high``, or ``low + high <= total`` with a total.

    ``low`` is the one that gives way: its upper limit moves with ``high``.
    """

    low: str
    high: str
    total: float | None = None

    def cap(self, high: Value) -> Value:
        """Largest value of ``low`` beside this value of ``high``; that of each for an array."""
        return high if self.total is None else self.total - high

    @property
    def slope(self) -> float:
        """Derivative of `cap` with respect to ``high``."""
        return 1.0 if self.total is None else -1.0

    def describe(self, low: float, high: float) -> str:
        """Say which rule it is, and that these values break it."""
        if self.total is None:
            return f"{self.low} <= {self.high} is broken by {self.low} = {low:.6g}, {self.high} = {high:.6g}"
        rule = f"{self.low} + {self.high} <= {self.total:g}"
        return f"{rule} is broken by {self.low} = {low:.6g}, {self.high} = {high:.6g}"

    def prefixed(self, prefix: str) -> "Nested":
        """The same rule for parameters with ``prefix`` before their names."""
        return Nested(prefix + self.low, prefix + self.high, self.total)


@dataclass(frozen=True)
class ParameterSpace:
    """The parameters of a model, in order, and the nested constraints between them.

    Raises
    ------
    ParameterError
        If a name is used twice for different things, a constraint names an unknown parameter, or a parameter
        that limits another one comes after it.
    """

    specs: tuple[ParameterSpec, ...] = ()
    nested: tuple[Nested, ...] = ()

    def __post_init__(self) -> None:
        names = self.names
        if len(set(names)) != len(names):
            twice = sorted({name for name in names if names.count(name) > 1})
            raise ParameterError(f"every parameter must be named once; named twice: {', '.join(twice)}")
        for rule in self.nested:
            for name in (rule.low, rule.high):
                if name not in names:
                    raise ParameterError(f"the rule for {rule.low} and {rule.high} needs a parameter {name}")
            if names.index(rule.high) >= names.index(rule.low):
                raise ParameterError(f"{rule.high} limits {rule.low}, so it must come before it")

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names in order."""
        return tuple(spec.name for spec in self.specs)

    def __len__(self) -> int:
        return len(self.specs)

    def __iter__(self) -> Iterator[ParameterSpec]:
        return iter(self.specs)

    def __contains__(self, name: object) -> bool:
        return any(spec.name == name for spec in self.specs)

    def __getitem__(self, name: str) -> ParameterSpec:
        for spec in self.specs:
            if spec.name == name:
                return spec
        raise ParameterError(unknown_name(name, self.names))

    def __add__(self, other: "ParameterSpace") -> "ParameterSpace":
        """Parameters of both; one that is in both, with the same specification, is kept once."""
        new = tuple(spec for spec in other.specs if spec not in self.specs)
        return ParameterSpace(self.specs + new, tuple(dict.fromkeys(self.nested + other.nested)))

    @property
    def even(self) -> dict[str, str]:
        """Parameters of which the curve is an even function, and of each the one with which it is none, or ""."""
        return {spec.name: spec.skewed_by for spec in self.specs if spec.even}

    def with_changes(self, name: str, **changes: float | bool | str) -> "ParameterSpace":
        """Copy with other settings (``value``, ``min``, ``max``, ``vary``, …) of one parameter."""
        self[name]
        specs = tuple(replace(s, **changes) if s.name == name else s for s in self.specs)  # type: ignore[arg-type]
        return replace(self, specs=specs)

    def scoped(self, scope: str) -> "ParameterSpace":
        """The same parameters, all of one scope."""
        return replace(self, specs=tuple(replace(spec, scope=scope) for spec in self.specs))

    def defaults(self) -> dict[str, float]:
        """Start value of every parameter."""
        return {spec.name: spec.value for spec in self.specs}

    def inside(self, share: float = 0.01) -> dict[str, float]:
        """Start value of every parameter, moved from its bounds by this share of their distance where it is nearer."""
        return {
            spec.name: min(max(spec.value, spec.min + room), spec.max - room)
            for spec in self.specs
            for room in [share * (spec.max - spec.min) if math.isfinite(spec.max - spec.min) else 0.0]
        }

    def violations(self, values: Mapping[str, float], *, tolerance: float = 0.0) -> tuple[str, ...]:
        """Broken nested constraints in words; ``tolerance`` is relative to the larger of the two values."""
        return tuple(
            rule.describe(values[rule.low], values[rule.high])
            for rule in self.nested
            if values[rule.low] - rule.cap(values[rule.high])
            > tolerance * max(abs(values[rule.low]), abs(values[rule.high]))
        )

    def clip(self, values: Mapping[str, float], *, bounds: bool = True) -> dict[str, float]:
        """Nearest feasible values: inside the bounds, then every nested constraint met.

        Parameters
        ----------
        values
            Value by name; names missing here take their start value, unknown names are an error.
        bounds
            Whether to apply the bounds too, or the nested constraints only (users may widen bounds).

        Notes
        -----
        Where two parameters contradict each other, the one that gives way (`Nested.low`) is lowered; with
        ``bounds`` the other one moves just as far as is needed to leave it its own range.
        """
        unknown = [name for name in values if name not in self]
        if unknown:
            raise ParameterError(unknown_name(unknown[0], self.names))
        feasible = self.defaults() | {name: float(value) for name, value in values.items()}
        if bounds:
            low, high = self.limits()
            feasible = {name: min(max(value, low[name]), high[name]) for name, value in feasible.items()}
        # A parameter that limits another one comes before it, so one pass in the order of the specs is enough.
        for name in self.names:
            for rule in self.nested:
                if rule.low == name:
                    feasible[name] = min(feasible[name], rule.cap(feasible[rule.high]))
        return feasible

    def limits(self) -> tuple[dict[str, float], dict[str, float]]:
        """Bounds tightened by the nested constraints: each value inside them is part of some feasible set."""
        low = {spec.name: spec.min for spec in self.specs}
        high = {spec.name: spec.max for spec in self.specs}
        tighten(low, high, self.nested)
        return low, high

    def from_unit(self, unit: ArrayLike) -> dict[str, NDArray[np.float64]]:
        """Map the unit cube onto the feasible set: the prior from which training curves are drawn.

        In the order of the specs, each parameter is uniform between its bounds, the upper one lowered to what the
        parameters that limit it allow.  Exact and without rejection: every point of the cube is a feasible set, and
        what is stratified in the cube is stratified there.

        Parameters
        ----------
        unit : array_like, shape (n, len(self))
            Numbers from 0 to 1, a column for each parameter.

        Returns
        -------
        dict of ndarray, shape (n,)

        Raises
        ------
        ParameterError
            If the shape does not fit, or a bound is infinite.
        """
        cube = np.atleast_2d(np.asarray(unit, dtype=float))
        if cube.shape[1] != len(self) or not (np.all(cube >= 0.0) and np.all(cube <= 1.0)):
            raise ParameterError(f"expected numbers from 0 to 1 of shape (n, {len(self)}), got shape {cube.shape}")
        values: dict[str, NDArray[np.float64]] = {}
        for column, (name, low, high) in zip(cube.T, self._ranges(values), strict=True):
            values[name] = low + (high - low) * column
        return values

    def to_unit(self, values: Mapping[str, ArrayLike]) -> NDArray[np.float64]:
        """Inverse of `from_unit`: shape (n, len(self)); a parameter without freedom gets 1/2."""
        arrays = {name: np.atleast_1d(np.asarray(values[name], dtype=float)) for name in self.names}
        columns = []
        for name, low, high in self._ranges(arrays):
            width = np.broadcast_to(high - low, arrays[name].shape)
            free = width > 0.0
            columns.append(np.where(free, (arrays[name] - low) / np.where(free, width, 1.0), 0.5))
        return np.column_stack(columns)

    def _ranges(
        self, values: Mapping[str, NDArray[np.float64]]
    ) -> Iterator[tuple[str, float, NDArray[np.float64] | float]]:
        """Yield name, lower and upper limit of each parameter, given the values of those before it."""
        lower, upper = self.limits()
        for name in self.names:
            low, high = lower[name], upper[name]
            if not np.isfinite(high - low):
                raise ParameterError(f"{name} has no finite bounds {low:g} to {high:g}, so it has no uniform prior")
            top: NDArray[np.float64] | float = high
            for rule in self.nested:
                if rule.low == name:
                    top = np.minimum(top, rule.cap(values[rule.high]))
            yield name, low, top


def tighten(low: dict[str, float], high: dict[str, float], nested: tuple[Nested, ...]) -> None:
    """Narrow bounds in place until no nested constraint can narrow them any more."""
    for _ in range(len(low) + 1):
        before = (dict(low), dict(high))
        for rule in nested:
            if rule.total is None:
                high[rule.low] = min(high[rule.low], high[rule.high])
                low[rule.high] = max(low[rule.high], low[rule.low])
            else:
                high[rule.low] = min(high[rule.low], rule.total - low[rule.high])
                high[rule.high] = min(high[rule.high], rule.total - low[rule.low])
        if before == (low, high):
            return


def unknown_name(name: str, known: tuple[str, ...]) -> str:
    """Message for an unknown parameter: what came, the nearest valid names, all of them if none is near."""
    near = difflib.get_close_matches(name, known, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
    return f"unknown parameter {name!r}; {hint}"


def checked_keywords(made: type[T]) -> type[T]:
    """Let a class name the keywords that it does not know, in place of a bare TypeError."""
    init = made.__init__
    known = tuple(signature(init).parameters)[1:]

    @wraps(init)
    def checked(self: Any, *args: Any, **given: Any) -> None:
        for name in given:
            if name not in known:
                raise ParameterError(f"{made.__name__}: {unknown_name(name, known)}")
        init(self, *args, **given)

    made.__init__ = checked  # type: ignore[method-assign]
    return made


def named(what: str, name: str, known: Mapping[str, T]) -> T:
    """Return the part of a model that stands under a name.

    Raises
    ------
    ParameterError
        If none does; the message lists the names, the nearest ones again.
    """
    if name not in known:
        near = difflib.get_close_matches(name.lower(), known, n=2, cutoff=0.5)
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise ParameterError(f"unknown {what} {name!r}: expected one of {', '.join(known)}{hint}")
    return known[name]


__all__ = ["Nested", "ParameterSpace", "ParameterSpec", "named", "tighten", "unknown_name"]


Row = tuple[str, str, float, float, float, bool, str]
"""Name, unit, start value, lower and upper bound, whether it varies by default, meaning."""


def space_of(*rows: Row, nested: tuple[Nested, ...] = (), scope: str = "sample") -> ParameterSpace:
    return ParameterSpace(tuple(ParameterSpec(*row, scope) for row in rows), nested)
