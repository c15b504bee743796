"""Coefficients of a batch of curves, as tensors, differentiable with respect to strain, E and thickness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from ...reflection import Reflection
from .._contract import Coefficients, Deviation, FloatArray


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
        """Return the coefficients of several piles, all with the same number of lamellae and nodes."""
        return cls(**{f.name: tensor([getattr(p, f.name) for p in piles], dtype, device) for f in fields(cls)})


@dataclass(frozen=True)
class Constants:
    """What a batch of reflections contributes to the coefficients: one number (or one a polarisation) each.

    Attributes
    ----------
    prefactor, wavenumber, normal, tan_bragg, sin_inclination, cos_inclination : Tensor, shape (B, 1, 1)
        pi/(lambda gamma_h), k and H cos(phi) [1/Å]; of the Bragg angle and the inclination.
    refraction : Tensor, complex, shape (B,)
        pi/lambda chi_0 (1/gamma_0 + 1/gamma_h) [1/Å].
    bend : Tensor, shape (B,)
        pi/lambda Re chi_0, the refraction per unit of Y [1/Å].
    sigma_h, sigma_hbar : Tensor, complex, shape (B, 2)
        Couplings at E = 1, the polarisation factor included [1/Å].
    weights : Tensor, shape (B, 2)
        Weights of the polarisations in the reflectivity.
    turn : Tensor, shape (B,)
        dY/dX at the Bragg angle.
    deviations : tuple of Deviation
    linear : bool
        Use the linear form of the deviation (see ``Deviation``).
    """

    prefactor: Tensor
    wavenumber: Tensor
    normal: Tensor
    tan_bragg: Tensor
    sin_inclination: Tensor
    cos_inclination: Tensor
    refraction: Tensor
    bend: Tensor
    sigma_h: Tensor
    sigma_hbar: Tensor
    weights: Tensor
    turn: Tensor
    deviations: tuple[Deviation, ...]
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

        def column(values: FloatArray) -> Tensor:
            return tensor(values[:, None, None], dtype, device)

        return cls(
            prefactor=column(np.pi / (wavelength * gammah)),
            wavenumber=column(2.0 * np.pi / wavelength),
            normal=column(4.0 * np.pi / wavelength * np.sin(bragg) * np.cos(tilt)),
            tan_bragg=column(np.tan(bragg)),
            sin_inclination=column(np.sin(tilt)),
            cos_inclination=column(np.cos(tilt)),
            refraction=tensor(np.pi / wavelength * (1.0 / gamma0 + 1.0 / gammah) * chi0, dtype, device),
            bend=tensor(np.pi / wavelength * chi0.real, dtype, device),
            sigma_h=tensor(coupling * pairs[..., 0], dtype, device),
            sigma_hbar=tensor(coupling * pairs[..., 1], dtype, device),
            weights=tensor([r.polarization_weights for r in reflections], dtype, device),
            turn=tensor([Deviation.of(r, linear).turn for r in reflections], dtype, device),
            deviations=tuple(Deviation.of(r, linear) for r in reflections),
            linear=linear,
        )

    def axes(self, dtheta: FloatArray) -> tuple[Tensor, Tensor]:
        """Return X and Y, shape (B, m), of offsets of shape (m,) or (B, m) [rad], calculated in float64."""
        dtype, device = self.prefactor.dtype, self.prefactor.device
        rows = np.broadcast_to(dtheta, (len(self.deviations), np.shape(dtheta)[-1]))
        pairs = [deviation.axes(row) for deviation, row in zip(self.deviations, rows, strict=True)]
        return tensor([p[0] for p in pairs], dtype, device), tensor([p[1] for p in pairs], dtype, device)

    def coefficients(
        self,
        thickness: Tensor,
        strain: Tensor,
        debye_waller: Tensor,
        substrate_debye_waller: Tensor | float = 1.0,
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
        sin_p, cos_p, zero = self.sin_inclination, self.cos_inclination, torch.zeros_like(strain)
        if self.linear:
            slope = self.prefactor * 4.0 * self.tan_bragg / (1.0 + self.tan_bragg**2)
            u0 = slope * (cos_p**2 * self.tan_bragg - sin_p * cos_p) * strain
            bend = torch.zeros_like(self.refraction.real)
        else:
            slope, u0 = self.wavenumber, self.normal * (strain / (1.0 + strain))
            bend = self.bend
        n = thickness.shape[1]
        e = torch.as_tensor(substrate_debye_waller, dtype=strain.dtype, device=strain.device).reshape(-1, 1)
        return Batch(
            thickness=thickness,
            u0=u0 + self.refraction.real[:, None, None],
            q1=slope + zero,
            q2=bend[:, None, None] + zero,
            absorption=self.refraction.imag[:, None].expand(-1, n),
            debye_waller=debye_waller,
            sigma_h=self.sigma_h[:, None].expand(-1, n, -1),
            sigma_hbar=self.sigma_hbar[:, None].expand(-1, n, -1),
            substrate_u0=self.refraction,
            substrate_q1=slope[:, 0, 0],
            substrate_q2=bend,
            substrate_sigma_h=self.sigma_h * e,
            substrate_sigma_hbar=self.sigma_hbar * e,
            turn=self.turn,
        )


def axes(
    deviation: Deviation, dtheta: FloatArray, dtype: torch.dtype, device: torch.device | str | None = None
) -> tuple[Tensor, Tensor]:
    """Return X and Y of one curve, shape (1, m), calculated in float64."""
    x, y = deviation.axes(dtheta)
    return tensor(x[None], dtype, device), tensor(y[None], dtype, device)


def tensor(values: object, dtype: torch.dtype, device: torch.device | str | None) -> Tensor:
    """Return a tensor of this real type, or of the complex type that has such parts."""
    array = np.asarray(values)
    kind = dtype.to_complex() if np.iscomplexobj(array) else dtype
    return torch.as_tensor(array, dtype=kind, device=device)
