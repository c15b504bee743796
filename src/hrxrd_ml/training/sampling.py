"""How sets of parameters cover their space: ways to draw them, and what tells one way from another, without curves.

Two measures belong to each parameter.  Its *marginal* is what a histogram shows; where another parameter limits it, no
way of drawing makes that uniform unless something else gives way.  Its *place* is where it lies between the limits that
the others leave it (`ParameterSpace.to_unit`), which `ParameterSpace.from_unit` makes uniform.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from scipy.stats import qmc

from hrxrd_ml.arrays import FloatArray
from hrxrd_ml.errors import ExperimentError
from hrxrd_ml.parameters import ParameterSpace
from hrxrd_ml.specimen.profile.implanted import implanted_space
from hrxrd_ml.training.dataset import DatasetFolder, DatasetSettings
from hrxrd_ml.training.describe import BINS, flatness, parameters_of
from hrxrd_ml.training.shard import unit_cube

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Parameters = Mapping[str, FloatArray]
"""By name, shape (n,) each."""

USUAL = ("random", "stratified-L2", "cube", "latin", "sobol", "universal")
"""What is compared where nothing is named."""

MOST = 20_000_000
"""Sets of parameters; each takes some hundred bytes while it is compared."""

_ACTIVE = 0.01  # of the range of a parameter: so near the limit that another one sets

_COLUMNS = {
    "chi2": "χ² of the marginal ({} degrees of freedom)",
    "ratio": "fullest over emptiest bin of the marginal",
    "place_chi2": "χ² of the place between the limits",
    "place_ratio": "fullest over emptiest bin of the place",
    "unique": "different values",
}


def rejected(space: ParameterSpace, n: int, rng: np.random.Generator, stratified: str | None = None) -> Parameters:
    """Return points drawn uniformly from the box of bounds, those that break a nested constraint drawn again.

    Their density on the feasible set is constant.  With ``stratified``, that parameter is first dealt out evenly over
    its range, and the others follow it: the density is constant for each of its values.
    """
    names, (lower, upper) = space.names, space.limits()
    low, high = ({name: np.full(n, bound[name]) for name in names} for bound in (lower, upper))
    if stratified is not None:
        share = (rng.permutation(n) + rng.random(n)) / n
        column = lower[stratified] + (upper[stratified] - lower[stratified]) * share
        low[stratified] = high[stratified] = column
        for rule in space.nested:  # what is left of the others' ranges, so that little is rejected
            if rule.high == stratified:
                high[rule.low] = np.minimum(high[rule.low], rule.cap(column))
            elif rule.low == stratified and rule.total is None:
                low[rule.high] = np.maximum(low[rule.high], column)
            elif rule.low == stratified:
                high[rule.high] = np.minimum(high[rule.high], rule.cap(column))
    values = {name: np.empty(n) for name in names}
    left = np.arange(n)
    while len(left):
        drawn = {name: rng.uniform(low[name][left], high[name][left]) for name in names}
        good = np.ones(len(left), dtype=bool)
        for rule in space.nested:
            good &= drawn[rule.low] <= rule.cap(drawn[rule.high])
        for name, column in drawn.items():
            values[name][left[good]] = column[good]
        left = left[~good]
    return values


Strategy = Callable[[ParameterSpace, int, np.random.Generator], Parameters]


def _cube(points: Callable[[int, int, np.random.Generator], FloatArray]) -> Strategy:
    return lambda space, n, rng: space.from_unit(points(n, len(space), rng))


STRATEGIES: Mapping[str, Strategy] = {
    "random": rejected,
    "cube": _cube(lambda n, d, rng: rng.random((n, d))),
    "latin": _cube(lambda n, d, rng: qmc.LatinHypercube(d, rng=rng).random(n)),
    # Whole powers of two are balanced; of these the first n.
    "sobol": _cube(lambda n, d, rng: qmc.Sobol(d, rng=rng).random_base2(max(n - 1, 1).bit_length())[:n]),
    **{f"stratified-{name}": partial(rejected, stratified=name) for name in implanted_space().names},
}
"""Ways to draw the seven parameters: uniform on the feasible set by rejection, ``random`` or stratified in one of them;
uniform in the unit cube of `ParameterSpace.from_unit`, at random (a stream of training curves does so), in a Latin
hypercube or in a scrambled Sobol sequence."""


def draw(name: str, n: int = 1_000_000, seed: int = 1) -> Parameters:
    """Return sets of the seven parameters.

    Parameters
    ----------
    name : str
        One of `STRATEGIES`; the folder of a data set, whose parameters these are; or settings of data sets, a TOML file
        or a bundled one, from which n are drawn with this seed as `dataset make` does.
    n, seed : int

    Raises
    ------
    ExperimentError, InputFileError
        If it is none of these, or n is not from 100 to `MOST`.
    """
    if not 100 <= n <= MOST or seed < 0:
        raise ExperimentError(f"expected 100 to {MOST} sets of parameters and a seed from 0, got {n} and {seed}")
    space = implanted_space()
    if name in STRATEGIES:
        return STRATEGIES[name](space, n, np.random.default_rng(seed))
    if Path(name).is_dir():
        values = parameters_of(DatasetFolder(name).complete())[0]
        return {key: values[key] for key in space.names}
    try:
        settings = DatasetSettings.read(name, curves=n, seed=seed)
    except ExperimentError as error:
        known = "random, cube, latin, sobol, stratified-NAME"
        raise ExperimentError(f"{name} is no way to draw parameters ({known}) and no data set; {error}") from error
    shards = (unit_cube(settings, k)[0][:, : len(space)] for k in range(settings.shards))
    return space.from_unit(np.concatenate(list(shards)))


def compare(sets: Mapping[str, Parameters]) -> xr.Dataset:
    """Return how evenly sets of parameters cover their space.

    Returns
    -------
    Dataset
        Over ``set`` and ``parameter``: "chi2", "ratio" (χ² against uniform, fullest over emptiest of `BINS` bins) of
        the marginal, "place_chi2" and "place_ratio" of the place between the limits, "unique" values.  Over ``set`` and
        ``rule``: "room", the mean share of its range that the rule leaves the lower parameter, and "active", how often
        the latter is within 1 % of its range of that limit.  Over ``set``: "count"; "cells" on each axis, in all not
        more than points; "box" and "cube", the share of the feasible cells of the 7-dimensional box, and of the cube of
        places, that are not empty; "even", what random points in the cube fill on average.  Histograms: "marginal",
        "place".
    """
    space = implanted_space()
    rules = [rule.low + (" ≤ " if rule.total is None else " + ") + rule.high for rule in space.nested]
    rows = [_measured(space, {name: np.asarray(values[name]) for name in space.names}) for values in sets.values()]
    dims = {"parameter": list(space.names), "rule": rules, "bin": np.arange(BINS)}
    found: dict[str, tuple[tuple[str, ...], FloatArray]] = {}
    for key, (own, _) in rows[0].items():
        found[key] = ("set", *own), np.array([row[key][1] for row in rows])
    return xr.Dataset(found, coords={"set": list(sets), **dims})


def _measured(space: ParameterSpace, values: Parameters) -> dict[str, tuple[tuple[str, ...], FloatArray]]:
    """Return one row of `compare`: of each variable its dimensions but for the set, and its values."""
    box = np.column_stack([(values[s.name] - s.min) / (s.max - s.min) for s in space])
    cube = space.to_unit(values)
    marginal, place = (np.array([np.histogram(column, BINS, (0.0, 1.0))[0] for column in u.T]) for u in (box, cube))
    (chi2, ratio), (place_chi2, place_ratio) = (np.array([flatness(row) for row in n]).T for n in (marginal, place))
    room, active = [], []
    for rule in space.nested:
        spec, cap = space[rule.low], rule.cap(values[rule.high])
        room.append(np.mean((np.minimum(cap, spec.max) - spec.min) / (spec.max - spec.min)))
        active.append(np.mean(cap - values[rule.low] < _ACTIVE * (spec.max - spec.min)))
    n = len(cube)
    cells = max(int(n ** (1.0 / len(space)) + 1e-9), 1)
    feasible = _feasible_cells(space, cells)
    single = {
        "count": n,
        "cells": cells,
        "box": _occupied(box, cells) / feasible,
        "cube": _occupied(cube, cells) / cells ** len(space),
        "even": 1.0 - np.exp(-n / cells ** len(space)),
    }
    unique = np.array([len(np.unique(values[name])) for name in space.names])
    each = {"chi2": chi2, "ratio": ratio, "place_chi2": place_chi2, "place_ratio": place_ratio, "unique": unique}
    return (
        {key: (("parameter",), column) for key, column in each.items()}
        | {"room": (("rule",), np.array(room)), "active": (("rule",), np.array(active))}
        | {"marginal": (("parameter", "bin"), marginal), "place": (("parameter", "bin"), place)}
        | {key: ((), np.array(number)) for key, number in single.items()}
    )


def _occupied(unit: FloatArray, cells: int) -> int:
    """Return how many cells of the unit cube hold a point."""
    index = np.minimum((unit * cells).astype(np.int64), cells - 1)
    return len(np.unique(index @ cells ** np.arange(unit.shape[1])))


def _feasible_cells(space: ParameterSpace, cells: int) -> int:
    """Return how many cells of the box hold feasible points.

    One does if its best corner is feasible: where whatever gives way is smallest and what limits it by ``<=`` largest.
    """
    names = space.names
    index = np.indices((cells,) * len(names), dtype=np.int8).reshape(len(names), -1)
    good = np.ones(index.shape[1], dtype=bool)
    for rule in space.nested:
        low, high = names.index(rule.low), names.index(rule.high)
        at = [space[name].min + (space[name].max - space[name].min) / cells * np.arange(cells + 1) for name in names]
        best = at[high][index[high] + 1] if rule.total is None else at[high][index[high]]
        good &= at[low][index[low]] < rule.cap(best)
    return int(good.sum())


def text(found: xr.Dataset) -> str:
    """Return a comparison as Markdown tables."""
    sets = [str(name) for name in found["set"].values]

    def table(head: str, columns: Sequence[str], rows: FloatArray, form: str) -> list[str]:
        cells = [[form.format(number) for number in row] for row in rows]
        whole = [
            [head, *columns],
            ["---"] * (len(columns) + 1),
            *([s, *row] for s, row in zip(sets, cells, strict=True)),
        ]
        return ["| " + " | ".join(row) + " |" for row in whole] + [""]

    names, lines = list(found["parameter"].values), list[str]()
    for key, head in _COLUMNS.items():
        lines += table(head.format(BINS - 1), names, found[key].values, "{:d}" if key == "unique" else "{:.3g}")
    for key, head in (
        ("room", "of the range, a constraint leaves, %"),
        ("active", "constraint active (within 1 %), %"),
    ):
        lines += table(head, list(found["rule"].values), 100.0 * found[key].values, "{:.1f}")
    lines += table("", ["sets", "cells per axis"], np.column_stack([found["count"], found["cells"]]), "{:d}")
    joint = np.column_stack([100.0 * found[key] for key in ("box", "cube", "even")])
    columns = ["of the feasible box", "of the cube of places", "of the cube, at random"]
    return "\n".join([*lines, *table("cells in 7 dimensions that are not empty, %", columns, joint, "{:.1f}")])


def plot(found: xr.Dataset) -> Figure:
    """Return a figure of the marginals, and below them the places between the limits, relative to uniform."""
    from matplotlib.figure import Figure

    space = implanted_space()
    figure = Figure(figsize=(14.0, 5.0), layout="constrained")
    axes = figure.subplots(2, len(space), sharey="row")
    for i, spec in enumerate(space):
        for row, key, ends in ((0, "marginal", (spec.min, spec.max)), (1, "place", (0.0, 1.0))):
            edges = np.linspace(*ends, BINS + 1)
            for name in found["set"].values:
                bins = found[key].sel(set=name, parameter=spec.name).values
                axes[row, i].stairs(bins / bins.mean(), edges, label=str(name))
            axes[row, i].axhline(1.0, color="0.7", linewidth=0.6, zorder=0)
        axes[0, i].set_xlabel(f"{spec.name} [{spec.unit}]" if spec.unit else spec.name)
        axes[1, i].set_xlabel(f"{spec.name}, 0 to 1")
    axes[0, 0].set_ylabel("Density / uniform")
    axes[1, 0].set_ylabel("The same, by the place\nbetween the limits")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=len(found["set"]))
    return figure
