"""Reflections as tensors: what a batch of curves needs of each, and the list of all that a prior may draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hrxrd_ml.crystal.reflection import Reflection
from hrxrd_ml.guess.network.scale import StrainAxis
from hrxrd_ml.training.arrays import TorchArrays
from hrxrd_ml.training.prior import SYMMETRIC_SHARE, Beam, UniversalPrior
from hrxrd_ml.training.reflections import ASYMMETRIC, SYMMETRIC, Indices, usable_reflection


@dataclass(frozen=True)
class Optics:
    """What B reflections do at the m angles of a scan.

    Attributes
    ----------
    deviation : Tensor, complex, shape (B, m)
        Of the unstrained lattice, refraction and absorption included [1/Å].
    mismatch : Tensor, shape (B, m)
        The same without these.
    coupling : Tensor, shape (B, 2, m)
        k C/(2 sqrt(gamma_0 gamma_h)), which times chi_h is a coupling [1/Å].
    strength : Tensor, shape (B, 2, m)
        2 (pi C abs(chi_h)/lambda)**2 of the diffuse part [1/Å**2].
    gamma0, gammah : Tensor, shape (B, m)
        Sines of incidence and exit angle, outside of the crystal.
    """

    deviation: Tensor
    mismatch: Tensor
    coupling: Tensor
    strength: Tensor
    gamma0: Tensor
    gammah: Tensor


@dataclass(frozen=True)
class Reflections:
    """What the curves of B reflections depend on; shape (B, 1), with a polarisation axis (B, 2, 1).

    Attributes
    ----------
    axes : StrainAxis
    spacing : Tensor
        Interplanar spacing [Å].
    darwin, shift : Tensor
        Darwin width, and refraction shift of the substrate peak [rad].
    chi0 : Tensor, complex
    chih, chihbar : Tensor, complex, shape (B, 2, 1)
        Of both polarisations.
    weights : Tensor, shape (B, 2, 1)
        Of the polarisations.
    modulation : Tensor
        Of the absorption: `Susceptibility.modulation`.
    """

    axes: StrainAxis
    spacing: Tensor
    darwin: Tensor
    shift: Tensor
    chi0: Tensor
    chih: Tensor
    chihbar: Tensor
    weights: Tensor
    modulation: Tensor

    @classmethod
    def of(
        cls,
        reflections: Sequence[Reflection],
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Reflections:
        """Return the tensors of some reflections."""
        axes, chi = [StrainAxis.of(r) for r in reflections], [r.susceptibility for r in reflections]

        def column(values: list[Any]) -> Tensor:
            array = np.array(values)[..., None]
            kind = dtype.to_complex() if np.iscomplexobj(array) else dtype
            return torch.as_tensor(array, dtype=kind, device=device)

        return cls(
            axes=replace(
                axes[0].each(lambda name, _: column([getattr(axis, name) for axis in axes])),
                arrays=TorchArrays(device),
            ),
            spacing=column([r.d_spacing for r in reflections]),
            darwin=column([r.darwin_width() for r in reflections]),
            shift=column([r.refraction_shift() for r in reflections]),
            chi0=column([c.chi0 for c in chi]),
            chih=column([[c.pair(p)[0] for p in range(2)] for c in chi]),
            chihbar=column([[c.pair(p)[1] for p in range(2)] for c in chi]),
            weights=column([r.polarization_weights for r in reflections]),
            modulation=column([c.modulation() for c in chi]),
        )

    def __len__(self) -> int:
        return len(self.spacing)

    def take(self, index: Tensor) -> Reflections:
        """Return some of the reflections, in this order."""
        columns: dict[str, Any] = {f.name: getattr(self, f.name)[index] for f in fields(self) if f.name != "axes"}
        return Reflections(self.axes.each(lambda _, column: column[index]), **columns)

    def at(self, dtheta: Tensor) -> Optics:
        """Return what the reflections do at offsets (B, m) [rad], by the formulas of `diffraction.beams`.

        Written so that nothing of order one cancels but in the polarisation factor where it vanishes.
        """
        waves, k, chi0 = self.axes.waves(dtheta), self.axes.wavenumber, self.chi0
        inner, outer = (torch.sqrt(gamma**2 + chi0.real) for gamma in (waves.gamma0, waves.gammah))
        refraction = k * chi0.real * (1.0 / (inner + waves.gamma0) + 1.0 / (outer + waves.gammah))
        absorption = 0.5 * k * chi0.imag * (1.0 / inner + 1.0 / outer)
        sigma, outside = torch.ones_like(inner), waves.along - waves.gamma0 * waves.gammah
        inside = (waves.along - inner * outer) / (1.0 + chi0.real)
        return Optics(
            deviation=torch.complex(waves.mismatch + refraction, absorption),
            mismatch=waves.mismatch,
            coupling=0.5 * k[:, None] * torch.stack([sigma, inside.abs()], dim=1) / torch.sqrt(inner * outer)[:, None],
            strength=0.5 * (k[:, None] * self.chih.abs() * torch.stack([sigma, outside], dim=1)) ** 2,
            gamma0=waves.gamma0,
            gammah=waves.gammah,
        )

    def varied(self, beam: Beam) -> Reflections:
        """Return reflections with other susceptibilities and beams, of shape (B, 1)."""
        ratio, absorption, strength = beam
        sigma = 1.0 / (1.0 + ratio)
        pi = (1.0 - sigma) * torch.cos(self.axes.entry + self.axes.exit) ** 2
        axes = replace(
            self.axes,
            coupling=self.axes.coupling * strength,
            absorption=self.axes.absorption * absorption,
            second_polarisation=pi / (sigma + pi),
        )
        return replace(
            self,
            axes=axes,
            darwin=self.darwin * strength,
            chi0=torch.complex(self.chi0.real, self.chi0.imag * absorption),
            chih=self.chih * strength[:, None],
            chihbar=self.chihbar * strength[:, None],
            weights=torch.stack([sigma, 1.0 - sigma], dim=1),
            modulation=self.modulation * strength / absorption,
        )


@dataclass(frozen=True)
class Catalogue:
    """All reflections that a prior may draw, the largest interplanar spacing first.

    Attributes
    ----------
    reflections : Reflections
    cumulative : Tensor, shape (n,)
        Sum of the probabilities up to each reflection.
    """

    reflections: Reflections
    cumulative: Tensor

    @classmethod
    def of(cls, prior: UniversalPrior, device: torch.device | str | None = None) -> Catalogue:
        """Return what `UniversalPrior` draws from: crystal, wavelength and indices at random, if they are usable."""
        share: dict[Reflection, float] = {}
        choices: list[tuple[Indices, Indices | None, str, float]]
        symmetric, asymmetric = SYMMETRIC_SHARE / len(SYMMETRIC), 0.5 * (1.0 - SYMMETRIC_SHARE) / len(ASYMMETRIC)
        choices = [(hkl, None, "high", symmetric) for hkl in SYMMETRIC]
        choices += [(hkl, surface, side, asymmetric) for hkl, surface in ASYMMETRIC for side in ("high", "low")]
        for crystal in prior.crystals:
            for wavelength in prior.wavelengths:
                for hkl, surface, side, weight in choices:
                    found = usable_reflection(crystal, hkl, wavelength, surface, side)
                    if found is not None:
                        share[found] = share.get(found, 0.0) + weight
        known = sorted(share, key=lambda r: -r.d_spacing)
        total = np.cumsum([share[r] for r in known])
        return cls(
            Reflections.of(known, device), torch.as_tensor(total / total[-1], dtype=torch.float32, device=device)
        )

    def draw(self, unit: Tensor, closest: Tensor) -> Tensor:
        """Return the numbers of random reflections, shape (B,).

        Parameters
        ----------
        unit : Tensor, shape (B,)
            Numbers from 0 to 1.
        closest : Tensor, shape (B,)
            Smallest interplanar spacing allowed [Å].
        """
        spacing = self.reflections.spacing[:, 0]
        allowed = torch.searchsorted(-spacing, -closest, right=True).clamp_min(1)
        limit = self.cumulative[allowed - 1]
        return torch.minimum(torch.searchsorted(self.cumulative, unit * limit), allowed - 1)
