"""Torch twin: a batch of curves at once, float32 or float64, on any device, differentiable.

The formulas are those of ``_reference``: the amplitude r goes up one lamella at a time, each in the frame
that rotates with the phase counted from its own middle, so that no large phase is ever formed and single
precision suffices.  All curves of a batch have the same number of lamellae; a lamella of thickness zero
changes nothing, which pads a shorter pile.

Shapes: B curves, n lamellae, m angles, two polarisations.  Only here and in ``ml`` is torch imported.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from .._contract import Coefficients, ComplexArray, FloatArray
from ._coefficients import Batch, Constants, axes
from ._graded import graded
from ._uniform import uniform

__all__ = ["Batch", "Constants", "amplitude", "amplitude_of_one", "axes", "reflectivity"]


def amplitude(c: Batch, x: Tensor, y: Tensor, *, segment: int = 8) -> Tensor:
    """Return the amplitude r at the surface, shape (B, 2, m), complex.

    Parameters
    ----------
    c : Batch
    x, y : Tensor, shape (B, m)
        Angle coordinates, in any order.
    segment : int
        Where gradients are recorded, only r between segments of this many lamellae is kept; what lies inside
        is calculated again on the way back.
    """
    lamella = graded(c, x, y) if c.u0.shape[2] == 3 else uniform(c, x, y)
    n = c.thickness.shape[1]

    def climb(r: Tensor, top: int, bottom: int) -> Tensor:
        for j in reversed(range(top, bottom)):
            r = lamella(r, j)
        return r

    r = _substrate(c, x, y)
    for bottom in range(n, 0, -segment):
        top = max(0, bottom - segment)
        if torch.is_grad_enabled():
            r = checkpoint(climb, r, top, bottom, use_reentrant=False, preserve_rng_state=False)
        else:
            r = climb(r, top, bottom)
    return r


def reflectivity(c: Batch, x: Tensor, y: Tensor, weights: Tensor, *, segment: int = 8) -> Tensor:
    """Return the reflectivity, shape (B, m): ``weights`` (B, 2) times abs(r)**2 of the polarisations."""
    r = amplitude(c, x, y, segment=segment)
    return torch.einsum("bp,bpm->bm", weights, r.real**2 + r.imag**2)


def amplitude_of_one(c: Coefficients, x: FloatArray, y: FloatArray) -> ComplexArray:
    """Return the amplitude (2, m) of one curve, arrays in and out, in double precision on the CPU."""
    with torch.no_grad():
        x_row, y_row = (torch.as_tensor(np.ascontiguousarray(v)[None]) for v in (x, y))
        result: ComplexArray = amplitude(Batch.stack([c]), x_row, y_row)[0].numpy()
    return result


def _substrate(c: Batch, x: Tensor, y: Tensor) -> Tensor:
    u = (c.substrate_u0[:, None] + c.substrate_q1[:, None] * x + c.substrate_q2[:, None] * y)[:, None]
    sigma_h, sigma_hbar = c.substrate_sigma_h[:, :, None], c.substrate_sigma_hbar[:, :, None]
    # A crystal without absorption is the limit of one with little: the tiny number decides the root's sign.
    return -2.0 * sigma_h / (u + 1j * torch.sqrt(4.0 * sigma_h * sigma_hbar - (u + 1e-30j) ** 2))
