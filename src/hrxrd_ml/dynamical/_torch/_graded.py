"""Graded lamellae: exact phase, coupling to second order."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ._coefficients import Batch, tensor
from ._common import Step, each, largest, polynomial

_ORDERED = tuple(8.0 * (-4.0) ** k / math.factorial(2 * k + 3) for k in range(10))


def graded(c: Batch, x: Tensor, y: Tensor) -> Step:
    """Return the step; the oscillatory integral by Gauss quadrature."""
    t = c.thickness
    mean0, slope0, curve0 = _quadratic(c.u0)
    mean1, slope1, _ = _quadratic(c.q1)
    mean2, slope2, _ = _quadratic(c.q2)
    axes = 0.5 * t * mean0, 0.5 * t * mean1, 0.5 * t * mean2
    bends = 0.25 * t * slope0, 0.25 * t * slope1, 0.25 * t * slope2
    turn = c.turn[:, None]
    ratio = (slope1 + turn * slope2) / (mean1 + turn * mean2)
    beta, gamma, mu = 0.25 * t * (slope0 - ratio * mean0), t / 6.0 * curve0, 0.5 * t * c.absorption
    h, h_bar = 1j * t[..., None] * c.sigma_h, -1j * t[..., None] * c.sigma_hbar
    with torch.no_grad():
        reach = largest(*axes, x, y)
        far = (reach > 1.0).tolist()
        # Nodes that leave 3e-8 and 3e-12 (measured for abs(x) < 20, abs(beta) < 2).
        bend = beta.abs().amax(dim=0)
        need = 5.0 + 0.7 * reach + 1.6 * bend if x.dtype == torch.float32 else 7.5 + 0.73 * reach + 2.4 * bend
    zeta, weight = _half_gauss(int(0.5 * max(need.tolist(), default=0.0)) + 1, x)
    rows = _quadrature_rows(zeta, weight, c.debye_waller, beta, gamma, mu)
    scalars = (*axes, *bends, 0.5 * ratio, 0.25 * c.debye_waller[..., 1] ** 2, torch.exp(-mu))
    plan = list(zip(*(each(v) for v in scalars), *(each(v) for v in (h, h_bar, h * h_bar)), strict=True))
    row_plan = rows.unbind(1)

    def step(r: Tensor, j: int) -> Tensor:
        x0, x1, x2, b0, b1, b2, lever, quarter_e2, decay, forth, back, strength = plan[j]
        phase, bent = x0 + x1 * x + x2 * y, b0 + b1 * x + b2 * y
        argument = zeta[:, None] * phase[:, None]
        value = _weighted_sum(row_plan[j], torch.cat([torch.cos(argument), torch.sin(argument)], dim=1))
        lever = lever * phase
        f = torch.complex(value[:, 0] - lever * value[:, 3], value[:, 1] + lever * value[:, 2])[:, None]

        even = 0.5 * (f.real**2 + f.imag**2)
        second = torch.complex(even, (quarter_e2 * _ordered(phase, far[j]))[:, None])
        below = r * _turned(phase + bent, decay)
        top = torch.addcmul(below + forth * f, strength * second.conj(), below)
        bottom = 1.0 + strength * second + back * f.conj() * below
        top = top * bottom.conj() * _turned(phase - bent, decay)
        return top / (bottom.real**2 + bottom.imag**2)

    return step


def _quadrature_rows(
    zeta: Tensor, weight: Tensor, debye_waller: Tensor, beta: Tensor, gamma: Tensor, mu: Tensor
) -> Tensor:
    """Return what weighs cos(x zeta) and sin(x zeta), shape (B, n, 4, 2 nodes).

    The first two rows give real and imaginary part of ``1/2 int g exp(i x zeta)``, the last two those of the
    same with ``zeta**2 g``; g is the envelope of ``_reference.graded_lamella``.
    """
    top, middle, bottom = (e[..., None] for e in debye_waller.unbind(-1))
    depth = torch.cat([zeta, -zeta])
    e = middle + depth * (0.5 * (bottom - top) + depth * (0.5 * (bottom + top) - middle))
    scale = weight.repeat(2) * e * torch.exp(-mu[..., None] * depth)
    angle, cubic = beta[..., None] * depth**2, gamma[..., None] * (depth**3 - depth)
    real, real_mirrored = (scale * (torch.cos(angle) - cubic * torch.sin(angle))).chunk(2, dim=-1)
    imag, imag_mirrored = (scale * (torch.sin(angle) + cubic * torch.cos(angle))).chunk(2, dim=-1)
    rows = torch.cat(
        [
            torch.stack([real + real_mirrored, imag + imag_mirrored], dim=-2),
            torch.stack([imag_mirrored - imag, real - real_mirrored], dim=-2),
        ],
        dim=-1,
    )
    return torch.cat([rows, rows * zeta.repeat(2) ** 2], dim=-2)


def _weighted_sum(rows: Tensor, waves: Tensor) -> Tensor:
    """Return ``rows @ waves``; in float32 on a GPU without matmul, whose precision users lower (TF32)."""
    if waves.dtype != torch.float32 or waves.device.type == "cpu":
        return rows @ waves
    value = rows[:, :, 0, None] * waves[:, 0, None]
    for k in range(1, waves.shape[1]):
        value = torch.addcmul(value, rows[:, :, k, None], waves[:, k, None])
    return value


def _quadratic(nodes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean, linear and quadratic coefficient of the parabola through top, middle and bottom."""
    top, middle, bottom = nodes.unbind(-1)
    return (top + 4.0 * middle + bottom) / 6.0, 0.5 * (bottom - top), 0.5 * (bottom + top) - middle


def _half_gauss(count: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return the positive nodes and half the weights of the Gauss rule with 2*count nodes."""
    zeta, weight = np.polynomial.legendre.leggauss(2 * count)
    dtype, device = like.dtype, like.device
    return tensor(zeta[count:], dtype, device), tensor(0.5 * weight[count:], dtype, device)


def _turned(phase: Tensor, decay: Tensor) -> Tensor:
    """Return decay*exp(i phase), shape (B, 1, m)."""
    return torch.complex(decay * torch.cos(phase), decay * torch.sin(phase))[:, None]


def _ordered(x: Tensor, far: bool) -> Tensor:
    """Return (2x - sin 2x)/x**2; ``far`` where abs(x) > 1 may occur."""
    if not far:
        return x * polynomial(x * x, _ORDERED)
    small = x.abs() < 1.0
    near, away = torch.where(small, x, 0.0), torch.where(small, 1.0, x)
    return torch.where(
        small, near * polynomial(near * near, _ORDERED), (2.0 * away - torch.sin(2.0 * away)) / (away * away)
    )
