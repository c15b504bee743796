"""What else the profile could be, where a model misses its curve: deviations from it that the data ask for.

The profile of a real sample is in no family.  Strain and damage get deviations from what was fitted (splines without
parameters of their own, `specimen.profile.deviating`) with a normal prior about zero, whose size the data choose; the
best deviations and their covariance then tell what the fit cannot: how far the profile may be from the one that it has
found.  What is left of the misfit counts as noise.  This is the discrepancy of Kennedy & O'Hagan (J. R. Statist. Soc. B
63, 425 (2001)), put where the physics has it, so that it means something.

Sizes of the deviations are the maximum of the marginal likelihood of what the residuals say about nothing but them
(restricted maximum likelihood), to first order about the best place so far; places are found by least squares.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from lmfit import Parameters
from numpy.typing import NDArray
from scipy.optimize import minimize

from hrxrd_ml.inference.covariance import bounded_covariance
from hrxrd_ml.inference.evaluator import CurveEvaluator
from hrxrd_ml.inference.levenberg import minimise_in_box
from hrxrd_ml.inference.misfit import misses
from hrxrd_ml.inference.objective import MeasuredCurve, Objective
from hrxrd_ml.simulate import RockingCurve
from hrxrd_ml.specimen.profile.base import end_of, extreme
from hrxrd_ml.specimen.profile.deviating import DeviatingDamage, DeviatingProfile, Deviation

if TYPE_CHECKING:
    from hrxrd_ml.model.result import RockingCurveResult

Array = NDArray[np.float64]

_STRAIN, _DAMAGE = "strain_deviation_", "damage_deviation_"
_COUNTS = {_STRAIN: 16, _DAMAGE: 8}
"""Coefficients of the deviations."""

_REACH = 1.7
"""Depth of their end, in that of the profile."""

_USUAL = {_STRAIN: 0.05, _DAMAGE: 0.2}
"""Sizes that are likely before the data are asked, in parts of the largest strain and of the damage."""

_OPEN = 1.5
"""Standard deviation of the logarithm of the size."""

_LEAST_DAMAGE = 0.02
_ROUNDS, _EVALUATIONS = 2, 6


@dataclass(frozen=True)
class Discrepancy:
    """A profile with deviations that describes a curve better than the one that was fitted.

    Attributes
    ----------
    simulation : RockingCurve
        With deviations.
    values : dict
        Its parameters at the best place, without prefix.
    names : tuple of str
        Those that are free.
    covariance : ndarray
        Of these, at the best place.
    sizes : dict
        Standard deviations that the deviations have before the data are asked, relative: of strain, of damage.
    chisqr : float
        Sum of squares at the best place.
    """

    simulation: RockingCurve
    values: Mapping[str, float]
    names: tuple[str, ...]
    covariance: Array
    sizes: Mapping[str, float]
    chisqr: float


def discrepancy_of(result: RockingCurveResult) -> Discrepancy | None:
    """Return what else the profile of a fit could be; None where the model describes the curve.

    None too for what is not one rocking curve with a profile, for ``errors="noise"``, and without a covariance.
    """
    model = result.model
    if model.rocking_curves != (model,) or result.covar is None or result.errors != "misfit":
        return None
    simulation = model.rocking_curves[0].simulation
    if not isinstance(simulation, RockingCurve) or simulation.profile is None:
        return None
    if not misses(result.objective, result.best):
        return None
    return _Search(result, simulation).run()


class _Search:
    """Looks for deviations: an objective in which they are free, and sizes that their prior has."""

    def __init__(self, result: RockingCurveResult, simulation: RockingCurve) -> None:
        assert simulation.profile is not None
        model, prefix = result.model.rocking_curves[0], result.model.rocking_curves[0].prefix
        values = {name: float(result.params[prefix + name].value) for name in simulation.space.names}
        reach = _REACH * end_of(simulation.profile, values)
        deviations = {name: Deviation(name, count, reach) for name, count in _COUNTS.items()}
        profile = DeviatingProfile(simulation.profile, deviations[_STRAIN])
        damage = (
            None
            if simulation.damage is None
            else DeviatingDamage(simulation.damage, deviations[_DAMAGE], deviations[_STRAIN])
        )
        self.simulation = replace(
            simulation, profile=profile, damage=damage, max_depth=max(simulation.max_depth, reach)
        )
        self.prefix, observation = prefix, result.observation
        space = self.simulation.space
        function = CurveEvaluator(self.simulation.bind(model.frame.offsets(observation.x)), space, prefix)
        params = Parameters()
        for name, par in result.params.items():
            params.add(name, float(par.value), par.vary and not par.expr, par.min, par.max)
        for name in space.names:
            if name.startswith((_STRAIN, _DAMAGE)):
                params.add(prefix + name, 0.0)
        names = [name for name, par in params.items() if par.vary]
        curve = MeasuredCurve(function, function.names, observation.likelihood)
        self.objective = Objective.of([curve], params, names, model.nested)
        self.y = self.objective.inward(self.objective.free(params.valuesdict()))
        unit = {_STRAIN: abs(extreme(simulation.profile, values)[0]), _DAMAGE: _LEAST_DAMAGE}
        if simulation.damage is not None:
            amount = values.get(simulation.damage.space.names[0], 0.0)
            unit[_DAMAGE] = max(abs(amount), _LEAST_DAMAGE)
        self.unit = unit
        self.groups = {
            kind: np.array([i for i, name in enumerate(names) if name.startswith(prefix + kind)], dtype=int)
            for kind in _COUNTS
        }
        self.own = np.array([i for i in range(len(names)) if not any(i in group for group in self.groups.values())])
        self.sizes = dict(_USUAL)
        self.noise = 1.0

    def run(self) -> Discrepancy:
        for _ in range(_ROUNDS):
            self._choose_sizes()
            self._descend()
        self._choose_sizes()
        objective, covariance = self.objective, self._covariance()
        by_y = objective.coordinates.derivatives(self.y, np.sqrt(np.maximum(np.diag(covariance), 0.0)))
        values, residual = self._values(self.y), objective.residual(self.y)
        names = [name.removeprefix(self.prefix) for name in objective.names]
        chosen = [i for i, name in enumerate(names) if name in values]
        return Discrepancy(
            self.simulation,
            values,
            tuple(names[i] for i in chosen),
            (by_y @ covariance @ by_y.T)[np.ix_(chosen, chosen)],
            dict(zip(("strain", "damage"), self.sizes.values(), strict=True)),
            float(residual @ residual),
        )

    def _values(self, y: Array) -> dict[str, float]:
        values = self.objective.values(self.objective.outward(y))
        own = {name: values[self.prefix + name] for name in self.simulation.space.names}
        return self.simulation.space.clip(own, bounds=False)

    def _inverse_sizes(self) -> Array:
        """Return one over the standard deviation of each coordinate before the data are asked; zero of the model's."""
        found = np.zeros(len(self.y))
        for kind, group in self.groups.items():
            found[group] = 1.0 / (self.sizes[kind] * self.unit[kind])
        return found

    def _descend(self) -> None:
        weight, objective = self._inverse_sizes(), self.objective
        rows = np.diag(weight)[weight > 0.0]

        def residual(y: Array, expanded: bool = False) -> Array:
            return np.concatenate([objective.residual(y, expanded) / self.noise, rows @ y])

        def jacobian(y: Array) -> Array:
            return np.vstack([objective.jacobian(y) / self.noise, rows])

        found = minimise_in_box(
            residual, jacobian, self.y, objective.lower, objective.upper, evaluations=_EVALUATIONS, noise=1.0
        )
        self.y = found.x

    def _covariance(self) -> Array:
        objective, weight = self.objective, self._inverse_sizes()
        jacobian, residual = objective.jacobian(self.y) / self.noise, objective.residual(self.y) / self.noise
        information = jacobian.T @ jacobian + np.diag(weight**2)
        gradient = jacobian.T @ residual + weight**2 * self.y
        return bounded_covariance(information, gradient, self.y, objective.lower, objective.upper).matrix

    def _choose_sizes(self) -> None:
        """Set the sizes, and what the noise is larger by, to the most probable ones."""
        objective = self.objective
        jacobian = objective.jacobian(self.y)
        off = self.y.copy()
        off[self.own] = 0.0
        residual = objective.residual(self.y) - jacobian @ off  # to first order, without deviations
        free = _directions(jacobian[:, self.own])
        groups = {kind: group for kind, group in self.groups.items() if len(group)}
        columns = [jacobian[:, group] * self.unit[kind] for kind, group in groups.items()]
        # What the parameters of the model can take up says nothing about deviations.
        residual, *columns = (part - free @ (free.T @ part) for part in (residual, *columns))
        both, square = np.hstack(columns), float(residual @ residual)
        products, seen = both.T @ both, both.T @ residual
        owner = np.repeat(np.arange(len(groups)), [len(group) for group in groups.values()])
        usual = np.log([_USUAL[kind] for kind in groups])
        points = len(residual) - free.shape[1]

        def deviance(at: Array) -> float:
            size, noise = np.exp(at[:-1])[owner], np.exp(at[-1])
            inside = np.eye(len(size)) + products * np.outer(size, size) / noise**2
            root = np.linalg.cholesky(inside)
            taken = np.linalg.solve(root, size * seen / noise**2)
            prior = float((((at[:-1] - usual) / _OPEN) ** 2).sum())
            return float(
                2.0 * np.log(np.diag(root)).sum() + 2.0 * points * at[-1] + square / noise**2 - taken @ taken + prior
            )

        start = np.append(np.log([self.sizes[kind] for kind in groups]), np.log(self.noise))
        bounds = [(-12.0, 3.0)] * len(groups) + [(0.0, 5.0)]
        found = minimize(deviance, start, method="Nelder-Mead", bounds=bounds, options={"xatol": 0.01, "fatol": 0.01})
        self.sizes |= dict(zip(groups, np.exp(found.x[:-1]).tolist(), strict=True))
        self.noise = float(np.exp(found.x[-1]))


def _directions(jacobian: Array) -> Array:
    """Return orthonormal columns that span those of a Jacobian."""
    size: Any = np.linalg.norm(jacobian, axis=0)
    left, values, _ = np.linalg.svd(jacobian / np.where(size > 0.0, size, 1.0), full_matrices=False)
    return np.asarray(left[:, values > 1e-9 * max(values[0], 1e-300)])
