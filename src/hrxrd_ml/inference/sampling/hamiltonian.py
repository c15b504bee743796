"""Hamiltonian Monte Carlo inside a box, with exact gradients, as a move of emcee.

Each walker flies along a trajectory of Hamilton's equations in coordinates in which the posterior is about a unit
normal distribution, is reflected at the walls of the box, and lands where the next, nearly independent sample is.
Duane et al., Phys. Lett. B 195 (1987) 216; Neal, in: Handbook of Markov Chain Monte Carlo (2011), chapter 5; walls:
section 5.5.1.5 there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from emcee.moves import Move
from emcee.state import State
from numpy.typing import NDArray

from hrxrd_ml.diffraction.kernels.compiling import entry, helper, summing

Array = NDArray[np.float64]

_DURATION, _DURATION_GUIDED = (0.9, 2.1), (0.8, 4.0)
"""Of a trajectory.  After pi/2, a unit normal distribution has forgotten where it started; along a curved ridge it
takes longer, which is worth while with a cheap gradient.  It differs from one trajectory to the next, or those that go
once round would all come back."""

_WANTED, _WANTED_GUIDED = 0.8, 0.93
"""Share of trajectories that end with the energy they had.  0.65 would be cheapest where the shape is the same
everywhere (Beskos et al., Bernoulli 19 (2013) 1501); where it is not, walkers get stuck in the narrow places.  With a
cheap gradient, more is better."""

_STEPS = (0.02, 0.9)
_MOST, _MOST_GUIDED = 40, 300
"""Leapfrog steps of a trajectory; where they have to be so short that these do not suffice, it ends early."""

_SPREAD = (0.3, 1.2)
_RATE = 0.3
"""How fast the step follows the share."""

_BOUNCES = 300


@dataclass(frozen=True)
class Metric:
    """Coordinates z of box coordinates y = centre + root·z, in which a distribution is about a unit normal one."""

    centre: Array
    root: Array
    back: Array

    @classmethod
    def of(cls, centre: Array, covariance: Array) -> Metric:
        """Return the coordinates of a covariance, which may be singular."""
        scale = np.sqrt(np.maximum(np.diag(covariance), 1e-300))
        values, vectors = np.linalg.eigh(covariance / np.outer(scale, scale))
        root = np.sqrt(np.maximum(values, 1e-9))
        # In one layout, so that compiled code exists once, and a metric from a file gives the same last digit.
        outward, inward = vectors * root * scale[:, None], (vectors / root).T / scale
        return cls(centre, np.ascontiguousarray(outward), np.ascontiguousarray(inward))

    @property
    def covariance(self) -> Array:
        """Covariance of what is a unit normal distribution in z."""
        return np.asarray(self.root @ self.root.T)

    def inward(self, y: Array) -> Array:
        """Return z."""
        return np.asarray(self.back @ (y - self.centre))

    def outward(self, z: Array) -> Array:
        """Return y."""
        return np.asarray(self.centre + self.root @ z)


@dataclass(frozen=True)
class Position:
    """A place of a walker, and what is known there.

    Attributes
    ----------
    place : ndarray, shape (n,)
    value : float
        Logarithm of the distribution that is sampled.
    guided : float
        Of the one whose gradient guides trajectories; the same if there is no other.
    gradient : ndarray, shape (n,)
        Of the latter.
    """

    place: Array
    value: float
    guided: float
    gradient: Array

    @classmethod
    def at(cls, place: Array, target: Field, guide: Guide | None) -> Position:
        """Return what is known at a place."""
        value, gradient = (guide or target).slope(place)
        return cls(np.array(place), value if guide is None else target(place), value, gradient)


@dataclass(frozen=True)
class Trajectory:
    """A trajectory that was followed to its end.

    Attributes
    ----------
    end : Position
    momentum : ndarray, shape (n,)
        At the end, in the coordinates of the metric.
    gain, integrated : float
        Logarithm of the probability to accept the end, and what it would be if the guide were exact; minus infinity
        for a trajectory that got lost.
    """

    end: Position
    momentum: Array
    gain: float = -math.inf
    integrated: float = -math.inf


class Field(Protocol):
    """A distribution in a box that has a gradient."""

    @property
    def lower(self) -> Array:
        """Lower walls."""

    @property
    def upper(self) -> Array:
        """Upper walls."""

    def __call__(self, y: Array) -> float:
        """Return the logarithm of its density."""

    def slope(self, y: Array) -> tuple[float, Array]:
        """Return the logarithm of its density and the gradient."""


class Guide(Field, Protocol):
    """A distribution whose gradient is cheap, to be followed instead of that of another."""

    def trajectory(self, metric: Metric, start: Position, momentum: Array, step: float, count: int) -> End | None:
        """Return where a trajectory of leapfrog steps ends; None if it gets lost."""


End = tuple[Array, Array, float, Array]
"""The end of a trajectory: place, momentum, logarithm of the density that was followed, its gradient."""


@dataclass(frozen=True)
class Tempered:
    """A distribution whose logarithm is multiplied by a factor below 1, so that it is wider."""

    field: Field
    factor: float

    @property
    def lower(self) -> Array:
        """Lower walls."""
        return self.field.lower

    @property
    def upper(self) -> Array:
        """Upper walls."""
        return self.field.upper

    def __call__(self, y: Array) -> float:
        """Return the logarithm of its density."""
        return self.factor * self.field(y)

    def slope(self, y: Array) -> tuple[float, Array]:
        """Return the logarithm of its density and the gradient."""
        value, gradient = self.field.slope(y)
        return self.factor * value, self.factor * gradient


def integrate(
    target: Field, guide: Guide | None, metric: Metric, start: Position, momentum: Array, step: float, count: int
) -> Trajectory:
    """Return a trajectory of ``count`` leapfrog steps.

    Parameters
    ----------
    target : Field
        What is sampled.
    guide : Guide or None
        Whose gradient the trajectory follows; that of the target if None. Whatever it is, the end is accepted by the
        energy of the target.
    metric : Metric
    start : Position
    momentum : ndarray, shape (n,)
        At the start, in the coordinates of the metric.
    step : float
    count : int
    """
    path = (
        leapfrog(target, metric, start, momentum, step, count)
        if guide is None
        else guide.trajectory(metric, start, momentum, step, count)
    )
    if path is None:
        return Trajectory(start, momentum)
    place, after, value, gradient = path
    lost = 0.5 * float(after @ after - momentum @ momentum)
    exact = value if guide is None else target(place)
    return Trajectory(
        Position(place, exact, value, gradient), after, exact - start.value - lost, value - start.guided - lost
    )


def leapfrog(field: Field, metric: Metric, start: Position, momentum: Array, step: float, count: int) -> End | None:
    """Return where a trajectory along a gradient ends; None if it gets lost."""
    centre, root, lower, upper = metric.centre, metric.root, field.lower, field.upper
    z, place, value, gradient = metric.inward(start.place), start.place, start.guided, start.gradient
    for _ in range(count):
        momentum = momentum + 0.5 * step * (root.T @ gradient)
        z, place, momentum, arrived = drift(centre, root, z, momentum, step, lower, upper)
        if not arrived:
            return None
        value, gradient = field.slope(place)
        if not math.isfinite(value):
            return None
        momentum = momentum + 0.5 * step * (root.T @ gradient)
    return place, momentum, value, gradient


@summing
def dot(a: Array, b: Array) -> float:
    """Return a scalar product, compiled: that of NumPy costs more to compile, and to call."""
    total = 0.0
    for i in range(a.shape[0]):
        total += a[i] * b[i]
    return total


@summing
def times(matrix: Array, vector: Array, factor: float, out: Array) -> None:
    """Add ``factor`` times the product of a matrix and a vector to ``out``."""
    for i in range(matrix.shape[0]):
        total = 0.0
        for j in range(matrix.shape[1]):
            total += matrix[i, j] * vector[j]
        out[i] += factor * total


@helper
def times_transposed(matrix: Array, vector: Array, factor: float, out: Array) -> None:
    """Add ``factor`` times the product of a transposed matrix and a vector to ``out``."""
    for i in range(matrix.shape[0]):
        value = factor * vector[i]
        for j in range(matrix.shape[1]):
            out[j] += matrix[i, j] * value


@helper
def move(
    centre: Array, root: Array, z: Array, momentum: Array, time: float, lower: Array, upper: Array, place: Array
) -> bool:
    """Do what `drift` does to z and momentum, and fill the place."""
    n = place.shape[0]
    velocity = np.empty(n)
    for _ in range(_BOUNCES):
        for i in range(n):
            place[i], velocity[i] = centre[i], 0.0
        times(root, z, 1.0, place)
        times(root, momentum, 1.0, velocity)
        wall, until = -1, time
        for i in range(n):
            room = upper[i] - place[i] if velocity[i] > 0.0 else lower[i] - place[i]
            if velocity[i] != 0.0 and room / velocity[i] < until:
                wall, until = i, room / velocity[i] if room / velocity[i] > 0.0 else 0.0
        for i in range(n):
            z[i] += until * momentum[i]
        if wall < 0:
            for i in range(n):
                y = place[i] + until * velocity[i]
                place[i] = lower[i] if y < lower[i] else upper[i] if y > upper[i] else y
            return True
        time -= until
        turn = 2.0 * dot(root[wall], momentum) / dot(root[wall], root[wall])
        for i in range(n):
            momentum[i] -= turn * root[wall, i]
    return False


@entry
def drift(
    centre: Array, root: Array, z: Array, momentum: Array, time: float, lower: Array, upper: Array
) -> tuple[Array, Array, Array, bool]:
    """Move along a straight line for some time, reflected at the walls.

    A wall of the box is a plane of these coordinates, and the reflection is that of a ball: what makes the walk
    reversible and keeps volumes.

    Parameters
    ----------
    centre, root : ndarray, shapes (n,) and (n, n)
        Of the metric.
    z, momentum : ndarray, shape (n,)
    time : float
    lower, upper : ndarray, shape (n,)
        Walls of the box.

    Returns
    -------
    z, place, momentum : ndarray, shape (n,)
        At the end; the place in the coordinates of the box.
    arrived : bool
        False if there were too many reflections.
    """
    n = z.shape[0]
    end, place, after = np.empty(n), np.empty(n), np.empty(n)
    for i in range(n):
        end[i], after[i] = z[i], momentum[i]
    arrived = move(centre, root, end, after, time, lower, upper, place)
    return end, place, after, arrived


Task = tuple[Position, Array, float, int]
"""Start, momentum, step and number of steps of a trajectory: what `integrate` needs beside fields and metric."""


class HamiltonianMove(Move):
    """A move of all walkers of emcee along trajectories of their own.

    Parameters
    ----------
    positions : callable
        Maps places, shape (k, n), to what is known there.
    trajectories : callable
        Maps a metric and a list of tasks to trajectories.
    metric : Metric
    step : float
        Length of a leapfrog step.
    adapts : bool
        Whether the step is tuned while sampling: only in a burn-in.
    guided : bool
        Whether the gradients are cheap, so that a step may be short.
    """

    def __init__(
        self,
        positions: Callable[[Array], list[Position]],
        trajectories: Callable[[Metric, Sequence[Task]], list[Trajectory]],
        metric: Metric,
        step: float = 0.2,
        adapts: bool = False,
        guided: bool = False,
    ) -> None:
        self.positions, self.trajectories, self.metric = positions, trajectories, metric
        self.step, self.adapts = step, adapts
        self.wanted, self.most = (_WANTED_GUIDED, _MOST_GUIDED) if guided else (_WANTED, _MOST)
        self.duration = _DURATION_GUIDED if guided else _DURATION
        self._known: list[Position] = []

    @classmethod
    def of(cls, target: Field, guide: Guide | None, metric: Metric, step: float, adapts: bool) -> HamiltonianMove:
        """Return a move that does everything in this process."""
        return cls(
            lambda places: [Position.at(place, target, guide) for place in places],
            lambda metric, tasks: [integrate(target, guide, metric, *task) for task in tasks],
            metric,
            step,
            adapts,
            guide is not None,
        )

    def propose(self, model: Any, state: State) -> tuple[State, NDArray[np.bool_]]:
        """Return where the walkers are next, and which of them have moved."""
        random, (walkers, size) = model.random, state.coords.shape
        momenta = random.standard_normal((walkers, size))
        steps = np.clip(self.step * random.uniform(*_SPREAD, walkers), *_STEPS)
        counts = np.clip(np.rint(random.uniform(*self.duration, walkers) / steps), 1, self.most).astype(int)
        chance = np.log(random.uniform(size=walkers))
        tasks = zip(self._here(state), momenta, steps.tolist(), counts.tolist(), strict=True)
        trajectories = self.trajectories(self.metric, list(tasks))
        accepted = chance < np.array([trajectory.gain for trajectory in trajectories])
        for i in np.flatnonzero(accepted):
            self._known[i] = end = trajectories[i].end
            state.coords[i], state.log_prob[i] = end.place, end.value
        if self.adapts:
            share = np.mean([math.exp(min(trajectory.integrated, 0.0)) for trajectory in trajectories])
            self.step = float(np.clip(self.step * math.exp(_RATE * (float(share) - self.wanted)), *_STEPS))
        return state, accepted

    def _here(self, state: State) -> list[Position]:
        """Return what is known where the walkers are."""
        same = len(self._known) == len(state.coords) and all(
            np.array_equal(known.place, y) for known, y in zip(self._known, state.coords, strict=True)
        )
        if not same:
            self._known = self.positions(state.coords)
        return self._known
