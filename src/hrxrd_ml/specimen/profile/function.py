"""A profile from any function of depth that a user writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hrxrd_ml.arrays import Values
from hrxrd_ml.complex_step import check_analytic, columns, real
from hrxrd_ml.errors import ParameterError
from hrxrd_ml.parameters import ParameterSpace, ParameterSpec
from hrxrd_ml.specimen.profile.base import Segments


@dataclass(frozen=True)
class FunctionProfile:
    """Any function ``f(z, **values)`` of depth, with its own parameters.

    Its derivatives are exact without being written: the function is called with complex numbers (see
    `hrxrd_ml.complex_step`).  That is checked once, when the profile is made.

    Parameters
    ----------
    function : callable
        Takes depths [Å] (array) and the parameters by name, returns the profile at these depths.  Written with
        functions that NumPy and SciPy have for complex numbers; branches look at real parts.
    specs : tuple of ParameterSpec
        Its parameters.
    depth : str
        Name of the parameter at which the profile ends [Å].
    scale : float
        Length over which the function changes its shape [Å]; sets the grid.

    Raises
    ------
    ParameterError
        If there is no such parameter, or the function does not give derivatives by the complex step.
    """

    function: Callable[..., Any]
    specs: tuple[ParameterSpec, ...]
    depth: str = "depth"
    scale: float = 300.0

    def __post_init__(self) -> None:
        """Check that the end is a parameter, and that derivatives are right."""
        if self.depth not in [spec.name for spec in self.specs]:
            raise ParameterError(
                f"the profile must have a parameter {self.depth!r}, the depth at which it ends [Å]; it has "
                f"{', '.join(spec.name for spec in self.specs)}"
            )
        # Places that nobody would choose for a kink.
        places = np.array([0.0312, 0.1287, 0.2741, 0.4113, 0.5559, 0.7093, 0.8561, 0.9713])
        start = self.space.defaults()
        check_analytic(
            lambda values: self.evaluate(values["z"], values),
            start | {"z": places * start[self.depth]},
            ("z", *start),
            what=f"the profile function {getattr(self.function, '__name__', self.function)!s}",
        )

    @property
    def space(self) -> ParameterSpace:
        """Parameters with units and bounds."""
        return ParameterSpace(self.specs)

    def segments(self, values: Values) -> Segments:
        """Return surface and end: one piece."""
        return Segments(columns(0.0, values[self.depth]), np.array([self.scale]))

    def evaluate(self, z: Any, values: Values) -> Any:
        """Return the profile."""
        own = {spec.name: values[spec.name] for spec in self.specs}
        out = np.asarray(self.function(np.asarray(z), **own))
        shape = np.broadcast_shapes(np.shape(z), *(np.shape(value) for value in own.values()))
        if out.shape not in (np.shape(z), shape) or not np.all(np.isfinite(out)):
            given = {name: real(value) for name, value in own.items()}
            raise ParameterError(
                f"the profile function must return {shape} finite numbers for {np.shape(z)} depths, got shape "
                f"{out.shape}, {np.count_nonzero(~np.isfinite(out))} of them not finite, at {given}"
            )
        return out
