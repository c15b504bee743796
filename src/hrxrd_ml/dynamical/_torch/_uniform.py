"""Uniform lamellae, exact."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ._coefficients import Batch
from ._common import Step, each, largest, polynomial

# Where the wave falls or grows by more than exp(_THICK) in a lamella, the root and the exponential are used.
_THICK = 0.25
_DOUBLINGS = 12
_SINC = tuple((-1.0) ** k / math.factorial(2 * k + 1) for k in range(9))
_VERSINE = tuple((-1.0) ** k / math.factorial(2 * k + 2) for k in range(9))


def uniform(c: Batch, x: Tensor, y: Tensor) -> Step:
    """Return the step: cos and sinc of y, z = y**2 = w**2 - h h_bar, by series or by root and exponential."""
    half = 0.5 * c.thickness
    axes = half * c.u0[..., 0], half * c.q1[..., 0], half * c.q2[..., 0]
    mu = half * c.absorption
    et = (c.debye_waller[..., 0] * c.thickness)[..., None]
    h, h_bar = et * c.sigma_h, et * c.sigma_hbar
    kappa = h * h_bar
    with torch.no_grad():
        coupling, absorbed = kappa.abs().amax(dim=(0, 2)), mu.abs().amax(dim=0)
        size = largest(*axes, x, y) ** 2 + absorbed**2 + coupling
        doublings = torch.log2(size.clamp_min(1.0)).mul(0.5).ceil().int().tolist()
        thick = (absorbed + coupling.sqrt() > _THICK).tolist()
    plan = list(zip(*(each(v) for v in (*axes, mu)), *(each(v) for v in (h, h_bar, kappa)), strict=True))

    def step(r: Tensor, j: int) -> Tensor:
        w0, w1, w2, m, a, b, k = plan[j]
        w = torch.complex(w0 + w1 * x + w2 * y, m.expand_as(x))[:, None]
        z = w * w - k
        if thick[j] or doublings[j] > _DOUBLINGS:
            cosine, sinc = _cos_sinc_exponential(z)
        else:
            cosine, sinc = _cos_sinc_series(z, doublings[j])
        sinc = 1j * sinc
        return (cosine * r + sinc * (a + w * r)) / (cosine - sinc * (w + b * r))

    return step


def _cos_sinc_series(z: Tensor, doublings: int) -> tuple[Tensor, Tensor]:
    z = z * 0.25**doublings
    versine, sinc = z * polynomial(z, _VERSINE), polynomial(z, _SINC)
    for _ in range(doublings):
        sinc, versine = sinc - sinc * versine, 2.0 * versine * (2.0 - versine)
    return 1.0 - versine, sinc


def _cos_sinc_exponential(z: Tensor) -> tuple[Tensor, Tensor]:
    """Return cos and sinc times exp(iy), which a common factor of the wave leaves free; Im y >= 0."""
    small = z.abs() < 1e-2
    near, far = torch.where(small, z, 0.0), torch.where(small, 1.0, z)
    y = 1j * torch.sqrt(-far)
    wave = torch.exp(2j * y)
    cosine = torch.where(small, 1.0 - near * polynomial(near, _VERSINE), 0.5 * (1.0 + wave))
    return cosine, torch.where(small, polynomial(near, _SINC), 0.5j * (1.0 - wave) / y)
