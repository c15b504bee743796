"""The angle coordinates and the strain axis of a batch of reflections: `Deviation` and `StrainAxis` as tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from hrxrd_ml.ml.scale import StrainAxis
from hrxrd_ml.units import ARCSEC

_HORIZON = 0.02  # as in Deviation: two-beam theory ends before the horizon


@dataclass(frozen=True)
class Axes:
    """What is known of B reflections on the angle and on the strain axis; each field has shape (B,).

    Attributes
    ----------
    entry, exit : Tensor
        Angles of incidence and exit at the Bragg angle [rad].
    wavenumber, normal : Tensor
        k and H cos(phi) [1/Å].
    per_radian, coupling, coupling_phase, absorption, second_polarisation, asymmetry : Tensor
        See `scale.StrainAxis`.
    """

    entry: Tensor
    exit: Tensor
    wavenumber: Tensor
    normal: Tensor
    per_radian: Tensor
    coupling: Tensor
    coupling_phase: Tensor
    absorption: Tensor
    second_polarisation: Tensor
    asymmetry: Tensor

    @classmethod
    def of(
        cls, axes: Sequence[StrainAxis], dtype: torch.dtype = torch.float32, device: torch.device | str | None = None
    ) -> Axes:
        """Return the axes of several reflections."""
        columns = {
            "entry": [a.deviation.bragg_angle + a.deviation.inclination for a in axes],
            "exit": [a.deviation.bragg_angle - a.deviation.inclination for a in axes],
            "wavenumber": [
                2.0 * a.deviation.prefactor * math.sin(a.deviation.bragg_angle - a.deviation.inclination) for a in axes
            ],
        }
        for field in fields(cls):
            if field.name not in columns:
                columns[field.name] = [getattr(a, field.name) for a in axes]
        return cls(**{name: torch.tensor(np.array(v), dtype=dtype, device=device) for name, v in columns.items()})

    def __len__(self) -> int:
        return len(self.entry)

    def take(self, index: Tensor) -> Axes:
        """Return the axes of some reflections, in this order."""
        return Axes(**{field.name: getattr(self, field.name)[index] for field in fields(self)})

    @property
    def per_arcsec(self) -> Tensor:
        """Length of a second of arc on the strain axis, shape (B,)."""
        return self.per_radian * ARCSEC

    def coordinates(self, dtheta: Tensor) -> tuple[Tensor, Tensor]:
        """Return X and Y, shape (B, m), of offsets [rad]; see ``Deviation.axes``."""
        entry, exit = self.entry[:, None], self.exit[:, None]
        sin_in, sin_out = self._sines(dtheta)
        start_in, start_out = entry.sin().clamp_min(_HORIZON), exit.sin().clamp_min(_HORIZON)
        chord = 2.0 * torch.sin(0.5 * dtheta)
        rise = chord * torch.cos(entry + 0.5 * dtheta)
        tilt = -chord * torch.sin(entry + 0.5 * dtheta)
        exit_rise = -tilt * (2.0 * exit.cos() + tilt) / (sin_out + start_out)
        return rise + exit_rise, -rise / (sin_in * start_in) - exit_rise / (sin_out * start_out)

    def flux(self, dtheta: Tensor) -> Tensor:
        """Return gamma_0 gamma_h at the Bragg angle over that at each offset; see ``Deviation.flux``."""
        sin_in, sin_out = self._sines(dtheta)
        start = self.entry.sin().clamp_min(_HORIZON) * self.exit.sin().clamp_min(_HORIZON)
        return start[:, None] / (sin_in * sin_out)

    def strain(self, dtheta: Tensor) -> Tensor:
        """Return the strain axis's values, shape (B, m), at offsets [rad]; they fall with the angle."""
        return -self.wavenumber[:, None] * self.coordinates(dtheta)[0] / self.normal[:, None]

    def offset(self, strain: Tensor) -> Tensor:
        """Return the offsets [rad] at which strains (B, m) diffract; inverse of `strain`, by Newton's method."""
        slope = self.per_radian[:, None]
        angle = -strain / slope
        for _ in range(6):  # with the slope at the Bragg angle, corrected by what is left
            wide = 1e-3
            local = (self.strain(angle - wide) - self.strain(angle + wide)) / (2.0 * wide)
            angle = angle + (self.strain(angle) - strain) / local
        return angle

    def constants(self, span: Tensor) -> Tensor:
        """Return what a network is told of the experiments, shape (B, 7), for windows of width ``span`` (B,)."""
        return torch.stack(
            [
                torch.log10(self.coupling / span),
                self.coupling_phase,
                torch.log10((self.absorption + 1e-9) / span),
                self.second_polarisation,
                torch.log10(span),
                torch.log10(self.normal),
                torch.log10(self.asymmetry),
            ],
            dim=1,
        )

    def _sines(self, dtheta: Tensor) -> tuple[Tensor, Tensor]:
        entry = self.entry[:, None]
        cos_exit = self.exit[:, None].cos() - 2.0 * torch.sin(entry + 0.5 * dtheta) * torch.sin(0.5 * dtheta)
        square = (1.0 - cos_exit) * (1.0 + cos_exit)
        return torch.sin(entry + dtheta).clamp_min(_HORIZON), square.clamp_min(_HORIZON**2).sqrt()
