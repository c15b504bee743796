"""Batches for a training, made when they are needed: inputs and answers of curves that nobody has seen before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from hrxrd_ml.ml.features import apparent
from hrxrd_ml.ml.plan import Plan
from hrxrd_ml.ml.prior import FixedPrior, Prior, UniversalPrior
from hrxrd_ml.ml.stream.catalogue import Catalogue, Reflections
from hrxrd_ml.ml.stream.physics import Simulator
from hrxrd_ml.ml.stream.prior import Draw, profiles
from hrxrd_ml.ml.stream.window import windows
from hrxrd_ml.ml.targets import Frame
from hrxrd_ml.parameters import implanted_space
from hrxrd_ml.units import ARCSEC

_REACH = 100.0 * ARCSEC  # beyond the ends of a scan
_VIEWS = 2


@dataclass(frozen=True)
class Batch:
    """Inputs and answers of n curves.

    Attributes
    ----------
    image : Tensor, shape (n, channels * points)
    constants : Tensor, shape (n, constants)
    answers : Tensor, shape (n, parameters)
    """

    image: Tensor
    constants: Tensor
    answers: Tensor

    def __len__(self) -> int:
        return len(self.image)

    def part(self, rows: slice) -> Batch:
        """Return some of the curves."""
        return Batch(self.image[rows], self.constants[rows], self.answers[rows])


class Source(Protocol):
    """Makes batches."""

    def batch(self, n: int) -> Batch:
        """Return n curves."""
        ...


def source(prior: Prior, plan: Plan, generator: torch.Generator, jitter: float = 0.0) -> Source:
    """Return what makes the curves of a prior on the generator's device."""
    if isinstance(prior, FixedPrior):
        return FixedSource(prior, plan, generator)
    return UniversalSource(prior, plan, generator, jitter)


class UniversalSource:
    """Curves of any experiment, with noise.

    Parameters
    ----------
    prior : UniversalPrior
    plan : Plan
    generator : torch.Generator
        Its device is the one that calculates.
    jitter : float
        Standard deviation of the logarithm of a random zoom of the window.
    """

    def __init__(self, prior: UniversalPrior, plan: Plan, generator: torch.Generator, jitter: float = 0.0) -> None:
        self.draw = Draw(prior, Catalogue.of(prior, generator.device), generator)
        self.plan, self.generator, self.jitter = plan, generator, jitter
        self.simulator = Simulator.on(generator.device)

    def batch(self, n: int) -> Batch:
        """Return n curves; where no peak can be seen, another curve stands twice."""
        with torch.no_grad():
            # Each sample is measured twice: noise costs less than physics.
            samples = self.draw.scans(-(-n // _VIEWS))
            curve = self.simulator.curve(samples.reflections, samples.values, *samples.ends())
            index = torch.arange(n, device=self.generator.device) % len(samples.dtheta)
            scans, seen = samples.take(index), curve.at(samples.true_angle())[index]
            v = scans.values | self.draw.levels(scans.reflections, scans.values["fwhm"])
            expected = v["scale"][:, None] * seen + v["background"][:, None]
            expected = expected / (1.0 + v["dead_time"][:, None] * expected)
            counts = torch.poisson(expected, generator=self.generator)
            zoom = torch.randn(n, generator=self.generator, device=counts.device) * self.jitter
            found = windows(
                self.plan.preprocessing, scans.reflections.axes, scans.dtheta, counts, scans.measured,
                zoom.clamp(-0.4, 0.6).exp(),
            )  # fmt: skip
            axes = scans.reflections.axes
            frame = Frame(found.span, found.peak, found.height, axes.normal, axes.per_arcsec)
            answers = self.plan.targets.encode(apparent(v), frame, torch)
            return Batch(*_only(found.good, found.image.flatten(1), found.constants, answers))


class FixedSource:
    """Curves of one experiment without noise.

    Parameters
    ----------
    prior : FixedPrior
    plan : Plan
    generator : torch.Generator
        Its device is the one that calculates.
    """

    def __init__(self, prior: FixedPrior, plan: Plan, generator: torch.Generator) -> None:
        self.prior, self.plan, self.generator = prior, plan, generator
        self.reflections = Reflections.of([prior.reflection], generator.device)
        self.dtheta = torch.as_tensor(prior.dtheta, dtype=torch.float32, device=generator.device)
        self.simulator = Simulator.on(generator.device, diffuse=False)

    def batch(self, n: int) -> Batch:
        """Return n curves."""
        device = self.generator.device
        with torch.no_grad():
            values = profiles(torch.rand(n, len(implanted_space()), generator=self.generator, device=device))
            ends = torch.stack([self.dtheta.min(), self.dtheta.max()]) + _REACH * self.dtheta.new_tensor([-1.0, 1.0])
            width = torch.full_like(values["L1"], self.prior.fwhm)
            reflections = self.reflections.take(torch.zeros(n, dtype=torch.long, device=device))
            curve = self.simulator.curve(reflections, values | {"fwhm": width}, *ends[:, None].expand(2, n))
            seen = curve.at(self.dtheta.expand(n, -1))
            image = torch.log10(seen + self.plan.preprocessing.floor)
            return Batch(image, image.new_zeros(n, 0), self.plan.targets.encode(values, None, torch))


def _only(good: Tensor, *columns: Tensor) -> tuple[Tensor, ...]:
    """Return the rows with others in place of those that are not good, without asking how many there are."""
    for column in columns:
        good = good & column.isfinite().all(dim=1)
    order = torch.argsort(~good, stable=True)
    place = torch.arange(len(good), device=good.device)
    chosen = torch.where(good, place, order[place % good.sum().clamp_min(1)])
    return tuple(column[chosen] for column in columns)
