"""torch under NumPy's names, for what is written once for the arrays of both."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hrxrd_ml.training.prior import Draws


class TorchArrays:
    """The functions of torch, with what differs from NumPy called as there.

    Parameters
    ----------
    device : torch.device or str
        Where new tensors are made.
    """

    def __init__(self, device: torch.device | str | None = None) -> None:
        self.device = device

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    def asarray(self, values: Any, dtype: torch.dtype | None = None) -> Tensor:
        """Return a tensor of the values, of their own precision or another."""
        return torch.as_tensor(values, dtype=dtype, device=self.device)

    def arange(self, count: int) -> Tensor:
        """Return the integers below ``count``."""
        return torch.arange(count, device=self.device)

    def take_along_axis(self, values: Tensor, index: Tensor, axis: int) -> Tensor:
        """Return the values at the indices along an axis."""
        return torch.take_along_dim(values, index, dim=axis)

    def nanmedian(self, values: Tensor, axis: int, keepdims: bool) -> Tensor:
        """Return the median of what is not NaN, the lower one of two."""
        return torch.nanmedian(values, dim=axis, keepdim=keepdims).values


def torch_draws(count: int, generator: torch.Generator) -> Draws:
    """Return random numbers for experiments of one curve each, shape (count, 1), on the generator's device."""
    shape, device = (count, 1), generator.device

    def uniform(low: float = 0.0, high: float = 1.0) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=generator, device=device)

    return Draws(
        TorchArrays(device),
        shared=uniform,
        own=uniform,
        choice=lambda below: torch.randint(below, shape, generator=generator, device=device),
        stratified=lambda _: uniform(),  # with so many, nothing need be stratified
        lowest=lambda values: values,
        highest=lambda values: values,
    )
