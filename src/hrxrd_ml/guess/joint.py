"""Start values of a joint model: what each curve says of the sample, each weighed by what it knows, and a search."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from lmfit import Parameters

from hrxrd_ml.arrays import FloatArray
from hrxrd_ml.guess.network.provider import NetworkGuess
from hrxrd_ml.guess.task import guess_by, remember
from hrxrd_ml.inference.coordinates import lower_to_caps
from hrxrd_ml.inference.levenberg import minimise_in_box
from hrxrd_ml.inference.likelihood import GaussianLikelihood
from hrxrd_ml.inference.objective import MeasuredCurve, Objective
from hrxrd_ml.inference.threads import one_thread
from hrxrd_ml.simulate import RockingCurve
from hrxrd_ml.specimen.profile.implanted import ImplantedProfile

if TYPE_CHECKING:
    from hrxrd_ml.model.observation import Observation
    from hrxrd_ml.model.provider import GuessProvider

_ROUGH, _NEAR = 0.1, 0.03
"""Relative errors on top of the noise, with which trials are compared and followed."""

_EVALUATIONS = (10, 25, 40)
"""Of a trial with the rough error, of the best ones with the near one, and of the best with the errors of the data."""

_FOLLOWED = 2
"""How many trials are followed with the near error."""

_HASTY = 4
"""Evaluations in which the network follows a profile in a single curve, where all curves will decide."""

_CANDIDATES = 4
"""Profiles of the network for each curve that are tried where the first guess does not describe the curves."""

_NOISE, _BELIEVED, _SAME = 1.5, 3.0, 0.5
"""Standard deviations above what noise alone makes up to which a guess is taken at once, and where other starts lead to
nothing better; and by how much the halved sum of squares of something better is lower."""

_ALIKE = 1.0
"""Squared difference, in errors, up to which two trials have the same curves."""

_BEHIND = 3.0
"""Cost over that of the best from which a trial is given up."""

_LOOSE = 1e-3
"""Accuracy of curves while errors of some per cent are let pass."""

_BROAD = 0.3
"""Standard deviation, in parts of its range, up to which a parameter is free to lie from the mean of the guesses."""


def guess(model: Any, observations: Sequence[Observation], provider: GuessProvider) -> Parameters:
    """Return start values of a joint model.

    Parameters
    ----------
    model : JointModel
    observations : sequence of Observation
        The curves.
    provider : GuessProvider
        Who guesses for each of them.

    Notes
    -----
    Trials are the sample as each of the curves sees it, and the mean of these, each weighed by the information that its
    curve holds. Each is followed in all curves; so the guess is at least as good as the best of them. What one curve
    leaves open, another one may tell: the network takes its time for single curves, and other profiles are tried, only
    where that has not led down to the noise.
    """
    with one_thread():
        params = model.make_params()
        rough, near = (_searched(model, observations, params, error) for error in (_ROUGH, _NEAR))
        exact = Objective.of(model.measured(observations, {}, params), params, rough.names, model.nested, model.even)
        pairs = list(zip(model.members, observations, strict=True))
        ends: list[_Trial] = []

        def follow(starts: Sequence[Mapping[str, float]], most: int = _FOLLOWED, *, mean: bool = False) -> None:
            trials = _distinct(_follow(rough, start, _EVALUATIONS[0]) for start in starts)
            if mean and len(trials) > 1:  # else the curves agree
                trials = _distinct([*trials, _follow(rough, _together(near, starts), _EVALUATIONS[0])])
            low = _distinct(_follow(near, trial.values, _EVALUATIONS[1]) for trial in trials[:most])
            ends.extend(_follow(exact, trial.values, _EVALUATIONS[2]) for trial in low)
            ends.sort(key=_cost)

        for effort in _efforts(provider):
            singles = [member.guess(observation.to_guess(), provider=effort) for member, observation in pairs]
            starts = [_start(model, params, singles, k) for k in range(len(singles))]
            follow(starts, mean=True)
            if _excess(exact, ends[0].values) < _NOISE:
                break
            before = ends[0].cost
            others = [_with_profile(rough, starts[k], model, found) for k, found in _profiles(effort, pairs)]
            if others:
                follow(others, 2 * _FOLLOWED)
            # The noise of one sample in a dozen is that high: a minimum below which nothing is found is believed.
            if others and (_excess(exact, ends[0].values) < (_BELIEVED if ends[0].cost > before - _SAME else _NOISE)):
                break
        for name in exact.names:
            params[name].value = ends[0].values[name]
        params.update_constraints()
        lower_to_caps(params, model.nested)
        return _remember(params, singles)


def _efforts(provider: GuessProvider) -> list[GuessProvider]:
    """Return the provider in a hurry, if it can be, and as it is."""
    if not isinstance(provider, NetworkGuess):
        return [provider]
    proposed, _ = provider.rounds[0]
    return [replace(provider, rounds=((proposed, _FOLLOWED),), steps=_HASTY), provider]


def _profiles(provider: Any, pairs: Sequence[tuple[Any, Observation]]) -> list[tuple[int, dict[str, float]]]:
    """Return the profiles that the network holds possible, each with the number of the curve that it has seen."""
    found = []
    for k, (member, observation) in enumerate(pairs):
        simulation = getattr(member, "simulation", None)
        known = isinstance(getattr(simulation, "profile", None), ImplantedProfile) and not getattr(
            simulation, "films", ()
        )
        if known and hasattr(provider, "profiles"):
            found += [(k, values) for values in provider.profiles(member, observation.to_guess(), _CANDIDATES)]
    return found


def _with_profile(
    objective: Objective, start: Mapping[str, float], model: Any, profile: Mapping[str, float]
) -> dict[str, float]:
    """Return a start with another profile, inside all limits."""
    own = {model.prefix + name: value for name, value in profile.items() if model.prefix + name in objective.names}
    return objective.values(objective.outward(objective.inward(objective.free({**start, **own}))))


def _excess(objective: Objective, values: Mapping[str, float]) -> float:
    """Return by how many standard deviations the sum of squares exceeds what noise makes; infinite if not known."""
    excess = variance = 0.0
    for curve in objective.curves:
        expected = curve.expected(values)
        known, residual = curve.likelihood.expectation(expected), curve.likelihood.residual(expected)
        if known is None:
            return math.inf
        excess, variance = excess + float(residual @ residual) - known[0], variance + known[1] ** 2
    return (excess + len(objective.names)) / math.sqrt(variance)


def _start(model: Any, params: Parameters, singles: Sequence[Parameters], first: int) -> dict[str, float]:
    """Return values of all parameters: what the curves share as one of them has it, the others of each by itself."""
    start = params.copy()
    order = [*(k for k in range(len(singles)) if k != first), first]
    for k in order:
        for name, par in singles[k].items():
            own = start[model.renamed(name)]
            if own.expr is None:
                own.value = min(max(float(par.value), own.min), own.max)
        for name, par in singles[k].items():
            reference, factor = model.followers.get(name, (None, 1.0))
            if reference is not None and k == first:
                own = start[model.renamed(reference)]
                own.value = min(max(float(par.value) / factor, own.min), own.max)
    start.update_constraints()
    lower_to_caps(start, model.nested)
    return {name: float(par.value) for name, par in start.items()}


def _searched(model: Any, observations: Sequence[Observation], params: Parameters, relative: float) -> Objective:
    """Return the objective of all curves with a relative error on top of the noise."""
    curves = []
    for curve, observation in zip(_loose(model).measured(observations, {}, params), observations, strict=True):
        values, exposure = observation.values, observation.exposure
        unit = 1.0 if exposure is None else 1.0 / exposure
        known = observation.likelihood.name != "none"
        precision = observation.likelihood.information(np.maximum(values, unit if known else 0.0))
        with np.errstate(divide="ignore"):
            noise = np.hypot(1.0 / precision, relative * values)
        likelihood = GaussianLikelihood(values, 1.0 / noise, observation.weights)
        curves.append(MeasuredCurve(curve.function, curve.names, likelihood))
    names = [name for name, par in params.items() if par.vary and par.expr is None]
    return Objective.of(curves, params, _parents_first(model, params, names), model.nested, model.even)


def _loose(model: Any) -> Any:
    """Return the same model with curves that are less accurate, and faster."""
    members = []
    for member in model.members:
        simulation = getattr(member, "simulation", None)
        if isinstance(simulation, RockingCurve):
            member = copy.copy(member)
            member.simulation, member._axes = replace(simulation, tolerance=max(simulation.tolerance, _LOOSE)), {}
        members.append(member)
    found = copy.copy(model)
    found._members = tuple(members)
    return found


def _parents_first(model: Any, params: Parameters, names: Sequence[str]) -> list[str]:
    from hrxrd_ml.model.minimizer import in_dependency_order

    return [name for name in in_dependency_order(params, model.nested) if name in names]


class _Trial(NamedTuple):
    """Where a search has ended."""

    cost: float
    values: dict[str, float]
    residual: FloatArray


def _follow(objective: Objective, start: Mapping[str, float], evaluations: int) -> _Trial:
    found = minimise_in_box(
        objective.residual,
        objective.jacobian,
        objective.inward(objective.free(start)),
        objective.lower,
        objective.upper,
        ftol=1e-3,
        xtol=1e-6,
        edm=1e-3,
        evaluations=evaluations,
    )
    return _Trial(found.cost, objective.values(objective.outward(found.x)), found.fun)


def _distinct(trials: Iterable[_Trial]) -> list[_Trial]:
    """Return trials from the lowest one up, without those far above it and those whose curves another one has."""
    kept: list[_Trial] = []
    for trial in sorted(trials, key=_cost):
        alike = (float(np.sum((trial.residual - other.residual) ** 2)) < _ALIKE for other in kept)
        if not kept or (trial.cost < _BEHIND * kept[0].cost and not any(alike)):
            kept.append(trial)
    return kept


def _together(objective: Objective, starts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of what the curves say, in the box, each weighed by the information that its curve holds of it.

    What a curve knows of a parameter is what is left once the parameters that it has by itself are fitted as well.
    """
    shared = [i for i, n in enumerate(objective.names) if sum(n in curve.names for curve in objective.curves) > 1]
    places = [objective.inward(objective.free(start)) for start in starts]
    width = np.where(np.isfinite(objective.upper - objective.lower), objective.upper - objective.lower, 1.0)
    weight = np.diag((_BROAD * width[shared]) ** -2.0)
    middle = np.mean([place[shared] for place in places], axis=0)
    total, pull = weight, weight @ middle
    for curve, place in zip(objective.curves, places, strict=True):
        alone = Objective((curve,), objective.coordinates, objective.held, objective.ties)
        information = alone.expand(place).information
        own = [i for i in range(len(place)) if i not in shared and information[i, i] > 0.0]
        known = information[np.ix_(shared, shared)] - information[np.ix_(shared, own)] @ _solved(
            information[np.ix_(own, own)], information[np.ix_(own, shared)]
        )
        total, pull = total + known, pull + known @ place[shared]
    mean = places[0].copy()
    mean[shared] = np.clip(_solved(total, pull), objective.lower[shared], objective.upper[shared])
    return objective.values(objective.outward(mean))


def _solved(matrix: FloatArray, right: FloatArray) -> FloatArray:
    return np.asarray(np.linalg.lstsq(matrix, right, rcond=1e-12)[0])


def _remember(params: Parameters, singles: Sequence[Parameters]) -> Parameters:
    """Note who guessed for the single curves."""
    known = [guess_by(single) for single in singles]
    scores = [about["domain_score"] for about in known if "domain_score" in about]
    notes = list(dict.fromkeys(about["note"] for about in known if "note" in about))
    who = "network" if any(about.get("provider") == "network" for about in known) else "classical"
    return remember(params, who, max(scores, default=None), "; ".join(notes))


def _cost(trial: _Trial) -> float:
    return trial.cost
