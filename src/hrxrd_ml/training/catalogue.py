"""Reflections as tensors: what a batch of curves needs of each, and the list of all that a prior may draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hrxrd_ml.crystal.reflection import Reflection
from hrxrd_ml.diffraction.lamellae import Coefficients, Lamellae, coefficients
from hrxrd_ml.guess.network.scale import StrainAxis
from hrxrd_ml.training.arrays import TorchArrays
from hrxrd_ml.training.prior import SYMMETRIC_SHARE, Beam, UniversalPrior
from hrxrd_ml.training.reflections import ASYMMETRIC, SYMMETRIC, Indices, usable_reflection


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
    refraction : Tensor, complex
        Deviation by refraction and absorption [1/Å].
    bend : Tensor
        Refraction per unit of Y [1/Å].
    coupling_h, coupling_hbar : Tensor, complex, shape (B, 2, 1)
        At E = 1, the polarisation factor included [1/Å].
    weights : Tensor, shape (B, 2, 1)
        Of the polarisations.
    strength : Tensor, shape (B, 2, 1)
        2 (pi C abs(chi_h)/lambda)**2 of the diffuse part [1/Å**2].
    loss : Tensor
        k chi0'' [1/Å].
    modulation : Tensor
        Of the absorption: `Susceptibility.modulation`.
    """

    axes: StrainAxis
    spacing: Tensor
    darwin: Tensor
    shift: Tensor
    refraction: Tensor
    bend: Tensor
    coupling_h: Tensor
    coupling_hbar: Tensor
    weights: Tensor
    strength: Tensor
    loss: Tensor
    modulation: Tensor

    @classmethod
    def of(
        cls,
        reflections: Sequence[Reflection],
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Reflections:
        """Return the tensors of some reflections."""
        rest, axes = [_at_rest(r) for r in reflections], [StrainAxis.of(r) for r in reflections]

        def column(values: list[Any]) -> Tensor:
            array = np.array(values)[..., None]
            kind = dtype.to_complex() if np.iscomplexobj(array) else dtype
            return torch.as_tensor(array, dtype=kind, device=device)

        chih = [[abs(r.susceptibility.pair(p)[0]) for p in range(2)] for r in reflections]
        return cls(
            axes=replace(
                axes[0].each(lambda name, _: column([getattr(axis, name) for axis in axes])),
                arrays=TorchArrays(device),
            ),
            spacing=column([r.d_spacing for r in reflections]),
            darwin=column([r.darwin_width() for r in reflections]),
            shift=column([r.refraction_shift() for r in reflections]),
            refraction=column([c.substrate_u0 for c in rest]),
            bend=column([c.substrate_q2 for c in rest]),
            coupling_h=column([c.substrate_sigma_h for c in rest]),
            coupling_hbar=column([c.substrate_sigma_hbar for c in rest]),
            weights=column([r.polarization_weights for r in reflections]),
            strength=column(
                [
                    2.0 * (np.pi * np.array(r.polarization_factors) * modulus / r.wavelength) ** 2
                    for r, modulus in zip(reflections, chih, strict=True)
                ]
            ),
            loss=column([r.wavenumber * r.susceptibility.chi0.imag for r in reflections]),
            modulation=column([r.susceptibility.modulation() for r in reflections]),
        )

    def __len__(self) -> int:
        return len(self.spacing)

    def take(self, index: Tensor) -> Reflections:
        """Return some of the reflections, in this order."""
        columns: dict[str, Any] = {f.name: getattr(self, f.name)[index] for f in fields(self) if f.name != "axes"}
        return Reflections(self.axes.each(lambda _, column: column[index]), **columns)

    def varied(self, beam: Beam) -> Reflections:
        """Return reflections with other susceptibilities and beams, of shape (B, 1)."""
        ratio, absorption, strength = beam
        factors = (self.strength[:, 1] / self.strength[:, 0]).clamp_min(0.0)  # C**2: chi_h is the same for both
        sigma = 1.0 / (1.0 + ratio)
        pi = (1.0 - sigma) * factors
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
            refraction=torch.complex(self.refraction.real, self.refraction.imag * absorption),
            coupling_h=self.coupling_h * strength[:, None],
            coupling_hbar=self.coupling_hbar * strength[:, None],
            weights=torch.stack([sigma, 1.0 - sigma], dim=1),
            strength=self.strength * strength[:, None] ** 2,
            loss=self.loss * absorption,
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


def _at_rest(reflection: Reflection) -> Coefficients:
    rest = np.zeros((1, 1))
    return coefficients(reflection, Lamellae.of_one_crystal(reflection, np.ones(1), rest, rest + 1.0))
