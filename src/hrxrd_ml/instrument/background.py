"""Backgrounds: what is counted beside the rocking curve, as a function of the angle of the axis.

Each is one class that keeps to the protocol `Background`; a user's own does, too.  Derivatives come from the complex
step (`hrxrd_ml.complex_step`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from hrxrd_ml.arrays import Values
from hrxrd_ml.complex_step import check_analytic
from hrxrd_ml.errors import ParameterError
from hrxrd_ml.parameters import ParameterSpace, ParameterSpec, named

_LEVEL = ParameterSpec("background", "counts", 1.0, 0.0, 1e7, True, "background at the substrate peak", "curve")
_LARGEST_EXPONENT = 100.0  # far beyond any measurement; keeps the numbers finite


class Background(Protocol):
    """Expected counts beside the rocking curve.

    A user's own is an object with these two members.  It is written with functions that NumPy and SciPy have for
    complex numbers, and branches look at real parts: that gives its derivatives by the complex step.
    """

    @property
    def space(self) -> ParameterSpace:
        """Parameters with units and bounds."""
        ...

    def counts(self, arcsec: Any, values: Values) -> Any:
        """Return the background, shape (n,) or a number, at offsets of the axis from the Bragg angle [arcsec]."""
        ...


@dataclass(frozen=True)
class ConstantBackground:
    """``background``, at all angles."""

    @property
    def space(self) -> ParameterSpace:
        """One parameter."""
        return ParameterSpace((_LEVEL,))

    def counts(self, arcsec: Any, values: Values) -> Any:
        """Return the level."""
        return values["background"]


@dataclass(frozen=True)
class LinearBackground:
    """``background + slope Δθ``, and 0 where that is less: nothing counts less than nothing."""

    @property
    def space(self) -> ParameterSpace:
        """Level and slope."""
        slope = ParameterSpec("slope", "counts/arcsec", 0.0, -1e4, 1e4, True, "slope of background", "curve")
        return ParameterSpace((_LEVEL, slope))

    def counts(self, arcsec: Any, values: Values) -> Any:
        """Return the line, where it is above 0."""
        line = values["background"] + values["slope"] * arcsec
        return np.where(line.real > 0.0, line, 0.0)


@dataclass(frozen=True)
class ExponentialBackground:
    """``background exp(slope Δθ)``."""

    @property
    def space(self) -> ParameterSpace:
        """Level and relative slope."""
        slope = ParameterSpec("slope", "1/arcsec", 0.0, -0.01, 0.01, True, "relative slope of background", "curve")
        return ParameterSpace((_LEVEL, slope))

    def counts(self, arcsec: Any, values: Values) -> Any:
        """Return the exponential function, held where its exponent is out of all proportion."""
        exponent = values["slope"] * arcsec
        held = np.abs(exponent.real) > _LARGEST_EXPONENT
        return values["background"] * np.exp(np.where(held, np.sign(exponent.real) * _LARGEST_EXPONENT, exponent))


BACKGROUNDS: Mapping[str, type[Background]] = {
    "constant": ConstantBackground,
    "linear": LinearBackground,
    "exponential": ExponentialBackground,
}
"""Backgrounds by the names that models, experiment files and saved files have for them."""


def make_background(kind: str | Background) -> Background:
    """Return the background of a name, or a user's own after checking it.

    Raises
    ------
    ParameterError
        If the name is unknown, the object is no background, or derivatives by the complex step are wrong.
    """
    if isinstance(kind, str):
        return named("background", kind, BACKGROUNDS)()
    what = type(kind).__name__
    if not isinstance(getattr(kind, "space", None), ParameterSpace) or not callable(getattr(kind, "counts", None)):
        raise ParameterError(
            f"a background is a name ({', '.join(BACKGROUNDS)}) or an object with `space`, a ParameterSpace, and a "
            f"method `counts(arcsec, values)`; got {what}"
        )
    angles = np.linspace(-937.0, 391.0, 29)

    def counts(values: Values) -> Any:
        found = np.asarray(kind.counts(angles, values))
        if found.shape not in ((), angles.shape) or not np.all(np.isfinite(found)):
            raise ParameterError(f"{what}.counts must return {len(angles)} finite numbers for as many angles")
        return found

    check_analytic(counts, kind.space.inside(), kind.space.names, f"{what}.counts")
    return kind
