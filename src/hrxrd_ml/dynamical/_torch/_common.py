"""What the steps over uniform and over graded lamellae share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Step = Callable[[Tensor, int], Tensor]
"""Takes r below lamella number j, and j; returns r on top of it."""


def largest(axis0: Tensor, axis1: Tensor, axis2: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return a bound of abs(axis0 + axis1 x + axis2 y) of each lamella, shape (n,), angles in any order."""
    low_x, high_x = (edge[:, None] for edge in x.aminmax(dim=1))
    low_y, high_y = (edge[:, None] for edge in y.aminmax(dim=1))
    middle = axis0 + 0.5 * axis1 * (low_x + high_x) + 0.5 * axis2 * (low_y + high_y)
    reach = 0.5 * (axis1.abs() * (high_x - low_x) + axis2.abs() * (high_y - low_y))
    return (middle.abs() + reach).amax(dim=0)


def polynomial(z: Tensor, series: Sequence[float]) -> Tensor:
    """Return the sum of ``series[k] z**k``."""
    value = torch.full_like(z, series[-1])
    for term in reversed(series[:-1]):
        value = value * z + term
    return value


def each(values: Tensor) -> tuple[Tensor, ...]:
    """Return the values of each lamella, ready to meet (B, m) or, with a polarisation axis, (B, 2, m)."""
    return values[..., None].unbind(1)
