"""What an ideal estimator could answer: the limit that noise and unknown nuisance parameters set to any network.

To first order about the truth, counts tell of parameters x what a normal distribution with the Fisher information F
does, and the prior what one with its mean m and information P does.  The posterior mean then misses the truth by

    C (Jᵀ W^(1/2) z + P (m - x)),    C = (F + P)^(-1),    F = Jᵀ W J,

with the exact Jacobian J, the weights W = 1/μ of the counts and standard normal z; averaged over the prior, its
covariance is C (H. L. Van Trees, *Detection, Estimation, and Modulation Theory*, Wiley 1968).  Where other fringes or
other profiles describe a curve as well, a real estimator does worse; where the derivative at the truth is not that of
its surroundings, as at few counts and for Rp2, it may do better.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrxrd_ml.arrays import FloatArray
from hrxrd_ml.guess.network.targets import PROFILE
from hrxrd_ml.inference.threads import one_thread
from hrxrd_ml.parameters import ParameterSpace
from hrxrd_ml.simulate import BoundCurve
from hrxrd_ml.specimen.profile.implanted import implanted_space
from hrxrd_ml.training.dataset import DatasetFolder
from hrxrd_ml.training.describe import parameters_of
from hrxrd_ml.training.evaluate import SHARES, Evaluation
from hrxrd_ml.training.features import apparent
from hrxrd_ml.training.shard import measurements

_DECADES = 10.0
"""Parameters that are positive and range over more than this factor are seen by their logarithms."""


@dataclass(frozen=True)
class Nuisance:
    """What a set of curves says beforehand of the parameters besides the profile.

    Attributes
    ----------
    names : tuple of str
        Those that vary in the set.
    logarithmic : ndarray of bool, shape (k,)
    mean, spread : ndarray, shape (k,)
        Of the parameters or their logarithms.
    """

    names: tuple[str, ...]
    logarithmic: NDArray[np.bool_]
    mean: FloatArray
    spread: FloatArray

    @classmethod
    def of(cls, values: Mapping[str, FloatArray]) -> Nuisance:
        """Return that of the values of a set; the step of the axis is not among them, since it does not show."""
        names = [n for n, column in values.items() if n not in (*PROFILE, "step") and np.ptp(column) > 0.0]
        logs = np.array([values[n].min() > 0.0 and values[n].max() > _DECADES * values[n].min() for n in names], bool)
        columns = [np.log(values[n]) if log else values[n] for n, log in zip(names, logs, strict=True)]
        return cls(tuple(names), logs, np.array([c.mean() for c in columns]), np.array([c.std() for c in columns]))


def unit_slopes(space: ParameterSpace, unit: FloatArray, values: Mapping[str, float]) -> FloatArray:
    """Return the derivatives (p, p) of parameters by their places between the limits: those of `from_unit`."""
    (lower, upper), names = space.limits(), space.names
    slopes = np.zeros((len(names), len(names)))
    for i, name in enumerate(names):
        top, moved = upper[name], np.zeros(len(names))
        for rule in space.nested:
            if rule.low == name and (cap := float(rule.cap(values[rule.high]))) < top:
                top, moved = cap, rule.slope * slopes[names.index(rule.high)]
        slopes[i] = unit[i] * moved
        slopes[i, i] = max(top - lower[name], 0.0)
    return slopes


def answers(
    bound: BoundCurve, true: Mapping[str, float], nuisance: Nuisance, draws: int, rng: np.random.Generator
) -> dict[str, FloatArray]:
    """Return what the ideal estimator answers for a curve, with so many different noises.

    Parameters
    ----------
    bound : BoundCurve
        What simulates the curve, in counts.
    true : mapping
        All parameters.
    nuisance : Nuisance
    draws : int
    rng : Generator

    Returns
    -------
    dict of ndarray, shape (draws,)
        The seven parameters of the profile, inside of their bounds.
    """
    space, count = implanted_space(), len(PROFILE)
    unit = np.clip(space.to_unit({name: np.array([true[name]]) for name in PROFILE})[0], 0.0, 1.0)
    curve, slopes = bound.jacobian(dict(true), (*PROFILE, *nuisance.names))
    own = np.array([true[name] for name in nuisance.names])
    by_x = (
        np.concatenate(
            [
                slopes[:, :count] @ unit_slopes(space, unit, true),
                slopes[:, count:] * np.where(nuisance.logarithmic, own, 1.0),
            ],
            axis=1,
        )
        / np.sqrt(np.maximum(curve, 1e-300))[:, None]
    )
    x = np.concatenate([unit, np.where(nuisance.logarithmic, np.log(np.where(nuisance.logarithmic, own, 1.0)), own)])
    # Uniform between 0 and 1: the mean is 1/2, and the variance 1/12.
    mean = np.concatenate([np.full(count, 0.5), nuisance.mean])
    prior = np.concatenate([np.full(count, 12.0), nuisance.spread**-2.0])
    scale = 1.0 / np.sqrt(np.sum(by_x**2, axis=0) + prior)
    information = (by_x * scale).T @ (by_x * scale) + np.diag(prior * scale**2)
    push = by_x.T @ rng.standard_normal((len(curve), draws)) + (prior * (mean - x))[:, None]
    error = scale[:, None] * np.linalg.solve(information, scale[:, None] * push)
    return space.from_unit(np.clip(unit + error[:count].T, 0.0, 1.0))


def ideal_of(folder: DatasetFolder, rows: NDArray[np.int64], draws: int = 8, seed: int = 1) -> dict[str, FloatArray]:
    """Return what the ideal estimator answers for some curves of a data set, shape (len(rows), draws) each."""
    nuisance = Nuisance.of(parameters_of(folder)[0])
    rng, settings = np.random.default_rng(seed), folder.settings
    found: dict[int, dict[str, FloatArray]] = {}
    wanted = set(rows.tolist())
    for number in range(settings.shards):
        first = number * settings.shard
        if not wanted & set(range(first, first + settings.size(number))):
            continue
        with one_thread():
            for row, measured in enumerate(measurements(folder.shard(number)), first):
                if row in wanted:
                    true = apparent(dict(measured.values)) | {"step": 1.0}
                    found[row] = answers(measured.bind(settings.tolerance), true, nuisance, draws, rng)
    return {name: np.array([found[row][name] for row in rows.tolist()]) for name in PROFILE}


def beside_ideal(found: Evaluation, folder: DatasetFolder, most: int, draws: int = 8, seed: int = 1) -> dict[str, Any]:
    """Return how network and ideal estimator do on the same curves, as JSON holds it.

    Parameters
    ----------
    found : Evaluation
        Of a network.
    folder : DatasetFolder
        The set that it was evaluated on.
    most : int
        Of these curves, evenly over the set.
    draws : int
        Noises for each curve.
    seed : int

    Returns
    -------
    dict
        "curves", and for all, by counts and by crystal: "curves", and of "network" and "ideal" the mean absolute error
        of each parameter in % of its range, and the shares of curves within 10 % in largest strain, depth and shape.
    """
    rows = np.unique(np.linspace(0, len(found) - 1, min(most, len(found))).astype(np.int64))
    answer = ideal_of(folder, found.table["row"].values[rows], draws, seed)
    network = found.part(rows)
    ideal = replace(
        found.part(np.repeat(rows, draws)), answer={name: column.ravel() for name, column in answer.items()}
    )
    reports = {"network": network.report(), "ideal": ideal.report()}
    columns = (*PROFILE, *SHARES)

    def row(report: Mapping[str, Any], kind: str, name: str) -> dict[str, float]:
        one = report[kind][name]
        if name == "all":
            one = one | {parameter: error["percent"] for parameter, error in report["errors"].items()}
        return {column: one[column] for column in columns}

    kinds = {"within 10 %": ["all"]} | {kind: list(reports["network"][kind]) for kind in ("by counts", "by crystal")}
    groups = {
        name: {"curves": reports["network"][kind][name]["curves"]}
        | {key: row(report, kind, name) for key, report in reports.items()}
        for kind, names in kinds.items()
        for name in names
    }
    return {"curves": len(rows), "draws": draws, "seed": seed, "groups": groups}


def text(report: Mapping[str, Any]) -> str:
    """Return `beside_ideal` as a Markdown table: network / ideal."""
    columns = (*PROFILE, *SHARES)
    titles = [*(f"{name}, %" for name in PROFILE), *(f"{name} within 10 %" for name in SHARES)]
    lines = [f"| network / ideal | curves | {' | '.join(titles)} |", "|---" * (len(columns) + 2) + "|"]
    for name, block in report["groups"].items():
        cells = [f"{block['network'][column]:.3g} / {block['ideal'][column]:.3g}" for column in columns]
        lines.append(f"| {name} | {block['curves']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
