"""What a sampler learns about a posterior before it starts, from its maxima on: its shape and a polynomial for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import emcee
import numpy as np
from numpy.typing import NDArray

from hrxrd_ml.inference.covariance import draw_inside
from hrxrd_ml.inference.sampling.hamiltonian import (
    Field,
    HamiltonianMove,
    Metric,
    Position,
    Task,
    Tempered,
    Trajectory,
    integrate,
)
from hrxrd_ml.inference.sampling.peaks import Peak
from hrxrd_ml.inference.sampling.probability import LogPosterior
from hrxrd_ml.inference.sampling.surrogate import Surrogate

Array = NDArray[np.float64]

_WALKERS, _WARM, _STEPS = 8, 40, 50
"""Chains through a surrogate, their steps of warming up and those that count."""

_ROUNDS, _LEAST = 12, 200
"""Surrogates at most, and curves for each at least."""

_COEFFICIENTS, _ALL_COEFFICIENTS, _LAST = 1000, 5000, 4
"""Coefficients of a polynomial at most: more make slow fits and slow trajectories.  Where it is not even fair with
these, the last rounds may have more."""

_HOLD, _LOOSE = 3.0, 0.03
"""How strongly the first surrogate is held about the maximum, and the last."""

_TEMPERED = 0.6
"""Power of the posterior that is explored: wider than what is sampled, so that its tails are known too."""

_TRIALS, _TRIAL = 6, 30
"""Chains through the posterior itself at most, and their steps."""

_BESIDE = 0.15
"""Weight of places where the posterior is low."""

_OFF, _RARE = 2.0, 0.02
"""A surrogate is done when it misses by so much in no more than this part of all places."""

_GOOD, _FAIR, _LOST = 0.5, 3.0, 5.0
"""Standard deviation of the logarithm of the posterior by the surrogate about the exact one: good enough to stop,
good enough to be used at all, and so bad that it must be held more strongly."""


@dataclass(frozen=True)
class Explored:
    """Where and how to sample.

    Attributes
    ----------
    guide : Surrogate or None
        To guide trajectories; None if the exact gradient must.
    metric : Metric
    step : float
        Length of a leapfrog step.
    places : ndarray, shape (m, n)
        Where the walkers may begin.
    """

    guide: Surrogate | None
    metric: Metric
    step: float
    places: Array

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all of it as arrays by name, to be kept in a file."""
        guide = {} if self.guide is None else self.guide.arrays()
        parts = {"metric": vars(self.metric), "guide": guide}
        named = {f"{part}_{name}": array for part, arrays in parts.items() for name, array in arrays.items()}
        return {"places": self.places, "step": np.array([self.step]), **named}

    @classmethod
    def of(cls, target: LogPosterior, arrays: Mapping[str, NDArray[Any]]) -> Explored:
        """Return what `arrays` has taken apart."""
        metric, guide = (
            {name.removeprefix(part): array for name, array in arrays.items() if name.startswith(part)}
            for part in ("metric_", "guide_")
        )
        surrogate = Surrogate.of(target, guide) if guide else None
        return cls(surrogate, Metric(**metric), float(arrays["step"][0]), arrays["places"])


Curves = Callable[[Array], Array]
"""Simulates curves (m, n) for places (m, d)."""


def around(target: LogPosterior, peaks: list[Peak], count: int, rng: np.random.Generator) -> Array:
    """Return places drawn about the maxima, drawn in where the posterior falls off faster than its curvature says."""
    places = []
    for i in range(count):
        peak = peaks[i % len(peaks)]
        place = draw_inside(rng, peak.place, peak.covariance, target.lower, target.upper, 1)[0]
        for _ in range(40):
            if target(place) > peak.value - _depth(len(place)):
                break
            place = peak.place + 0.6 * (place - peak.place)
        places.append(place)
    return np.array(places)


def _depth(size: int) -> float:
    """Return how far below its maximum the logarithm of a posterior is anywhere that matters: d/2 on average."""
    return 1.5 * size + 10.0


def explore(target: LogPosterior, peaks: list[Peak], curves: Curves, rng: np.random.Generator) -> Explored:
    """Fit surrogates to simulated curves where the last surrogate says that the posterior lies, until it is right.

    Parameters
    ----------
    target : LogPosterior
    peaks : list of Peak
    curves : callable
        Simulates curves, perhaps in parallel.
    rng : numpy.random.Generator
    """
    size = len(target.names)
    metric = anchor = Metric.of(peaks[0].place, peaks[0].covariance)
    step = 0.2
    if len(peaks) > 1:
        # A polynomial that is right about one maximum leads the walkers at the others nowhere.
        covariance = np.mean([peak.covariance for peak in peaks], axis=0)
        return Explored(None, Metric.of(peaks[0].place, covariance), step, around(target, peaks, 20 * len(peaks), rng))
    count = max(2 * math.comb(size + 2, 2), _LEAST)
    design = _Design.of(target, around(target, peaks, count, rng), curves)
    hold, error = _HOLD, math.inf
    loose: list[float] = []  # errors of the surrogates that are hardly held any more
    most = _COEFFICIENTS
    for n in range(_ROUNDS):
        if n >= _ROUNDS - _LAST and error > _FAIR:
            most = _ALL_COEFFICIENTS
        surrogate = replace(design.surrogate(target, metric, most), anchor=anchor, hold=hold)
        begin = design.likely(_WALKERS, rng)
        chain, metric, step = _walk(surrogate, metric, step, begin, rng)
        new = _Design.of(target, chain[rng.choice(len(chain), count, replace=len(chain) < count)], curves)
        free = replace(surrogate, hold=0.0)
        error = _scatter(new.values - np.array([free(place) for place in new.places]))
        design = design.joined(new)
        if hold == _LOOSE:
            loose.append(error)
            if error < _GOOD or (error < _FAIR and len(loose) > 3 and error > 0.9 * min(loose[:-1])):
                break
        # A surrogate that got lost is held more strongly, any other more loosely, and in the end hardly at all.
        if error > _LOST:
            hold = min(3.0 * max(hold, 0.3), 30.0)
        elif hold > 0.4:
            hold = hold / 3.0
        else:
            hold = _LOOSE
    starts = new.places[new.values > design.values.max() - _depth(size)]
    if error > _FAIR or len(starts) < _WALKERS:
        return Explored(None, metric, min(step, 0.2), design.places[design.weights() > 0.0])
    for trial in range(_TRIALS):
        guide = design.surrogate(target, metric, most)
        begin = starts[rng.choice(len(starts), _WALKERS, replace=False)]
        chain, tried, metric, step = _trial(target, guide, metric, step, begin, rng)
        new = _Design.of(target, tried, curves)
        off = np.abs(new.values - np.array([guide(place) for place in new.places]))
        design, starts = design.joined(new), chain[len(chain) // 2 :]
        if trial and np.mean(off[new.values > new.values.max() - _depth(size)] > _OFF) < _RARE:
            break
    return Explored(design.surrogate(target, metric, most), metric, step, starts)


def first_places(
    target: LogPosterior, peaks: list[Peak], places: Array, walkers: int, rng: np.random.Generator
) -> Array:
    """Return where walkers begin: at places by chance, at each maximum in turn."""
    metrics = [Metric.of(peak.place, peak.covariance) for peak in peaks]
    near = np.argmin([[np.linalg.norm(metric.inward(place)) for metric in metrics] for place in places], axis=1)
    first = []
    for i in range(walkers):
        own = np.flatnonzero(near == i % len(peaks))
        first.append(places[rng.choice(own)] if own.size else around(target, [peaks[i % len(peaks)]], 1, rng)[0])
    return np.array(first)


@dataclass(frozen=True)
class _Design:
    """Places, simulated curves, and logarithms of the posterior."""

    places: Array
    curves: Array
    values: Array

    @classmethod
    def of(cls, target: LogPosterior, places: Array, curves: Curves) -> _Design:
        """Return places with what the simulation says there."""
        known = curves(places)
        return cls(places, known, exact(target, places, known))

    def joined(self, other: _Design) -> _Design:
        """Return both together."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return _Design(*(np.concatenate(pair) for pair in pairs))

    def weights(self) -> Array:
        """Return how much places matter: most where samples can lie, little where trajectories may pass."""
        below = (self.values.max() - self.values) / _depth(self.places.shape[1])
        return np.where(below < 1.0, 1.0, np.where(below < 2.0, _BESIDE, 0.0))

    def surrogate(self, target: LogPosterior, metric: Metric, most: int) -> Surrogate:
        """Return the surrogate that is fitted to them."""
        weights = self.weights()
        kept = weights > 0.0
        return Surrogate.fit(target, metric, self.places[kept], self.curves[kept], weights[kept], most)

    def likely(self, count: int, rng: np.random.Generator) -> Array:
        """Return some of the places by chance, out of the better half."""
        order = np.argsort(self.values)[-max(len(self.values) // 2, count) :]
        return self.places[rng.choice(order, count)]


def exact(target: LogPosterior, places: Array, curves: Array) -> Array:
    """Return the logarithm of the posterior at places whose curves are known."""
    return np.array(
        [
            target.log_prior(place) + target.points(curve, target.outward(place)).value
            for place, curve in zip(places, curves, strict=True)
        ]
    )


def _scatter(errors: Array) -> float:
    """Return the standard deviation of errors, hardly moved by a few far ones."""
    low, high = np.quantile(errors, [0.1, 0.9])
    return float(high - low) / 2.563


def _walk(
    surrogate: Surrogate, metric: Metric, step: float, begin: Array, rng: np.random.Generator
) -> tuple[Array, Metric, float]:
    """Sample a surrogate; return the samples, and the metric and the step that suit it."""
    field = replace(surrogate, power=_TEMPERED)
    move = HamiltonianMove.of(field, field, metric, step, adapts=True)
    chain = _chain(move, field, begin, _WARM, rng)
    move.metric = metric_of(chain[_WARM // 3 :], metric)
    chain = _chain(move, field, chain[-1], _STEPS, rng)
    return chain.reshape(-1, begin.shape[1]), metric_of(chain, move.metric), move.step


def _trial(
    target: LogPosterior, guide: Surrogate, metric: Metric, step: float, begin: Array, rng: np.random.Generator
) -> tuple[Array, Array, Metric, float]:
    """Sample the posterior itself for a while; return samples, the ends of all trajectories, metric and step."""
    field, guided = Tempered(target, _TEMPERED), replace(guide, power=_TEMPERED)
    tried: list[Array] = []

    def positions(places: Array) -> list[Position]:
        return [Position.at(place, field, guided) for place in places]

    def trajectories(metric: Metric, tasks: Sequence[Task]) -> list[Trajectory]:
        ends = [integrate(field, guided, metric, *task) for task in tasks]
        tried.extend(trajectory.end.place for trajectory in ends if math.isfinite(trajectory.gain))
        return ends

    move = HamiltonianMove(positions, trajectories, metric, step, adapts=True, guided=True)
    chain = _chain(move, field, begin, _TRIAL, rng)
    found, size = metric_of(chain[_TRIAL // 4 :], metric), begin.shape[1]
    return chain.reshape(-1, size), np.array(tried).reshape(-1, size), found, move.step


def _chain(move: HamiltonianMove, field: Field, begin: Array, steps: int, rng: np.random.Generator) -> Array:
    sampler = emcee.EnsembleSampler(len(begin), begin.shape[1], field, moves=move)
    sampler._random.seed(int(rng.integers(2**32)))
    sampler.run_mcmc(begin, steps, skip_initial_state_check=True)
    return np.asarray(sampler.get_chain())


def metric_of(chain: Array, previous: Metric) -> Metric:
    """Return the metric of a chain (steps, walkers, n), joined with the one assumed before if the chain is short."""
    flat = chain.reshape(-1, chain.shape[2])
    share = len(flat) / (len(flat) + 10.0 * flat.shape[1])
    covariance = share * np.atleast_2d(np.cov(flat, rowvar=False)) + (1.0 - share) * previous.covariance
    return Metric.of(flat.mean(axis=0), covariance)
