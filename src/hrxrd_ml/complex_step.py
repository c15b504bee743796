"""Exact derivatives of array functions by the complex step.

For an analytic function that is real on the real axis, f(x + i h) = f(x) + i h f'(x) + O(h**2), without any difference
of large numbers: with h = 1e-20 the imaginary part over h is the derivative to the last digit.  Physics is therefore
written once, as plain array functions, and differentiated by calling them with complex parameters (W. Squire and
G. Trapp, SIAM Rev. 40 (1998) 110).

All parameters are differentiated in one call: each value becomes a column of as many rows as there are names, and row
k holds the imaginary step of name k.  Arrays of the physics follow behind that leading axis.

What such a function must keep to:

* branches, sorting and counting look at real parts (`real`), which all rows have in common;
* no ``abs``, ``conj``, ``real`` of what depends on a parameter: ``np.abs(x)`` becomes ``sign(real(x)) * x``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from hrxrd_ml.arrays import FloatArray, Values
from hrxrd_ml.errors import ParameterError

STEP = 1e-20


def stepped(values: Values, names: Sequence[str]) -> dict[str, object]:
    """Return the values with an imaginary step in each of ``names``, as complex arrays of shape (len(names), 1, 1).

    Values that are not named stay what they are.
    """
    rows = 1j * STEP * np.eye(len(names))[:, :, None, None]
    return {**values, **{name: values[name] + rows[i] for i, name in enumerate(names)}}


def derivative(result: ArrayLike) -> FloatArray:
    """Return the derivatives that a result of `stepped` values carries; zeros for one that is real."""
    return np.asarray(np.imag(result) / STEP)


def real(value: ArrayLike) -> float:
    """Return the real part of a parameter, which all rows of it have in common."""
    if isinstance(value, np.ndarray):
        return float(value.item(0).real)
    return value if type(value) is float else float(np.real(value))


def exp(x: Any) -> Any:
    """Return the exponential of an array: of a step, exp(a + i b) = exp(a) (1 + i b) to the last digit.

    NumPy's takes ten times as long for complex numbers.
    """
    return np.exp(x.real) * (1.0 + 1j * x.imag) if np.iscomplexobj(x) else np.exp(x)


def sqrt(x: Any) -> Any:
    """Return the square root of a positive array, as `exp` does it: sqrt(a + i b) = sqrt(a) + i b/(2 sqrt(a))."""
    root = np.sqrt(x.real)
    return root + 1j * (0.5 * x.imag / root) if np.iscomplexobj(x) else root


def gradient(function: Callable[[Values], ArrayLike], values: Values, names: Sequence[str]) -> FloatArray:
    """Return the derivatives of a number by parameters, shape (len(names),)."""
    return np.broadcast_to(derivative(function(stepped(values, names))), (len(names), 1, 1))[:, 0, 0]


def columns(*numbers: ArrayLike) -> np.ndarray:
    """Return numbers side by side: shape (len(numbers),), or (rows, len(numbers)) where any of them has rows."""
    if all(np.ndim(number) == 0 for number in numbers):
        return np.array(numbers)
    rows = max(np.size(number) for number in numbers)
    return np.stack([np.broadcast_to(np.ravel(number), (rows,)) for number in numbers], axis=-1)


def extended(function: Callable[[Any], Any], slope: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a function of one real variable, whose derivative is known, for complex steps as well.

    For what NumPy and SciPy have for real numbers only, such as interpolation in a table::

        table = scipy.interpolate.CubicSpline(depths, strains)
        strain = extended(table, table.derivative())
    """

    def at(x: Any) -> Any:
        x = np.asarray(x)
        return function(x.real) + 1j * x.imag * slope(x.real) if np.iscomplexobj(x) else function(x)

    return at


def check_analytic(function: Callable[[Values], ArrayLike], values: Values, names: Sequence[str], what: str) -> None:
    """Refuse a user's function whose derivatives by the complex step are not those of differences.

    Parameters
    ----------
    function : callable
        Of a mapping of values.
    values : mapping
        Where to look: places without kinks.
    names : sequence of str
        Of what is varied.
    what : str
        What the function is, for the message.

    Raises
    ------
    ParameterError
    """
    advice = (
        "write it with NumPy functions that know complex numbers: sign(x.real)*x for abs(x), branches on x.real, "
        "`hrxrd_ml.complex_step.extended` around tables and what is real only"
    )
    plain = np.asarray(function(values))
    for name in names:
        value = values[name]
        try:
            result = np.asarray(function({**values, name: value + 1j * STEP}))
        except (TypeError, ValueError) as error:
            raise ParameterError(
                f"{what} cannot be called with complex numbers for {name} ({error}); {advice}"
            ) from error
        size = float(np.max(np.abs(value))) or 1.0
        step = 1e-6 * size
        above, below = (np.asarray(function({**values, name: value + side * step})) for side in (1.0, -1.0))
        exact = np.broadcast_to(derivative(result), plain.shape)
        differences = ((above - below) / (2.0 * step), (above - plain) / step, (plain - below) / step)
        off = np.min([np.abs(exact - difference) for difference in differences], axis=0)
        allowed = 1e-3 * np.max(np.abs(differences[0])) + 1e-5 * np.max(np.abs(plain)) / size
        if np.max(off) > allowed:
            lost = "" if np.iscomplexobj(result) else ": it drops the imaginary part"
            raise ParameterError(
                f"{what} does not change with {name} as its complex step says, {np.max(np.abs(exact)):.3g} for "
                f"{np.max(np.abs(differences[0])):.3g}{lost}; {advice}"
            )
