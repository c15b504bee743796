"""What a batch of curves is drawn from: `ml.prior` as tensors, an experiment of its own for every curve."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hrxrd_ml.ml.prior import MOST_FRINGES, UniversalPrior
from hrxrd_ml.ml.stream.catalogue import Catalogue, Reflections
from hrxrd_ml.ml.stream.physics import Values, implanted
from hrxrd_ml.parameters import implanted_space
from hrxrd_ml.units import ARCSEC

_MARGIN = 100.0  # arcsec; how far, at least, a curve is calculated beyond its ends


@dataclass(frozen=True)
class Scans:
    """Experiments, parameters and scans of B curves.

    Attributes
    ----------
    reflections : Reflections
    values : dict of Tensor, shape (B,)
    dtheta : Tensor, shape (B, points)
        Nominal offsets [rad], ascending; those of a shorter scan go on beyond its end.
    measured : Tensor of bool, shape (B, points)
    """

    reflections: Reflections
    values: Values
    dtheta: Tensor
    measured: Tensor

    def take(self, index: Tensor) -> Scans:
        """Return some of them, in this order."""
        values = {name: column[index] for name, column in self.values.items()}
        return Scans(self.reflections.take(index), values, self.dtheta[index], self.measured[index])

    def true_angle(self) -> Tensor:
        """Return the true offsets from the Bragg angle, shape (B, points) [rad]."""
        v = self.values
        return v["step"][:, None] * self.dtheta - v["offset"][:, None] * ARCSEC

    def ends(self) -> tuple[Tensor, Tensor]:
        """Return between which true offsets (B,) the reflectivity is needed [rad]."""
        v, angle = self.values, self.true_angle()
        margin = (1.7 * v["fwhm"] + 0.5 * v["curvature"]).clamp_min(_MARGIN) * ARCSEC
        low = angle.masked_fill(~self.measured, float("inf")).amin(dim=1)
        high = angle.masked_fill(~self.measured, float("-inf")).amax(dim=1)
        return torch.minimum(low, torch.zeros_like(low)) - margin, torch.maximum(high, torch.zeros_like(high)) + margin


@dataclass(frozen=True)
class Draw:
    """Draws from a prior.

    Attributes
    ----------
    prior : UniversalPrior
    catalogue : Catalogue
        Its reflections.
    generator : torch.Generator
        On the device of the catalogue.
    """

    prior: UniversalPrior
    catalogue: Catalogue
    generator: torch.Generator

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Return numbers between two limits."""
        return low + (high - low) * torch.rand(shape, generator=self.generator, device=self.generator.device)

    def scans(self, n: int) -> Scans:
        """Return n experiments but for their `levels`; the distributions are those of `UniversalPrior`."""

        def log(low: float, high: float) -> Tensor:
            return self._log(low, high, n)

        values = profiles(self.uniform(n, len(implanted_space())))
        depths = torch.linspace(0.0, 1.0, 129, device=self.generator.device) * values["L1"][:, None]
        strain = implanted(values, depths).amax(dim=1)
        depth, most = values["L1"], float(self.prior.most_points)
        r = self._reflections(depth * strain, n)
        reach = -r.axes.offset(strain[:, None])[:, 0] / ARCSEC
        darwin = r.darwin / ARCSEC
        far = self.uniform(n) < 0.93
        low = torch.where(far, self.uniform(n, low=1.03, high=1.9), self.uniform(n, low=0.8, high=1.0))
        ends = low * reach
        narrow, wide = (0.3 * darwin).clamp(1.0, 8.0), (0.15 * reach).clamp(8.0, 60.0)
        shift = self.uniform(n, low=-1.0, high=1.0)
        offset = (0.05 * reach + 30.0) * shift + self.uniform(n, low=-20.0, high=20.0)
        top = self.uniform(n, low=0.02, high=0.3) * reach + 4.0 * (narrow + darwin)
        fewest = (3.2 * depth * strain / r.spacing).clamp(180.0, 0.7 * most)
        count = (fewest * (most / fewest) ** self.uniform(n)).floor()
        step = (ends + top) / (count - 1.0)
        usual = torch.maximum(narrow * (wide / narrow) ** self.uniform(n), 1.5 * step)
        fwhm = usual * log(0.75, 1.33)
        values |= {
            "fwhm": fwhm,
            "offset": offset,
            "damage": log(0.01, 1.0),
            "correlation_length": log(8.0, 800.0),
            "substrate_damage": log(3e-4, 0.05),
            "substrate_correlation_length": log(300.0, 2e4),
            "curvature": self._sometimes(0.3, 1.5 * fwhm),
            "step": angular_step(self.uniform(n)),
            "eta": self.uniform(n, low=-0.5, high=0.5).clamp_min(0.0),
            "curvature_skew": self.uniform(n, low=-3.0, high=3.0),
            "diffuse_mix": self.uniform(n),
            "substrate_diffuse_mix": self.uniform(n),
        }
        place = torch.arange(self.prior.most_points, device=self.generator.device)
        dtheta = ((offset - ends)[:, None] + step[:, None] * place) * ARCSEC
        return Scans(r, values, dtheta, (place < count[:, None]) & ~self._missing(count, place))

    def levels(self, reflections: Reflections, fwhm: Tensor) -> Values:
        """Return how long was counted: scale, background and dead time of curves with this resolution [arcsec]."""
        n, darwin = len(fwhm), reflections.darwin / ARCSEC
        counts = self._log(*self.prior.counts, n)
        share, least = self._log(10**-6.5, 10**-3.3, n), self._log(0.03, 3.0, n)
        return {
            "scale": counts * torch.hypot(fwhm, darwin) / (0.9 * darwin),
            "background": torch.maximum(counts * share, least),
            "dead_time": self._sometimes(0.3, 0.4 / counts),
        }

    def _log(self, low: float, high: float, n: int) -> Tensor:
        return low * (high / low) ** self.uniform(n)

    def _sometimes(self, share: float, most: Tensor) -> Tensor:
        column = self.uniform(len(most))
        return torch.where(column < share, column / share * most, torch.zeros_like(column))

    def _reflections(self, size: Tensor, n: int) -> Reflections:
        known = self.catalogue
        chosen = known.reflections.take(known.draw(self.uniform(n), size / MOST_FRINGES))
        fixed = torch.tensor([1.0, 0.0, -1.0, -1.0], device=size.device)
        ratio = fixed[torch.randint(4, (n,), generator=self.generator, device=size.device)]
        ratio = torch.where(ratio < 0.0, self.uniform(n, low=0.3), ratio)
        return chosen.varied(self.uniform(n, low=0.9, high=1.1), self.uniform(n, low=0.9, high=1.1), ratio)

    def _missing(self, count: Tensor, place: Tensor) -> Tensor:
        """Return which points were not measured: in a few scans some at random, or a few in a row."""
        n = len(count)
        kind = self.uniform(n)[:, None]
        share = self.uniform(n, low=0.01, high=0.04)[:, None]
        scattered = self.uniform(n, len(place)) < share
        begin = (self.uniform(n) * count).floor()
        length = (2.0 + self.uniform(n) * (1.0 + count / 40.0)).floor()
        hole = (place >= begin[:, None]) & (place < (begin + length)[:, None])
        return torch.where(kind < 0.075, scattered, torch.where(kind < 0.15, hole, torch.zeros_like(hole)))


def profiles(unit: Tensor) -> Values:
    """Map the unit cube (n, 7) onto the feasible profiles: `ParameterSpace.from_unit` as tensors."""
    space = implanted_space()
    lower, upper = space.limits()
    values: Values = {}
    for i, name in enumerate(space.names):
        top = torch.full_like(unit[:, i], upper[name])
        for rule in space.nested:
            if rule.low == name:
                other = values[rule.high]
                top = torch.minimum(top, other if rule.total is None else rule.total - other)
        values[name] = lower[name] + (top - lower[name]) * unit[:, i]
    return values


def angular_step(unit: Tensor) -> Tensor:
    """Return true over nominal step; see `ml.prior.angular_step`."""
    return torch.where(unit < 0.5, 0.98 + 0.08 * unit, torch.ones_like(unit))
