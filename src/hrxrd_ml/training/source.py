"""Batches for a training, made when they are needed: inputs and answers of curves that nobody has seen before."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hrxrd_ml.guess.network.plan import Plan
from hrxrd_ml.guess.network.targets import Frame
from hrxrd_ml.specimen.profile.implanted import implanted_space
from hrxrd_ml.training.arrays import torch_draws
from hrxrd_ml.training.catalogue import Catalogue, Reflections
from hrxrd_ml.training.features import apparent
from hrxrd_ml.training.landmarks import windows
from hrxrd_ml.training.prior import GAPS, HOLE, LOST, MOST_FRINGES, Draws, FixedPrior, Prior, UniversalPrior
from hrxrd_ml.training.simulator import Simulator, Values, implanted
from hrxrd_ml.units import ARCSEC

_REACH = 100.0 * ARCSEC  # beyond the ends of a scan
_VIEWS = 2
_MARGIN = 100.0  # arcsec; how far, at least, a curve is calculated beyond its ends


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


def source(prior: Prior, plan: Plan, generator: torch.Generator, jitter: float = 0.0) -> FixedSource | UniversalSource:
    """Return what makes the curves of a prior on the generator's device."""
    if isinstance(prior, FixedPrior):
        return FixedSource(prior, plan, generator)
    return UniversalSource(prior, plan, generator, jitter)


@dataclass(frozen=True)
class Scans:
    """Experiments, parameters and scans of B curves.

    Attributes
    ----------
    reflections : Reflections
    values : dict of Tensor, shape (B, 1)
    dtheta : Tensor, shape (B, points)
        Nominal offsets [rad], ascending; those of a shorter scan go on beyond its end.
    measured : Tensor of bool, shape (B, points)
    """

    reflections: Reflections
    values: Values
    dtheta: Tensor
    measured: Tensor

    @classmethod
    def draw(cls, prior: UniversalPrior, catalogue: Catalogue, n: int, generator: torch.Generator) -> Scans:
        """Return n experiments from a prior and its reflections."""
        draws = torch_draws(n, generator)
        values = profiles(n, generator)
        strain = implanted(values, torch.linspace(0.0, 1.0, 129, device=generator.device) * values["L1"])
        strain = strain.amax(dim=1, keepdim=True)
        closest = values["L1"] * strain / MOST_FRINGES
        r = catalogue.reflections.take(catalogue.draw(draws.own()[:, 0], closest[:, 0]))
        r = r.varied(prior.beam(draws, r.modulation))
        fringes = values["L1"] * strain / r.spacing
        scan = prior.scan(draws, r.axes, r.darwin / ARCSEC, fringes, strain, strain)
        place = torch.arange(prior.most_points, device=generator.device)
        dtheta = (scan.first + (scan.last - scan.first) / (scan.count - 1.0) * place) * ARCSEC
        measured = (place < scan.count) & ~_missing(draws, scan.count, place, generator)
        return cls(r, values | scan.values, dtheta, measured)

    def take(self, index: Tensor) -> Scans:
        """Return some of them, in this order."""
        values = {name: column[index] for name, column in self.values.items()}
        return Scans(self.reflections.take(index), values, self.dtheta[index], self.measured[index])

    def true_angle(self) -> Tensor:
        """Return the true offsets from the Bragg angle, shape (B, points) [rad]."""
        return self.values.get("step", 1.0) * self.dtheta - self.values["offset"] * ARCSEC

    def ends(self) -> tuple[Tensor, Tensor]:
        """Return between which true offsets (B, 1) the reflectivity is needed [rad]."""
        v, angle = self.values, self.true_angle()
        margin = (1.7 * v["fwhm"] + 0.5 * v.get("curvature", 0.0)).clamp_min(_MARGIN) * ARCSEC
        low = angle.masked_fill(~self.measured, float("inf")).amin(dim=1, keepdim=True)
        high = angle.masked_fill(~self.measured, float("-inf")).amax(dim=1, keepdim=True)
        return low.clamp_max(0.0) - margin, high.clamp_min(0.0) + margin


class UniversalSource:
    """Curves of any experiment, with noise; without odd tails and a spread of strain, which the simulator leaves out.

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
        self.prior, self.catalogue = prior, Catalogue.of(prior, generator.device)
        self.plan, self.generator, self.jitter = plan, generator, jitter
        self.simulator = Simulator.on(generator.device)

    def batch(self, n: int) -> Batch:
        """Return n curves; where no peak can be seen, another curve stands twice."""
        with torch.no_grad():
            # Each sample is measured twice: noise costs less than physics.
            samples = Scans.draw(self.prior, self.catalogue, -(-n // _VIEWS), self.generator)
            curve = self.simulator.curve(samples.reflections, samples.values, *samples.ends())
            index = torch.arange(n, device=self.generator.device) % len(samples.dtheta)
            scans, seen = samples.take(index), curve.at(samples.true_angle())[index]
            r, v = scans.reflections, scans.values
            v = v | self.prior.levels(torch_draws(n, self.generator), v["fwhm"], r.darwin / ARCSEC)
            expected = v["scale"] * seen + v["background"]
            expected = expected / (1.0 + v.get("dead_time", 0.0) * expected)
            counts = torch.poisson(expected, generator=self.generator)
            zoom = torch.randn(n, 1, generator=self.generator, device=counts.device) * self.jitter
            found = windows(
                self.plan.preprocessing, r.axes, scans.dtheta, counts, scans.measured, zoom.clamp(-0.4, 0.6).exp()
            )
            w = found.window
            frame = Frame(w.span, w.peak, w.height, r.axes.normal, r.axes.per_arcsec)
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
            values = profiles(n, self.generator)
            ends = torch.stack([self.dtheta.min(), self.dtheta.max()]) + _REACH * self.dtheta.new_tensor([-1.0, 1.0])
            width = torch.full_like(values["L1"], self.prior.fwhm)
            reflections = self.reflections.take(torch.zeros(n, dtype=torch.long, device=device))
            curve = self.simulator.curve(reflections, values | {"fwhm": width}, *ends[:, None, None].expand(2, n, 1))
            seen = curve.at(self.dtheta.expand(n, -1))
            image = torch.log10(seen + self.plan.preprocessing.floor)
            return Batch(image, image.new_zeros(n, 0), self.plan.targets.encode(values, None, torch))


def profiles(n: int, generator: torch.Generator) -> Values:
    """Return n profiles, uniform on the feasible set."""
    space, device = implanted_space(), generator.device
    unit = torch.rand(n, len(space), generator=generator, device=device).double().cpu()
    drawn = space.from_unit(unit.numpy()).items()
    return {name: torch.as_tensor(column[:, None], dtype=torch.float32, device=device) for name, column in drawn}


def _missing(draws: Draws, count: Tensor, place: Tensor, generator: torch.Generator) -> Tensor:
    """Return which points were not measured: in a few scans some at random, or a few in a row."""
    kind, share = draws.own(), draws.own(*LOST)
    scattered = torch.rand(len(count), len(place), generator=generator, device=place.device) < share
    begin = (draws.own() * count).floor()
    length = (2.0 + draws.own() * (1.0 + count / HOLE)).floor()
    hole = (place >= begin) & (place < begin + length)
    return torch.where(kind < 0.5 * GAPS, scattered, hole & (kind < GAPS))


def _only(good: Tensor, *columns: Tensor) -> tuple[Tensor, ...]:
    """Return the rows with others in place of those that are not good, without asking how many there are."""
    for column in columns:
        good = good & column.isfinite().all(dim=1)
    order = torch.argsort(~good, stable=True)
    place = torch.arange(len(good), device=good.device)
    chosen = torch.where(good, place, order[place % good.sum().clamp_min(1)])
    return tuple(column[chosen] for column in columns)
