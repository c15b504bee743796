"""Torch twin: a batch of curves at once, float32 or float64, on any device, differentiable.

The formulas are those of ``_reference``: the amplitude r goes up one lamella at a time, each in the frame that rotates with
the phase counted from its own middle, so that no large phase is ever formed and single precision suffices.  All curves of a
batch have the same number of lamellae; a lamella of thickness zero changes nothing, which pads a shorter pile.

Shapes: B curves, n lamellae, m angles, two polarisations.  This is the only module of the package core that imports torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..reflection import Reflection
from ._contract import Coefficients, Deviation, FloatArray

Step = Callable[[Tensor, int], Tensor]

# A uniform lamella in which the wave falls or grows by more than exp(_THICK) takes the root and the exponential.
_THICK = 0.25
_DOUBLINGS = 12
_SINC = tuple((-1.0) ** k / math.factorial(2 * k + 1) for k in range(9))
_VERSINE = tuple((-1.0) ** k / math.factorial(2 * k + 2) for k in range(9))
_ORDERED = tuple(8.0 * (-4.0) ** k / math.factorial(2 * k + 3) for k in range(10))


@dataclass(frozen=True)
class Batch:
    """``Coefficients`` of B curves: the same fields with a leading dimension, complex ones included.

    Attributes
    ----------
    thickness, absorption : Tensor, shape (B, n)
    u0, q1, q2, debye_waller : Tensor, shape (B, n, nodes)
    sigma_h, sigma_hbar : Tensor, complex, shape (B, n, 2)
    substrate_u0 : Tensor, complex, shape (B,)
    substrate_q1, substrate_q2, turn : Tensor, shape (B,)
    substrate_sigma_h, substrate_sigma_hbar : Tensor, complex, shape (B, 2)
    """

    thickness: Tensor
    u0: Tensor
    q1: Tensor
    q2: Tensor
    absorption: Tensor
    debye_waller: Tensor
    sigma_h: Tensor
    sigma_hbar: Tensor
    substrate_u0: Tensor
    substrate_q1: Tensor
    substrate_q2: Tensor
    substrate_sigma_h: Tensor
    substrate_sigma_hbar: Tensor
    turn: Tensor

    @classmethod
    def stack(
        cls,
        piles: Sequence[Coefficients],
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
    ) -> Batch:
        """Return the coefficients of several piles, all of them with the same number of lamellae and nodes."""
        return cls(**{f.name: _tensor([getattr(p, f.name) for p in piles], dtype, device) for f in fields(cls)})


@dataclass(frozen=True)
class Constants:
    """What a batch of reflections contributes to the coefficients: one number (or one a polarisation) each.

    Attributes
    ----------
    prefactor, sine, sin_angle, cos_angle, sin_inclination, cos_inclination : Tensor, shape (B, 1, 1)
        pi/(lambda gamma_h) [1/Å]; of the Bragg angle, the incidence angle there, and the inclination.
    refraction : Tensor, complex, shape (B,)
        pi/lambda chi_0 (1/gamma_0 + 1/gamma_h) [1/Å].
    sigma_h, sigma_hbar : Tensor, complex, shape (B, 2)
        Couplings at E = 1, the polarisation factor included [1/Å].
    weights : Tensor, shape (B, 2)
        Weights of the polarisations in the reflectivity.
    angles : Tensor, float64, shape (B, 1)
        Incidence angle at the Bragg angle of the reference lattice [rad].
    linear : bool
        Use the linear form of the deviation (see ``Deviation``).
    """

    prefactor: Tensor
    sine: Tensor
    sin_angle: Tensor
    cos_angle: Tensor
    sin_inclination: Tensor
    cos_inclination: Tensor
    refraction: Tensor
    sigma_h: Tensor
    sigma_hbar: Tensor
    weights: Tensor
    angles: Tensor
    linear: bool = False

    @classmethod
    def of(
        cls,
        reflections: Sequence[Reflection],
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
        linear: bool = False,
    ) -> Constants:
        """Return the constants of a batch of reflections."""
        bragg = np.array([r.bragg_angle for r in reflections])
        tilt = np.array([r.inclination for r in reflections])
        wavelength = np.array([r.wavelength for r in reflections])
        gamma0 = np.array([r.gamma0 for r in reflections])
        gammah = np.array([r.gammah for r in reflections])
        pairs = np.array([[r.susceptibility.pair(p) for p in range(2)] for r in reflections])
        coupling = (np.pi / (wavelength * np.sqrt(gamma0 * gammah)))[:, None] * np.array(
            [r.polarization_factors for r in reflections]
        )
        chi0 = np.array([r.susceptibility.chi0 for r in reflections])
        columns = (np.pi / (wavelength * gammah), np.sin(bragg), np.sin(bragg + tilt), np.cos(bragg + tilt))
        return cls(
            *(_tensor(c[:, None, None], dtype, device) for c in (*columns, np.sin(tilt), np.cos(tilt))),
            refraction=_tensor(np.pi / wavelength * (1.0 / gamma0 + 1.0 / gammah) * chi0, dtype, device),
            sigma_h=_tensor(coupling * pairs[..., 0], dtype, device),
            sigma_hbar=_tensor(coupling * pairs[..., 1], dtype, device),
            weights=_tensor([r.polarization_weights for r in reflections], dtype, device),
            angles=torch.as_tensor((bragg + tilt)[:, None], dtype=torch.float64, device=device),
            linear=linear,
        )

    def axes(self, dtheta: Tensor) -> tuple[Tensor, Tensor]:
        """Return X and Y, shape (B, m), of offsets given in float64, shape (m,) or (B, m) [rad]."""
        dtheta = dtheta.to(torch.float64).expand(len(self.angles), -1)
        dtype = self.prefactor.dtype
        if self.linear:
            return dtheta.to(dtype), torch.zeros_like(dtheta, dtype=dtype)
        middle, chord = self.angles + 0.5 * dtheta, 2.0 * torch.sin(0.5 * dtheta)
        return (chord * torch.cos(middle)).to(dtype), (-chord * torch.sin(middle)).to(dtype)

    def coefficients(
        self, thickness: Tensor, strain: Tensor, debye_waller: Tensor, substrate_debye_waller: Tensor | float = 1.0
    ) -> Batch:
        """Return the coefficients of strained, damaged crystals on their own undamaged kind, differentiable.

        Parameters
        ----------
        thickness : Tensor, shape (B, n)
            [Å].
        strain, debye_waller : Tensor, shape (B, n, nodes)
            Out-of-plane strain and static Debye-Waller factor E at the nodes.
        substrate_debye_waller : Tensor, shape (B,), or float
        """
        s, sin_p, cos_p = self.sine, self.sin_inclination, self.cos_inclination
        if self.linear:
            cosine = torch.sqrt(1.0 - s**2)
            slope = self.prefactor * 4.0 * s * cosine
            scale = slope * (cos_p**2 * s / cosine - sin_p * cos_p)
            u0, q1, q2 = scale * strain, slope.expand_as(strain), torch.zeros_like(strain)
            substrate_q1, substrate_q2, turn = slope, torch.zeros_like(slope), torch.zeros_like(slope)
        else:
            eta = strain / (1.0 + strain)
            scale = 4.0 * self.prefactor * s
            u0 = -scale * cos_p * eta * (s * cos_p * (eta - 2.0) + self.sin_angle)
            q1, q2 = scale * cos_p * (1.0 - eta), (-scale * sin_p).expand_as(strain)
            substrate_q1, substrate_q2, turn = scale * cos_p, -scale * sin_p, -self.sin_angle / self.cos_angle
        n = thickness.shape[1]
        e = torch.as_tensor(substrate_debye_waller, dtype=strain.dtype, device=strain.device).reshape(-1, 1)
        return Batch(
            thickness=thickness,
            u0=u0 + self.refraction.real[:, None, None],
            q1=q1,
            q2=q2,
            absorption=self.refraction.imag[:, None].expand(-1, n),
            debye_waller=debye_waller,
            sigma_h=self.sigma_h[:, None].expand(-1, n, -1),
            sigma_hbar=self.sigma_hbar[:, None].expand(-1, n, -1),
            substrate_u0=self.refraction,
            substrate_q1=substrate_q1[:, 0, 0],
            substrate_q2=substrate_q2[:, 0, 0],
            substrate_sigma_h=self.sigma_h * e,
            substrate_sigma_hbar=self.sigma_hbar * e,
            turn=turn[:, 0, 0],
        )


def axes(
    deviation: Deviation, dtheta: FloatArray, dtype: torch.dtype, device: torch.device | str | None = None
) -> tuple[Tensor, Tensor]:
    """Return X and Y of one curve, shape (1, m), calculated in float64."""
    x, y = deviation.axes(dtheta)
    return _tensor(x[None], dtype, device), _tensor(y[None], dtype, device)


def amplitude(c: Batch, x: Tensor, y: Tensor, *, segment: int = 8) -> Tensor:
    """Return the amplitude r at the surface, shape (B, 2, m), complex.

    Parameters
    ----------
    c : Batch
    x, y : Tensor, shape (B, m)
        Angle coordinates, in any order.
    segment : int
        Where gradients are recorded, only r between segments of this many lamellae is kept; what lies inside is
        calculated again on the way back.
    """
    lamella = _graded(c, x, y) if c.u0.shape[2] == 3 else _uniform(c, x, y)
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


def _tensor(values: object, dtype: torch.dtype, device: torch.device | str | None) -> Tensor:
    array = np.asarray(values)
    return torch.as_tensor(array, dtype=dtype.to_complex() if np.iscomplexobj(array) else dtype, device=device)


def _substrate(c: Batch, x: Tensor, y: Tensor) -> Tensor:
    u = (c.substrate_u0[:, None] + c.substrate_q1[:, None] * x + c.substrate_q2[:, None] * y)[:, None]
    sigma_h, sigma_hbar = c.substrate_sigma_h[:, :, None], c.substrate_sigma_hbar[:, :, None]
    return -2.0 * sigma_h / (u + 1j * torch.sqrt(4.0 * sigma_h * sigma_hbar - u**2))


def _largest(axis0: Tensor, axis1: Tensor, axis2: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return the largest abs(axis0 + axis1 x + axis2 y) of each lamella, shape (n,); a bound, whatever the order."""
    low_x, high_x = (edge[:, None] for edge in x.aminmax(dim=1))
    low_y, high_y = (edge[:, None] for edge in y.aminmax(dim=1))
    middle = axis0 + 0.5 * axis1 * (low_x + high_x) + 0.5 * axis2 * (low_y + high_y)
    reach = 0.5 * (axis1.abs() * (high_x - low_x) + axis2.abs() * (high_y - low_y))
    return (middle.abs() + reach).amax(dim=0)


def _polynomial(z: Tensor, series: Sequence[float]) -> Tensor:
    value = torch.full_like(z, series[-1])
    for term in reversed(series[:-1]):
        value = value * z + term
    return value


def _each(values: Tensor) -> tuple[Tensor, ...]:
    """Return the values of each lamella, ready to meet (B, m) or, with a polarisation axis, (B, 2, m)."""
    return values[..., None].unbind(1)


# -- uniform lamellae -----------------------------------------------------------------------------------------------


def _uniform(c: Batch, x: Tensor, y: Tensor) -> Step:
    """Return the step over lamella j: cos and sinc of z = w**2 - h h_bar by series and doubling, or root and exp."""
    half = 0.5 * c.thickness
    axes = half * c.u0[..., 0], half * c.q1[..., 0], half * c.q2[..., 0]
    mu = half * c.absorption
    et = (c.debye_waller[..., 0] * c.thickness)[..., None]
    h, h_bar = et * c.sigma_h, et * c.sigma_hbar
    kappa = h * h_bar
    with torch.no_grad():
        coupling, absorbed = kappa.abs().amax(dim=(0, 2)), mu.abs().amax(dim=0)
        size = _largest(*axes, x, y) ** 2 + absorbed**2 + coupling
        doublings = torch.log2(size.clamp_min(1.0)).mul(0.5).ceil().int().tolist()
        thick = (absorbed + coupling.sqrt() > _THICK).tolist()
    plan = list(zip(*(_each(v) for v in (*axes, mu)), *(_each(v) for v in (h, h_bar, kappa)), strict=True))

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
    versine, sinc = z * _polynomial(z, _VERSINE), _polynomial(z, _SINC)
    for _ in range(doublings):
        sinc, versine = sinc - sinc * versine, 2.0 * versine * (2.0 - versine)
    return 1.0 - versine, sinc


def _cos_sinc_exponential(z: Tensor) -> tuple[Tensor, Tensor]:
    """Return cos and sinc times exp(iy), which a common factor of the wave leaves free; Im y >= 0."""
    small = z.abs() < 1e-2
    near, far = torch.where(small, z, 0.0), torch.where(small, 1.0, z)
    y = 1j * torch.sqrt(-far)
    wave = torch.exp(2j * y)
    cosine = torch.where(small, 1.0 - near * _polynomial(near, _VERSINE), 0.5 * (1.0 + wave))
    return cosine, torch.where(small, _polynomial(near, _SINC), 0.5j * (1.0 - wave) / y)


# -- graded lamellae ------------------------------------------------------------------------------------------------


def _graded(c: Batch, x: Tensor, y: Tensor) -> Step:
    """Return the step over lamella j: the oscillatory integral by Gauss quadrature, coupling to second order."""
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
        reach = _largest(*axes, x, y)
        far = (reach > 1.0).tolist()
        # Nodes that leave 3e-8 and 3e-12 (measured for abs(x) < 20, abs(beta) < 2).
        bend = beta.abs().amax(dim=0)
        need = 5.0 + 0.7 * reach + 1.6 * bend if x.dtype == torch.float32 else 7.5 + 0.73 * reach + 2.4 * bend
    zeta, weight = _half_gauss(int(0.5 * max(need.tolist(), default=0.0)) + 1, x)
    rows = _quadrature_rows(zeta, weight, c.debye_waller, beta, gamma, mu)
    scalars = (*axes, *bends, 0.5 * ratio, 0.25 * c.debye_waller[..., 1] ** 2, torch.exp(-mu))
    plan = list(zip(*(_each(v) for v in scalars), *(_each(v) for v in (h, h_bar, h * h_bar)), strict=True))
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

    The first two rows give real and imaginary part of ``1/2 int g exp(i x zeta)``, the last two those of the same
    with ``zeta**2 g``; g is the envelope of ``_reference.graded_lamella``.
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
    """Return ``rows @ waves``; in single precision on a GPU without matmul, whose precision users lower (TF32)."""
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
    return _tensor(zeta[count:], like.dtype, like.device), _tensor(0.5 * weight[count:], like.dtype, like.device)


def _turned(phase: Tensor, decay: Tensor) -> Tensor:
    """Return decay*exp(i phase), shape (B, 1, m)."""
    return torch.complex(decay * torch.cos(phase), decay * torch.sin(phase))[:, None]


def _ordered(x: Tensor, far: bool) -> Tensor:
    """Return (2x - sin 2x)/x**2; ``far`` where abs(x) > 1 may occur."""
    if not far:
        return x * _polynomial(x * x, _ORDERED)
    small = x.abs() < 1.0
    near, away = torch.where(small, x, 0.0), torch.where(small, 1.0, x)
    return torch.where(
        small, near * _polynomial(near * near, _ORDERED), (2.0 * away - torch.sin(2.0 * away)) / (away * away)
    )
