"""What a chain says: samples by name, derived quantities, bands on curve and profile, and doubts in words."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hrxrd_ml.inference.sampling.convergence import ENOUGH, RHAT, bulk_ess, converged, rank_rhat
from hrxrd_ml.inference.sampling.peaks import nearest
from hrxrd_ml.inference.sampling.probability import LogPosterior
from hrxrd_ml.inference.sampling.widening import Widening
from hrxrd_ml.results import derived
from hrxrd_ml.results.dataset import provenance

if TYPE_CHECKING:
    from hrxrd_ml.model.result import RockingCurveResult

Array = NDArray[np.float64]

QUANTILES = (0.025, 0.16, 0.5, 0.84, 0.975)
"""Of the bands on curve and profiles."""

_AXES = frozenset({"chain", "draw"})

_BANDS = 400  # how many samples the bands are made from
_SELDOM = 0.6  # acceptance below which the guide is to blame for a chain that is too short
_KEPT = 40_000  # how many samples are returned, at most; neighbours in a chain hardly differ


@dataclass(frozen=True)
class Drawn:
    """The samples of a chain in the parameters, and whether they can be believed.

    Attributes
    ----------
    values : ndarray, shape (draws, walkers, n)
    every : int
        Steps of the chain for each draw.
    maxima : ndarray, shape (walkers,)
        At which maximum each walker is.
    rhat, effective : ndarray, shape (n,)
        Of each parameter; where walkers have stayed at several maxima, of those at the same one, and their sum.
    """

    values: Array
    every: int
    maxima: NDArray[np.intp]
    rhat: Array
    effective: Array

    @classmethod
    def of(cls, target: LogPosterior, sampler: Any, peaks: Array, widen: Widening | None) -> Drawn:
        """Return what an emcee sampler has drawn, widened perhaps."""
        chain, every = sampler.get_chain(), max(1, sampler.iteration * sampler.nwalkers // _KEPT)
        maxima = nearest(chain, peaks)
        places = (chain if widen is None else widen(chain))[every - 1 :: every]
        values = np.array([target.outward(place) for place in places.reshape(-1, places.shape[2])])
        values = values.reshape(places.shape)
        rhat, effective = rank_rhat(values), bulk_ess(values)
        if len(known := np.unique(maxima)) > 1 and not converged(rhat, effective):
            parts = [values[:, maxima == k] for k in known]
            rhat = np.max([rank_rhat(part) for part in parts], axis=0)
            effective = np.sum([bulk_ess(part) for part in parts], axis=0)
        return cls(values, every, maxima, rhat, effective)

    @property
    def converged(self) -> bool:
        """Whether they can be believed."""
        return converged(self.rhat, self.effective)


def posterior_tree(
    result: RockingCurveResult, target: LogPosterior, sampler: Any, peaks: Array, widen: Widening | None
) -> xr.DataTree:
    """Return what the chain of an emcee sampler says, its samples widened perhaps; see `posterior.sample`."""
    drawn = Drawn.of(target, sampler, peaks, widen)
    (draws, walkers, dimension), every = drawn.values.shape, drawn.every
    flat = drawn.values.reshape(-1, dimension)
    labels = [_label(name) for name in target.names]
    columns = {label: flat[:, i] for i, label in enumerate(labels)}
    summary = _summaries(result, flat)
    units = {_label(name): unit for name, unit in result.parameter_units().items()} | derived.UNITS
    variables = {
        name: (("chain", "draw"), column.reshape(draws, walkers).T, {"units": units.get(name, "1")})
        for name, column in (columns | summary).items()
    }
    axes = {"chain": np.arange(walkers), "draw": every * np.arange(1, draws + 1)}
    density = (("chain", "draw"), sampler.get_log_prob(thin=every).T, {"long_name": "logarithm of the posterior"})
    groups = {
        "posterior": xr.Dataset(variables, axes),
        "sample_stats": xr.Dataset({"lp": density}, axes),
        "bands": _bands(result, target, flat),
    }
    made = provenance(result) | {"title": "posterior of an X-ray rocking curve"}
    attrs = dict(
        **made,
        parameters=json.dumps(labels),
        steps=sampler.iteration,
        walkers=walkers,
        maxima=len(np.unique(drawn.maxima)),
        acceptance=float(np.mean(sampler.acceptance_fraction)),
        effective_samples=float(drawn.effective.min()),
        rhat=float(drawn.rhat.max()),
        converged=int(drawn.converged),
        statistics=target.likelihood.name,
        errors="noise" if widen is None else "misfit",
    )
    notes = _notes(groups["posterior"], attrs, result, target, drawn, peaks)
    for note in notes:
        if note.startswith("the chain is too short"):
            warnings.warn(note, stacklevel=3)
    schema = {"created_at": made["created"], "inference_library": "hrxrd_ml"}
    schema["inference_library_version"] = made["version_hrxrd_ml"]
    tree = xr.DataTree.from_dict({name: group.assign_attrs(schema) for name, group in groups.items()}, name="samples")
    tree.attrs = attrs | {"notes": "\n".join(notes)}
    return tree


def _label(name: str) -> str:
    """Name of a parameter in the group: another one where an axis is called so."""
    return f"{name}_" if name in _AXES else name


def _summaries(result: RockingCurveResult, flat: Array) -> dict[str, Array]:
    """Return quantities that follow from the profile; none if there is none, or several."""
    model = _model_with_profile(result)
    if model is None:
        return {}
    rows = [derived.profile_summary(model.simulation, row) for row in _feasible(result, model, flat)]
    return {name: _constant_or([row[name] for row in rows]) for name in rows[0]}


def _constant_or(values: list[float]) -> Array:
    """Return samples; one value where they differ by rounding, of which no density could be drawn."""
    found = np.array(values)
    return found if np.ptp(found) > 1e-12 * np.abs(found).max() else np.full(len(found), found[0])


def _model_with_profile(result: RockingCurveResult) -> Any:
    """Return the model of the rocking curve, of the first one of a joint fit, if it has a strain profile; else None."""
    models = result.model.rocking_curves
    alone = len(models) == len(result.model.members) and getattr(models[0].simulation, "profile", None) is not None
    return models[0] if alone else None


def _feasible(result: RockingCurveResult, model: Any, flat: Array) -> Iterator[dict[str, float]]:
    """Yield the values of a model, by name without prefix, for samples (rows of ``flat``) as they are simulated."""
    objective, own = result.objective, [model.prefix + name for name in model.space.names]
    for row in flat:
        values = objective.values(row[: len(objective.names)])
        yield derived.feasible_values(model, {name: values[result.model.renamed(name)] for name in own})


def _bands(result: RockingCurveResult, target: LogPosterior, flat: Array) -> xr.Dataset:
    """Return quantiles of curve and profiles over samples that lie evenly along the chains."""
    chosen = flat[np.linspace(0, len(flat) - 1, min(_BANDS, len(flat))).astype(int)]
    curves = np.quantile([target.curve(row) for row in chosen], QUANTILES, axis=0)
    dataset = xr.Dataset(coords={"quantile": list(QUANTILES)})
    pairs = zip(result.model.members, result.observations, strict=True)
    for member, observation in pairs:
        band, curves = curves[:, : len(observation.x)], curves[:, len(observation.x) :]
        axis = observation.curve[observation.curve.dims[0]]
        attrs = {str(k): str(v) for k, v in axis.attrs.items()}
        unit = str(observation.curve.attrs.get("units", "counts"))
        label = f"{member.label}_" if member is not result.model else ""
        dataset.coords[f"{label}x"] = (f"{label}x", np.asarray(axis.values, dtype=np.float64), attrs)
        dataset[f"{label}curve_band"] = (("quantile", f"{label}x"), band, {"units": unit})
    model = _model_with_profile(result)
    if model is None:
        return dataset
    rows = list(_feasible(result, model, chosen))
    depth = np.linspace(0.0, max(derived.profile_end(model.simulation, row) for row in rows), 501)
    both = np.array([derived.depth_profiles(model.simulation, row, depth) for row in rows])
    dataset = dataset.assign_coords(depth=("depth", depth, {"units": "Å", "long_name": "depth"}))
    for i, name in enumerate(("strain", "damage")):
        dataset[f"{name}_band"] = (("quantile", "depth"), np.quantile(both[:, i], QUANTILES, axis=0), {"units": "1"})
    return dataset


def _notes(
    samples: xr.Dataset,
    attrs: Mapping[str, Any],
    result: RockingCurveResult,
    target: LogPosterior,
    drawn: Drawn,
    peaks: Array,
) -> list[str]:
    """Return what to beware of, in words: a short chain, a model that misses something, two maxima."""
    notes = []
    if not drawn.converged:
        notes.append(_too_short(attrs, target, drawn))
    if attrs["maxima"] > 1:
        counts = {int(k): int(np.sum(drawn.maxima == k)) for k in np.unique(drawn.maxima)}
        highest = max(target(peaks[k]) for k in counts)
        below = ", ".join(f"{n} at one {highest - target(peaks[k]):.1f} below the highest" for k, n in counts.items())
        notes.append(
            f"walkers are at {len(counts)} maxima ({below}, in the logarithm of the posterior); how many samples lie "
            "about each does not tell how probable it is"
        )
    quality = result.pearson_chi2()
    if attrs["errors"] == "misfit":
        notes.append(
            "samples are spread about the best fit so that they have its standard errors, which include what the model "
            f"misses and are {np.median(list(result.misfit_ratios().values())):.2g} times those by the noise (in their "
            'median); sample with errors="noise" for those'
        )
    elif target.extra is None and quality > 1.5:
        notes.append(
            f"chi2/N of the best fit is {quality:.3g}: the model misses more than counting noise, and the intervals "
            "are too narrow; sample with model_error=True"
        )
    for name in target.names:
        share = _modes(samples[_label(name)].values)
        if share is not None:
            notes.append(f"{name} has two maxima (the smaller one holds {100 * share:.0f} % of the samples)")
    return notes


def _too_short(attrs: Mapping[str, Any], target: LogPosterior, drawn: Drawn) -> str:
    """Return why a chain cannot be believed, and what would help."""
    names, steps = target.names, attrs["steps"]
    apart, few = int(np.argmax(drawn.rhat)), int(np.argmin(drawn.effective))
    # Both the square of R-hat - 1 and the effective samples go with the length of the chain.
    more = max(ENOUGH / max(drawn.effective[few], 1.0), (drawn.rhat[apart] - 1.0) / (RHAT - 1.0))
    words = (
        f"the chain is too short: after {steps} steps R-hat of {names[apart]} is {drawn.rhat[apart]:.3f} (at most "
        f"{RHAT}), and {names[few]} has {drawn.effective[few]:.0f} effective samples (at least {ENOUGH:.0f}); take its "
        "intervals with care, or sample "
    )
    words += f"about {_rounded(steps * more)} steps" if math.isfinite(more) else "more steps"
    if attrs["acceptance"] < _SELDOM:
        words += (
            f". Only {100.0 * attrs['acceptance']:.0f} % of the steps are accepted, since the curve bends too much "
            f"where the data leave room: fix parameters that they hardly determine, or give {names[apart]} a prior"
        )
    return words


def _rounded(steps: float) -> int:
    """Return a number of steps rounded up to one digit."""
    size = 10 ** int(math.log10(steps))
    return size * math.ceil(steps / size)


def _modes(values: Array) -> float | None:
    """Return the share of the smaller of two separate modes, or None for one.

    The histogram must fall to a fifth of the smaller maximum between them, and each must hold 2 % of the samples.
    """
    flat = values.ravel()
    low, high = np.quantile(flat, [0.001, 0.999])
    if not high > low:
        return None
    counts, edges = np.histogram(flat, bins=40, range=(low, high))
    smooth = np.convolve(counts, [0.25, 0.5, 0.25], mode="same")
    left, right = np.maximum.accumulate(smooth), np.maximum.accumulate(smooth[::-1])[::-1]
    depth = np.minimum(left, right)
    gap = int(np.argmax(np.where(depth > 0, 1.0 - smooth / np.maximum(depth, 1e-9), 0.0)))
    if smooth[gap] > 0.2 * depth[gap]:
        return None
    share = float(np.mean(flat < 0.5 * (edges[gap] + edges[gap + 1])))
    share = min(share, 1.0 - share)
    return share if share > 0.02 else None
